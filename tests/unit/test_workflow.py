"""Workflows and tasks as values: what they take, their bytes, and what they refuse."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

import lite
from lite.errors import CodecError, UsageError
from lite.ipld import dag_cbor
from lite.ipld.cid import CID, RAW
from lite.limits import Limits
from lite.model.instruction import wasm
from lite.model.limits_map import limits_from_meta
from lite.model.safety import LEVELS, is_mutation
from lite.model.task import Task
from lite.model.workflow import LABEL_CHARS_MAX, STEPS_MAX, Step, Workflow

MODULE = CID.of(b"module", RAW)
CROP = wasm(MODULE, "crop", 1)
BLUR = wasm(MODULE, "blur", CROP.ok, 2)
RECEIPT = CID.of(b"receipt", RAW)


def test_it_is_a_public_name() -> None:
    assert lite.Workflow is Workflow


def test_keywords_are_the_labels_and_their_order_is_kept() -> None:
    workflow = Workflow(crop=CROP, blur=Task(BLUR, {"limits": {"fuel": 5}}))
    assert [step.label for step in workflow] == ["crop", "blur"]
    assert workflow["blur"].instruction is BLUR
    assert workflow["blur"].meta == {"limits": {"fuel": 5}}
    assert (workflow.name, workflow.defaults, workflow.meta) == ("", None, {})
    assert len(workflow) == 2


def test_a_step_may_be_called_self_or_like_a_parameter() -> None:
    workflow = Workflow(self=CROP, steps=CROP, name=CROP)
    assert [step.label for step in workflow] == ["self", "steps", "name"]


def test_tasks_stand_in_homestars_form_and_labels_beside_them() -> None:
    workflow = Workflow.of(
        [Step("crop", Task(CROP, {"x": 1}, (MODULE,), RECEIPT))],
        name="thumbs",
        defaults={"fuel": 9},
        meta={"author": "me"},
    )
    task = {"run": CROP.value(), "meta": {"x": 1}, "prf": [MODULE], "cause": RECEIPT}
    assert workflow.value() == {
        "tasks": [task],
        "labels": ["crop"],
        "name": "thumbs",
        "defaults": {"fuel": 9},
        "meta": {"author": "me"},
    }
    assert Workflow(crop=CROP).value().keys() == {"tasks", "labels"}


def test_the_block_reads_back_and_gives_the_cid() -> None:
    workflow = Workflow.of([Step("a", Task(CROP))], name="n", defaults={}, meta={"k": None})
    again = Workflow.parse(workflow.data)
    assert again == workflow
    assert hash(again) == hash(workflow)
    assert (again.name, again.defaults, again.meta) == ("n", {}, {"k": None})
    assert again.cid == CID.of(workflow.data, 0x71)
    assert pickle.loads(pickle.dumps(workflow)) == workflow
    assert "'n'" in repr(workflow)
    assert str(workflow.cid) in repr(workflow)


def test_it_cannot_be_changed() -> None:
    workflow = Workflow(crop=CROP)
    with pytest.raises(AttributeError, match="do not change"):
        workflow.name = "other"
    with pytest.raises(AttributeError, match="do not change"):
        del workflow.name
    given = {"limits": {"fuel": 1}}
    task = Task(CROP, given)
    given["limits"]["fuel"] = 2
    assert task.meta == {"limits": {"fuel": 1}}


@pytest.mark.parametrize(
    "change",
    [
        {"labels": None},
        {"name": ""},
        {"meta": {}},
        {"meta": None},
        {"extra": 1},
        {"labels": ["a", "b"]},
        {"labels": ["a b"]},
        {"tasks": []},
        {"tasks": [{"run": CROP.value()}]},
        {"tasks": [{"run": CROP.cid, "meta": {}, "prf": [], "cause": None}]},
    ],
)
def test_a_block_with_other_fields_or_forms_is_refused(change: dict[str, Any]) -> None:
    value = {**Workflow(a=CROP).value(), **change}
    with pytest.raises(CodecError, match="workflow"):
        Workflow.parse(dag_cbor.encode(value))


def test_a_block_that_is_no_map_is_refused() -> None:
    with pytest.raises(CodecError, match="tasks: a list"):
        Workflow.parse(dag_cbor.encode([1]))


def test_equal_steps_are_allowed() -> None:
    workflow = Workflow(a=CROP, b=CROP)
    assert workflow["a"].instruction == workflow["b"].instruction


def test_a_label_there_twice_is_refused() -> None:
    with pytest.raises(UsageError, match=r"steps\.a: the label a is there twice"):
        Workflow.of([Step("a", Task(CROP)), Step("a", Task(BLUR))])


@pytest.mark.parametrize(
    "label",
    [
        "",
        "a.b",
        "$a",
        "a b",
        "-a",
        "a\n",
        "a\x1b[31m",
        "a}",
        "x" * (LABEL_CHARS_MAX + 1),
        "\u202ea",
    ],
)
def test_a_label_is_made_of_letters_digits_and_dashes(label: str) -> None:
    with pytest.raises(UsageError, match="cannot be a label") as caught:
        Workflow.of([Step(label, Task(CROP))])
    assert str(caught.value).isprintable()
    assert "letters" in (caught.value.hint or "")


@pytest.mark.parametrize("label", ["a", "größe", "写真-2", "_x", "1", "x" * LABEL_CHARS_MAX])
def test_letters_of_any_script_make_a_label(label: str) -> None:
    assert Workflow.of([Step(label, Task(CROP))])[label].label == label


def test_it_needs_a_step_and_has_a_bound() -> None:
    with pytest.raises(UsageError, match="at least one step"):
        Workflow()
    with pytest.raises(UsageError, match=f"at most {STEPS_MAX} steps"):
        Workflow.of([Step("a", Task(CROP))] * (STEPS_MAX + 1))


def test_more_than_a_block_is_refused() -> None:
    big = wasm(MODULE, "f", "x" * 3_000_000)
    with pytest.raises(UsageError, match="at most 4194304"):
        Workflow(a=big, b=wasm(MODULE, "g", "x" * 3_000_000))


@pytest.mark.parametrize("what", [1, None, "crop", {"run": 1}])
def test_a_step_is_an_instruction_or_a_task(what: Any) -> None:
    with pytest.raises(UsageError, match=r"steps\.a: an instruction or a task"):
        Workflow(a=what)


@pytest.mark.parametrize(
    ("meta", "message"),
    [
        ({"fuel": -1}, r"steps\.a\.meta\.fuel"),
        ({"limits": {"memory": "64M"}}, r"steps\.a\.meta\.limits\.memory"),
        ({"ipvm/config": {"time": [5, "parsecs"]}}, r"steps\.a\.meta\.ipvm/config\.time.*parsecs"),
    ],
)
def test_limits_that_cannot_be_read_are_refused_by_name(meta: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Workflow(a=Task(CROP, meta))


def test_defaults_that_cannot_be_read_are_refused() -> None:
    with pytest.raises(UsageError, match=r"^defaults\.time"):
        Workflow.of([Step("a", Task(CROP))], defaults={"time": "5s"})


@pytest.mark.parametrize("name", ["a\nb", "\x1b", "n" * 201, 5])
def test_a_name_is_short_printable_text(name: Any) -> None:
    with pytest.raises(UsageError, match="name"):
        Workflow.of([Step("a", Task(CROP))], name=name)


def test_what_is_no_ipld_is_refused() -> None:
    with pytest.raises(UsageError, match="meta"):
        Workflow.of([Step("a", Task(CROP))], meta={"x": object()})
    with pytest.raises(UsageError, match="defaults"):
        Workflow.of([Step("a", Task(CROP))], defaults={"x": float("nan")})
    with pytest.raises(UsageError, match="meta"):
        Task(CROP, {"x": {1: 2}})


def test_homestars_form_repeats_limits_in_the_spelling_that_it_reads() -> None:
    step = Step("a", Task(CROP, {"limits": {"fuel": 7}, "memory": 4096}))
    value = Workflow.of([step], defaults={"time": 5000, "memory": 1}).homestar_value()
    expected = {"limits": {"fuel": 7}, "fuel": 7, "memory": 4096, "time": 5000}
    assert value["tasks"][0]["meta"] == expected
    assert Workflow(a=CROP).homestar_value()["tasks"][0]["meta"] == {}
    limits = limits_from_meta(value["tasks"][0]["meta"], None, Limits())
    assert (limits.fuel, limits.memory_bytes, limits.time_ms) == (7, 4096, 5000)


def test_labels_of_unlabelled_tasks_are_unique_and_always_the_same() -> None:
    def task(func: str) -> dict[str, Any]:
        return {"run": wasm(MODULE, func).value()}

    names = ["f", "f", "f-2", "f", "ns:pkg/i#f", "", "-"]
    workflow = Workflow.from_value({"tasks": [task(name) for name in names]})
    labels = [step.label for step in workflow]
    assert labels == ["f", "f-2", "f-2-2", "f-3", "ns-pkg-i-f", "task", "task-2"]


class TestTask:
    def test_meta_prf_and_cause_may_be_absent_or_null(self) -> None:
        run = CROP.value()
        nothing = {"run": run, "meta": None, "prf": None, "cause": None}
        assert Task.from_value({"run": run}) == Task.from_value(nothing) == Task(CROP)
        assert Task(CROP).value() == {"run": run, "meta": {}, "prf": [], "cause": None}

    def test_a_link_is_resolved_before(self) -> None:
        with pytest.raises(UsageError, match=r"^run: bafy\w+ is a link"):
            Task.from_value({"run": CROP.cid})

    @pytest.mark.parametrize(
        ("value", "message"),
        [
            (1, "a task is a map"),
            ({}, "a task is a map"),
            ({"run": CROP.value(), "with": 1}, "^with: is not a field"),
            ({"run": CROP.value(), "prf": "x"}, "prf: a list"),
            ({"run": CROP.value(), "prf": [MODULE, "x"]}, r"^prf\[1\]: a link to a delegation"),
            ({"run": CROP.value(), "cause": "x"}, "cause: a link"),
            ({"run": CROP.value(), "meta": []}, "meta: a map"),
            ({"run": 5}, r"run: an instruction is a map"),
            ({"run": {**CROP.value(), "nnc": None}}, r"run\.nnc: text or bytes"),
            ({"run": {**CROP.value(), "op": "WASM RUN"}}, r"run\.op: an ability"),
        ],
    )
    def test_what_does_not_fit_is_named(self, value: Any, message: str) -> None:
        with pytest.raises(UsageError, match=message):
            Task.from_value(value)

    def test_the_meta_is_no_part_of_the_memo_key(self) -> None:
        assert Task(CROP, {"a": 1}).run.cid == Task(CROP, {"a": 2}).run.cid
        assert Task(CROP, {"a": 1}) != Task(CROP, {"a": 2})


def test_mutations_are_the_upper_half_of_the_levels() -> None:
    assert [is_mutation(level) for level in LEVELS] == [False, False, True, True]
