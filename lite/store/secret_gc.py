"""Small secret files in a collection: what everything else is compared with stays."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from lite.errors import IntegrityError, NotFoundError, UsageError
from lite.ipld import unixfs
from lite.ipld.cid import CID
from lite.limits import INLINE_BYTES_MAX
from lite.store import sql, sql_runs
from lite.store.database import Database
from lite.store.faults import stored_cid
from lite.store.inline import SHORT_BYTES
from lite.store.reach import Reach, links_below
from lite.store.secret_contents import NODES, RAW_FILES, stored_block

__all__ = ["SmallSecrets"]

_PAGE: Final = 256


class SmallSecrets:
    """Marks the small files that the owner marked secret, as `SecretContents` reads them: their
    contents stand in other things without any link, and without their blocks nobody would know."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._marks = -1  # when they were last read
        self._ends: set[CID] = set()  # of larger files, so short that they count as no file

    def mark(self, reach: Reach) -> None:
        """Mark every block of each; again and again, for what was marked secret since."""
        marks = self._database.number(sql_runs.SECRETS_COUNT)
        if marks == self._marks:
            return
        self._marks = marks
        for bounds in NODES:
            reach.walk(cid for cid, _ in self._marked(*bounds) if self._is_small(cid))
        reach.keep(
            cid
            for cid, size in self._marked(*RAW_FILES)
            if size <= INLINE_BYTES_MAX and cid not in self._ends
        )

    def _is_small(self, cid: CID) -> bool:
        """Whether it is a small file, by its root; of a larger one the short ends are noted."""
        try:
            size = unixfs.file_size(cid, lambda one: stored_block(self._database, one))
        except (NotFoundError, IntegrityError, UsageError):  # gone, damaged, or no file
            return False
        if size > INLINE_BYTES_MAX:
            self._ends.update(self._short(cid))
        return size <= INLINE_BYTES_MAX

    def _short(self, cid: CID) -> Iterator[CID]:
        for link in links_below(self._database, cid):
            row = self._database.row(sql.BLOCK_SIZE, (link.raw,))
            if row is not None and row[0] < SHORT_BYTES:
                yield link

    def _marked(self, first: bytes, end: bytes) -> Iterator[tuple[CID, int]]:
        """What the owner marked among the CIDs of a range and is here, with its size in bytes."""
        last = first
        while rows := self._database.rows(sql_runs.OWN_SECRET_BLOCKS, (last, end, _PAGE)):
            for raw, size in rows:
                yield stored_cid(raw), size
            last = rows[-1][0]
