"""Whose turn it is to change the world: of the mutations of a run one goes at a time, in whatever
process. Who has the turn knows that a mutation whose row says running has lost its process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from lite.ipld.cid import CID, RAW
from lite.store import Store
from lite.store.leases import Lease

__all__ = ["nobody_acts", "turn_of"]


def turn_of(run: str, store: Store) -> Lease:
    """The lease that the mutations of a run share."""
    return store.lease(CID.of(b"mutations of " + run.encode(), RAW))


@contextmanager
def nobody_acts(run: str, store: Store) -> Iterator[bool]:
    """Whether no mutation of a run is under way; if so, none begins inside."""
    turn = turn_of(run, store)
    taken = turn.take(block=False)
    try:
        yield taken
    finally:
        if taken:
            turn.release()
