"""Check the GPU against the reference: python check.py [SIDE]. Says what took how long."""

from __future__ import annotations

import random
import sys
import time

from ipvm_cuda.backends import Backend, available
from ipvm_cuda.matrix import Matrix, product_by_hand

SHAPES = ((1, 1, 1), (2, 3, 4), (17, 33, 9), (64, 64, 64))


def matrix(rows: int, cols: int, seed: int) -> Matrix:
    return Matrix(rows, cols, random.Random(seed).randbytes(2 * rows * cols))


def agrees(backend: Backend) -> bool:
    """Whether it gives the bytes of the reference, also for the largest entries."""
    lowest = Matrix(8, 8, b"\x00\x80" * 64)
    pairs = [(matrix(m, k, m), matrix(k, n, n)) for m, k, n in SHAPES] + [(lowest, lowest)]
    return all(backend.product(a, b) == product_by_hand(a, b) for a, b in pairs)


def main(side: int) -> int:
    backend = available()
    if backend is None:
        print("no GPU, or neither cupy nor torch: nothing was checked")
        return 3
    good = agrees(backend)
    print(f"{backend.name}: {'agrees with' if good else 'DIFFERS FROM'} the reference")
    a, b = matrix(side, side, 1), matrix(side, side, 2)
    backend.product(a, b)  # the first one also loads the library's code
    started = time.monotonic()
    backend.product(a, b)
    print(f"{side} x {side}: {(time.monotonic() - started) * 1000:.1f} ms")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 256))
