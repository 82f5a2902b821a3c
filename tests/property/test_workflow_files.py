"""Damaged workflow files: each is read, or refused with file, step and field; the schema agrees."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lite.errors import NotFoundError, UsageError
from lite.ipld import dag_cbor
from lite.ipld.dag_json import decode
from lite.model.instruction import wasm
from lite.model.workflow import Workflow
from lite.model.workflow_schema import workflow_schema
from tests.json_schema import fits
from tests.workflow_support import MODULE, PHOTO, read

Way = tuple["str | int", ...]

SCHEMA = workflow_schema()
LINK = {"/": str(PHOTO)}
NODE = "did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK"
FRIENDLY: dict[str, Any] = {
    "name": "w",
    "defaults": {"fuel": "1M", "time": "5s"},
    "meta": {"author": "me"},
    "steps": {
        "crop": {
            "run": "imaging.wasm:crop",
            "args": ["@photo.png", 0, [True, None, 1.5], {"k": LINK}],
            "env": {"A": "1"},
            "stdin": "${other.error}",
            "fx": True,
            "nonce": {"/": {"bytes": "aGk"}},
            "limits": {"fuel": 5, "memory": "64M", "time": "1s", "output": 1e6},
            "retry": {"attempts": 2, "backoff": "1s"},
            "requires": {
                "gpu": {"count": 2, "memory": "8G", "kind": "h200"},
                "cpu": 4.0,
                "memory": "16G",
                "disk": 10,
                "engine": ["fuel"],
                "arch": "x86_64",
                "op": "lab/post",
                "key": NODE,
                "affinity": [{"tag": ["a", "b"]}, {"holds": [LINK, str(PHOTO)], "soft": "5s"}],
                "anti_affinity": {"did": NODE, "soft": True},
            },
            "needs": ["gpu"],
            "secret": False,
            "meta": {"ipvm/config": {"time": [5, "minutes"]}},
            "prf": [str(PHOTO)],
        },
        "blur": {"run": "${crop}", "func": "blur", "args": [{"await/ok": LINK}, "$${x}"]},
        "save": {
            "op": "http/put",
            "rsc": "https://example.org/",
            "input": {"body": "${blur.*}", "_": []},
            "after": ["crop.*"],
            "meta": {"limits": {"fuel": 1}},
        },
        "other": {"run": "tools"},
    },
}
RUN = {
    "rsc": f"ipfs://{MODULE}",
    "op": "wasm/run",
    "nnc": "",
    "input": {"func": "f", "args": [{"await/ok": LINK}, 1, "${x}", {"/": {"bytes": "aGk"}}]},
}
META = {"fuel": 18446744073709552000, "memory": [4, "giga", "bytes"], "limits": {"output": 5}}
META |= {"requires": {"gpu": True, "affinity": {"holds": LINK}}, "needs": "lab"}
TASKS: dict[str, Any] = {
    "tasks": [
        {"run": RUN, "meta": META, "prf": [LINK], "cause": None},
        {"run": {"/": str(wasm(MODULE, "g").cid)}},
        {"run": {"rsc": LINK, "op": "WASM/run", "input": {"func": "g", "args": []}}, "prf": None},
    ],
    "labels": ["a", "b", "c"],
    "defaults": {"gas": 5, "time": None},
    "meta": {},
}
FILES = {"steps": FRIENDLY, "tasks": TASKS, "request": {"name": "w", "workflow": TASKS}}
STRANGE: list[Any] = [
    None, True, False, 0, -1, 1.5, 2**63, 2**64, 10**400, "", "x", "${crop}", "${crop.}", "${}",
    "@", "@nope", "@photo.png", "@@", "a\0b", "\x1b[2J", "5s", "1M", "lots", "wasm/run", "add.wasm",
    "x:y", str(PHOTO), [], [[]], ["a"], {}, {"a": 1}, LINK, {"/": "x"}, {"/": 1}, {"/": {}},
    {"/": {"bytes": "a"}}, {"await/ok": LINK}, {"await/ok": str(PHOTO)}, {"await/no": 1},
    {"await/*": LINK, "b": 1}, {"awaits/ok": LINK}, [5, "minutes"], [5, "kilo", "bytes"],
    {"run": "tools"}, {"op": "a/b"},
]  # fmt: skip
KEYS = [
    "run", "op", "args", "input", "meta", "limits", "after", "arg", "/", "await/ok", "fuel", "name",
    "tasks", "steps", "workflow", "ipvm/workflow", "a b", "", "\x1b", "labels", "prf", "rsc", "env",
]  # fmt: skip


def ways(value: Any, way: Way = ()) -> list[Way]:
    """The paths of all parts."""
    inside: list[tuple[str | int, Any]] = []
    if isinstance(value, dict):
        inside = list(value.items())
    elif isinstance(value, list):
        inside = list(enumerate(value))
    return [way, *(found for key, part in inside for found in ways(part, (*way, key)))]


def at(value: Any, way: Way) -> Any:
    for key in way:
        value = value[key]
    return value


def damaged(data: st.DataObject, whole: Any) -> tuple[Any, Way]:
    """The file with one part of it taken out, renamed, put in or replaced; and which part."""
    whole = json.loads(json.dumps(whole))  # no part is shared with another
    inner = ways(whole)[1:]
    if not inner:
        return {"name": "x"}, ("name",)
    *way, key = data.draw(st.sampled_from(inner))
    inside = at(whole, tuple(way))
    deed = data.draw(st.sampled_from(["replace", "replace", "remove", "rename", "add"]))
    if deed == "remove":
        del inside[key]
    elif deed == "replace" or isinstance(inside, list):
        inside[key] = data.draw(st.sampled_from(STRANGE))
    else:
        new = data.draw(st.sampled_from(KEYS))
        inside[new] = inside.pop(key) if deed == "rename" else data.draw(st.sampled_from(STRANGE))
        key = new
    return whole, (*way, key)


def forms(whole: Any) -> list[tuple[str, bytes]]:
    """A file as JSON, as YAML, and as DAG-CBOR where it has a form there."""
    text = json.dumps(whole)
    found = [("w.json", text.encode()), ("w.yaml", f"# yaml\n{text}".encode())]
    try:
        found.append(("w.cbor", dag_cbor.encode(decode(text))))
    except Exception as error:
        assert type(error).__name__ == "CodecError"
    return found


def outcome(source: str, data: bytes) -> Workflow | str:
    """The workflow, or what the error says."""
    try:
        return read(data, source)
    except (UsageError, NotFoundError) as error:
        message = str(error)
        assert message.startswith(f"{source}: ")
        assert message.isprintable()
        assert error.hint is None or error.hint.isprintable()
        return message.removeprefix(f"{source}: ")


PLACE = re.compile(
    r"(name|defaults|meta|labels|workflow|tasks|steps|ipvm/workflow)([.\[][^:]*)?(\[.*\])?: "
)
WHOLE = re.compile(
    r"(line \d+[:,]|a workflow is a map|steps await each other|not DAG-JSON|neither text|not )"
)


@pytest.mark.parametrize("kind", FILES)
@settings(max_examples=150)
@given(data=st.data())
def test_a_damaged_file_is_read_or_refused_with_its_place(kind: str, data: st.DataObject) -> None:
    whole = FILES[kind]
    for _ in range(data.draw(st.integers(1, 3))):
        whole, _ = damaged(data, whole)
    results = {source: outcome(source, written) for source, written in forms(whole)}
    for found in results.values():
        if isinstance(found, Workflow):
            assert fits(SCHEMA, whole)
            assert Workflow.parse(found.data) == found
        else:
            unknown = re.match(r"[\w/-]+: |\['", found)
            assert PLACE.match(found) or WHOLE.match(found) or unknown, found
    read_ones = [found for found in results.values() if isinstance(found, Workflow)]
    steps = [{step.label: step.task for step in found} for found in read_ones]
    assert all(one == steps[0] for one in steps)


@pytest.mark.parametrize("kind", FILES)
@settings(max_examples=150)
@given(data=st.data())
def test_one_wrong_part_of_a_step_is_found_at_its_step_and_field(
    kind: str, data: st.DataObject
) -> None:
    whole, way = damaged(data, FILES[kind])
    depth = {"steps": 3, "tasks": 3, "request": 4}[kind]
    prefix = {"steps": "steps.", "tasks": "tasks[", "request": "workflow.tasks["}[kind]
    if len(way) < depth or way[depth - 3] not in ("steps", "tasks"):
        return
    for source, written in forms(whole):
        found = outcome(source, written)
        if isinstance(found, Workflow) or WHOLE.match(found):
            continue
        assert found.startswith(prefix), found
        step = way[depth - 2]
        named = f"{prefix}{step}{']' if isinstance(step, int) else ''}"
        if "neither in this file nor here" in found:  # the task that it links to has changed
            continue
        assert found.startswith(named), (found, named)
        field = str(way[depth - 1])
        alone = ("run or op", "either", "a task is a map", "missing", "does not go with", "says it",
                     "is a link or bytes")  # fmt: skip
        if not any(words in found for words in alone):
            place = found.removeprefix(named)
            assert place.startswith((f".{field}", "['", ".input", ".meta", ".run")), (found, field)
