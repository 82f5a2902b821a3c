"""What multiplies: cupy or torch on a GPU, whichever is present.

`IPVM_CUDA_ON=cpu` has it done by the reference on the processor: for tests, and for showing what a
mesh does with a machine that plays the one with a GPU.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, Protocol

from ipvm_cuda.matrix import Matrix, product_by_hand

VARIABLE = "IPVM_CUDA_ON"


class Backend(Protocol):
    """A library with a GPU."""

    name: str

    def product(self, a: Matrix, b: Matrix) -> bytes:
        """Little-endian 64-bit integers; raises `MemoryError` when the GPU has too little."""


def available() -> Backend | None:
    """The first library that is here and sees a GPU, or None."""
    if os.environ.get(VARIABLE) == "cpu":
        return OnProcessor()
    for make in (WithCupy, WithTorch):
        backend = _tried(make)
        if backend is not None:
            return backend
    return None


def _tried(make: Callable[[], Backend]) -> Backend | None:
    try:
        return make()
    except (ImportError, LookupError):
        return None


class OnProcessor:
    """No GPU at all."""

    name = "cpu"

    def product(self, a: Matrix, b: Matrix) -> bytes:
        return product_by_hand(a, b)


class WithCupy:
    """Raises `ImportError` without cupy, `LookupError` without a GPU that it can use."""

    name = "cupy"

    def __init__(self) -> None:
        import cupy

        self._cupy: Any = cupy
        try:
            count = cupy.cuda.runtime.getDeviceCount()
        except cupy.cuda.runtime.CUDARuntimeError as fault:
            raise LookupError(str(fault)) from fault
        if not count:
            raise LookupError("no GPU")

    def product(self, a: Matrix, b: Matrix) -> bytes:
        cupy = self._cupy
        try:
            left, right = (self._on_gpu(matrix) for matrix in (a, b))
            return bytes(cupy.asnumpy((left @ right).astype(cupy.int64)).astype("<i8").tobytes())
        except cupy.cuda.memory.OutOfMemoryError as fault:
            raise MemoryError(str(fault)) from fault

    def _on_gpu(self, matrix: Matrix) -> Any:
        cupy = self._cupy
        numbers = cupy.frombuffer(matrix.data, dtype="<i2")
        return numbers.reshape(matrix.rows, matrix.cols).astype(cupy.float64)


class WithTorch:
    """Raises `ImportError` without torch, `LookupError` without a GPU that it can use."""

    name = "torch"

    def __init__(self) -> None:
        import torch

        self._torch: Any = torch
        if not torch.cuda.is_available():
            raise LookupError("no GPU")

    def product(self, a: Matrix, b: Matrix) -> bytes:
        torch = self._torch
        try:
            left, right = (self._on_gpu(matrix) for matrix in (a, b))
            whole = (left @ right).to(torch.int64).contiguous().cpu()
        except torch.cuda.OutOfMemoryError as fault:
            raise MemoryError(str(fault)) from fault
        return bytes(whole.view(torch.uint8).flatten().numpy().tobytes())

    def _on_gpu(self, matrix: Matrix) -> Any:
        torch = self._torch
        numbers = torch.frombuffer(bytearray(matrix.data), dtype=torch.int16)
        return numbers.reshape(matrix.rows, matrix.cols).to("cuda", torch.float64)
