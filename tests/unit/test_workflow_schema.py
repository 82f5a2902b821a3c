"""The JSON Schema takes every file that the reader takes, and refuses what it can say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from lite.errors import IpvmError
from lite.model.step_meta import LIMIT_KEYS, RETRY_KEYS
from lite.model.workflow_form import STEP_KEYS, WORKFLOW_KEYS
from lite.model.workflow_schema import DIALECT, workflow_schema
from tests.workflow_support import STEP_ERRORS, THUMBS, fits, step

SCHEMA = workflow_schema()

# What no schema can say: whether labels, files and CIDs exist, units, and fields of both kinds.
BEYOND = (
    "no step", "names no part", "there is no file", "names no file", "outside of", "not a CID",
    "a link or bytes", "is not :FUNC", "already", "a whole number", "not an amount", "a URI",
    "delegation", "at most", "is pure", "an amount", "a module", "a list",
)  # fmt: skip


def plain(text: str) -> Any:
    return YAML(typ="safe", pure=True).load(text)


def test_it_is_json_and_names_its_dialect() -> None:
    assert json.loads(json.dumps(SCHEMA)) == SCHEMA
    assert SCHEMA["$schema"] == DIALECT
    assert workflow_schema() is not workflow_schema()


def test_it_has_the_fields_that_the_reader_has() -> None:
    parts = SCHEMA["$defs"]
    assert set(SCHEMA["properties"]) == set(WORKFLOW_KEYS)
    assert set(parts["run"]["properties"]) | set(parts["op"]["properties"]) == set(STEP_KEYS)
    assert set(parts["limits"]["properties"]) == set(LIMIT_KEYS)
    assert set(parts["retry"]["properties"]) == set(RETRY_KEYS)


def test_a_file_with_every_field_is_valid() -> None:
    assert fits(SCHEMA, plain(THUMBS))
    every = {
        "run": "tools:f", "func": None, "args": [1, {"a": None}], "env": {"A": "1"}, "stdin": "x",
        "fx": True,
        "nonce": "n", "limits": {"fuel": 1e6, "memory": "1M", "time": "5s", "output": 5},
        "retry": 3, "needs": ["gpu"], "secret": False, "meta": {"x": 1}, "prf": ["bafy"],
    }  # fmt: skip
    assert fits(SCHEMA, {"steps": {"größe-2": every}})


def test_the_examples_are_valid(root: Path) -> None:
    files = [
        path
        for path in sorted((root / "examples").rglob("*.y*ml"))
        if "steps" in (plain(path.read_text()) or {})
    ]
    for path in files:
        assert fits(SCHEMA, plain(path.read_text())), path


@pytest.mark.parametrize(
    "text",
    [
        "steps: {}",
        "name: x",
        "step: {a: {run: x}}",
        "steps: {a.b: {run: x}}",
        "steps: {'': {run: x}}",
        "steps: {a: {}}",
        "steps: {a: 5}",
        "name: 5\nsteps: {a: {run: x}}",
        "defaults: {disk: 5}\nsteps: {a: {run: x}}",
    ],
)
def test_a_file_of_another_shape_is_not_valid(text: str) -> None:
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
