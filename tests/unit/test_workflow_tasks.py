"""Files in Homestar's form: linked instructions, near misses of awaits, and where errors point."""

from __future__ import annotations

import json
from typing import Any

import pytest

from lite.errors import IpvmError, NotFoundError, UsageError
from lite.ipld import dag_cbor, dag_json
from lite.ipld.cid import CID, DAG_CBOR, SHA2_512
from lite.model.instruction import wasm
from lite.model.workflow import Workflow
from lite.model.workflow_read import read_workflow
from tests.workflow_support import MODULE, PHOTO, MemoryContent, read

ADD = wasm(MODULE, "add", 1, 2)
NEXT = wasm(MODULE, "add", ADD.ok, 5)
LINK = {"/": str(PHOTO)}


def tasks(*parts: Any, **others: Any) -> bytes:
    return dag_json.encode({"tasks": list(parts), **others})


class TestLinkedInstructions:
    @pytest.mark.parametrize("name", [ADD.cid, ADD.sha3, CID.of(ADD.data, DAG_CBOR, SHA2_512)])
    def test_one_of_the_same_file_is_found_under_every_hash_function(self, name: CID) -> None:
        data = tasks({"run": name, "meta": {"fuel": 5}}, {"run": ADD.value()})
        again = read(data, "w.json")
        assert [step.instruction for step in again] == [ADD, ADD]
        assert again.steps[0].meta == {"fuel": 5}

    def test_one_that_the_node_knows_is_found(self) -> None:
        content = MemoryContent()
        content.instructions = {ADD.sha3: ADD}
        value = {"tasks": [{"run": ADD.sha3}, {"run": NEXT.value()}]}
        texts = (dag_json.encode(value), b"# yaml\n" + dag_json.encode(value))
        for data in (*texts, dag_cbor.encode(value), dag_cbor.encode({"workflow": value})):
            found = read_workflow(data, source="w.yaml", content=content)
            assert [step.instruction for step in found] == [ADD, NEXT]
            assert Workflow.parse(found.data) == found

    def test_one_that_is_nowhere_is_named_with_what_to_do(self) -> None:
        data = tasks({"run": ADD.value()}, {"run": NEXT.sha3})
        with pytest.raises(NotFoundError) as caught:
            read(data, "w.json")
        where = "w.json: tasks[1].run: the instruction "
        assert str(caught.value).startswith(f"{where}{NEXT.sha3} is neither in this file nor here")
        assert "ipvm import" in (caught.value.hint or "")

    def test_a_link_to_something_else_is_an_error_at_its_place(self) -> None:
        class Other(MemoryContent):
            def instruction(self, cid: CID) -> None:
                raise UsageError(f"{cid} names a block that is no instruction")

        data = dag_json.encode({"workflow": {"tasks": [{"run": PHOTO}]}})
        with pytest.raises(UsageError, match=rf"^w: workflow\.tasks\[0\]\.run: {PHOTO} names a"):
            read_workflow(data, source="w", content=Other())

    def test_a_broken_task_beside_it_is_what_is_reported(self) -> None:
        with pytest.raises(UsageError, match=r"tasks\[1\]\.run\.op: an ability"):
            broken = {**ADD.value(), "op": 5}
            read(tasks({"run": ADD.value()}, {"run": broken}, {"run": ADD.cid}), "w.json")


def at(run: dict[str, Any] | None = None, **others: Any) -> dict[str, Any]:
    return {"run": {**json.loads(dag_json.encode(ADD.value())), **(run or {})}, **others}


GOOD = at()
TASK_ERRORS: list[tuple[Any, str, str, str]] = [
    # the tasks, the field, what is wrong, what would be right
    ([GOOD, 5], "tasks[1]", "a task is a map", "Only run"),
    ([GOOD, {}], "tasks[1]", "a task is a map", "Only run"),
    ([at(within=5)], "tasks[0].within", "is not a field of a task", "It has run, meta"),
    ([{"run": 5}], "tasks[0].run", "an instruction is a map", ""),
    ([{"run": {"op": "a/b"}}], "tasks[0].run.rsc", "missing", "ipfs://CID"),
    ([at({"inputs": {}})], "tasks[0].run.inputs", "is not a field", "It has rsc, op, input"),
    ([at({"rsc": 5})], "tasks[0].run.rsc", "a URI like ipfs://CID", ""),
    ([at({"rsc": "ipfs://x"})], "tasks[0].run.rsc", "'x' is not a CID", ""),
    ([at({"op": "add"})], "tasks[0].run.op", "an ability like wasm/run", ""),
    ([at({"input": [1]})], "tasks[0].run.input", "a map is needed", '"args"'),
    ([at({"nnc": None})], "tasks[0].run.nnc", "text or bytes", ""),
    ([at(prf="x")], "tasks[0].prf", "a list of links", '[{"/": "bafy…"}]'),
    ([at(prf=[LINK, "bafy"])], "tasks[0].prf[1]", "a link to a delegation", '{"/": "bafy…"}'),
    ([at(cause="x")], "tasks[0].cause", "a link to a receipt", '{"/": "bafy…"}'),
    ([at(meta=[1])], "tasks[0].meta", "a map is needed", "fuel"),
    ([at(meta={"fuel": "1M"})], "tasks[0].meta.fuel", "a whole number", "1000000"),
    ([at(meta={"memory": -1})], "tasks[0].meta.memory", "a whole number", "mega"),
    ([at(meta={"limits": 5})], "tasks[0].meta.limits", "a map is needed", "output"),
    ([at(meta={"limits": {"time": "5s"}})], "tasks[0].meta.limits.time", "a whole number", "5000"),
    (
        [at(meta={"ipvm/config": {"time": [5]}})],
        "tasks[0].meta.ipvm/config.time", "[number, unit]", "minutes",
    ),
    (
        [at({"input": {"args": [{"await/ok": str(PHOTO)}]}})],
        "tasks[0].run.input.args[0]", "await/ok needs a link", f'{{"/": "{PHOTO}"}}',
    ),
    (
        [GOOD, at({"input": {"args": [[{"await/okay": LINK}]]}})],
        "tasks[1].run.input.args[0][0]", "'await/okay' is no kind of await", "await/*",
    ),
    (
        [at({"input": {"args": [{"awaitt/ok": LINK}]}})],
        "tasks[0].run.input.args[0]", "'awaitt/ok' with a link is no await", "mean await/ok?",
    ),
    ([at({"input": {"a": {"/": LINK}}})], "tasks[0].run.input.a", "is a link or bytes", "base64"),
    ([at({"rsc": {"Await/OK": LINK}})], "tasks[0].run.rsc", "is no await", "mean await/ok?"),
]  # fmt: skip


