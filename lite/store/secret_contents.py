"""The contents of small secret files, as they can stand inside other things without any link.

Read once for as long as no further file is marked; a collection keeps their blocks
(`secret_gc.py`). Whoever stores an instruction or what came of one asks whether it holds any of
them, so that it is secret from its first moment here, whenever and wherever its file was marked.
"""

from __future__ import annotations

from typing import Final

from lite.errors import IntegrityError, NotFoundError, UsageError
from lite.ipld import unixfs
from lite.ipld.cid import CID, DAG_PB, IDENTITY
from lite.ipld.unixfs.node import load_node
from lite.limits import INLINE_BYTES_MAX
from lite.store import sql
from lite.store.database import Database
from lite.store.faults import changed, stored_bytes, stored_cid
from lite.store.inline import SHORT_BYTES, forms_of, is_given
from lite.store.reach import links_below

__all__ = ["NODES", "RAW_FILES", "SecretContents", "stored_block"]

# How the binary CIDs of files begin, and what is behind them: raw, dag-pb, and dag-pb of version 0.
RAW_FILES: Final = (b"\x01\x55", b"\x01\x56")
NODES: Final = ((b"\x01\x70", b"\x01\x71"), (b"\x12\x20", b"\x12\x21"))
_RANGES: Final = (RAW_FILES, *NODES)
# What customers entrusted to this node makes nothing of its owner's secret.
_OWN: Final = "FROM secrets WHERE cid >= ? AND cid < ? AND cid NOT IN (SELECT cid FROM entrusted)"
_COUNT: Final = f"SELECT count(*) {_OWN}"
_ALL: Final = f"SELECT cid {_OWN}"
_FEW: Final = 64  # forms that are each looked for; of more, places where one begins


class SecretContents:
    """What is looked for in one store. Thread-safe: what is read twice is the same."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._marks = (0, 0, 0)  # of each range, when it was last read
        self._newest = 0  # the block that was the newest then
        self._read: frozenset[CID] = frozenset()
        self._absent = False  # marked files are not here, and may come
        self._pieces: frozenset[CID] = frozenset()
        self._short: dict[bytes, set[CID]] = {}  # forms, and which files they are of
        self._long: dict[bytes, list[bytes]] = {}  # forms by how they begin
        self._count = 0

    def are_in(self, data: bytes) -> bool:
        """Whether the bytes of an instruction, a workflow, a value or a receipt hold any; one that
        is shorter than `SHORT_BYTES` counts as a whole value of an instruction's input."""
        self._refresh()
        if self._long and self._has_long(data):
            return True
        short = {form for form, of in self._short.items() if not of <= self._pieces}
        return bool(short) and is_given(data, short)

    def _has_long(self, data: bytes) -> bool:
        begun = self._long
        if self._count <= _FEW:
            return any(form in data for forms in begun.values() for form in forms)
        for at in range(len(data) - SHORT_BYTES + 1):
            for form in begun.get(data[at : at + SHORT_BYTES], ()):
                if data.startswith(form, at):
                    return True
        return False

    def _refresh(self) -> None:
        """Read what was marked, or came, since it was last read."""
        low, middle, high = (self._database.number(_COUNT, bounds) for bounds in _RANGES)
        marks = (low, middle, high)
        newest = self._database.number(sql.BLOCK_ID_MAX) if self._absent else self._newest
        if marks == self._marks and newest == self._newest:
            return
        newest = self._database.number(sql.BLOCK_ID_MAX)
        rows = [row for bounds in _RANGES for row in self._database.rows(_ALL, bounds)]
        marked = frozenset(stored_cid(raw) for (raw,) in rows)
        if not self._read <= marked:  # some may leave again
            self._read, self._short, self._long, self._count = frozenset(), {}, {}, 0
        read: set[CID] = set()
        for cid in marked - self._read:
            try:
                self._take(cid)
            except NotFoundError:
                continue
            except (IntegrityError, UsageError):  # no file, or the disk changed it
                read.add(cid)
                continue
            read.add(cid)
        self._read |= read
        self._absent = self._read != marked
        self._marks, self._newest = marks, newest

    def _take(self, cid: CID) -> None:
        """Note what a file holds, if it is small. Raises `NotFoundError` when it is not here."""
        if cid.codec == DAG_PB:
            node = load_node(cid, self._get)
            if node.is_directory:  # what is in it is marked as well
                return
            self._pieces |= frozenset(links_below(self._database, cid))
        elif self._size(cid) > INLINE_BYTES_MAX:
            return
        if unixfs.file_size(cid, self._get) > INLINE_BYTES_MAX:
            return
        for form in forms_of(b"".join(unixfs.read_file(cid, self._get))):
            if len(form) < SHORT_BYTES:
                self._short.setdefault(form, set()).add(cid)
                continue
            begun = self._long.setdefault(form[:SHORT_BYTES], [])
            if form not in begun:
                begun.append(form)
                self._count += 1

    def _size(self, cid: CID) -> int:
        """Of a raw block, without reading it; what is in its CID is small."""
        if cid.hash_code == IDENTITY:
            return 0
        row = self._database.row(sql.BLOCK_SIZE, (cid.raw,))
        return 0 if row is None else int(row[0])

    def _get(self, cid: CID) -> bytes:
        return stored_block(self._database, cid)


def stored_block(database: Database, cid: CID) -> bytes:
    """The bytes of a block. Raises `NotFoundError` when it is not here, and `HashMismatch` when the
    disk changed it."""
    row = database.row(sql.BLOCK, (cid.raw,))
    if row is None:
        raise NotFoundError(f"{cid} is not here")
    data = stored_bytes(row[0])
    if not cid.matches(data):
        raise changed(str(cid))
    return data
