"""Files and folders of the user's on their way into the store."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from lite.errors import NotFoundError, UsageError
from lite.ipld import unixfs
from lite.ipld.block import Block
from lite.ipld.cid import CID

Put = Callable[[Block], None]


def add_source(source: str | Path | bytes | BinaryIO, put: Put, profile: unixfs.Profile) -> CID:
    """Write a path (file or folder), bytes, or an open binary file as UnixFS blocks."""
    if isinstance(source, bytes):
        return unixfs.write_file(io.BytesIO(source), put, profile)
    if not isinstance(source, (str, Path)):
        return unixfs.write_file(source, put, profile)
    path = Path(source)
    if path.is_dir():
        return _add_folder(path, put, profile)[0]
    with open_file(path) as file:
        return unixfs.write_file(file, put, profile)


def _add_folder(folder: Path, put: Put, profile: unixfs.Profile) -> tuple[CID, int]:
    """A folder and all below it; its CID and cumulative size (Tsize).

    Symbolic links and special files are left out: what they mean ends at this machine.
    """
    entries: list[tuple[str, CID, int]] = []
    for path in sorted(folder.iterdir()):
        if path.is_symlink() or not (path.is_dir() or path.is_file()):
            continue
        if path.is_dir():
            cid, size = _add_folder(path, put, profile)
        else:
            counted = _Counted(put)
            with open_file(path) as file:
                cid = unixfs.write_file(file, counted, profile)
            size = counted.bytes
        entries.append((path.name, cid, size))
    counted = _Counted(put)
    cid = unixfs.write_directory(entries, counted)
    return cid, counted.bytes + sum(size for _, _, size in entries)


class _Counted:
    """A `put` that adds up the bytes of what passes through it."""

    def __init__(self, put: Put) -> None:
        self._put = put
        self.bytes = 0

    def __call__(self, block: Block) -> None:
        self.bytes += len(block.data)
        self._put(block)


def open_file(path: str | Path) -> BinaryIO:
    """Open a file that the user named, with errors that a person understands."""
    try:
        return Path(path).open("rb")
    except FileNotFoundError:
        raise NotFoundError(f"no such file: {path}") from None
    except IsADirectoryError:
        raise UsageError(f"{path} is a folder, not a file") from None
    except OSError as fault:
        raise UsageError(f"cannot read {path}: {fault.strerror}") from None
