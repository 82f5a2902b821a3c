"""`describe` on damaged files: a description or `bad-module`, and nothing else."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
import wasmtime

from lite.engine.base import GuestFailure
from lite.engine.module import ModuleInfo, describe
from lite.engine.wit import STRING, U8, Enum, ListOf, Option, Prim, Record, ResultOf, Variant
from tests.property.echo_components import component as echo
from tests.unit.wasm_bytes import custom, encoded_world
from tests.unit.wasm_samples import LOGGING, SHIM, WORLD, WORLD_CORE, component, core, wat

ROUNDS, ROUNDS_FULL = 4_000, 60_000
TELLING = (0, 1, 2, 0x40, 0x60, 0x7F, 0x80, 0xFF)

RICH = Record(
    (
        ("a", ListOf(STRING)),
        ("b", Option(Variant((("x", U8), ("y", Prim("f64")))))),
        ("c", ResultOf(Enum(("on", "off")), None)),
    )
)


def samples() -> list[bytes]:
    return [
        core(WORLD_CORE, custom("component-type", encoded_world(WORLD))),
        component(SHIM, '(func (export "t:p/i#f") (result i32) unreachable)'),
        wat(LOGGING),
        bytes(wasmtime.wat2wasm(echo(RICH))),
    ]


def damaged(rng: random.Random, wasm: bytes) -> bytes:
    made = bytearray(wasm)
    for _ in range(rng.choice((1, 1, 2, 5))):
        at, kind = rng.randrange(len(made)), rng.random()
        if kind < 0.5:
            made[at] = rng.choice((rng.randrange(256), rng.choice(TELLING), (made[at] + 1) & 255))
        elif kind < 0.65:
            del made[at : at + rng.randrange(1, 9)]
        elif kind < 0.8:
            made[at:at] = rng.randbytes(rng.randrange(1, 9))
        elif kind < 0.95:
            source = rng.randrange(len(made))
            made[at:at] = made[source : source + rng.randrange(40)]
        else:
            del made[at:]
        if len(made) < 9:
            break
    return bytes(made)


@pytest.mark.parametrize("number", range(len(samples())))
def test_damaged_files_are_described_or_refused(
    number: int, scaled: Callable[[int, int], int]
) -> None:
    wasm = samples()[number]
    rng = random.Random(number)
    described = 0
    for _ in range(scaled(ROUNDS, ROUNDS_FULL) // len(samples())):
        try:
            info = describe(damaged(rng, wasm))
        except GuestFailure as failure:
            assert failure.code == "bad-module" and len(failure.message) < 1_000
        else:
            assert ModuleInfo.from_data(info.to_data()) == info
            described += 1
    assert described
