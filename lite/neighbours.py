"""Other nodes, as those see them who run things here: somebody to ask before computing.

A node works alone; where it has neighbours, an answer or a block that is missing here may come from
one of them. The daemon and the link to a running daemon are such neighbours.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

from lite.ipld.cid import CID

__all__ = ["NOBODY", "Neighbours"]

NOBODY: Final = "no peer can be asked for it"


class Neighbours(Protocol):
    """Who can be asked. Neither method raises: whoever cannot be reached has nothing.

    Both wait for at most `within_ms` milliseconds; 0 asks nobody.
    """

    def ask(self, instructions: Sequence[CID], within_ms: int) -> bool:
        """Ask for receipts of instructions; True: something new was verified and stored."""

    def fetch(self, cids: Sequence[CID], within_ms: int) -> str:
        """Fetch blocks with all that they link to. Why some are not here now, in one line; empty:
        all of them are."""
