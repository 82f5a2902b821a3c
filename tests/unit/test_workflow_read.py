"""Workflow files: the friendly form, how kinds are told apart, and what errors say."""

from __future__ import annotations

import json
from typing import Any

import pytest

from lite.errors import IpvmError, NotFoundError, StoreFull, UsageError
from lite.ipld import dag_cbor
from lite.ipld.cid import CID
from lite.limits import Limits
from lite.model.instruction import Instruction, wasm
from lite.model.limits_map import limits_from_meta
from lite.model.promise import Await
from lite.model.workflow import Workflow
from lite.model.workflow_read import FILE_BYTES_MAX, YAML_BYTES_MAX, half_references, read_workflow
from tests.workflow_support import (
    CONTENT,
    MODULE,
    PHOTO,
    STEP_ERRORS,
    THUMBS,
    MemoryContent,
    read,
    step,
)


def test_labelled_steps_compile_to_the_instructions_of_python() -> None:
    workflow = read(THUMBS)
    crop = wasm(MODULE, "crop", PHOTO, 0, 0, 64, 64)
    blur = wasm(MODULE, "blur", crop.ok, 2)
    given = {"body": blur.ok, "headers": {}, "_": [crop.ok, blur.any]}
    save = Instruction("https://example.org/thumb.png", "http/put", given, "once")
    assert [(s.label, s.instruction) for s in workflow] == [
        ("save", save),
        ("crop", crop),
        ("blur", blur),
    ]
    assert workflow["crop"].meta == {}
    assert workflow["save"].meta == {
        "tags": ["a"],
        "secret": True,
        "needs": ["network"],
        "retry": {"attempts": 2, "backoff_ms": 1500},
        "limits": {"time": 60_000},
    }
    assert workflow.defaults == {"fuel": 10**6, "memory": 2**26, "time": 5000, "output": 1000}
    assert (workflow.name, workflow.meta) == ("thumbs", {"author": "${not a reference}"})


def test_limits_of_a_step_go_before_the_defaults() -> None:
    workflow = read(THUMBS)
    limits = limits_from_meta(workflow["save"].meta, workflow.defaults, Limits())
    assert (limits.fuel, limits.time_ms, limits.memory_bytes) == (10**6, 60_000, 2**26)


def test_json_and_cbor_hold_the_same_form() -> None:
    from ruamel.yaml import YAML

    plain = YAML(typ="safe", pure=True).load(THUMBS)
    assert read(json.dumps(plain), "w.json") == read(THUMBS)
    assert {s.instruction for s in read(dag_cbor.encode(plain))} == {
        s.instruction for s in read(THUMBS)
    }


def test_the_stored_form_is_read_as_cbor_and_as_json() -> None:
    workflow = read(THUMBS)
    assert read(workflow.data, "block") == workflow
    exact = wasm(MODULE, "f", -(2**64))
    assert read(Workflow(a=exact).data)["a"].instruction == exact


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("${other}", Await("ok", wasm(CONTENT.names["tools"], None).cid).value()),
        ("${ other.ok }", Await("ok", wasm(CONTENT.names["tools"], None).cid).value()),
        ("${other.error}", Await("error", wasm(CONTENT.names["tools"], None).cid).value()),
        ("${other.*}", Await("*", wasm(CONTENT.names["tools"], None).cid).value()),
        ("$${other}", "${other}"),
        ("$$${other}", "$${other}"),
        ("$${nothing}", "${nothing}"),
        ("see ${other}", "see ${other}"),
        ("${other} ", "${other} "),
        ("${a}${b}", "${a}${b}"),
        ("$", "$"),
        ("$5", "$5"),
        ("${", "${"),
        ("@photo.png", PHOTO),
        ("@@photo.png", "@photo.png"),
        ("@@", "@"),
        ("me@example.org", "me@example.org"),
    ],
)
def test_a_text_that_is_exactly_a_reference_is_one(text: str, expected: Any) -> None:
    quoted = json.dumps(text)
    for place in (f"[{quoted}]", f"[{{k: [{quoted}]}}]"):
        args = step(f"{{run: tools, args: {place}}}").instruction.input["args"]
        assert args in ([expected], [{"k": [expected]}])


def test_links_bytes_and_awaits_from_elsewhere_are_written_as_in_dag_json() -> None:
    link = f'{{"/": {PHOTO}}}'
    text = (
        f'{{run: tools, args: [{link}, {{"/": {{bytes: aGk}}}}, {{await/ok: {link}}}, {{/: 1}}]}}'
    )
    args = step(text).instruction.input["args"]
    assert args == [PHOTO, b"hi", {"await/ok": PHOTO}, {"/": 1}]
    assert step(text).instruction.awaits() == [Await("ok", PHOTO)]
    assert step(
        "{run: tools, args: [{/: {bytes: !!binary aGk=}}, !!binary aGk=]}"
    ).instruction.input["args"] == [b"hi", b"hi"]


