"""The blocks of this node as others may have them: nothing secret, each hashed before it leaves."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final, Literal

from lite.errors import IpvmError
from lite.ipld.cid import CID, DAG_CBOR, DAG_PB, IDENTITY, RAW
from lite.ipld.links import block_links
from lite.store import Store
from lite.store.reach import Reach

Scope = Literal["all", "entity", "block"]

_HEADS: Final = tuple(bytes((1, codec, 0x12, 0x20)) for codec in (RAW, DAG_CBOR, DAG_PB))


class Shelf:
    """See the module. Thread-safe as far as the store is.

    Args:
        receipts: also give receipts under their CIDs.
        secrets: also give what is secret: for the owner.
    """

    def __init__(self, store: Store, *, receipts: bool = False, secrets: bool = False) -> None:
        self._store = store
        self._receipts = receipts
        self.secrets = secrets

    def get(self, cid: CID) -> bytes | None:
        """The bytes of a block; None: not here, damaged, or not for others.

        Raises:
            StoreError: the database cannot be read.
        """
        if cid.hash_code == IDENTITY:
            return cid.digest
        if self.hides(cid):
            return None
        if self._store.blocks.has(cid):
            try:
                return self._store.blocks.get(cid)
            except IpvmError:  # the disk changed it, or it was collected just now
                return None
        receipt = self._store.receipts.get(cid) if self._receipts else None
        return None if receipt is None else receipt.data

    def hides(self, cid: CID) -> bool:
        """Whether it is secret, and so not given."""
        return not self.secrets and self._store.secrets.is_secret(cid)

    def with_secrets(self) -> Shelf:
        """The same blocks and what is secret, for those who were given just that."""
        return Shelf(self._store, receipts=self._receipts, secrets=True)

    def by_digest(self, digest: bytes) -> bytes | None:
        """The same for whatever has this sha2-256 digest."""
        for head in _HEADS:
            found = self.get(CID.from_bytes(head + digest))
            if found is not None:
                return found
        return None

    def walk(self, root: CID, scope: Scope) -> Iterator[tuple[CID, bytes | None]]:
        """A block and those below it, depth first, each once; None for one that is not to be had.

        Args:
            scope: "entity": below a file all, below anything else nothing.
        """
        seen: set[CID] = set()
        todo = [root]
        while todo:
            cid = todo.pop()
            if cid in seen:
                continue
            seen.add(cid)
            data = self.get(cid)
            yield cid, data
            if data is not None and _goes_on(cid, data, root, scope):
                todo.extend(reversed(_links(cid, data)))


class PeerBlocks:
    """A `BlockSource` of `sync.base`: the shelf for peers that have the right."""

    def __init__(self, shelf: Shelf, may: Callable[[str], bool]) -> None:
        self._shelf = shelf
        self._may = may

    def block(self, digest: bytes, peer: str) -> bytes | None:
        return self._shelf.by_digest(digest) if self._may(peer) else None


def with_outputs(store: Store, cid: CID) -> list[CID]:
    """What belongs to a pin: the block and, where it is a receipt, what that says came out: no
    block links to that, for a receipt is none. Raises StoreError."""
    receipt = store.receipts.get(cid)
    return [cid] if receipt is None else [cid, *receipt.output_links()]


def missing(store: Store, roots: Sequence[CID], *, deep: bool) -> list[CID]:
    """What is not here of some blocks, and with `deep` of all below them; each once.

    Raises:
        StoreError: the database cannot be read.
    """
    found: dict[CID, None] = {}

    def absent(cid: CID) -> None:
        if cid.hash_code != IDENTITY and not store.receipts.has(cid):
            found[cid] = None

    if deep:
        Reach(store.database).walk(roots, absent)
    else:
        for cid in roots:
            if not store.blocks.has(cid):
                absent(cid)
    return list(found)


def _links(cid: CID, data: bytes) -> list[CID]:
    try:
        return block_links(cid, data)
    except IpvmError:  # not of the codec that its CID names: it leads nowhere
        return []


def _goes_on(cid: CID, data: bytes, root: CID, scope: Scope) -> bool:
    if scope == "all":
        return True
    return scope == "entity" and root.codec == DAG_PB and (cid != root or _is_file(root, data))


def _is_file(cid: CID, data: bytes) -> bool:
    from lite.ipld.unixfs.node import load_node

    try:
        return load_node(cid, lambda _: data).is_file
    except IpvmError:
        return False
