"""Temporary folders: empty, gone afterwards, and removed for a process that was killed."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lite.ops import scratch
from lite.ops.scratch import scratch_folder

HOLD = """
import sys
from lite.ops.scratch import scratch_folder
with scratch_folder("test-scratch-") as folder:
    print(folder, flush=True)
    sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    return tmp_path


def age(folder: Path) -> None:
    before = time.time() - scratch.AGE_S_MIN - 1
    os.utime(folder, (before, before))


def test_it_is_empty_and_gone_at_the_end(temporary: Path) -> None:
    with scratch_folder("test-scratch-") as folder:
        assert list(Path(folder).iterdir()) == []
        assert Path(folder).stat().st_mode & 0o777 == 0o700
        Path(folder, "file").write_bytes(b"x")
    assert list(temporary.iterdir()) == []


def test_the_folder_of_a_killed_process_goes_and_that_of_a_running_one_stays(
    temporary: Path, root: Path
) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", HOLD],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(root)},
    )
    assert child.stdout is not None
    held = Path(child.stdout.readline().decode().strip())
    age(held)
    scratch.remove_stale("test-scratch-")
    assert held.is_dir()
    child.kill()
    child.communicate()
    age(held)
    other = temporary / "another"
    other.mkdir()
    age(other)
    scratch.remove_stale("test-scratch-")
    assert not held.exists()
    assert other.is_dir()


def test_a_young_folder_stays_because_it_may_not_have_its_lock_yet(temporary: Path) -> None:
    young = temporary / "test-scratch-young"
    young.mkdir()
    scratch.remove_stale("test-scratch-")
    assert young.is_dir()


def test_a_link_of_that_name_is_not_followed(temporary: Path) -> None:
    target = temporary / "precious"
    target.mkdir()
    (temporary / "test-scratch-link").symlink_to(target)
    age(target)
    os.utime(temporary / "test-scratch-link", (0, 0), follow_symlinks=False)
    scratch.remove_stale("test-scratch-")
    assert target.is_dir()
