"""A matrix of 16-bit integers, and what a product of two of them is, computed plainly."""

from __future__ import annotations

import struct
from dataclasses import dataclass

DIMENSION_MAX = 2**20  # sums stay below 2^15 * 2^15 * 2^20 = 2^50, where doubles are exact


@dataclass(frozen=True)
class Matrix:
    """Row by row.

    Attributes:
        data: little-endian 16-bit integers.
    """

    rows: int
    cols: int
    data: bytes

    def row(self, at: int) -> tuple[int, ...]:
        return struct.unpack_from(f"<{self.cols}h", self.data, 2 * self.cols * at)


def product_by_hand(a: Matrix, b: Matrix) -> bytes:
    """The reference: whole numbers, no library. For checking, and for small matrices."""
    columns = list(zip(*(b.row(at) for at in range(b.rows)), strict=True))
    entries = [
        sum(x * y for x, y in zip(row, column, strict=True))
        for row in (a.row(at) for at in range(a.rows))
        for column in columns
    ]
    return struct.pack(f"<{len(entries)}q", *entries)
