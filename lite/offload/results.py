"""Which blocks a customer may read here: those below the results of its own jobs."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Final, Literal

from lite.errors import IpvmError
from lite.ipld import dag_cbor
from lite.ipld.cid import CID, DAG_CBOR, IDENTITY, RAW
from lite.ipld.links import block_links
from lite.store import Store

__all__ = ["Results"]

LOOKED_AT_MAX: Final = 100_000  # blocks below the results of one customer, at one look
REMEMBERED: Final = 8  # customers


class Results:
    """See the module. Thread-safe."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._below: OrderedDict[str, tuple[int, set[CID]]] = OrderedDict()

    def may_read(self, did: str, cid: CID) -> bool | Literal["secret"]:
        """Whether a block is a result of a job of somebody, or below one; "secret": although it is
        one, or leads to one, that this customer entrusted to this node."""
        if not self._may(did, cid):
            return False
        marks = self._store.secrets
        is_own = not marks.is_empty() and marks.any_below([cid])
        return "secret" if is_own and marks.leading_to([cid], did) is None else True

    def _may(self, did: str, cid: CID) -> bool:
        seq = self._store.jobs.seq()
        with self._lock:
            known = self._below.get(did)
            if known is None or (known[0] != seq and cid not in known[1]):
                known = self._below[did] = seq, self._all_below(did)
                self._below.move_to_end(did)
                while len(self._below) > REMEMBERED:
                    self._below.popitem(last=False)
            return cid in known[1]

    def _all_below(self, did: str) -> set[CID]:
        """What is below the results of a customer, the latest first, as far as it is here."""
        found: set[CID] = set()
        marks = self._store.secrets
        for receipt in self._store.jobs.answers(did):
            out = dag_cbor.encode(receipt.out.value())
            todo = block_links(CID.of(out, DAG_CBOR), out)
            while todo:
                cid = todo.pop()
                if cid in found or (marks.is_secret(cid) and not marks.entrusted_by(did, [cid])):
                    continue
                if len(found) >= LOOKED_AT_MAX:
                    return found
                found.add(cid)
                todo.extend(self._links(cid))
        return found

    def _links(self, cid: CID) -> list[CID]:
        held = cid.hash_code == IDENTITY
        if cid.codec == RAW or not (held or self._store.blocks.has(cid)):
            return []
        try:
            return block_links(cid, cid.digest if held else self._store.blocks.get(cid))
        except IpvmError:  # the disk changed it, or it was collected just now
            return []
