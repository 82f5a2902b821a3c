"""Files and folders of the user's on their way into the store."""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Callable
from fnmatch import fnmatch
from pathlib import Path
from typing import BinaryIO, cast

from lite.errors import LimitError, NotFoundError, UsageError, quoted
from lite.ipld import unixfs
from lite.ipld.block import Block
from lite.ipld.cid import CID, RAW
from lite.limits import STREAM_BYTES_MAX
from lite.setting_texts import real
from lite.store.home import BACKUPS, DATABASE

Put = Callable[[Block], None]
_MODULE = "limits.module"
# What a node keeps in its home: section 11 of ARCHITECTURE.md.
_OWN = (
    *("key", "key-*", f"{Path(DATABASE).stem}.*", "daemon.json", ".daemon.json.*", "*.sock"),
    *("*.lock", "leases", "cache", BACKUPS, "runs", "*.before-restore-*", ".restoring"),
)
_SETTINGS = "config.toml"  # no secret


def add_source(
    source: str | Path | bytes | BinaryIO,
    put: Put,
    profile: unixfs.Profile,
    bytes_max: int | None = None,
    stream_bytes_max: int = STREAM_BYTES_MAX,
) -> CID:
    """Write a path (file or folder), bytes, or an open binary file as UnixFS blocks.

    With `bytes_max`, a path has to be a regular file, and nothing is read beyond that size.

    Raises:
        UsageError: it is the home of a node, or a file that a node keeps there; or it cannot be
            read.
        NotFoundError: there is no such file.
        LimitError: it is larger than `bytes_max`, or a pipe or the like with more than
            `stream_bytes_max`.
    """
    if bytes_max is not None:
        with _bounded(source, bytes_max) as file:
            return unixfs.write_file(file, put, profile)
    if isinstance(source, bytes):
        return unixfs.write_file(io.BytesIO(source), put, profile)
    if not isinstance(source, (str, Path)):
        _check_binary(source)
        return unixfs.write_file(bounded(source, stream_bytes_max), put, profile)
    path = Path(source)
    check_no_home(path)
    if is_folder(path):
        return _add_folder(path, put, profile)[0]
    with open_file(path) as file:
        return unixfs.write_file(bounded(file, stream_bytes_max), put, profile)


def _check_binary(source: object) -> None:
    """Raises TypeError for what gives no bytes when it is read."""
    if not hasattr(source, "read") or isinstance(source, io.TextIOBase):
        what = "one of text" if hasattr(source, "read") else type(source).__name__
        raise TypeError(f"a file is a path, bytes or an open binary file, not {what}")


class Hashed:
    """Files that are cut into blocks as an add would, and not stored. What they hold is read again
    from them when it is wanted."""

    def __init__(self, profile: unixfs.Profile, stream_bytes_max: int = STREAM_BYTES_MAX) -> None:
        self._profile = profile
        self._bytes_max = stream_bytes_max
        self._inner: dict[CID, bytes] = {}
        self._leaves: dict[CID, tuple[Path, int, int]] = {}

    def add(self, path: Path) -> CID:
        """The CID of a file. Raises as `add_source`."""
        at = 0

        def put(block: Block) -> None:
            nonlocal at
            if block.cid.codec != RAW:  # a node, or a leaf with a wrapper around its bytes
                self._inner[block.cid] = block.data
                return
            self._leaves[block.cid] = (path, at, len(block.data))
            at += len(block.data)

        return add_source(path, put, self._profile, None, self._bytes_max)

    def get(self, cid: CID) -> bytes | None:
        """A block of these files, or None; of a file that has changed, what is there now."""
        if cid not in self._leaves:
            return self._inner.get(cid)
        path, at, length = self._leaves[cid]
        with open_file(path) as file:
            file.seek(at)
            return file.read(length)