@pytest.mark.parametrize(("parts", "field", "problem", "right"), TASK_ERRORS)
def test_an_error_names_file_task_and_field_and_what_would_be_right(
    parts: list[Any], field: str, problem: str, right: str
) -> None:
    text = json.dumps({"tasks": parts})
    wrapped = json.dumps({"name": "w", "workflow": {"tasks": parts}})
    for data, source, prefix in (
        (text, "w.json", ""),
        (f"# yaml\n{text}", "w.yaml", ""),
        (wrapped, "w.json", "workflow."),
    ):
        with pytest.raises(IpvmError) as caught:
            read(data, source)
        message = str(caught.value)
        assert message.startswith(f"{source}: {prefix}{field}: ")
        assert problem in message
        assert right in (caught.value.hint or "")
        assert message.endswith(" (line 2)") == (source == "w.yaml")


@pytest.mark.parametrize(
    ("value", "message", "right"),
    [
        ({"tasks": 5}, "tasks: a list of tasks", "run"),
        ({"tasks": []}, "tasks: it is empty", "Such as"),
        ({"tasks": [GOOD], "nme": "x"}, "nme: is not a field of a workflow with tasks", "name"),
        ({"tasks": [GOOD], "name": 5}, "name: printable text", "Leave it out"),
        ({"tasks": [GOOD], "labels": []}, "labels: a list with one label", "Leave it out"),
        ({"tasks": [GOOD], "labels": ["a b"]}, r"labels\[0\]: 'a b' cannot be", "letters"),
        ({"tasks": [GOOD], "labels": [5]}, r"labels\[0\]: 5 is not a label", ""),
        ({"tasks": [GOOD] * 2, "labels": ["a", "a"]}, r"labels\[1\]: the label a is", "its own"),
        ({"tasks": [GOOD], "meta": 5}, "meta: a map", ""),
        ({"tasks": [GOOD], "defaults": {"fuel": "x"}}, r"defaults\.fuel: a whole", "units"),
        ({"tasks": [GOOD], "steps": {}}, "steps: it has tasks", "Take one"),
        ({"workflow": 5}, "workflow: a map with tasks", "tasks"),
        ({"workflow": LINK}, "workflow: a map with tasks", "tasks"),
        ({"workflow": {}}, r"workflow\.tasks: a list of tasks", "run"),
        ({"workflow": {"tasks": [GOOD]}, "nam": "x"}, "nam: is not a field", "mean name?"),
        ({"workflow": {"tasks": [GOOD]}, "name": 5}, "name: printable text", "Leave it out"),
        ({"workflow": {"tasks": [GOOD], "name": 5}}, r"workflow\.name: printable", "Leave it"),
    ],
)
def test_an_error_of_the_whole_names_its_field(value: Any, message: str, right: str) -> None:
    with pytest.raises(UsageError, match=rf"^w\.json: {message}") as caught:
        read(json.dumps(value), "w.json")
    assert right in (caught.value.hint or "")


@pytest.mark.parametrize("key", ["await", "awaits", "awaited", "ok", "a/ok", "image", "awai", "/"])
def test_a_link_under_another_key_is_data(key: str) -> None:
    run = {**ADD.value(), "input": {"args": [{key: PHOTO}]}}
    (step,) = read(
        tasks({"run": run}) if key != "/" else dag_cbor.encode({"tasks": [{"run": run}]})
    )
    assert step.instruction.input["args"] == [{key: PHOTO}]
    assert step.instruction.awaits() == []


@pytest.mark.parametrize(
    ("key", "meant"),
    [
        ("awaitt/ok", "await/ok"),
        ("awat/ok", "await/ok"),
        ("await.ok", "await/ok"),
        ("AWAIT/OK", "await/ok"),
        ("wait/ok", "await/ok"),
        ("await-error", "await/error"),
        ("awaits/errors", "await/error"),
        ("await*", "await/*"),
        ("awaits/*", "await/*"),
    ],
)
def test_a_link_under_a_key_that_is_nearly_an_await_is_refused(key: str, meant: str) -> None:
    run = {**ADD.value(), "input": {"args": [{key: PHOTO}]}}
    with pytest.raises(UsageError, match="with a link is no await") as caught:
        read(tasks({"run": run}), "w.json")
    assert (caught.value.hint or "").startswith(f"Did you mean {meant}?")
    data = {**ADD.value(), "input": {"args": [{key: str(PHOTO)}, {key: PHOTO, "other": 1}]}}
    assert len(read(tasks({"run": data}), "w.json")) == 1