@pytest.mark.parametrize(
    ("run", "rsc", "func"),
    [
        ("imaging.wasm", f"ipfs://{MODULE}", None),
        ("imaging.wasm:crop", f"ipfs://{MODULE}", "crop"),
        ("imaging.wasm:ns:pkg/i@0.1.0#f", f"ipfs://{MODULE}", "ns:pkg/i@0.1.0#f"),
        ("odd:name.wasm", f"ipfs://{CONTENT.files['odd:name.wasm']}", None),
        ("odd:name.wasm:f", f"ipfs://{CONTENT.files['odd:name.wasm']}", "f"),
        ("tools:f", f"ipfs://{CONTENT.names['tools']}", "f"),
        ("tools:a:b", f"ipfs://{CONTENT.names['tools']}", "a:b"),
        ("tools/bin/x.wasm:f", f"ipfs://{CONTENT.names['tools']}/bin/x.wasm", "f"),
        (f"{MODULE}:f", f"ipfs://{MODULE}", "f"),
        (f"ipfs://{MODULE}", f"ipfs://{MODULE}", None),
        (f"ipfs://{MODULE}/x.wasm:f", f"ipfs://{MODULE}/x.wasm", "f"),
        ("${other}", Await("ok", wasm(CONTENT.names["tools"], None).cid), None),
        ("${other.ok}:f", Await("ok", wasm(CONTENT.names["tools"], None).cid), "f"),
    ],
)
def test_run_names_a_module_and_a_function(run: str, rsc: Any, func: str | None) -> None:
    made = step(f"{{run: {json.dumps(run)}, args: [1]}}").instruction
    assert made == wasm(rsc, func, 1)


def test_func_may_stand_alone_and_then_nothing_is_cut_off() -> None:
    text = '{run: "odd:name.wasm", func: "f:g", env: {A: "1", B: "${other}"}, stdin: "@photo.png"}'
    other = wasm(CONTENT.names["tools"], None)
    env: Any = {"A": "1", "B": other.ok}
    expected = wasm(CONTENT.files["odd:name.wasm"], "f:g", env=env, stdin=PHOTO)
    assert step(text).instruction == expected


def test_fx_asks_for_effects_and_false_is_as_absent() -> None:
    rsc = f"ipfs://{CONTENT.names['tools']}"
    plain = {"func": "f", "args": [1]}
    for text, given in (("true", {**plain, "fx": True}), ("false", plain), ("null", plain)):
        made = step(f'{{run: "tools:f", args: [1], fx: {text}}}')
        assert made.task.run == Instruction(rsc, "wasm/run", given), text


def test_a_resource_may_be_an_await_a_link_or_a_file() -> None:
    other = wasm(CONTENT.names["tools"], None)
    assert step('{op: http/get, rsc: "${other}"}').instruction.rsc == other.ok
    assert step('{op: wasm/run, rsc: "@imaging.wasm"}').instruction.rsc == f"ipfs://{MODULE}"
    assert step(f'{{op: wasm/run, rsc: {{"/": {MODULE}}}}}').instruction.rsc == f"ipfs://{MODULE}"
    external = f'{{op: http/get, rsc: {{await/ok: {{"/": {MODULE}}}}}}}'
    assert step(external).instruction.rsc == Await("ok", MODULE)


def test_a_file_is_added_once_and_none_before_the_text_is_right() -> None:
    content = MemoryContent(("m.wasm", "p"))
    text = 'steps: {a: {run: m.wasm, args: ["@p"]}, b: {run: m.wasm, args: ["@p", %s]}}'
    read_workflow((text % "1").encode(), source="w", content=content)
    assert sorted(content.asked) == ["m.wasm", "p"]
    content = MemoryContent(("m.wasm", "p"))
    with pytest.raises(UsageError):
        read_workflow((text % '"${c}"').encode(), source="w", content=content)
    assert content.asked == []


def test_forms_of_smaller_fields() -> None:
    assert step("{run: tools, retry: 4}").meta == {"retry": {"attempts": 4}}
    assert step("{run: tools, retry: {backoff: 2s}}").meta == {"retry": {"backoff_ms": 2000}}
    assert step("{run: tools, limits: {fuel: 1e6, memory: 5, time: null}}").meta == {
        "limits": {"fuel": 10**6, "memory": 5}
    }
    assert step('{run: tools, nonce: {"/": {bytes: aGk}}}').instruction.nnc == b"hi"
    assert step(f'{{run: tools, prf: [{PHOTO}, {{"/": {MODULE}}}]}}').task.prf == (PHOTO, MODULE)
    assert step("{run: tools, args: null, env: null, limits: null}").instruction == wasm(
        CONTENT.names["tools"], None
    )
    assert step("{op: http/get, rsc: 'x:y', input: null, after: []}").instruction.input == {}


