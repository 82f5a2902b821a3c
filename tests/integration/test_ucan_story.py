"""The example in examples/ucan: it runs, and shows what it says."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.fixture
def with_ipvm(tmp_path: Path, root: Path) -> dict[str, str]:
    """An environment with `ipvm` on the path, also where the project is not installed."""
    script = tmp_path / "bin" / "ipvm"
    script.parent.mkdir()
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m lite "$@"\n')
    script.chmod(0o755)
    path = f"{script.parent}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "PYTHONPATH": str(root), "TMPDIR": str(tmp_path)}


def test_the_story_ends_with_the_refusal(
    home: Path, root: Path, tmp_path: Path, with_ipvm: dict[str, str]
) -> None:
    done = subprocess.run(
        ["sh", str(root / "examples" / "ucan" / "story.sh")],
        env={**with_ipvm, "IPVM_STORE_DURABILITY": "normal"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stdout
    assert done.stdout.count("\n42\n") == 1
    assert "accepted once already, so this is a replay" in done.stdout
    assert '.input.func is "add"' in done.stdout
    refused, hint = done.stdout.splitlines()[-2:]
    assert "revoked by did:key:z6Mk" in refused
    assert hint.startswith("  → ")
    assert [path.name for path in tmp_path.iterdir()] == ["bin"]  # it leaves nothing behind
