"""Words in `meta` that are heeded are read or refused, never passed over."""

from __future__ import annotations

import json
from typing import Any

import pytest

from lite.errors import UsageError
from lite.model.known_meta import check_meta, is_private
from lite.model.task import Task
from lite.model.workflow import Step, Workflow
from lite.model.workflow_schema import workflow_schema
from tests.json_schema import fits
from tests.store_support import instruction
from tests.workflow_support import read

STEP = "steps:\n  a:\n    op: lab/post\n    rsc: x:y\n"
NO_BOOLEANS = ["yes", "on", '"true"', "1", "0", "[]", "{}", "TRUE_", "1.0"]


@pytest.mark.parametrize("value", NO_BOOLEANS)
@pytest.mark.parametrize(
    ("text", "where"),
    [
        (f"{STEP}    meta: {{secret: %s}}\n", "steps.a.meta.secret"),
        (f"{STEP}    meta: {{ipvm/config: {{secret: %s}}}}\n", "steps.a.meta.ipvm/config.secret"),
        (f"{STEP}    secret: %s\n", "steps.a.secret"),
        (f"{STEP}    meta: {{force: %s}}\n", "steps.a.meta.force"),
        (f"meta: {{secret: %s}}\n{STEP}", "meta.secret"),
        (f"meta: {{force: %s}}\n{STEP}", "meta.force"),
        (f"defaults: {{secret: %s}}\n{STEP}", "defaults.secret"),
    ],
)
def test_what_is_no_boolean_is_refused_with_its_place(text: str, where: str, value: str) -> None:
    with pytest.raises(UsageError, match="true or false") as caught:
        read(text % value)
    said = str(caught.value)
    assert f"w.yaml: {where}: " in said
    assert "(line " in said


TASK = {"run": {"rsc": "x:y", "op": "lab/post"}}


@pytest.mark.parametrize("value", ["true", "yes", 1, 1.0, [], {}])
@pytest.mark.parametrize(
    ("wrap", "where"),
    [
        (lambda v: {"tasks": [{**TASK, "meta": {"secret": v}}]}, "tasks[0].meta.secret"),
        (lambda v: {"tasks": [TASK], "meta": {"secret": v}}, "meta.secret"),
        (lambda v: {"tasks": [TASK], "defaults": {"secret": v}}, "defaults.secret"),
        (lambda v: {"tasks": [TASK], "meta": {"force": v}}, "meta.force"),
        (
            lambda v: {"name": "n", "workflow": {"tasks": [{**TASK, "meta": {"secret": v}}]}},
            "workflow.tasks[0].meta.secret",
        ),
        (
            lambda v: {"tasks": [{**TASK, "meta": {"ipvm/config": {"secret": v}}}]},
            "tasks[0].meta.ipvm/config.secret",
        ),
    ],
)
def test_the_same_in_the_forms_with_tasks(wrap: Any, where: str, value: Any) -> None:
    document = wrap(value)
    with pytest.raises(UsageError, match="true or false") as caught:
        read(json.dumps(document), "w.json")
    assert f"w.json: {where}: " in str(caught.value)
    assert not fits(workflow_schema(), document)


@pytest.mark.parametrize(
    "meta",
    [
        {"Secret": True},
        {"secrets": True},
        {"private": True},
        {" secret": True},
        {"FORCE": True},
        {"ipvm/confg": {"secret": True}},
        {"ipvm_config": {"secret": True}},
        {"ipvm/config": {"Secret": True}},
        {"ipvm/config": True},
    ],
)
def test_what_is_nearly_such_a_word_is_refused(meta: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=r"steps\.one\.meta"):
        Workflow(one=Task(instruction(1), meta))
    with pytest.raises(UsageError, match=r"^meta"):
        Workflow.of([Step("one", Task(instruction(1)))], meta=meta)


def test_null_is_nothing_and_other_words_are_the_authors_own() -> None:
    free = {"secret": None, "force": None, "retry": None, "ipvm/config": None, "author": "me"}
    check_meta({**free, "tags": ["secret"], "secretary": "b", "limits": {"fuel": 1}})
    assert not is_private(free)


