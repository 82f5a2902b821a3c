"""Laws of workflows and their graphs, over random ones."""

from __future__ import annotations

import json
import random
import re
from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from lite.errors import IpvmError
from lite.ipld import dag_cbor, dag_json
from lite.ipld.cid import CID, DAG_CBOR, RAW, SHA3_256
from lite.model.graph import Graph, analyse, ordered
from lite.model.graph_draw import to_dot, to_mermaid, to_svg
from lite.model.instruction import Instruction, wasm
from lite.model.place import FieldError
from lite.model.promise import Await, AwaitBranch
from lite.model.safety import is_mutation
from lite.model.task import Task
from lite.model.workflow import Step, Workflow
from tests.workflow_support import CONTENT, LEVELS, MODULE, level_of, read

BRANCHES: list[AwaitBranch] = ["ok", "error", "*"]
labels = st.from_regex(r"\w[\w-]{0,8}", fullmatch=True)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
leaves = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts
    | st.sampled_from(["${a}", "$${a}", "@photo.png", "@@x", "$", "${", "no", "1e3", "010", "~"])
    | st.binary(max_size=6)
    | st.just(CID.of(b"x", RAW))
)
keys = texts.filter(lambda key: key != "/" and not key.startswith("await/"))
values = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
    max_leaves=8,
)


def written(value: Any) -> Any:
    """A value as it has to be written in a file, so that it is read back as it is."""
    if isinstance(value, str):
        is_special = value.startswith("@") or re.fullmatch(r"\$+\{[^{}]*\}", value)
        return value[0] + value if is_special else value
    if isinstance(value, dict):
        return {key: written(item) for key, item in value.items()}
    return [written(item) for item in value] if isinstance(value, list) else value


@st.composite
def dags(draw: st.DrawFn) -> dict[str, tuple[str, list[tuple[str, AwaitBranch]], Any]]:
    """Label → (operation, what it awaits, a value): each awaits only earlier ones."""
    names = draw(st.lists(labels, min_size=1, max_size=8, unique=True))
    made: dict[str, tuple[str, list[tuple[str, AwaitBranch]], Any]] = {}
    for name in names:
        awaited = draw(st.lists(st.sampled_from(list(made)), max_size=3)) if made else []
        branches = [draw(st.sampled_from(BRANCHES)) for _ in awaited]
        op = draw(st.sampled_from([*["wasm/run"] * 3, *LEVELS]))
        made[name] = (op, list(zip(awaited, branches, strict=True)), draw(values))
    return made


def built(dag: dict[str, tuple[str, list[tuple[str, AwaitBranch]], Any]]) -> Workflow:
    """The workflow, made in Python."""
    made: dict[str, Instruction] = {}
    for label, (op, awaited, value) in dag.items():
        args: list[Any] = [Await(branch, made[name].cid) for name, branch in awaited]
        args.append({"v": value})
        if op == "wasm/run":
            made[label] = wasm(MODULE, "f", *args)
        else:
            made[label] = Instruction("https://example.org/", op, {"args": args})
    return Workflow.of([Step(label, Task(made[label])) for label in dag])


def as_file(
    dag: dict[str, tuple[str, list[tuple[str, AwaitBranch]], Any]], rng: random.Random
) -> dict[str, Any]:
    """The same in the friendly form, the steps in another order."""
    steps: list[tuple[str, Any]] = []
    for label, (op, awaited, value) in dag.items():
        args: list[Any] = [f"${{{name}.{branch}}}" for name, branch in awaited]
        args.append({"v": written(value)})
        if op == "wasm/run":
            steps.append((label, {"run": "imaging.wasm:f", "args": args}))
        else:
            rsc = "https://example.org/"
            steps.append((label, {"op": op, "rsc": rsc, "input": {"args": args}}))
    rng.shuffle(steps)
    return {"steps": dict(steps)}


