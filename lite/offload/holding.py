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

    def __call__(self, cid: CID) -> bool:
        found = self._found.get(cid)
        if found is None:
            marks = self._store.secrets
            open_ = marks.is_empty() or not (marks.is_secret(cid) or marks.any_below([cid]))
            found = self._found[cid] = open_ and not missing(self._store, [cid], deep=True)
        return found
