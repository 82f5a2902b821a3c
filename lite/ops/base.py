"""What an operation is to the node: a name, a safety level, and something that runs it.

The executor knows operations only through this seam. It hands over a `Ready` instruction, one whose
awaits are filled in and whose links are here, and gets an `Outcome` back.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, Protocol

from lite.engine.base import Outcome
from lite.engine.job import Content
from lite.frozen import frozen
from lite.ipld.cid import CID
from lite.limits import EngineCaps, Limits
from lite.model.instruction import Instruction

Level = Literal["pure", "query", "idempotent-mutation", "mutation"]
"""Safety levels, as the operation declares them. Only `pure` results are memoised for ever."""


class Files(Protocol):
    """Files in the local store. All raise `NotFoundError` for what is not here."""

    def resolve(self, cid: CID, path: str) -> CID:
        """The CID at a path below a directory or a value; the CID itself for an empty path."""

    def size(self, cid: CID) -> int:
        """Length of a file in bytes."""

    def read(self, cid: CID) -> bytes:
        """A whole file."""


@frozen
class Ready:
    """An instruction that can run now.

    Attributes:
        instruction: without awaits.
        content: what each link in its input stands for here.
        files: the local store, for the module.
        limits, caps: what the guest may use.
        homestar: Homestar's value rules and host functions.
    """

    instruction: Instruction
    content: Mapping[CID, Content]
    files: Files
    limits: Limits
    caps: EngineCaps
    homestar: bool = False


class Op(Protocol):
    """One operation, found by the name in an instruction's `op`."""

    name: str
    level: Level

    def missing(self, ready: Ready) -> str | None:
        """Why it cannot run here yet (code or data that is not here), or None."""

    def run(self, ready: Ready) -> Outcome:
        """Run it. A guest that fails is an `Outcome` with an error, never an exception."""