def bounded(file: BinaryIO, bytes_max: int, setting: str = "limits.stream") -> BinaryIO:
    """The file itself if it has an end, as regular files do; else no more than `bytes_max` can be
    read of it: a pipe or a device may go on for ever.

    Args:
        setting: the bound's name, for the hint.
    """
    return file if _has_end(file) else cast(BinaryIO, _Bounded(file, bytes_max, setting))


def _has_end(file: BinaryIO) -> bool:
    if isinstance(file, io.BytesIO):
        return True
    try:
        return stat.S_ISREG(os.fstat(file.fileno()).st_mode)
    except (AttributeError, OSError):  # not a file of the system's
        return False


def _bounded(source: str | Path | bytes | BinaryIO, bytes_max: int) -> BinaryIO:
    """The source, opened, of which no more than `bytes_max` can be read."""
    if isinstance(source, bytes):
        source = io.BytesIO(source)
    if not isinstance(source, (str, Path)):
        _check_binary(source)
        return cast(BinaryIO, _Bounded(source, bytes_max, _MODULE))
    path = Path(source)
    mode = _mode(path)
    if mode is not None and not stat.S_ISREG(mode):
        kind = "folder" if stat.S_ISDIR(mode) else "device or pipe"
        raise UsageError(f"{path} is a {kind}, not a file")
    file = open_file(path)
    if os.fstat(file.fileno()).st_size > bytes_max:
        file.close()
        raise _too_large(bytes_max, _MODULE, f"{path} ")
    return cast(BinaryIO, _Bounded(file, bytes_max, _MODULE))


class _Bounded:
    """An open file that raises `LimitError` when more than so many bytes come out of it."""

    def __init__(self, file: BinaryIO, bytes_max: int, setting: str) -> None:
        self._file = file
        self._bytes_max = bytes_max
        self._setting = setting
        self._left = bytes_max

    def __enter__(self) -> _Bounded:
        return self

    def __exit__(self, *exc: object) -> None:
        self._file.close()

    def read(self, size: int = -1) -> bytes:
        part = self._file.read(size if 0 <= size <= self._left else self._left + 1)
        self._left -= len(part)
        if self._left < 0:
            raise _too_large(self._bytes_max, self._setting)
        return part

    def fileno(self) -> int:
        return self._file.fileno()


def _too_large(bytes_max: int, setting: str, what: str = "the input ") -> LimitError:
    one = "`--memory SIZE` allows more for one run, " if setting == "limits.memory" else ""
    return LimitError(
        f"{what}has more than {bytes_max} bytes, the setting {setting}",
        hint=f"{one}`ipvm config set {setting} SIZE` allows more{' for all' * bool(one)}.",
    )


def _add_folder(folder: Path, put: Put, profile: unixfs.Profile) -> tuple[CID, int]:
    """A folder and all below it; its CID and cumulative size (Tsize).

    Symbolic links and special files are left out: what they mean ends at this machine. So are the
    homes of nodes: each holds a secret key, and the database of this one grows by what is read.
    """
    entries: list[tuple[str, CID, int]] = []
    try:
        kept = [path for path in sorted(folder.iterdir()) if not _is_left_out(path)]
    except OSError as fault:
        raise _unreadable(folder, fault) from None
    for path in kept:
        if is_folder(path):
            cid, size = _add_folder(path, put, profile)
        else:
            counted = _Counted(put)
            with open_file(path) as file:
                cid = unixfs.write_file(file, counted, profile)
            size = counted.bytes
        entries.append((path.name, cid, size))
    counted = _Counted(put)
    cid = unixfs.write_directory(entries, counted, profile)
    return cid, counted.bytes + sum(size for _, _, size in entries)


def _is_left_out(path: Path) -> bool:
    return _is_odd(path) or _is_home(path)


def _is_odd(path: Path) -> bool:
    return path.is_symlink() or not (path.is_dir() or path.is_file())


def _is_home(folder: Path) -> bool:
    """Of a folder that may not be entered, nothing can be added."""
    mode = _mode(folder / DATABASE)
    return mode is not None and stat.S_ISREG(mode)


