"""A guest that was refused memory: what its receipt says, and whom that answers."""

from __future__ import annotations

import random
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

import pytest

from lite import Node, wasm
from lite.answer import Answer
from lite.engine import wasmtime_memory
from lite.engine.wasmtime_engine import WasmtimeEngine
from lite.frozen import replace
from lite.ipld.cid import CID
from lite.limits import GIB, INTEGER_MAX, MIB, Limits
from tests.engine_support import CAPS, HOST, LIMITS, compiled, engine, wat
from tests.engine_support import run as run_inside
from tests.wat_guests import command

SMALL, LARGE = Limits(memory_bytes=64 * MIB), Limits(memory_bytes=GIB)
PAGE_BYTES = 65536
IMAGING = Path(__file__).parents[2] / "examples" / "imaging" / "imaging.wasm"

ONCE = "(memory.grow (i32.const 3200))"
"""One request that is far over the small limit, and leaves the guest far below it."""
ALL = """(loop $more (br_if $more (i32.ne (memory.grow (i32.const 16)) (i32.const -1))))
  (memory.size)"""


def core(memory: str, body: str) -> str:
    return f'(module {memory} (func (export "f") (result i32) {body}))'


def on_path_a(body: str) -> str:
    return f"""(component (core module $m {core("(memory 1)", body)[8:-1]})
      (core instance $i (instantiate $m))
      (func (export "f") (result s32) (canon lift (core func $i "f"))))"""


def on_path_b(body: str) -> str:
    """The same of two parts, the second of which calls the first."""
    return f"""(component
      (core module $m {core("(memory 1)", body)[8:-1]}) (core instance $i (instantiate $m))
      (core module $n (import "m" "f" (func $f (result i32))) (memory 2)
        (func (export "f") (result i32) (call $f)))
      (core instance $j (instantiate $n (with "m" (instance $i))))
      (func (export "f") (result s32) (canon lift (core func $j "f"))))"""


GUESTS = {
    "exported": core('(memory (export "memory") 1)', ONCE),
    "under another name": core('(memory (export "heap") 1)', ONCE),
    "not exported": core("(memory 1)", ONCE),
    "the second of two": core("(memory 1) (memory 1)", "(memory.grow 1 (i32.const 3200))"),
    "until it is refused": core("(memory 1)", ALL),
    "path A": on_path_a(ONCE),
    "path B": on_path_b(ONCE),
    "path B, until it is refused": on_path_b(ALL),
}

pytestmark = pytest.mark.skipif(
    not wasmtime_memory.counted(), reason="on this machine nobody knows what was refused"
)


@pytest.fixture(scope="module", params=[False, True], ids=["worker", "in process"])
def node(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Node]:
    home = tmp_path_factory.mktemp("node") / "home"
    with Node.open(home, in_process=request.param) as opened:
        yield opened


def run(node: Node, module: CID, limits: Limits, func: str = "f") -> Answer:
    return node.run(wasm(module, func), limits=limits)


@pytest.mark.parametrize("guest", GUESTS.values(), ids=list(GUESTS))
def test_a_result_after_a_refusal_answers_only_under_the_same_limit(node: Node, guest: str) -> None:
    module = node.add(wat(guest))
    refused = run(node, module, SMALL)
    assert refused.receipt.meta["memory_refused"] is True
    other = run(node, module, LARGE)
    assert other.source == "ran"
    assert other.out.unwrap() != refused.out.unwrap()
    assert run(node, module, SMALL).source == run(node, module, LARGE).source == "cached"


@pytest.mark.parametrize("guest", GUESTS.values(), ids=list(GUESTS))
def test_a_result_without_a_refusal_answers_under_every_limit(node: Node, guest: str) -> None:
    module = node.add(wat(guest.replace("3200", "10").replace(ALL, "(memory.grow (i32.const 10))")))
    free = run(node, module, SMALL)
    assert free.receipt.meta["memory_refused"] is False
    assert run(node, module, LARGE).receipt == free.receipt
    assert run(node, module, replace(SMALL, memory_bytes=MIB)).receipt == free.receipt


@pytest.mark.parametrize("limit", [2**63 - 1, INTEGER_MAX])
@pytest.mark.parametrize("make", [lambda body: core("(memory 1)", body), on_path_a, on_path_b])
def test_a_limit_over_all_that_there_is_is_one(
    node: Node, make: Callable[[str], str], limit: int
) -> None:
    module, limits = node.add(wat(make(ONCE))), Limits(memory_bytes=limit)
    job = wasm(module, "f")
    ended = node.run(job, limits=limits, fresh=True).receipt
    assert ended.out.unwrap() >= 1
    assert ended.meta["memory_refused"] is False
    program = node.add(command("nop"))
    assert node.run(wasm(program, None), limits=limits, fresh=True).out.unwrap() is not None


