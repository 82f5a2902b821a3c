"""What running an instruction may ask of neighbours: an answer, or content that is missing here.

A node without neighbours pays nothing for any of it. Nothing is asked about what is secret.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final

from lite.ipld.cid import CID, IDENTITY
from lite.model.instruction import Instruction
from lite.neighbours import Neighbours
from lite.store import Store
from lite.store.reach import Reach

__all__ = ["FETCH_MS", "Nearby"]

FETCH_MS: Final = 60_000  # for what one instruction needs; what came until then stays


class Nearby:
    """The neighbours of one node, asked within its bounds.

    Args:
        ask_ms: how long to wait for answers before computing.
    """

    def __init__(self, store: Store, neighbours: Neighbours, ask_ms: int) -> None:
        self._store = store
        self._neighbours = neighbours
        self._ask_ms = ask_ms

    def ask(self, instructions: Collection[CID]) -> bool:
        """Whether anything new about them was stored."""
        open_ones = self._open(instructions)
        return bool(open_ones) and self._neighbours.ask(open_ones, self._ask_ms)

    def fetch(self, cids: Sequence[CID]) -> str:
        """Get them with all that is below them; why some are not here now; empty: they are."""
        if self._open(cids) != list(cids):
            return "it is secret here"
        return self._neighbours.fetch(cids, FETCH_MS)

    def fetch_for(self, instruction: Instruction) -> bool:
        """Get the code and the inputs of an instruction; whether that made a difference."""
        roots = list(instruction.links())
        if instruction.module is not None:
            roots.append(instruction.module)
        absent: list[CID] = []
        Reach(self._store.database).walk(roots, absent.append)
        lacking = [
            cid
            for cid in dict.fromkeys(absent)
            if cid.hash_code != IDENTITY and not self._store.receipts.has(cid)
        ]
        return bool(lacking) and not self.fetch(lacking)

    def _open(self, cids: Collection[CID]) -> list[CID]:
        """Those that are not secret."""
        secret = self._store.secrets.any_secret(cids)
        return [cid for cid in cids if cid not in secret]