@pytest.mark.parametrize(("text", "field", "problem", "right"), STEP_ERRORS)
def test_an_error_names_file_step_field_and_line(
    text: str, field: str, problem: str, right: str
) -> None:
    with pytest.raises(IpvmError) as caught:
        step(text)
    message = str(caught.value)
    assert message.startswith(f"w.yaml: steps.a{'.' + field if field else ''}: ")
    assert problem in message
    assert right in (caught.value.hint or "")
    assert message.endswith(" (line 3)")
    assert message.isprintable()


def test_what_is_not_there_has_an_exit_status_of_its_own() -> None:
    with pytest.raises(NotFoundError, match=r"w\.yaml: steps\.a\.args\[0\]: there is no file nope"):
        step('{run: tools, args: ["@nope"]}')
    with pytest.raises(NotFoundError, match=r"steps\.a\.run: there is no file 'nope\.wasm:f'"):
        step("{run: 'nope.wasm:f'}")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the file is empty"),
        ("hello", "a map with steps or tasks"),
        ("[1]", "a map with steps or tasks"),
        ("step: {a: {run: tools}}", r"step: is not a field here \(line 1\)"),
        ("name: x", "steps: missing"),
        ("steps: {}", "steps: it is empty: a workflow needs at least one step"),
        ("steps: []", "steps: it is empty: a workflow needs at least one step"),
        ("steps:", "steps: it is empty: a workflow needs at least one step"),
        ("steps: [a]", "steps: a map of labels to steps is needed"),
        ("steps: tools", "steps: a map of labels to steps is needed"),
        ("name: 5\nsteps: {a: {run: tools}}", r"name: text is needed \(line 1\)"),
        ("defaults: {time: 5}\nsteps: {a: {run: tools}}", r"defaults\.time: an amount"),
        ("meta: 5\nsteps: {a: {run: tools}}", "meta: a map"),
        ('name: "\\e"\nsteps: {a: {run: tools}}', "name: printable"),
        ("steps: {a b: {run: tools}}", r"steps\['a b'\]: this cannot be a label \(line 1\)"),
        ('steps: {"": {run: tools}}', r"steps\[''\]: this cannot be a label"),
        ('steps: {"$x": {run: tools}}', "cannot be a label"),
        ('steps: {"a\\e[31m": {run: tools}}', r"steps\['a\\x1b\[31m'\]: this cannot be a label"),
        ("steps: {a.b: {run: tools}}", "cannot be a label"),
        ("steps: {" + "a" * 300 + ": {run: tools}}", "cannot be a label"),
        ("steps: {1: {run: tools}}", "the key 1 is not text"),
        ("ipvm/workflow: {v: 0.1.0}", "IPVM 0.1 workflow"),
        ("tasks: 5", "tasks: a list"),
        ("tasks: []", "tasks: it is empty: a workflow needs at least one step"),
        ("{tasks: [], steps: {}}", "one is needed"),
        ("workflow: 5", "workflow: a map with tasks"),
        ("{workflow: {tasks: []}, nme: x}", "nme: is not a field of a request"),
    ],
)
def test_what_is_no_workflow_is_said(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=f"^w.yaml: .*{message}"):
        read(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"steps": {"a": {"run": "tools", "run": "x"}}}', "duplicate map key 'run'"),
        ('{"steps": {"a": {"run": "tools", "args": [NaN]}}}', "NaN is not allowed"),
        ('{"steps": {"a": {"run": "tools", "args": [1e999]}}}', "too large for a 64-bit float"),
        ('{"steps": {"a": ', "line 1, column"),
        ('{"a":' * 10_000, "nested deeper"),
        ('{"tasks": [{"run": 1%s}]}' % ("0" * 400), "too large for a 64-bit float"),
        ('{"steps": {"a": {"run": "tools", "args": [%s]}}}' % (2**64), r"a\.args\[0\]: an integer"),
    ],
)
def test_broken_json_is_said(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=f"^w.json: .*{message}"):
        read(text, "w.json")


