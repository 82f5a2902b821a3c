"""The peers of a running daemon as neighbours of a command, reached when it asks first."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lite.ipld.cid import CID

if TYPE_CHECKING:
    from lite.link import DaemonNeighbours

__all__ = ["LateDaemon"]


class LateDaemon:
    """`lite.neighbours.Neighbours` of a home that has a `daemon.json`.

    A command whose answer is known never gets as far as loading the client of the daemon.

    Args:
        ask: whether answers of others would count.
    """

    def __init__(self, home: Path, *, ask: bool) -> None:
        self._home = home
        self._ask = ask
        self._found: DaemonNeighbours | None = None
        self._looked = False

    def ask(self, instructions: Sequence[CID], within_ms: int) -> bool:
        """As `Neighbours.ask`."""
        found = self._daemon() if self._ask else None
        return found is not None and found.ask(instructions, within_ms)

    def fetch(self, cids: Sequence[CID], within_ms: int) -> str:
        """As `Neighbours.fetch`."""
        from lite.neighbours import NOBODY

        found = self._daemon()
        return NOBODY if found is None else found.fetch(cids, within_ms)

    def _daemon(self) -> DaemonNeighbours | None:
        if not self._looked:
            from lite.link import DaemonNeighbours, Link

            self._looked = True
            link = Link.of(self._home)
            self._found = None if link is None else DaemonNeighbours(link)
        return self._found
