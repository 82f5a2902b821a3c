"""The JSON Schema takes every file that the readers take, and refuses what it can say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from lite.errors import IpvmError
from lite.model.limits_map import CONFIG, DEFAULTS, FLAT, TALK
from lite.model.step_meta import LIMIT_KEYS, RETRY_KEYS
from lite.model.workflow_form import STEP_KEYS, WORKFLOW_KEYS
from lite.model.workflow_schema import DIALECT, workflow_schema
from tests.json_schema import fits
from tests.workflow_support import PHOTO, STEP_ERRORS, THUMBS, read, step

SCHEMA = workflow_schema()
PARTS = SCHEMA["$defs"]
LINK = {"/": str(PHOTO)}
RUN = {"rsc": "ipfs://bafkqaaa", "op": "wasm/run", "input": {"args": [], "func": "f"}}

# What no schema can say: whether labels, files and CIDs exist, amounts, and fields of both kinds.
BEYOND = (
    "no step", "awaits itself", "there is no file", "outside of -2^64", "a link or bytes",
    "no link", "at most 60s", "'nope' is not a CID", "with a link is no await", "is not a DID",
)  # fmt: skip


def plain(text: str) -> Any:
    return YAML(typ="safe", pure=True).load(text)


def test_it_is_json_and_names_its_dialect() -> None:
    assert json.loads(json.dumps(SCHEMA)) == SCHEMA
    assert SCHEMA["$schema"] == DIALECT
    assert workflow_schema() is not workflow_schema()


def test_every_definition_is_there_and_used() -> None:
    text = json.dumps(SCHEMA)
    named = {part.split('"')[0] for part in text.split('"#/$defs/')[1:]}
    assert named == set(PARTS)


def test_it_has_the_fields_that_the_readers_have() -> None:
    assert set(PARTS["steps"]["properties"]) == set(WORKFLOW_KEYS)
    assert set(PARTS["run"]["properties"]) | set(PARTS["op_step"]["properties"]) == set(STEP_KEYS)
    assert set(PARTS["limits"]["properties"]) == set(LIMIT_KEYS)
    assert set(PARTS["retry"]["anyOf"][2]["properties"]) == set(RETRY_KEYS)
    meta = PARTS["meta"]["properties"]
    said = {"secret", "force", "retry", "priority", "requires", "needs"}
    assert set(meta) == {*FLAT, "limits", "ipvm/config", *said}
    assert set(meta["limits"]["anyOf"][1]["properties"]) == set(TALK)
    assert set(meta["ipvm/config"]["anyOf"][1]["properties"]) == {*CONFIG, "secret"}
    defaults = PARTS["tasks"]["properties"]["defaults"]["anyOf"][1]
    assert set(defaults["properties"]) == {*DEFAULTS, "ipvm/config", "secret"}


def test_a_file_with_every_field_is_valid() -> None:
    assert fits(SCHEMA, plain(THUMBS))
    every = {
        "run": "tools:f", "func": None, "args": [1, {"a": None}, {"await/*": LINK}, "$${x}", "@@x"],
        "env": {"A": "1", "B": {"await/ok": LINK}}, "stdin": "@photo.png", "fx": True,
        "nonce": {"/": {"bytes": "aGk"}},
        "limits": {"fuel": 1e6, "memory": "1.5 MiB", "time": "5s", "output": 5},
        "retry": 3, "requires": "gpu", "needs": ["gpu"], "secret": False,
        "meta": {"x": 1, "fuel": 5.0},
        "prf": [str(PHOTO), LINK],
    }  # fmt: skip
    value = {"steps": {"größe-2": every}}
    assert fits(SCHEMA, value)
    del every["func"]
    assert len(read(json.dumps(value), "w.json")) == 1


@pytest.mark.parametrize(
    "meta",
    [
        {"fuel": 18446744073709552000, "memory": 4294967296, "time": 100000},
        {"fuel": None, "memory": [64, "mega", "bytes"], "time": [5, "minutes"]},
        {"limits": {"fuel": 1, "output": [1, "kilo", "bytes"]}, "tags": ["a"], "author": None},
        {"ipvm/config": {"gas": 1000, "time": [0.5, "kilo", "seconds"], "disk": "200GB"}},
    ],
)
def test_tasks_are_valid_with_all_three_spellings_of_limits(meta: Any) -> None:
    task = {"run": RUN, "meta": meta, "prf": [LINK], "cause": None}
    linked = {"run": LINK}
    awaiting = {"run": {**RUN, "rsc": {"await/ok": LINK}, "input": {"a": [{"await/*": LINK}]}}}
    whole = {"tasks": [task, linked, awaiting], "labels": None, "defaults": {"gas": 5}, "meta": {}}
    for value in (whole, {"name": "w", "workflow": whole}, {"workflow": {"tasks": [task]}}):
        assert fits(SCHEMA, value)
    assert len(read(json.dumps({**whole, "tasks": [task, awaiting]}), "w.json")) == 2


def test_the_examples_and_vectors_are_valid(root: Path, vectors: Path) -> None:
    files = [*(root / "examples").rglob("*.y*ml"), *(root / "examples").rglob("*.json")]
    files += (vectors / "homestar").glob("*.json")
    found = {path: plain(path.read_text("utf-8")) for path in files}
    workflows = {path: value for path, value in found.items() if {"steps", "tasks"} & set(value)}
    assert len(workflows) >= 9
    for path, value in workflows.items():
        assert fits(SCHEMA, value), path


@pytest.mark.parametrize(
    "text",
    [
        "steps: {}",
        "steps: []",
        "steps:",
        "steps: [{run: tools}]",
        "name: x",
        "step: {a: {run: tools}}",
        "steps: {a.b: {run: tools}}",
        "steps: {'': {run: tools}}",
        "steps: {-a: {run: tools}}",
        "steps: {a: {}}",
        "steps: {a: 5}",
        "name: 5\nsteps: {a: {run: tools}}",
        'name: "\\e"\nsteps: {a: {run: tools}}',
        "meta: 5\nsteps: {a: {run: tools}}",
        "defaults: {disk: 5}\nsteps: {a: {run: tools}}",
        "defaults: {time: 5}\nsteps: {a: {run: tools}}",
        "defaults: {fuel: lots}\nsteps: {a: {run: tools}}",
        "ipvm/workflow: {v: 0.1.0}",
        "tasks: 5",
        "tasks: []",
        "tasks: [5]",
        "tasks: [{}]",
        "tasks: [{run: 5}]",
        "tasks: [{run: {op: a/b}}]",
        "tasks: [{run: {op: a b, rsc: 'x:y'}}]",
        "tasks: [{run: {op: a/b, rsc: 5}}]",
        "tasks: [{run: {op: a/b, rsc: 'x:y', inputs: {}}}]",
        "tasks: [{run: {op: a/b, rsc: 'x:y', input: [1]}}]",
        "tasks: [{run: {op: a/b, rsc: 'x:y', nnc: 5}}]",
        "tasks: [{run: {op: a/b, rsc: 'x:y', input: {a: {await/ok: bafkqaaa}}}}]",
        "tasks: [{run: {op: a/b, rsc: 'x:y', input: {a: [{await/okay: {/: bafkqaaa}}]}}}]",
        "tasks: [{run: {op: a/b, rsc: 'x:y'}, with: 5}]",
        "tasks: [{run: {op: a/b, rsc: 'x:y'}, prf: x}]",
        "tasks: [{run: {op: a/b, rsc: 'x:y'}, prf: [x]}]",
        "tasks: [{run: {op: a/b, rsc: 'x:y'}, cause: x}]",
        "tasks: [{run: {op: a/b, rsc: 'x:y'}, meta: [1]}]",
        "tasks: [{run: {op: a/b, rsc: 'x:y'}, meta: {fuel: lots}}]",
        "tasks: [{run: {op: a/b, rsc: 'x:y'}, meta: {memory: -1}}]",
        "tasks: [{run: {op: a/b, rsc: 'x:y'}, meta: {time: 1.5}}]",
        "tasks: [{run: {op: a/b, rsc: 'x:y'}, meta: {limits: 5}}]",
        "tasks: [{run: {op: a/b, rsc: 'x:y'}, meta: {limits: {output: 64M}}}]",
        "tasks: [{run: {op: a/b, rsc: 'x:y'}, meta: {ipvm/config: {time: [5, parsecs]}}}]",
        "tasks: [{run: {op: a/b, rsc: 'x:y'}, meta: {ipvm/config: {gas: [5, bytes]}}}]",
        "{tasks: [{run: {op: a/b, rsc: 'x:y'}}], labels: [a b]}",
        "{tasks: [{run: {op: a/b, rsc: 'x:y'}}], name: 5}",
        "{tasks: [{run: {op: a/b, rsc: 'x:y'}}], defaults: {time: 5s}}",
        "{tasks: [{run: {op: a/b, rsc: 'x:y'}}], steps: {}}",
        "{tasks: [{run: {op: a/b, rsc: 'x:y'}}], nme: x}",
        "workflow: 5",
        "workflow: {}",
        "workflow: {tasks: []}",
        "{workflow: {tasks: [{run: {op: a/b, rsc: 'x:y'}}]}, nme: x}",
        "{workflow: {tasks: [{run: {op: a/b, rsc: 'x:y'}}]}, name: 5}",
    ],
)
def test_a_file_of_another_shape_is_not_valid_and_is_not_read(text: str) -> None:
    with pytest.raises(IpvmError):
        read(text)
    assert not fits(SCHEMA, plain(text))


@pytest.mark.parametrize("case", STEP_ERRORS, ids=lambda case: case[0])
def test_a_step_that_the_reader_refuses_for_its_shape_is_not_valid(
    case: tuple[str, str, str, str],
) -> None:
    text, _, problem, _ = case
    value = plain(f"steps:\n  other: {{run: tools}}\n  a: {text}\n")
    with pytest.raises(IpvmError):
        step(text)
    if not any(words in problem for words in BEYOND):
        assert not fits(SCHEMA, value)
