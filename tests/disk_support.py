"""Small file systems of their own, to be filled."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest


@contextmanager
def small_disk(folder: Path, options: str) -> Iterator[Path]:
    """A file system in memory; the test is skipped where this user may not mount one.

    Args:
        options: of the mount, e.g. "size=4m".
    """
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", options, "none", str(folder)]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as fault:
        pytest.skip(f"needs the right to mount: {fault}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def free(disk: Path) -> int:
    """Bytes."""
    found = os.statvfs(disk)
    return found.f_bavail * found.f_frsize


def fill(disk: Path, leave: int = 0, name: str = "ballast") -> Path:
    """A file of somebody else that takes all space but `leave` bytes; a further call makes it
    longer."""
    ballast = disk / name
    # Others may write at the same time, so that the last of it does not fit.
    with suppress(OSError), ballast.open("ab", buffering=0) as file:
        file.write(bytes(max(0, free(disk) - leave)))
    return ballast
