"""Order, safety, duplicates and awaits from elsewhere, one case each."""

from __future__ import annotations

from typing import Any

import pytest

from lite.errors import UsageError
from lite.ipld.cid import CID, DAG_CBOR, IDENTITY, RAW, SHA2_512, SHA3_256
from lite.model.graph import Edge, analyse, ordered
from lite.model.instruction import Instruction, wasm
from lite.model.promise import Await
from lite.model.workflow import Workflow
from tests.workflow_support import level_of, read

MODULE = CID.of(b"module", RAW)
A = wasm(MODULE, "a")
B = wasm(MODULE, "b", A.ok)


def op(name: str, *args: Any, rsc: Any = "https://example.org/") -> Instruction:
    return Instruction(rsc, name, {"args": list(args)})


def get(*args: Any) -> Instruction:
    return op("http/get", *args)


def put(*args: Any) -> Instruction:
    return op("http/put", *args)


def send(*args: Any) -> Instruction:
    return op("msg/send", *args)


def test_awaits_are_edges_wherever_they_stand() -> None:
    use = wasm(A.ok, "f", {"x": [A.error, A.any, A.ok]}, B.ok)
    graph = analyse(Workflow(use=use, b=B, a=A), level_of)
    assert graph.order == ("a", "b", "use")
    assert graph.needs["a"] == ()
    assert graph.needs["b"] == (Edge("a", "ok"),)
    assert set(graph.needs["use"]) == {
        Edge("a", "ok"),
        Edge("a", "error"),
        Edge("a", "*"),
        Edge("b", "ok"),
    }
    assert len(graph.needs["use"]) == 4
    assert graph.critical_path == ("a", "b", "use")


@pytest.mark.parametrize("hash_code", [SHA3_256, SHA2_512])
def test_an_await_under_another_hash_function_is_the_same_edge(hash_code: int) -> None:
    name = CID.of(A.data, DAG_CBOR, hash_code)
    graph = analyse(Workflow(b=wasm(MODULE, "b", Await("ok", name), A.ok), a=A), level_of)
    assert graph.needs["b"] == (Edge("a", "ok"),)
    assert graph.external == {}


@pytest.mark.parametrize(
    "cid",
    [CID.of(b"x", DAG_CBOR, IDENTITY), CID.from_bytes(bytes([1, 0x71, 0x1E, 32]) + b"x" * 32)],
)
def test_an_await_that_no_step_can_have_is_from_elsewhere(cid: CID) -> None:
    graph = analyse(Workflow(a=wasm(MODULE, "a", Await("ok", cid))), level_of)
    assert graph.external == {"a": (Await("ok", cid),)}


def test_awaits_from_elsewhere_are_shown_and_those_not_known_wait() -> None:
    other, known = wasm(MODULE, "other"), wasm(MODULE, "known")
    use = wasm(MODULE, "use", other.ok, known.error, A.ok)
    graph = analyse(Workflow(a=A, use=use), level_of, lambda cid: cid == known.cid)
    assert graph.external == {"use": (other.ok, known.error)}
    assert graph.waiting == {"use": (other.ok,)}
    assert analyse(Workflow(a=A, use=use), level_of, lambda _: True).waiting == {}


def test_equal_steps_run_once_and_awaits_name_the_first() -> None:
    graph = analyse(Workflow(a2=A, b=B, a=A), level_of)
    assert graph.duplicates == {"a": "a2"}
    assert graph.needs["b"] == (Edge("a2", "ok"),)
    assert sorted(graph.order) == ["a", "a2", "b"]
    assert graph.order.index("a2") < graph.order.index("a")


def test_mutations_come_last_and_those_that_may_be_repeated_before_the_others() -> None:
    late = wasm(MODULE, "late", get(1).ok)
    graph = analyse(
        Workflow(send=send(), put=put(), late=late, get=get(1), a=A, after=wasm(MODULE, "x", A.ok)),
        level_of,
    )
    assert graph.order[-2:] == ("put", "send")
    assert set(graph.order[:4]) == {"get", "a", "late", "after"}
    assert graph.order.index("get") < graph.order.index("late")


def test_what_a_mutation_feeds_comes_behind_it() -> None:
    first = send("x")
    graph = analyse(Workflow(use=wasm(MODULE, "f", first.ok), send=first, a=A), level_of)
    assert graph.order == ("a", "send", "use")


@pytest.mark.parametrize(
    ("workflow", "safety", "force"),
    [
        (Workflow(a=A, b=B), "pure", ()),
        (Workflow(a=A, g=get(A.ok)), "query", ()),
        (Workflow(a=A, s=send(A.ok)), "one mutation at the end: atomic", ()),
        (Workflow(p=put(get(1).ok), g=get(1)), "one mutation at the end: atomic", ()),
        (Workflow(s=send(), s2=send()), "one mutation at the end: atomic", ()),
        (Workflow(s=send(1), p=put()), "needs --force: p, s", ("p", "s")),
        (Workflow(s=send(), b=wasm(MODULE, "f", send().any)), "needs --force: s", ("s",)),
        (Workflow(s=send(), t=send(send().ok)), "needs --force: s, t", ("s", "t")),
    ],
)
def test_the_safety_of_the_whole(workflow: Workflow, safety: str, force: tuple[str, ...]) -> None:
    graph = analyse(workflow, level_of)
    assert (graph.safety, graph.force) == (safety, force)


def test_all_that_hangs_on_a_step_that_is_not_pure_is_volatile() -> None:
    c = wasm(MODULE, "c", wasm(MODULE, "b", get().ok).ok)
    graph = analyse(
        Workflow(c=c, b=wasm(MODULE, "b", get().ok), g=get(), a=A, s=send(A.ok)), level_of
    )
    assert graph.volatile == {"g", "b", "c", "s"}
    assert graph.levels == {"c": "pure", "b": "pure", "g": "query", "a": "pure", "s": "mutation"}


def test_a_friendly_file_and_its_graph() -> None:
    workflow = read(
        "steps: {c: {run: tools, args: ['${b}']}, "
        "b: {run: tools, args: ['${a.*}']}, a: {run: tools}}"
    )
    graph = analyse(workflow, level_of)
    assert graph.order == graph.critical_path == ("a", "b", "c")
    assert graph.needs["b"] == (Edge("a", "*"),)


def test_labels_are_ordered_and_circles_named() -> None:
    assert ordered({"c": ["b", "a"], "b": ["a"], "a": [], "d": []}) == ["a", "b", "c", "d"]
    with pytest.raises(UsageError, match="circle: b → c → b"):
        ordered({"a": ["b"], "b": ["c"], "c": ["b"]})
    with pytest.raises(UsageError, match=r"steps\.a: it awaits itself") as caught:
        ordered({"a": ["a"]})
    assert "Name the step" in (caught.value.hint or "")


def test_a_long_chain_needs_no_recursion() -> None:
    step, steps = A, {"s0": A}
    for n in range(1, 3000):
        step = wasm(MODULE, "f", step.ok)
        steps[f"s{n}"] = step
    graph = analyse(Workflow(**dict(reversed(steps.items()))), level_of)
    assert graph.order == graph.critical_path == tuple(steps)
