"""What `import lite` promises: these names, loaded late."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import lite
import sync

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PUBLIC = [
    "CID",
    "Answer",
    "Await",
    "Instruction",
    "IpvmError",
    "Key",
    "Limits",
    "Node",
    "Receipt",
    "Result",
    "Run",
    "RunEvent",
    "Workflow",
    "__version__",
    "wasm",
]


def test_the_public_names_are_exactly_these() -> None:
    assert sorted(lite.__all__) == sorted(PUBLIC)
    assert dir(lite) == sorted(PUBLIC)


@pytest.mark.parametrize("name", PUBLIC)
def test_a_public_name_loads_and_is_documented(name: str) -> None:
    value = getattr(lite, name)
    assert name == "__version__" or value.__doc__


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = lite.nothing


def test_the_version_is_the_one_of_the_package(root: Path) -> None:
    table = tomllib.loads((root / "pyproject.toml").read_text())
    assert lite.__version__ == table["project"]["version"]


def test_importing_lite_alone_loads_none_of_its_parts() -> None:
    code = "import lite, sys; print(sorted(m for m in sys.modules if m.startswith('lite')))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['lite', 'lite.version']"


def test_sync_exports_what_it_lists() -> None:
    for name in sync.__all__:
        assert hasattr(sync, name)
