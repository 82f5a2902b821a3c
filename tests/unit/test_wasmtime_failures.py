"""wasmtime's words for a want of memory of its own, which are no fault of the guest."""

from __future__ import annotations

import pytest
import wasmtime
from wasmtime import component

from lite.engine.base import GuestFailure, Host
from lite.engine.wasmtime_capi import Trap
from lite.engine.wasmtime_engine import WasmtimeEngine
from lite.engine.wasmtime_failures import lacks_memory, run_failure, start_failure
from lite.limits import EngineCaps
from tests.engine_support import CAPS, LIMITS, engine, wat

BLOCK = "out of memory (failed to allocate 800000 bytes)"
TABLE = f"error while executing at wasm backtrace:\n 0: 0x73 - <unknown>!f\n\nCaused by:\n {BLOCK}"
CODE = """Cannot allocate buffer

Caused by:
    0: mmap failed to allocate 0x2fb2000 bytes
    1: Cannot allocate memory (os error 12)"""
TEXTS = [BLOCK, TABLE, CODE, "Cannot allocate buffer"]


@pytest.mark.parametrize("text", TEXTS)
def test_a_want_of_memory_is_the_limit_whenever_it_comes(
    text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for failure in (run_failure, start_failure):
        assert failure(Trap(None, text), LIMITS, CAPS).code == "memory-limit"

    def no_memory(*_: object) -> None:
        raise wasmtime.WasmtimeError(text)

    monkeypatch.setattr(wasmtime, "Module", no_memory)
    monkeypatch.setattr(component, "Component", no_memory)
    for guest in ("(module)", "(component)"):
        with pytest.raises(GuestFailure) as caught:
            WasmtimeEngine().compile(wat(guest), EngineCaps(compile_memory_bytes=77))
        assert (caught.value.code, caught.value.detail) == ("compile-limit", {"limit": 77})


def test_a_want_of_memory_while_linking_blames_no_import(monkeypatch: pytest.MonkeyPatch) -> None:
    code = engine().compile(wat('(module (func (export "f")))'), CAPS)

    def no_memory(*_: object) -> None:
        raise wasmtime.WasmtimeError(BLOCK)

    monkeypatch.setattr(wasmtime.Linker, "instantiate_pre", no_memory)
    with pytest.raises(MemoryError):  # `run_job` makes it the limit
        engine().open(code, LIMITS, CAPS, Host())


@pytest.mark.parametrize(
    "text",
    [
        f"unknown import: `{BLOCK}`",
        f"`{BLOCK}\n` is not in kebab case (at offset 0x1a)",
        "type mismatch: Cannot allocate buffer",
        f"{BLOCK}\n\nCaused by:\n    wasm trap: interrupt",
    ],
)
def test_a_guest_cannot_say_it_by_its_names(text: str) -> None:
    assert not lacks_memory(text)