def yaml_text(value: Any) -> str:
    """Flow YAML that JSON is not: plain words stay unquoted where that is the same text."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(k)}: {yaml_text(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(yaml_text, value)) + "]"
    if isinstance(value, str) and value.isascii() and value.isalpha() and len(value) > 5:
        return value
    return json.dumps(value) if isinstance(value, str) else dag_json.encode(value).decode()


@given(dags(), st.randoms(use_true_random=False))
def test_a_file_compiles_to_what_python_makes(dag: Any, rng: random.Random) -> None:
    expected = {step.label: step.instruction.cid for step in built(dag)}
    value = as_file(dag, rng)
    for data in (dag_json.encode(value), dag_cbor.encode(value)):
        assert {step.label: step.instruction.cid for step in read(data, "w")} == expected
    from_yaml = read(f"# yaml\n{yaml_text(value)}".encode(), "w.yaml")
    assert {step.label: step.instruction.cid for step in from_yaml} == expected


@given(dags(), texts.filter(str.isprintable), st.dictionaries(texts, values, max_size=2))
def test_the_stored_form_reads_back(dag: Any, name: str, meta: dict[str, Any]) -> None:
    workflow = Workflow.of(built(dag).steps, name=name, meta=meta)
    again = Workflow.parse(workflow.data)
    assert again == workflow
    assert [(s.label, s.task) for s in again] == [(s.label, s.task) for s in workflow]
    assert read(workflow.data) == workflow


@given(dags())
def test_homestars_form_reads_back_to_equal_instructions(dag: Any) -> None:
    workflow = built(dag)
    for data in (
        dag_json.encode(workflow.homestar_value()),
        dag_cbor.encode(workflow.homestar_value()),
    ):
        again = read(data, "w.json")
        assert [s.instruction for s in again] == [s.instruction for s in workflow]
        assert again.homestar_cid == workflow.homestar_cid


@given(st.integers(0, 2**32))
def test_the_order_is_topological_and_mutations_are_as_late_as_possible(seed: int) -> None:
    workflow = random_workflow(random.Random(seed))
    graph = analyse(workflow, level_of)
    check_graph(workflow, graph)
    for draw in (to_mermaid, to_dot, to_svg):
        assert draw(graph) == draw(graph, {})


def random_workflow(rng: random.Random) -> Workflow:
    steps: list[Step] = []
    made: list[Instruction] = []
    for n in range(rng.randint(1, 30)):
        awaited = rng.sample(made, min(len(made), rng.choice([0, 1, 1, 2, 4])))
        waits: list[Any] = []
        for other in awaited:
            cid = rng.choice([other.cid, CID.of(other.data, DAG_CBOR, SHA3_256)])
            waits.append(Await(rng.choice(BRANCHES), cid))
        if rng.random() < 0.1:
            waits.append(Await("ok", CID.of(bytes([n]), DAG_CBOR)))
        op = rng.choice([*["wasm/run"] * 4, *LEVELS])
        different = [rng.randint(0, 20)]
        made.append(Instruction("https://example.org/", op, {"args": waits + different}))
        steps.append(Step(f"s{n}", Task(made[-1])))
    rng.shuffle(steps)
    return Workflow.of(steps)


def check_graph(workflow: Workflow, graph: Graph) -> None:
    place = {label: at for at, label in enumerate(graph.order)}
    assert sorted(place) == sorted(step.label for step in workflow)
    below: dict[str, set[str]] = {}
    for label in graph.order:
        before = {edge.label for edge in graph.needs[label]}
        assert all(place[other] < place[label] for other in before)
        below[label] = before.union(*(below[other] for other in before))
    mutations = {label for label in place if is_mutation(graph.levels[label])}
    first = min((place[label] for label in mutations), default=len(place))
    for label in place.keys() - mutations:
        # Whatever needs no mutation comes before all of them.
        if not below[label] & mutations and label not in graph.duplicates:
            assert place[label] < first
    for label in place:
        impure = {one for one in below[label] | {label} if graph.levels[one] != "pure"}
        assert (label in graph.volatile) == bool(impure)
    for label, same in graph.duplicates.items():
        assert workflow[label].instruction == workflow[same].instruction
        assert same not in graph.duplicates
    path = graph.critical_path
    assert all(a in {e.label for e in graph.needs[b]} for a, b in pairwise(path))
    assert len(path) == longest(graph)
    awaits = {step.label: set(step.instruction.awaits()) for step in workflow}
    assert all(set(waits) <= awaits[label] for label, waits in graph.external.items())


def longest(graph: Graph) -> int:
    depth: dict[str, int] = {}
    for label in graph.order:
        depth[label] = 1 + max((depth[edge.label] for edge in graph.needs[label]), default=0)
    return max(depth.values())


@given(st.dictionaries(st.integers(0, 12), st.lists(st.integers(0, 12), max_size=3), min_size=1))
def test_either_an_order_or_a_circle_is_found(drawn: dict[int, list[int]]) -> None:
    needs = {str(k): [str(v) for v in vs if v in drawn] for k, vs in drawn.items()}
    try:
        order = ordered(needs)
    except IpvmError as error:
        on_it = str(error).rpartition(": ")[2].split(" → ") if "circle" in str(error) else []
        if not on_it:
            assert isinstance(error, FieldError)
            on_it = [str(error.path[1])] * 2
        assert on_it[0] == on_it[-1]
        assert all(b in needs[a] for a, b in pairwise(on_it))
    else:
        assert sorted(order) == sorted(needs)
        place = {label: at for at, label in enumerate(order)}
        assert all(place[other] < place[label] for label in needs for other in needs[label])


@given(
    st.binary(max_size=200)
    | st.text(max_size=200).map(lambda text: text.encode("utf-8", "replace"))
)
def test_any_bytes_are_a_workflow_or_an_error_of_ours(data: bytes) -> None:
    for prefix in (b"", b"steps:\n  a:\n    ", b"{", b'{"steps": {"a": '):
        try:
            read(prefix + data)
        except IpvmError as error:
            assert str(error).startswith("w.yaml: ")
            assert "\x1b" not in str(error)


@given(dags(), st.randoms(use_true_random=False), st.data())
def test_a_damaged_file_is_read_or_refused(dag: Any, rng: random.Random, data: Any) -> None:
    whole = bytearray(dag_json.encode(as_file(dag, rng)))
    for _ in range(3):
        at = data.draw(st.integers(0, len(whole) - 1))
        whole[at] = data.draw(st.sampled_from(b'{}[]",:$@/0a\\\n #&*!'))
    for source in ("w.json", "w.yaml"):
        try:
            read(bytes(whole), source)
        except IpvmError as error:
            assert str(error).startswith(source)
    assert CONTENT.files
