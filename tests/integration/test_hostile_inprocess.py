"""Hostile guests inside this very process: each ends with its code, and nothing else is harmed.

Left out are guests that only a worker process can survive: bombs that compile without end.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import psutil
import pytest

from lite.engine import module
from lite.engine.base import GuestFailure, Host
from lite.frozen import replace
from tests.engine_support import CAPS, LIMITS, engine, run, wat

TIGHT = replace(LIMITS, fuel=5_000_000, memory_bytes=8 << 20, time_ms=400, output_bytes=1 << 16)
GOOD = '(module (func (export "f") (param i32) (result i32) (i32.add (local.get 0) (i32.const 1))))'


def core(body: str, *, fields: str = "", params: str = "") -> str:
    return f'(module {fields} (func $f (export "f") {params} {body}))'


def lifted(module: str, *, before: str = "", result: str = "", options: str = "") -> str:
    return f"""(component (core module $m {module}) (core instance $i (instantiate $m)) {before}
      (func (export "f") {result} (canon lift (core func $i "f") {options})))"""


WRITE = """(import "wasi_snapshot_preview1" "fd_write"
  (func $write (param i32 i32 i32 i32) (result i32)))"""
MEMORY = '(memory (export "memory") 1)'
MEMORY_OPTION = '(memory (core memory $i "memory"))'
BYTES = '(type $t (list u8)) (export $bytes "bytes" (type $t))'

GUESTS: list[tuple[str, str, str, str]] = [
    ("endless loop", core("(loop (br 0))"), "f", "out-of-fuel"),
    ("endless recursion", core("(call $f)"), "f", "stack-overflow"),
    (
        "endless tail recursion",
        core("(return_call $f)"),
        "f",
        "out-of-fuel",
    ),
    (
        "endless mutual recursion through a table",
        core("(call_indirect (i32.const 0))", fields="(table 1 funcref) (elem (i32.const 0) $f)"),
        "f",
        "stack-overflow",
    ),
    (
        "loop at the start beside a function",
        '(module (func $s (loop (br 0))) (start $s) (func (export "f")))',
        "f",
        "out-of-fuel",
    ),
    (
        "memory without end",
        core(
            "(loop $more (br_if $more (i32.ne (memory.grow (i32.const 1)) (i32.const -1))))"
            " unreachable",
            fields=MEMORY,
        ),
        "f",
        "memory-limit",
    ),
    ("4 GiB at the start", core("", fields="(memory 65536)"), "f", "memory-limit"),
    (
        "a table without end",
        core(
            "(loop $more (br_if $more (i32.ne"
            " (table.grow (ref.null func) (i32.const 1000)) (i32.const -1)))) unreachable",
            fields="(table 1 funcref)",
        ),
        "f",
        "unreachable",
    ),
    (
        "a fill over the end",
        core("(memory.fill (i32.const 65500) (i32.const 1) (i32.const 99))", fields=MEMORY),
        "f",
        "memory-out-of-bounds",
    ),
    (
        "output without end",
        f"""(module {WRITE} {MEMORY} (func (export "_start") (i32.store (i32.const 4)
          (i32.const 60000)) (loop (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1)
          (i32.const 8))) (br 0))))""",
        "_start",
        "output-limit",
    ),
    (
        "one gigantic write",
        f"""(module {WRITE} {MEMORY} (func (export "_start") (i32.store (i32.const 4)
          (i32.const -1)) (call $exit (call $write (i32.const 1) (i32.const 0) (i32.const 1)
          (i32.const 8)))) (func $exit (param i32) (if (i32.eq (local.get 0) (i32.const 21))
          (then unreachable))))""",
        "_start",
        "unreachable",
    ),
    (
        "a million write vectors",
        f"""(module {WRITE} (memory (export "memory") 100) (func (export "_start")
          (if (i32.eq (call $write (i32.const 1) (i32.const 0) (i32.const 500000) (i32.const 8))
            (i32.const 28)) (then unreachable))))""",
        "_start",
        "unreachable",
    ),
    (
        "randomness without end",
        """(module (import "wasi_snapshot_preview1" "random_get"
            (func $random (param i32 i32) (result i32))) (memory (export "memory") 100)
          (func (export "_start") (loop (drop (call $random (i32.const 0) (i32.const 6553600)))
            (br 0))))""",
        "_start",
        "time-limit",
    ),
    (
        "an exit in the start function",
        """(module (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
          (func $s (call $exit (i32.const 9))) (start $s) (func (export "_start")))""",
        "_start",
        "exit",
    ),
    (
        "a component that loops",
        lifted('(func (export "f") (loop (br 0)))'),
        "f",
        "out-of-fuel",
    ),
    (
        "a result outside the memory",
        lifted(
            f'{MEMORY} (data (i32.const 0) "\\00\\00\\00\\7f\\ff\\ff\\ff\\0f")'
            '(func (export "f") (result i32) (i32.const 0))',
            before=BYTES,
            result="(result $bytes)",
            options=MEMORY_OPTION,
        ),
        "f",
        "bad-canonical-abi",
    ),
    (
        "the whole memory as a result",
        lifted(
            '(memory (export "memory") 16) (data (i32.const 4) "\\00\\00\\0f")'
            '(func (export "f") (result i32) (i32.const 0))',
            before=BYTES,
            result="(result $bytes)",
            options=MEMORY_OPTION,
        ),
        "f",
        "output-limit",
    ),
]


@pytest.fixture(autouse=True)
def the_process_stays_well() -> Any:
    yield
    assert run(GOOD, "f", 41).value == 42


@pytest.mark.parametrize(
    ("text", "func", "code"),
    [guest[1:] for guest in GUESTS],
    ids=[guest[0].replace(" ", "-") for guest in GUESTS],
)
def test_the_guest_ends_with_its_code(text: str, func: str, code: str) -> None:
    ran = run(text, func, limits=TIGHT)
    assert ran.code == code
    assert ran.usage.time_ms < 10_000


def test_both_paths_end_alike() -> None:
    for _, text, func, code in GUESTS:
        info = module.describe(wat(text))
        if info.path == "A":
            native = engine().compile_component(wat(text), info, CAPS)
            assert run(native, func, limits=TIGHT).code == code


def test_hostile_guests_leave_nothing_behind(scaled: Callable[[int, int], int]) -> None:
    quick = [guest for guest in GUESTS if guest[3] != "time-limit"]
    rounds = scaled(4, 100)
    order = random.Random(1)
    process = psutil.Process()
    for _ in range(2):
        for _, text, func, _ in quick:
            run(text, func, limits=TIGHT)
    before = process.memory_info().rss
    for _ in range(rounds):
        order.shuffle(quick)
        for _, text, func, code in quick:
            assert run(text, func, limits=TIGHT).code == code
    assert process.memory_info().rss - before < 16 << 20


def damaged(wasm: bytes, dice: random.Random) -> bytes:
    data = bytearray(wasm)
    for _ in range(dice.choice((1, 1, 2, 4))):
        at = dice.randrange(8, len(data))
        if dice.random() < 0.7:
            data[at] = dice.randrange(256)
        elif dice.random() < 0.5:
            del data[at : at + dice.randrange(1, 4)]
        else:
            data[at:at] = dice.randbytes(dice.randrange(1, 4))
    return bytes(data)


def test_damaged_modules_fail_or_run_but_never_crash(scaled: Callable[[int, int], int]) -> None:
    dice = random.Random(7)
    sources = [wat(text) for _, text, _, _ in GUESTS if "1000" not in text]
    host = Host(stdin=b"in")
    ended = 0
    for _ in range(scaled(300, 10_000)):
        wasm = damaged(dice.choice(sources), dice)
        try:
            code = engine().compile(wasm, CAPS)
            for func, kind in list(code.exports().items())[:2]:
                run(code, func, *[0] * len(kind.params), limits=TIGHT, host=host)
                ended += 1
        except GuestFailure:
            continue
    assert ended > 0
