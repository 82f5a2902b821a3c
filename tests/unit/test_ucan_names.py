"""The names that `lite.ucan` offers as a library."""

from __future__ import annotations

import subprocess
import sys

import pytest

import lite.ucan


@pytest.mark.parametrize("name", lite.ucan.__all__)
def test_each_name_is_there(name: str) -> None:
    assert getattr(lite.ucan, name).__name__ == name
    assert name in dir(lite.ucan)


def test_other_names_are_not() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = lite.ucan.nothing


def test_nothing_is_imported_before_it_is_asked_for() -> None:
    code = "import sys, lite.ucan; print([m for m in sys.modules if m.startswith('lite.ucan.')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
