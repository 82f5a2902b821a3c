"""What a step gives is the same to the next one, whether it stands in the receipt or is linked."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import wasmtime

from lite import Node, wasm
from lite.engine.wit import BYTES, ListOf, Option, Prim, WitType
from lite.ipld.cid import CID
from lite.model.instruction import Instruction
from tests.property.echo_components import component

SIZES = [4_000, 5_000, 100_000]
COUNT_BYTES = """(module (memory (export "memory") 4)
  (global $free (mut i32) (i32.const 16))
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
    (global.get $free) (global.set $free (i32.add (global.get $free) (local.get 3))))
  (func (export "size") (param i32 i32) (result i32) (local.get 1)))"""


@pytest.fixture
def node(home: Path) -> Any:
    with Node.open(home, in_process=True) as opened:
        yield opened


def value(node: Node, instruction: Instruction, **how: Any) -> Any:
    """What a step gives, in full."""
    return node.run(instruction, **how).out.unwrap()


@pytest.fixture
def echo(node: Node, tmp_path: Path) -> Callable[[WitType], CID]:
    def add(t: WitType) -> CID:
        path = tmp_path / "echo.wasm"
        path.write_bytes(bytes(wasmtime.wat2wasm(component(t))))
        return node.add(path)

    return add


@pytest.mark.parametrize("size", SIZES)
def test_text_is_what_a_command_reads(
    node: Node, echo: Callable[[WitType], CID], size: int, root: Path
) -> None:
    count = node.add(root / "examples" / "wasi" / "count.wasm")
    text = wasm(echo(Prim("string")), "flat", "w" * size)
    assert value(node, text) == "w" * size
    assert value(node, wasm(count, None, stdin=text.ok)) == f"0 1 {size}\n".encode()
    assert value(node, wasm(count, None, env={"A": text.ok})) == b"0 0 0\n"


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    ("t", "wrap"),
    [
        (Option(Option(Prim("string"))), lambda size: {"some": "w" * size}),
        (Option(Option(ListOf(Prim("u8")))), lambda size: {"some": bytes(size)}),
        (Option(Option(Option(Prim("string")))), lambda size: {"some": {"some": "w" * size}}),
    ],
    ids=["text", "bytes", "deeper"],
)
def test_options_in_options_come_back(
    node: Node, echo: Callable[[WitType], CID], t: WitType, wrap: Any, size: int
) -> None:
    module = echo(t)
    first = wasm(module, "flat", wrap(size))
    assert value(node, first) == wrap(size)
    assert value(node, wasm(module, "flat", first.ok)) == wrap(size)


@pytest.mark.parametrize("size", SIZES)
def test_text_for_a_core_module_without_types(
    node: Node, echo: Callable[[WitType], CID], tmp_path: Path, size: int
) -> None:
    path = tmp_path / "core.wasm"
    path.write_bytes(wasmtime.wat2wasm(COUNT_BYTES))
    text = wasm(echo(Prim("string")), "flat", "w" * size)
    assert value(node, text) == "w" * size
    assert value(node, wasm(node.add(path), "size", text.ok)) == size


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("t", [Prim("string"), BYTES], ids=["text", "bytes"])
def test_homestars_rules_see_the_value_and_not_a_link_that_the_node_made(
    node: Node, echo: Callable[[WitType], CID], t: WitType, size: int
) -> None:
    given = "w" * size if t == Prim("string") else b"w" * size
    first, small = (wasm(echo(t), "flat", one) for one in (given, given[:12]))
    into = echo(Prim("string"))
    told = []
    for one in (small, first):
        value(node, one, homestar=True)
        told.append(value(node, wasm(into, "flat", one.ok), homestar=True))
    assert isinstance(told[1], str) and len(told[1]) >= size
    assert told[1][:10] == told[0][:10]
