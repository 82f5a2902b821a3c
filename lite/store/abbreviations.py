"""Finding CIDs by the beginning or the end of their text."""

from __future__ import annotations

from lite.frozen import frozen
from lite.ipld.cid import CID
from lite.store import sql
from lite.store.database import Database
from lite.store.faults import stored_cid

__all__ = ["BLOCKS", "FOUND_MAX", "RECEIPTS", "Kind", "find"]

FOUND_MAX = 32
_ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"
_RAW_BITS = 36 * 8
_SPARE_BITS = 2  # base32 writes 288 bits in 58 characters: the last holds two bits of nothing
_TAIL_BYTES = 2
_TAIL_CHARS_MIN = 4  # (2 bytes + 2 spare bits) / 5


@frozen
class Kind:
    """The queries for one kind of thing."""

    between: str
    by_tail: str
    odd: str


BLOCKS = Kind(sql.BLOCKS_BETWEEN, sql.BLOCKS_BY_TAIL, sql.BLOCKS_ODD)
RECEIPTS = Kind(sql.RECEIPTS_BETWEEN, sql.RECEIPTS_BY_TAIL, sql.RECEIPTS_ODD)


def find(database: Database, kind: Kind, piece: str, limit: int) -> list[CID]:
    """What begins, and otherwise what ends with `piece`, in the order of their bytes."""
    if len(piece) < _TAIL_CHARS_MIN:
        return []
    found: dict[CID, None] = {}
    if (bounds := _bounds(piece)) is not None:
        for (raw,) in database.rows(kind.between, (*bounds, limit)):
            found[stored_cid(raw)] = None
    if (tail := _tail(piece)) is not None:
        for (raw,) in database.rows(kind.by_tail, (tail,)):
            found[stored_cid(raw)] = None
    for (raw,) in database.rows(kind.odd):
        found[stored_cid(raw)] = None
    fitting = (cid for cid in found if _fits(str(cid), piece))
    return [cid for cid, _ in zip(fitting, range(limit), strict=False)]


def _fits(text: str, piece: str) -> bool:
    return text.startswith(piece) or text.endswith(piece)


def _bits(text: str) -> int | None:
    value = 0
    for char in text:
        digit = _ALPHABET.find(char)
        if digit < 0:
            return None
        value = value << 5 | digit
    return value


def _bounds(prefix: str) -> tuple[bytes, bytes] | None:
    """The binary CIDs from (included) and to (excluded) that base32 text can begin with."""
    value = _bits(prefix[1:]) if prefix.startswith("b") else None
    spare = _RAW_BITS + _SPARE_BITS - 5 * (len(prefix) - 1)
    if value is None or spare < 0:
        return None
    low, high = value << spare >> _SPARE_BITS, (value + 1) << spare >> _SPARE_BITS
    return low.to_bytes(37, "big")[1:], high.to_bytes(37, "big")[1:]


def _tail(suffix: str) -> bytes | None:
    """The last two bytes of every 36-byte CID whose base32 text ends so."""
    value = _bits(suffix[-_TAIL_CHARS_MIN:])
    if value is None or value & 3:
        return None
    return (value >> _SPARE_BITS).to_bytes(3, "big")[-_TAIL_BYTES:]
