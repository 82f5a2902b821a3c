"""Files that commands write: whole or not at all."""

from __future__ import annotations

import errno
import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

from lite.cli.shell import need_stdout, stdout_named
from lite.errors import OutputError, StoreFull, UsageError


class _Stdout:
    """stdout for bytes, whose errors say that they are of it."""

    def write(self, data: bytes) -> int:
        with stdout_named():
            return sys.stdout.buffer.write(data)

    def flush(self) -> None:
        with stdout_named():
            sys.stdout.buffer.flush()


def check_folder(target: str) -> None:
    """Raise `UsageError` early when `target` cannot become a file, before work is done for it."""
    if not target:
        raise UsageError("the name of the file to write is empty")
    if target == "-":
        return
    path = Path(target)
    mode = mode_of(path)
    if mode is not None and stat.S_ISDIR(mode):
        raise UsageError(f"{target} is a folder", hint="Name a file in it.")
    above = mode_of(path.parent)
    if above is None or not stat.S_ISDIR(above):
        raise UsageError(f"cannot write {target}: there is no folder {path.parent}")
    _check_no_node(path)


def mode_of(path: Path, use: str = "write") -> int | None:
    """What is where a file is to be written or read, as `stat` has it; None: nothing.

    Raises:
        UsageError: nothing can be: the path is too long, leads to itself, or may not be looked at.
    """
    try:
        return path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise UsageError(f"cannot {use} {path}: {error.strerror}") from None


def _check_no_node(path: Path) -> None:
    """Raises UsageError for what a node keeps: its key and its database are not to be replaced."""
    from lite.files import of_a_node

    if what := of_a_node(path):
        raise UsageError(f"cannot write {path}: it is {what}", hint="Name another file.")


@contextmanager
def writing(target: str, *, private: bool = False) -> Iterator[BinaryIO]:
    """Open `target` for writing; it is replaced when the block ends well, else left as it was.

    Args:
        target: a path, or `-` for stdout. Devices and pipes are written directly.
        private: mode 0600.

    Raises:
        UsageError: it cannot be written.
        OutputError: it is stdout, and the caller closed that; or the disk fails.
        StoreFull: the disk is full.
    """
    if target == "-":
        need_stdout("Open it, or name a file where the command takes one.")
        with stdout_named():
            sys.stdout.flush()
        yield cast(BinaryIO, _Stdout())
        with stdout_named():
            sys.stdout.buffer.flush()
        return
    path = Path(target)
    try:
        mode = mode_of(path)
        if mode is not None and not stat.S_ISREG(mode):
            check_folder(target)
            with path.open("wb") as out:
                yield out
            return
        _check_no_node(path)
        with _replacing(path, 0o600 if private else 0o666) as out:
            yield out
    except OSError as error:
        if isinstance(error, BrokenPipeError):
            raise
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StoreFull(f"{target}: the disk is full", hint="Free some space.") from None
        if error.errno in (errno.EIO, errno.EFBIG):
            raise OutputError(f"{target} could not be written: {error.strerror}") from None
        raise UsageError(f"cannot write {target}: {error.strerror}") from None


@contextmanager
def _replacing(path: Path, mode: int) -> Iterator[BinaryIO]:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.new")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with os.fdopen(handle, "wb") as out:
            yield out
            out.flush()
            os.fsync(out.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
