"""Temporary folders that go also when their process was killed: the next one removes them.

A folder is in use while its process holds a lock on it, which ends with the process.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from lite.clock import SystemClock

AGE_S_MIN: Final = 60.0  # a younger folder may not have its lock yet


@contextmanager
def scratch_folder(prefix: str) -> Iterator[str]:
    """An empty folder of the user's own, gone when the block ends. First removes those of the same
    prefix whose processes ended without."""
    remove_stale(prefix)
    folder = tempfile.mkdtemp(prefix=prefix)
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(handle)


def remove_stale(prefix: str) -> None:
    """Remove the folders of this user, with this prefix, that no process holds."""
    before = SystemClock().now() - AGE_S_MIN
    for path in Path(tempfile.gettempdir()).glob(f"{prefix}*"):
        with suppress(OSError):  # gone meanwhile, of somebody else, or held
            found = path.lstat()
            if found.st_uid != os.getuid() or found.st_mtime > before:
                continue
            handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(path, ignore_errors=True)
            finally:
                os.close(handle)