@pytest.mark.parametrize(
    ("guest", "pages"),
    [
        (core("(memory 1)", "(memory.grow (i32.const 10))"), 11),
        (core('(memory (export "heap") 3)', "(memory.grow (i32.const 10))"), 13),
        (core("(memory 1) (memory 5) (memory 2 9)", "(memory.grow 2 (i32.const 7))"), 15),
        (on_path_a("(memory.grow (i32.const 10))"), 11),
        (on_path_b("(memory.grow (i32.const 10))"), 13),
        (core("", "(i32.const 1)"), 0),
    ],
)
def test_all_memories_count(node: Node, guest: str, pages: int) -> None:
    meta = run(node, node.add(wat(guest)), SMALL).receipt.meta
    assert meta["memory_bytes"] == pages * PAGE_BYTES
    assert meta["memory_refused"] is False


@pytest.mark.parametrize("make", [lambda body: core("(memory 1)", body), on_path_a, on_path_b])
@pytest.mark.parametrize(
    "gives_up",
    ["(unreachable)", "(i32.load (i32.const 0x7fff0000))"],
    ids=["trap", "out of bounds"],
)
def test_a_guest_that_gives_up_for_want_of_memory_met_the_limit(
    node: Node, make: Callable[[str], str], gives_up: str
) -> None:
    body = f"""(loop $more (br_if $more (i32.and
        (i32.ne (memory.grow (i32.const 37)) (i32.const -1))
        (i32.lt_u (memory.size) (i32.const 2000)))))
      (if (result i32) (i32.ge_u (memory.size) (i32.const 2000)) (then (i32.const 7))
        (else {gives_up}))"""
    module = node.add(wat(make(body)))
    short = run(node, module, SMALL)
    assert short.receipt.error_code == "memory-limit"
    assert run(node, module, SMALL).source == "ran"
    assert run(node, module, LARGE).out.unwrap() == 7


def test_what_the_memory_itself_refuses_is_no_refusal(node: Node) -> None:
    module = node.add(wat(core("(memory 1 5)", ONCE)))
    bounded = run(node, module, SMALL)
    assert bounded.out.unwrap() == -1
    assert bounded.receipt.meta["memory_refused"] is False
    assert run(node, module, LARGE).receipt == bounded.receipt


def test_the_limit_is_on_all_memories_together(node: Node) -> None:
    eight = core("(memory 100)" * 8, "(i32.const 1)")
    assert run(node, node.add(wat(eight)), SMALL).out.unwrap() == 1
    wide = core("(memory 200)" * 8, "(i32.const 1)")
    assert run(node, node.add(wat(wide)), SMALL).receipt.error_code == "memory-limit"
    nine = core("(memory 1)" * 9, "(i32.const 1)")
    assert run(node, node.add(wat(nine)), SMALL).receipt.error_code == "memory-limit"


def test_an_ordinary_guest_shares_its_results_between_limits(node: Node) -> None:
    module = node.add(IMAGING.read_bytes())
    job = wasm(module, "render", 64, 48, 7)
    first = node.run(job, limits=SMALL)
    assert (first.source, first.out.is_ok) == ("ran", True)
    for memory in (16 * MIB, 100 * MIB, GIB):
        assert node.run(job, limits=Limits(memory_bytes=memory)).receipt == first.receipt


def test_memory_that_the_system_lacks_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wasmtime_memory, "_mprotect", lambda *_: -1)
    assert run_inside(core("(memory 1)", "(i32.const 1)"), "f").code == "memory-limit"
    assert run_inside(core("(memory 0)", "(memory.grow (i32.const 9))"), "f").code == "memory-limit"


def test_where_memory_is_not_counted_nothing_is_claimed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wasmtime_memory, "counted", lambda: False)
    own = WasmtimeEngine()
    code = own.compile(wat(core("(memory 1)", ONCE)), CAPS)
    opened = own.open(code, LIMITS, CAPS, HOST)
    assert opened.call("f", []) == -1
    assert (opened.usage().memory_bytes, opened.usage().memory_refused) == (None, None)
    opened.close()


def test_no_signal_harms_a_run_that_makes_memories(scaled: Callable[[int, int], int]) -> None:
    guest = core("(memory 1) (memory 2)", "(drop (memory.grow (i32.const 1))) (memory.size)")
    code, chance = compiled(guest), random.Random(5)
    assert run_inside(code, "f").value == 2
    armed = False

    class Stop(BaseException):
        pass

    def handler(_number: int, _frame: FrameType | None) -> None:
        if armed:
            raise Stop

    before, stopped = signal.signal(signal.SIGALRM, handler), 0
    try:
        for _ in range(scaled(1_000, 20_000)):
            opened = engine().open(code, LIMITS, CAPS, HOST)
            try:
                armed = True
                signal.setitimer(signal.ITIMER_REAL, chance.uniform(1e-6, 2e-4))
                try:
                    assert opened.call("f", []) == 2
                finally:
                    armed = False
            except Stop:
                stopped += 1
            signal.setitimer(signal.ITIMER_REAL, 0)
            opened.close()
            assert signal.getsignal(signal.SIGALRM) is handler
    finally:
        signal.signal(signal.SIGALRM, before)
    assert stopped
    assert run_inside(code, "f").value == 2
    assert not wasmtime_memory._memories
