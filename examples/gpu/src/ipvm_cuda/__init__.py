"""`cuda/matmul`: the product of two matrices, on a GPU; an example of an operation that needs one.

    input: {a: matrix, b: matrix}
    matrix: a list of rows, or {rows, cols, data}: little-endian 16-bit integers, row by row, as
            bytes or a link to a file
    value: {rows, cols, data}: little-endian 64-bit integers, row by row

The entries are whole numbers of 16 bits, and all sums stay below 2^53, where doubles are exact. So
every GPU, every library and every order of summing gives the same bytes: the operation is pure, its
receipt answers for everybody, and several providers can confirm one another.
"""

from __future__ import annotations

import struct
from typing import Any

from ipvm_cuda.backends import Backend, available
from ipvm_cuda.matrix import DIMENSION_MAX, Matrix
from lite.engine.base import GuestFailure
from lite.ops.arguments import Arguments, bad
from lite.ops.base import Level, Outcome, Ready, outcome_of

__all__ = ["Matmul"]

_FIELDS = {"rows", "cols", "data"}


class Matmul:
    """The operation; `rsc` may be any URI, such as `cuda:any`."""

    name = "cuda/matmul"
    level: Level = "pure"
    needs: frozenset[str] = frozenset()

    def __init__(self, config: object) -> None:
        """The node's settings; this operation has none."""
        self._backend: Backend | None = None

    def missing(self, ready: Ready) -> str | None:
        """Asked before each run, so that a GPU that came later is found."""
        if self._backend is None:
            self._backend = available()
        if self._backend is None:
            return "cuda/matmul needs a GPU, and cupy or torch for it"
        return None

    def run(self, ready: Ready) -> Outcome:
        return outcome_of(lambda: self._product(ready))

    def _product(self, ready: Ready) -> dict[str, Any]:
        given = Arguments(ready, frozenset({"a", "b"}))
        a, b = (_matrix(given, key) for key in ("a", "b"))
        if a.cols != b.rows:
            raise bad(f"a has {a.cols} columns and b {b.rows} rows: they must be as many")
        assert self._backend is not None, "it was asked what is missing"
        try:
            data = self._backend.product(a, b)
        except MemoryError:
            raise GuestFailure("gpu-memory", "the matrices do not fit into the GPU") from None
        return {"rows": a.rows, "cols": b.cols, "data": data}


def _matrix(given: Arguments, key: str) -> Matrix:
    value = given.given.get(key)
    if type(value) is list:
        return _of_rows(value, key)
    if type(value) is not dict or value.keys() != _FIELDS:
        raise bad(f"input.{key} must be a list of rows, or a map with rows, cols and data")
    rows, cols = (_dimension(value[name], f"{key}.{name}") for name in ("rows", "cols"))
    data = given.bytes_of(f"input.{key}.data", value["data"])
    if data.size != 2 * rows * cols:
        raise bad(f"input.{key}.data must have {2 * rows * cols} bytes, not {data.size}")
    return Matrix(rows, cols, data.read())


def _of_rows(rows: list[Any], key: str) -> Matrix:
    if not rows or any(type(row) is not list or len(row) != len(rows[0]) for row in rows):
        raise bad(f"input.{key} must have rows of the same length")
    count, cols = _dimension(len(rows), key), _dimension(len(rows[0]), key)
    entries = [entry for row in rows for entry in row]
    if any(type(entry) is not int or not -(2**15) <= entry < 2**15 for entry in entries):
        raise bad(f"input.{key} must have whole numbers from -32768 to 32767")
    return Matrix(count, cols, struct.pack(f"<{len(entries)}h", *entries))


def _dimension(value: Any, where: str) -> int:
    if type(value) is not int or not 1 <= value <= DIMENSION_MAX:
        raise bad(f"input.{where} must be a whole number from 1 to {DIMENSION_MAX}")
    return value
