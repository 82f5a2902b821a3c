"""The peers of a daemon for the runs in its threads: the node is opened before it has any."""

from __future__ import annotations

from collections.abc import Sequence

from lite.ipld.cid import CID
from lite.neighbours import NOBODY, Neighbours

__all__ = ["LateNeighbours"]


class LateNeighbours:
    """`Neighbours` that come and go: nobody can be asked while `who` is None."""

    def __init__(self) -> None:
        self.who: Neighbours | None = None

    def ask(self, instructions: Sequence[CID], within_ms: int) -> bool:
        """As `Neighbours.ask`."""
        return self.who is not None and self.who.ask(instructions, within_ms)

    def fetch(self, cids: Sequence[CID], within_ms: int) -> str:
        """As `Neighbours.fetch`."""
        return NOBODY if self.who is None else self.who.fetch(cids, within_ms)