@pytest.mark.parametrize("where", ["defaults", "meta"])
def test_a_whole_workflow_is_secret_by_its_defaults_or_its_meta(where: str) -> None:
    found = read(f"{where}: {{secret: true}}\n{STEP}")
    assert is_private(getattr(found, where))
    assert Workflow.parse(found.data) == found


@pytest.mark.parametrize("word", ["secret", "force"])
def test_a_word_at_the_top_of_a_file_is_told_where_it_belongs(word: str) -> None:
    with pytest.raises(UsageError, match=f"w.yaml: {word}: is not a field here") as caught:
        read(f"{word}: true\n{STEP}")
    assert f"meta: {{{word}: true}}" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("retry", "where"),
    [("3", ""), ("{attempts: 0}", ".attempts"), ("{times: 3}", ".times"), ("[]", "")],
)
def test_a_retry_policy_is_refused_with_its_place(retry: str, where: str) -> None:
    with pytest.raises(UsageError) as caught:
        read(f"{STEP}    meta: {{retry: {retry}}}\n")
    assert f"w.yaml: steps.a.meta.retry{where}: " in str(caught.value)
    assert "(line 5)" in str(caught.value)


@pytest.mark.parametrize("priority", ["101", "-101", "high", "1.5", "true"])
def test_a_priority_that_would_not_count_is_refused(priority: str) -> None:
    with pytest.raises(UsageError, match=r"steps\.a\.meta\.priority: an integer from -100 to 100"):
        read(f"{STEP}    meta: {{priority: {priority}}}\n")
    assert read(f"{STEP}    meta: {{priority: -100}}\n")["a"].meta == {"priority": -100}


def test_a_circle_is_found_at_one_of_its_awaits() -> None:
    text = "steps:\n" + "".join(
        f"  {label}:\n    op: lab/pure\n    rsc: x:y\n    input: {{of: ['${{{of}}}']}}\n"
        for label, of in (("z", "a"), ("a", "b"), ("b", "c"), ("c", "a"))
    )
    with pytest.raises(UsageError, match="circle: a → b → c → a") as caught:
        read(text)
    assert str(caught.value).startswith("w.yaml: steps.a.input.of[0]: ")
    assert str(caught.value).endswith("(line 9)")


@pytest.mark.parametrize(
    ("text", "where"),
    [
        (f"{STEP}    requires: {{gpu: {{memory: lots}}}}\n", "steps.a.requires.gpu.memory"),
        (f"{STEP}    needs: [gpu, two words]\n", "steps.a.needs[1]"),
        (f"{STEP}    meta: {{requires: {{gpus: 2}}}}\n", "steps.a.meta.requires.gpus"),
        (f"{STEP}    meta: {{needs: 5}}\n", "steps.a.meta.needs"),
        (f"{STEP}    meta: {{Requires: gpu}}\n", "steps.a.meta.Requires"),
        ("tasks: [{run: {rsc: 'x:y', op: a/b}, meta: {requires: [no, 5]}}]", "tasks[0].meta."),
    ],
)
def test_requirements_are_checked_when_a_file_is_read_with_their_place(
    text: str, where: str
) -> None:
    with pytest.raises(UsageError) as caught:
        read(text)
    assert f"w.yaml: {where}" in str(caught.value)
    assert "(line " in str(caught.value)


def test_requirements_are_checked_in_python_and_kept_as_written() -> None:
    with pytest.raises(UsageError, match=r"^steps\.a\.meta\.requires\.cpu: 0 is not a whole"):
        Workflow(a=Task(instruction(1), {"requires": {"cpu": 0}}))
    asked = {"gpu": {"memory": "8G"}, "affinity": {"tag": "lab", "soft": "30s"}}
    made = Workflow(a=Task(instruction(1), {"requires": asked}))
    assert Workflow.parse(made.data)["a"].meta == {"requires": asked}
    assert read(f"{STEP}    requires: {json.dumps(asked)}\n")["a"].meta == {"requires": asked}
