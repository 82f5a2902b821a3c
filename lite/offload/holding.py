"""What of the inputs of jobs is here, as others may know it."""

from __future__ import annotations

from lite.ipld.cid import CID
from lite.peering.shelf import missing
from lite.store import Store

__all__ = ["Holding"]


class Holding:
    """Call it with a CID: whether all below it is here, and nothing of it secret. What it found is
    remembered, so it is for one look."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._found: dict[CID, bool] = {}
        self._all_open: bool | None = None  # nothing at all is secret

    def __call__(self, cid: CID) -> bool:
        found = self._found.get(cid)
        if found is None:
            is_here = not missing(self._store, [cid], deep=True)
            found = self._found[cid] = is_here and self._is_open(cid)
        return found

    def _is_open(self, cid: CID) -> bool:
        marks = self._store.secrets
        if self._all_open is None:
            self._all_open = marks.is_empty()
        return self._all_open or not (marks.is_secret(cid) or marks.any_below([cid]))
