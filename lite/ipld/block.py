"""A block: bytes together with the CID that names them."""

from __future__ import annotations

from lite.errors import HashMismatch
from lite.frozen import frozen
from lite.ipld.cid import CID, SHA2_256


@frozen
class Block:
    """Bytes that hash to their CID. The constructor checks that, once.

    Raises:
        HashMismatch: `data` does not hash to `cid`.
        CidError: the hash function of `cid` is not one that this node computes.
    """

    cid: CID
    data: bytes

    def __post_init__(self) -> None:
        if not self.cid.matches(self.data):
            raise HashMismatch(f"{len(self.data)} bytes given for {self.cid} do not hash to it")

    def __repr__(self) -> str:
        return f"Block({self.cid!r}, {len(self.data)} bytes)"

    @staticmethod
    def make(data: bytes, codec: int, hash_code: int = SHA2_256) -> Block:
        """The block of new bytes, named by a version 1 CID.

        Raises:
            CidError: the hash function is not one that this node computes.
        """
        return Block.trusted(CID.of(data, codec, hash_code), data)

    @staticmethod
    def trusted(cid: CID, data: bytes) -> Block:
        """A block whose hash was checked before, as in this node's own store. Not checked again."""
        block = object.__new__(Block)
        object.__setattr__(block, "cid", cid)
        object.__setattr__(block, "data", data)
        return block