def _mode(path: Path) -> int | None:
    """What is at a path, as `stat` has it; None: nothing that this process gets at."""
    try:
        return path.stat().st_mode
    except (OSError, ValueError):  # denied, too long, a link to itself, with a NUL
        return None


def is_folder(path: str | Path) -> bool:
    """Whether it is a folder; whoever opens what is none learns what is wrong with it."""
    mode = _mode(Path(path))
    return mode is not None and stat.S_ISDIR(mode)


def left_out(folder: Path) -> tuple[int, int]:
    """What adding a folder leaves out: how many symbolic links and special files, how many homes
    of nodes."""
    odd = homes = 0
    for above, folders, files in os.walk(folder):
        here = Path(above)
        kept = [name for name in folders if not _is_left_out(here / name)]
        found = [_is_odd(here / name) for name in (*folders, *files)]
        odd += sum(found)
        homes += len(folders) - len(kept) - sum(found[: len(folders)])
        folders[:] = kept
    return odd, homes


def check_no_home(path: Path) -> None:
    """Raises UsageError for the home of a node, and for what a node keeps there: its secret key
    would be a file like any, and its database would grow by what is read of it."""
    what = of_a_node(path)
    if what and real(path).name != _SETTINGS:
        raise UsageError(
            f"{path} is {what}, which holds its secret key",
            hint="`ipvm backup FILE` saves a home; add files and folders of your own.",
        )


def of_a_node(path: Path) -> str:
    """How a path belongs to the home of a node, in words; empty: it is not what a node keeps."""
    place = real(path)
    inside = [(place, "")] if is_folder(place) else []
    inside += [(up, place.relative_to(up).parts[0]) for up in place.parents]
    for folder, name in inside:
        own = not name or any(fnmatch(name, one) for one in (*_OWN, _SETTINGS))
        if own and _is_home(folder):
            return f"kept by the node whose home is {folder}" if name else "the home of a node"
    return ""


class _Counted:
    """A `put` that adds up the bytes of what passes through it."""

    def __init__(self, put: Put) -> None:
        self._put = put
        self.bytes = 0

    def __call__(self, block: Block) -> None:
        self.bytes += len(block.data)
        self._put(block)


def is_file(text: str) -> bool:
    """Whether the text names something that can be read: a file, a pipe, a device."""
    mode = _mode(Path(text))
    return mode is not None and not stat.S_ISDIR(mode)


def open_file(path: str | Path) -> BinaryIO:
    """Open a file that the user named, with errors that a person understands.

    Devices are refused, because most of them have no end; a pipe ends with its writer.
    """
    try:
        mode = Path(path).stat().st_mode
        if (stat.S_ISCHR(mode) or stat.S_ISBLK(mode)) and str(path) != os.devnull:
            raise UsageError(
                f"{path} is a device, not a file", hint="Name a file or a pipe, which has an end."
            )
        return Path(path).open("rb")
    except FileNotFoundError:
        raise NotFoundError(f"no such file: {path}") from None
    except IsADirectoryError:
        raise UsageError(f"{path} is a folder, not a file") from None
    except OSError as fault:
        raise _unreadable(path, fault) from None
    except ValueError:
        raise UsageError(f"{quoted(str(path))} is no path: it holds a NUL character") from None


def unusable(path: str | Path) -> UsageError | None:
    """The error for what is no file that can be opened, although one may be there: a folder, or
    something that permissions hide. None: there is nothing."""
    try:
        is_a_folder = stat.S_ISDIR(Path(path).stat().st_mode)
    except PermissionError as fault:
        return _unreadable(path, fault)
    except (OSError, ValueError):
        return None
    return UsageError(f"{path} is a folder, not a file") if is_a_folder else None


def _unreadable(path: str | Path, fault: OSError) -> UsageError:
    return UsageError(f"cannot read {path}: {fault.strerror}")
