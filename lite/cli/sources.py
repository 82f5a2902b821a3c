"""Where arguments come from: files, standard input, petnames and links."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from lite.cli.shell import read_stdin
from lite.errors import UsageError
from lite.ipld.cid import CID

if TYPE_CHECKING:
    from lite.node import Node


class NodeSources:
    """Files, standard input, petnames and links, with a node to store what is large.

    A context manager: it closes the files that it opened.

    Attributes:
        stored: what was stored, because it is too large to stand in an instruction.
        secret: files that were read and hold what is secret here, as they were named. What they
            hold may stand in the instruction itself, where no link says so.
    """

    def __init__(self, node: Node, *, private: bool = False) -> None:
        """`private`: they are for a call that is to be secret."""
        self.stored: list[CID] = []
        self.secret: list[str] = []
        self._node = node
        self._private = private
        self._stdin_used = False
        self._opened: list[BinaryIO] = []

    def __enter__(self) -> NodeSources:
        return self

    def __exit__(self, *_: object) -> None:
        for file in self._opened:
            file.close()

    def open(self, path: str) -> BinaryIO | None:
        """A file; None: there is none. Raises UsageError for what a node keeps, such as its key."""
        from lite.files import check_no_home, open_file

        if not path or not _exists(path):
            return None
        check_no_home(Path(path))
        self._opened.append(open_file(path))
        if self._is_secret(path):
            self.secret.append(path)
        return self._fitting(self._opened[-1])

    def stdin(self) -> BinaryIO:
        if self._stdin_used:
            raise UsageError("standard input can be used for one argument only")
        self._stdin_used = True
        return self._fitting(read_stdin())

    def _fitting(self, stream: BinaryIO) -> BinaryIO:
        """No more of an endless stream than the guest's memory could hold."""
        from lite.files import bounded

        return bounded(stream, self._node.config.limits.memory_bytes, "limits.memory")

    def _is_secret(self, path: str) -> bool:
        """Whether a file, cut into blocks in any way that is known here, is marked."""
        marks = self._node.store.secrets
        if marks.is_empty() or not Path(path).is_file():
            return False
        from lite.files import add_source
        from lite.ipld import unixfs

        ways = unixfs.PROFILES.values()
        return bool(marks.any_secret([add_source(path, lambda _: None, way) for way in ways]))

    def store(self, stream: BinaryIO) -> CID:
        cid = self._store_secret(stream) if self._private or self.secret else self._node.add(stream)
        self.stored.append(cid)
        return cid

    def _store_secret(self, stream: BinaryIO) -> CID:
        """Secret from its first moment here, unless calls that are not secret use it."""
        from shutil import copyfileobj
        from tempfile import TemporaryFile

        from lite.files import add_source
        from lite.ipld import unixfs

        store, profile = self._node.store, unixfs.PROFILES[self._node.config.unixfs_profile]
        with TemporaryFile(prefix="ipvm-input-") as held:
            copyfileobj(stream, held)
            held.seek(0)
            cid = add_source(held, lambda _: None, profile)
            held.seek(0)
            users = set(store.instructions.using(cid))
            return self._node.add(held, secret=users <= store.secrets.any_secret(users))

    def named(self, name: str) -> CID | None:
        return self._node.store.names.get(name)

    def link(self, text: str) -> CID:
        return self._node.resolve(text)


def _exists(path: str) -> bool:
    try:
        return Path(path).exists()
    except PermissionError:  # opening it says so; a name may be meant where nothing can be seen
        return "/" in path
    except (OSError, ValueError):  # too long for a path, or with a NUL
        return False
