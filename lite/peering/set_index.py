"""The index of a set, from which ids can be taken out again.

A sync set only grows for its peers. Here an id without bytes has to go when its bytes are wanted
after all; whoever takes ids out renews the epoch, so that peers compare anew.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from sync.base import ID_BYTES
from sync.index import SetIndex
from sync.reconcile import MODULUS

_BUCKET_BITS: Final = 12  # as in `sync.index`; a test holds both together


class RemovableIndex(SetIndex):
    """See the module."""

    def remove(self, ids: Collection[bytes]) -> int:
        """Take ids out, in the caller's transaction; how many were there.

        The log has gaps then, and its head is the last row that is left.
        """
        count, total, _ = self._row()
        removed = 0
        for entry in self.entries(ids):
            number = int.from_bytes(entry.id, "little")
            self._raise(entry.time >> _BUCKET_BITS, -1, -number)
            place = (self._no, entry.id)
            self._db.execute("DELETE FROM sync_entry WHERE grp = ? AND id = ?", place)
            self._db.execute(
                "DELETE FROM sync_order WHERE grp = ? AND time = ? AND id = ?",
                (self._no, entry.time, entry.id),
            )
            self._db.execute(
                "DELETE FROM sync_log WHERE grp = ? AND seq = ?", (self._no, entry.seq)
            )
            total -= number
            removed += 1
        if removed:
            self._db.execute("DELETE FROM sync_bucket WHERE grp = ? AND count = 0", (self._no,))
            self._db.execute(
                "UPDATE sync_set SET count = ?2, total = ?3, head ="
                " (SELECT coalesce(max(seq), 0) FROM sync_log WHERE grp = ?1) WHERE no = ?1",
                (self._no, count - removed, (total % MODULUS).to_bytes(ID_BYTES, "little")),
            )
        return removed
