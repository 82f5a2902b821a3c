"""The heads of CBOR items, read without building what they announce.

For bytes of strangers of which only a bounded part may be looked at: the heads say how many items
and bytes follow, before any of them costs memory.
Source: RFC 8949, section 3; lengths in shortest form, as DAG-CBOR asks for.
"""

from __future__ import annotations

from typing import Final

from lite.errors import CodecError
from lite.limits import NESTING_MAX

UNSIGNED, NEGATIVE, BYTES, TEXT, LIST, MAP, TAG, OTHER = range(8)

_SHORTEST_FROM: Final = {24: 24, 25: 2**8, 26: 2**16, 27: 2**32}


def head(data: bytes, at: int) -> tuple[int, int, int]:
    """The major type of the item at an offset, its argument, and the offset behind its head.

    Raises:
        IndexError: the data end before.
        CodecError: no argument, or one that is not in shortest form.
    """
    initial = data[at]
    major, argument = initial >> 5, initial & 31
    if argument < 24:
        return major, argument, at + 1
    shortest_from = _SHORTEST_FROM.get(argument)
    if shortest_from is None:
        raise CodecError(f"not canonical DAG-CBOR: indefinite or reserved length (byte {at})")
    end = at + 1 + (1 << (argument - 24))
    if end > len(data):
        raise IndexError
    number = int.from_bytes(data[at + 1 : end], "big")
    if number < shortest_from and major != OTHER:
        text = f"not canonical DAG-CBOR: a number not in shortest form (byte {at})"
        raise CodecError(text, rule="not-shortest")
    return major, number, end


def items(data: bytes, most: int) -> int:
    """How many items there are in the data, nested ones included, but no more than `most` + 1.

    Nothing else about the data is checked: what is no CBOR gives some number.
    """
    at, end, count = 0, len(data), 0
    while at < end and count <= most:
        initial = data[at]
        count += 1
        argument = initial & 31
        at += 1
        if argument > 23:
            size = 1 << (argument - 24) if argument < 28 else 0
            argument = int.from_bytes(data[at : at + size], "big")
            at += size
        if initial >> 5 in (BYTES, TEXT):
            at += argument
    return count


class Walk:
    """Goes over items by their heads alone, at most so many of them.

    Attributes:
        at: the offset of the next item.
        left: how many heads may still be read.
    """

    def __init__(self, data: bytes, heads_max: int) -> None:
        self.data = data
        self.at = 0
        self.left = heads_max

    def head(self) -> tuple[int, int]:
        """The major type and the argument of the next item; then `at` is behind its head.

        Raises:
            IndexError: the data end, or no heads are left.
            CodecError: as `head`.
        """
        self.left -= 1
        if self.left < 0:
            raise IndexError
        major, argument, self.at = head(self.data, self.at)
        return major, argument

    def text(self) -> bytes:
        """The next item, which must be text or bytes; anything else is empty and passed over.

        Raises:
            IndexError, CodecError: as `skip`.
        """
        major, size, start = head(self.data, self.at)
        self.skip()
        return self.data[start : start + size] if major in (BYTES, TEXT) else b""

    def skip(self) -> None:
        """Pass over the next item with all that is in it.

        Raises:
            IndexError, CodecError: as `head`; also for what nests over `NESTING_MAX` levels.
        """
        pending = [1]
        while pending:
            if not pending[-1]:
                pending.pop()
                continue
            pending[-1] -= 1
            major, argument = self.head()
            if major in (BYTES, TEXT):
                self.at += argument
            elif major in (LIST, MAP):
                if len(pending) > NESTING_MAX:
                    text = f"nested deeper than {NESTING_MAX} levels (byte {self.at})"
                    raise CodecError(text, rule="nesting")
                pending.append(argument if major == LIST else 2 * argument)
            elif major == TAG:
                pending[-1] += 1
        if self.at > len(self.data):
            raise IndexError
