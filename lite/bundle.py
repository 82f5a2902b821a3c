"""Bundles: one file that carries work between nodes that never meet.

A bundle is a CAR v1 whose root is an index by role: workflows, code, inputs, receipts, and a
container of tokens (`lite/ARCHITECTURE.md`, section 6). What comes in one is verified as what comes
from a live peer.
"""

from __future__ import annotations

from typing import BinaryIO

from lite.bundle_gather import Gathered, Wish, complete, gather, roots_of
from lite.bundle_merge import Merge, Merged
from lite.bundle_tokens import collect
from lite.ipld import car
from lite.ipld.cid import CID
from lite.model.receipt import Receipt
from lite.node import Node

__all__ = [
    "Gathered",
    "Merged",
    "Wish",
    "collect",
    "complete",
    "import_",
    "prepare",
    "roots_of",
    "write",
]


def prepare(node: Node, wish: Wish) -> Gathered:
    """Look together what a bundle is to hold.

    Raises:
        AuthorityError, NotFoundError, LimitError: see `gather`.
    """

    def answer(cid: CID) -> Receipt | None:
        known = node.known(cid)
        return None if known is None else known.receipt

    return gather(node.store, wish, answer)


def write(node: Node, gathered: Gathered, out: BinaryIO) -> int:
    """Write a bundle; its length in bytes.

    Raises:
        NotFoundError, HashMismatch: something of it is not here any more.
    """
    index = gathered.index.block()
    return car.write_car(out, [index.cid], gathered.stream(node.store))


def import_(
    node: Node, file: BinaryIO, *, everything: bool = False, dry_run: bool = False
) -> Merged:
    """Take in a bundle. All of it is checked before anything is stored.

    Args:
        everything: also receipts of issuers who are nobody here, and forgotten ones, as
            `Node.import_` does.
        dry_run: only say what would come of it.

    Raises:
        IntegrityError: any byte is not what it should be; nothing was stored.
        LimitError: more than one bundle may hold, or a pipe without an end.
        StoreError: it does not fit.
    """
    with Merge(node, file, everything=everything) as merge:
        looked = merge.look()
        return looked if dry_run else merge.store(looked)