def test_a_yaml_file_may_begin_with_a_brace() -> None:
    assert len(read("{steps: {a: {run: tools}}}", "w.yml")) == 1
    with pytest.raises(UsageError, match="not DAG-JSON"):
        read("{steps: {a: {run: tools}}}", "w.json")


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ("a", r"steps\.a\.args\[0\]: the step awaits itself"),
        ("ab", "a → b → a"),
        ("abc", "a → b → c → a"),
    ],
)
def test_a_circle_is_named(labels: str, message: str) -> None:
    following = dict(zip(labels, labels[1:] + labels[0], strict=True))
    steps = {label: {"run": "tools", "args": [f"${{{following[label]}}}"]} for label in labels}
    steps = {"x": {"run": "tools", "args": ["${a}"]}} | steps
    with pytest.raises(UsageError, match=f"^w.json: .*{message}"):
        read(json.dumps({"steps": steps}), "w.json")


def test_a_long_circle_is_shortened() -> None:
    steps = {f"s{n}": {"run": "tools", "args": [f"${{s{(n + 1) % 5000}}}"]} for n in range(5000)}
    with pytest.raises(UsageError, match=r"circle: s0 → s1 → .* more\) → s0") as caught:
        read(json.dumps({"steps": steps}), "w.json")
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("steps: {a: {run: tools}}".encode("utf-16"), "UTF-16"),
        (b"steps:\n  a: \xff", "line 2: neither text in UTF-8 nor DAG-CBOR"),
        (b"\xa1\x61a", "truncated"),
        (b"\xa1aa" * 10_000, "nested deeper"),
        (b"\xbf\x61a\x01\xff", "indefinite length"),
        (b"\xa2aa\x01aa\x02", "w.yaml: .*duplicate"),
        (b"x" * (FILE_BYTES_MAX + 1), "too many for a workflow"),
        (b"a: " + b"x" * YAML_BYTES_MAX, "of YAML are too many"),
    ],
)
def test_bytes_that_are_no_text_or_too_many_are_refused(data: bytes, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        read(data)


def test_a_mark_in_front_of_utf_8_is_passed_over() -> None:
    assert read(b"\xef\xbb\xbf" + THUMBS.encode()) == read(THUMBS)
    assert read(THUMBS.replace("\n", "\r\n")) == read(THUMBS)


def test_ten_thousand_steps_are_read_and_more_refused() -> None:
    def chain(count: int) -> str:
        steps: dict[str, Any] = {"s0": {"run": "tools:f"}}
        for n in range(1, count):
            steps[f"s{n}"] = {"run": "tools:f", "args": [f"${{s{n - 1}}}"]}
        return json.dumps({"steps": steps})

    assert len(read(chain(10_000), "w.json")) == 10_000
    with pytest.raises(UsageError, match="at most 10000 steps, this one 10001"):
        read(chain(10_001), "w.json")


def test_references_inside_of_longer_text_are_found_for_a_warning() -> None:
    workflow = read(
        'steps: {a: {run: tools}, b: {run: tools, args: [["x ${a}"], {k: "${a.error}!"}, "${c} d",'
        ' "$${a}", "${a}"]}}'
    )
    assert sorted(half_references(workflow)) == [("b", "${a.error}!"), ("b", "x ${a}")]


def test_a_lone_surrogate_is_refused() -> None:
    text = '{"steps": {"a": {"run": "tools", "args": ["\\ud800"]}}}'
    for source in ("w.json", "w.yaml"):
        with pytest.raises(UsageError, match=rf"{source}: .*lone surrogate"):
            read(text, source)


def test_equal_steps_under_two_labels_are_kept() -> None:
    workflow = read("steps: {a: {run: tools}, b: {run: tools}, c: {run: tools, args: ['${b}']}}")
    assert workflow["a"].instruction == workflow["b"].instruction
    assert workflow["c"].instruction.awaits() == [workflow["a"].instruction.ok]


class Broken(MemoryContent):
    """Content that cannot be added: the disk is full, or the file is a folder."""

    def __init__(self, error: IpvmError) -> None:
        super().__init__(("m.wasm",))
        self._error = error

    def file(self, path: str) -> CID:
        if path != "m.wasm":
            raise self._error
        return super().file(path)


@pytest.mark.parametrize("text", ["{run: x.wasm}", '{run: m.wasm, args: ["@x"]}'])
def test_trouble_with_the_store_stays_what_it_is(text: str) -> None:
    data = f"steps: {{a: {text}}}".encode()
    with pytest.raises(StoreFull, match=r"^the disk is full$"):
        read_workflow(data, source="w", content=Broken(StoreFull("the disk is full")))
    with pytest.raises(UsageError, match=r"^w: steps\.a\.(run|args\[0\]): x is a folder"):
        read_workflow(data, source="w", content=Broken(UsageError("x is a folder")))
