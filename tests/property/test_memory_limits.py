"""Whatever a guest asks for, under whatever limits: the memo says what a run would say."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lite import Node, wasm
from lite.engine import wasmtime_memory
from lite.limits import Limits
from tests.engine_support import run as run_inside
from tests.engine_support import wat

PAGE_BYTES = 65536
PAGES = st.integers(0, 40)

pytestmark = pytest.mark.skipif(
    not wasmtime_memory.counted(), reason="on this machine nobody knows what was refused"
)


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    with Node.open(tmp_path_factory.mktemp("node") / "home", in_process=True) as opened:
        yield opened


def guest(steps: list[tuple[int, int]], stops: bool, component: bool) -> str:
    """Grows one of two memories at each step; the result tells all answers apart."""
    asks = "".join(
        f"""(local.set $h (i32.add (i32.mul (local.get $h) (i32.const 31))
              (local.tee $a (memory.grow {memory} (i32.const {pages})))))
            {"(if (i32.eq (local.get $a) (i32.const -1)) (then unreachable))" if stops else ""}"""
        for memory, pages in steps
    )
    fields = f"""(memory (export "heap") 1) (memory 1 20)
      (func (export "f") (result i32) (local $h i32) (local $a i32) {asks} (local.get $h))"""
    if not component:
        return f"(module {fields})"
    return f"""(component (core module $m {fields}) (core instance $i (instantiate $m))
      (core module $n (memory 3)) (core instance $j (instantiate $n))
      (func (export "f") (result s32) (canon lift (core func $i "f"))))"""


@given(
    st.lists(st.tuples(st.integers(0, 1), PAGES), min_size=1, max_size=5),
    st.lists(st.integers(1, 100), min_size=2, max_size=4),
    st.booleans(),
    st.booleans(),
)
@settings(suppress_health_check=[*HealthCheck])
def test_a_known_answer_is_what_a_run_under_this_limit_or_none_would_give(
    node: Node,
    steps: list[tuple[int, int]],
    pages: list[int],
    stops: bool,
    component: bool,
) -> None:
    text = guest(steps, stops, component)
    job = wasm(node.add(wat(text)), "f")
    free = run_inside(text, "f")
    assert free.usage.memory_refused is False
    wanted = free.usage.memory_bytes or 0
    for bound in pages:
        limits = Limits(memory_bytes=bound * PAGE_BYTES)
        known = node.run(job, limits=limits).receipt
        here = node.run(job, limits=limits, fresh=True).receipt
        assert here.meta["memory_refused"] == (limits.memory_bytes < wanted)
        assert here.meta["memory_bytes"] <= limits.memory_bytes
        if not here.meta["memory_refused"]:
            assert (here.out.is_ok, here.error_code) == (free.code is None, free.code or "")
        if known.meta["memory_refused"] is False:
            assert (known.out.is_ok, known.error_code) == (free.code is None, free.code or "")
            assert not known.out.is_ok or known.out.unwrap() == free.value
        else:
            assert known.out.value() == here.out.value()
