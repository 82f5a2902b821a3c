"""Moving a memory to the imports changes nothing else: checked by an engine that reads both."""

from __future__ import annotations

import pytest
import wasmtime

from lite.engine.base import GuestFailure
from lite.engine.wasmer_constants import check_constants
from lite.engine.wasmer_module import (
    MEMORY_IMPORT,
    MemoryType,
    memory_of,
    tables_of,
    with_outside_memory,
)
from lite.errors import EngineUnavailable
from lite.limits import EngineCaps
from tests.wat_guests import HEADER, section, wat

CAPS = EngineCaps(table_elements=1000)

PLAIN = """(module
  (type $t (func (param i32) (result i32)))
  {imports}
  (memory (export "memory") {limits})
  (table 2 funcref)
  (elem (i32.const 0) $load)
  (global $g (mut i32) (i32.const 3))
  (data (i32.const 5) "hello")
  (func $load (export "load") (type $t) (i32.load8_u (local.get 0)))
  (func (export "grow") (type $t) (memory.grow (local.get 0))))"""


def instantiate(wasm: bytes, pages_max: int) -> tuple[wasmtime.Store, wasmtime.Instance]:
    """With every function import as nothing, and the memory as asked for."""
    store = wasmtime.Store()
    module = wasmtime.Module(store.engine, wasm)
    externs: list[wasmtime.Memory | wasmtime.Func] = []
    for wanted in module.imports:
        if (wanted.module, wanted.name) == MEMORY_IMPORT:
            limits = wasmtime.Limits(memory_pages(wanted.type), pages_max)
            externs.append(wasmtime.Memory(store, wasmtime.MemoryType(limits)))
        else:
            assert isinstance(wanted.type, wasmtime.FuncType)
            externs.append(wasmtime.Func(store, wanted.type, lambda *_: None))
    return store, wasmtime.Instance(store, module, externs)


def memory_pages(kind: object) -> int:
    assert isinstance(kind, wasmtime.MemoryType)
    return kind.limits.min


@pytest.mark.parametrize("imports", ["", '(import "a" "b" (func (type $t)))'])
@pytest.mark.parametrize(
    ("limits", "memory"), [("2", MemoryType(2, None)), ("1 400", MemoryType(1, 400))]
)
def test_module_with_outside_memory_works_as_before(
    imports: str, limits: str, memory: MemoryType
) -> None:
    wasm = wat(PLAIN.format(imports=imports.replace("(type $t)", "(param i64)"), limits=limits))
    assert memory_of(wasm) == memory
    store, instance = instantiate(with_outside_memory(wasm, CAPS), pages_max=3)
    load, grow = (instance.exports(store)[name] for name in ("load", "grow"))
    assert isinstance(load, wasmtime.Func) and isinstance(grow, wasmtime.Func)
    assert load(store, 5) == ord("h")
    assert grow(store, 1) == memory.minimum
    assert grow(store, 100) == -1


def test_module_without_memory_keeps_its_sections() -> None:
    wasm = wat('(module (table 2 50 funcref) (func (export "f")))')
    assert memory_of(wasm) is None
    assert with_outside_memory(wasm, CAPS) == wasm


def test_tables_get_a_maximum() -> None:
    wasm = wat("""(module (table 2 funcref) (table 1 funcref)
      (func (export "grow") (result i32) (table.grow 1 (ref.null func) (i32.const 1000))))""")
    store, instance = instantiate(with_outside_memory(wasm, CAPS), pages_max=1)
    grow = instance.exports(store)["grow"]
    assert isinstance(grow, wasmtime.Func)
    assert grow(store) == -1


def test_a_table_over_the_cap_stays_valid_and_is_told() -> None:
    wasm = wat("(module (table 3 funcref) (table 1001 funcref) (table 1001 2000 funcref))")
    assert tables_of(wasm) == [3, 1001, 1001]
    wasmtime.Module(wasmtime.Engine(), with_outside_memory(wasm, CAPS))
    assert tables_of(wat("(module)")) == []


@pytest.mark.parametrize(
    "text",
    [
        "(global i32 (i32.const -1)) (global $f (mut f64) (f64.const 1))",
        '(memory 1) (data (i32.const 1) "x") (data "y") (data (memory 0) (i32.const 1) "z")',
        """(table 1 funcref) (func $f) (elem (i32.const 0) $f) (elem declare func $f)
           (elem funcref (ref.func $f)) (elem (table 0) (i32.const 0) funcref (ref.null func))""",
        "",
    ],
)
def test_plain_constants_are_what_wasmer_may_compute(text: str) -> None:
    check_constants(wat(f"(module {text})"))


@pytest.mark.parametrize(
    "text",
    [
        "(global $a i32 (i32.const 1)) (global i32 (global.get $a))",
        "(global i64 (i64.mul (i64.const 1) (i64.const 2)))",
        '(memory 1) (data (i32.add (i32.const 1) (i32.const 1)) "x")',
        "(table 1 funcref) (elem (i32.sub (i32.const 1) (i32.const 1)))",
        "(global $a funcref (ref.null func)) (elem funcref (global.get $a))",
    ],
)
def test_computed_constants_need_another_engine(text: str) -> None:
    with pytest.raises(EngineUnavailable, match="computed"):
        check_constants(wat(f"(module {text})"))


@pytest.mark.parametrize("text", ["(module (memory 1 2 shared))", "(module (memory 1) (memory 1))"])
def test_other_memories_need_another_engine(text: str) -> None:
    with pytest.raises(EngineUnavailable):
        memory_of(wat(text))


@pytest.mark.parametrize("body", [b"", b"\x01", b"\x01\0", b"\x01\0\x01\0", b"\x01\x01\x05"])
def test_damaged_memory_section_is_a_bad_module(body: bytes) -> None:
    with pytest.raises(GuestFailure) as failure:
        memory_of(HEADER + section(5, body))
    assert failure.value.code == "bad-module"
