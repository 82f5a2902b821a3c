"""Instructions and awaits: their bytes, their CIDs, substitution."""

from __future__ import annotations

from typing import Any

import pytest

from lite.errors import BugError, CodecError, UsageError
from lite.ipld import dag_cbor
from lite.ipld.cid import CID, DAG_CBOR, RAW, SHA3_256
from lite.limits import BLOCK_BYTES_MAX, NESTING_MAX
from lite.model.instruction import Instruction, wasm
from lite.model.promise import Await, BranchMismatch
from lite.model.result import Result

MODULE = CID.of(b"module", RAW)
FILE = CID.of(b"file", RAW)
ADD = wasm(MODULE, "add", 2, 40)


def test_the_bytes_are_the_four_keys_in_canonical_form() -> None:
    expected = {
        "rsc": f"ipfs://{MODULE}",
        "op": "wasm/run",
        "input": {"func": "add", "args": [2, 40]},
        "nnc": "",
    }
    assert ADD.data == dag_cbor.encode(expected)
    assert ADD.value() == expected
    assert ADD.cid == CID.of(ADD.data, DAG_CBOR)
    assert ADD.sha3 == CID.of(ADD.data, DAG_CBOR, SHA3_256)


def test_equal_means_equal_bytes() -> None:
    assert wasm(f"ipfs://{MODULE}", "add", 2, 40) == ADD
    assert wasm(MODULE, "add", 2, 40.0) != ADD
    assert wasm(MODULE, "add", 2, 40, nnc="again") != ADD
    assert len({ADD, wasm(MODULE, "add", 2, 40), wasm(MODULE, "add", 40, 2)}) == 2


def test_a_later_change_of_what_was_given_changes_nothing() -> None:
    given: dict[str, Any] = {"args": [[1]]}
    instruction = Instruction(f"ipfs://{MODULE}", "wasm/run", given)
    given["args"][0].append(2)
    assert instruction.input == {"args": [[1]]}


def test_a_wasi_command_has_environment_and_input_only_when_given() -> None:
    assert wasm(MODULE, None, "-n").input == {"args": ["-n"]}
    full = wasm(MODULE, None, env={"A": "1"}, stdin=FILE)
    assert full.input == {"args": [], "env": {"A": "1"}, "stdin": FILE}


@pytest.mark.parametrize(
    "value",
    [
        {"rsc": f"ipfs://{MODULE}", "op": "wasm/run"},
        {"rsc": f"ipfs://{MODULE}", "op": "wasm/run", "input": {}},
        {"rsc": MODULE, "op": "wasm/run", "nnc": ""},
    ],
)
def test_absent_input_and_nonce_are_empty_and_a_link_is_an_ipfs_uri(value: Any) -> None:
    full = {"rsc": f"ipfs://{MODULE}", "op": "wasm/run", "input": {}, "nnc": ""}
    assert Instruction.from_value(value).data == dag_cbor.encode(full)


GOOD: dict[str, Any] = {"rsc": "data:,x", "op": "wasm/run", "input": {}, "nnc": ""}


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"extra": 1}, "extra: is not a field"),
        ({"rsc": ""}, "rsc: a URI"),
        ({"rsc": "no scheme"}, "rsc: a URI"),
        ({"rsc": "ipfs://with space"}, "rsc: a URI"),
        ({"rsc": 7}, "rsc: a URI"),
        ({"rsc": None}, "rsc: a URI"),
        ({"rsc": {"await/ok": "text"}}, "rsc: a URI"),
        ({"op": ""}, "op: an ability"),
        ({"op": "run"}, "op: an ability"),
        ({"op": "WASM/run"}, "op: an ability"),
        ({"op": "wasm/run\n"}, "op: an ability"),
        ({"op": "/wasm"}, "op: an ability"),
        ({"op": "wasm//run"}, "op: an ability"),
        ({"op": "a/" + "b" * 127}, "op: an ability"),
        ({"op": {"await/ok": MODULE}}, "op: an ability"),
        ({"input": None}, "input: a map"),
        ({"input": [1]}, "input: a map"),
        ({"nnc": None}, "nnc: text or bytes"),
        ({"nnc": "n" * 129}, "nnc: text or bytes"),
        ({"input": {"a": [{"b": float("inf")}]}}, "/input/a/0/b"),
        ({"input": {"a": {1: 2}}}, "/input/a"),
        ({"input": {"a": 2**64}}, "/input/a"),
        ({"input": {"a": object()}}, "/input/a"),
        ({"nnc": "\ud800"}, "/nnc"),
    ],
)
def test_a_wrong_field_is_named(change: dict[str, Any], problem: str) -> None:
    with pytest.raises(UsageError, match=problem):
        Instruction.from_value({**GOOD, **change})


@pytest.mark.parametrize("key", ["rsc", "op"])
def test_resource_and_operation_are_needed(key: str) -> None:
    with pytest.raises(UsageError, match=f"{key}: missing"):
        Instruction.from_value({name: GOOD[name] for name in GOOD if name != key})


@pytest.mark.parametrize("value", [None, [], "wasm/run", MODULE])
def test_an_instruction_is_a_map(value: Any) -> None:
    with pytest.raises(UsageError, match="is a map"):
        Instruction.from_value(value)


def test_a_malformed_cid_in_the_resource_is_the_requesters_fault() -> None:
    with pytest.raises(UsageError, match=r"^rsc: .* is not a CID"):
        wasm("ipfs://bafynonsense", "add")


def test_nesting_and_size_are_bounded() -> None:
    deep: Any = 1
    for _ in range(NESTING_MAX - 3):
        deep = [deep]
    wasm(MODULE, "f", deep)
    with pytest.raises(UsageError, match="nested deeper"):
        wasm(MODULE, "f", [deep])
    for _ in range(5000):
        deep = [deep]
    with pytest.raises(UsageError, match="nested deeper"):
        wasm(MODULE, "f", deep)
    cycle: list[Any] = []
    cycle.append(cycle)
    with pytest.raises(UsageError, match="nested deeper"):
        wasm(MODULE, "f", cycle)
    with pytest.raises(UsageError, match=f"at most {BLOCK_BYTES_MAX}"):
        wasm(MODULE, "f", bytes(BLOCK_BYTES_MAX))


def test_parse_takes_exactly_the_block_of_an_instruction() -> None:
    assert Instruction.parse(ADD.data) == ADD
    for other in (
        {"rsc": f"ipfs://{MODULE}", "op": "wasm/run"},
        {**ADD.value(), "rsc": MODULE},
        {**ADD.value(), "op": "RUN"},
        [1],
    ):
        with pytest.raises(CodecError, match="not "):
            Instruction.parse(dag_cbor.encode(other))
    with pytest.raises(CodecError):
        Instruction.parse(ADD.data + b"\0")


@pytest.mark.parametrize(
    ("rsc", "module", "path"),
    [
        (f"ipfs://{MODULE}", MODULE, ""),
        (f"ipfs://{MODULE}/", MODULE, ""),
        (f"ipfs://{MODULE}/bin/my%20tool.wasm", MODULE, "bin/my tool.wasm"),
        (f"ipfs://{MODULE.encode('base58btc')}", MODULE, ""),
        ("data:application/wasm;base64,AGFzbQ", None, ""),
        ("https://example.org/x/y", None, ""),
        (Await("ok", ADD.cid), None, ""),
    ],
)
def test_the_module_is_the_cid_in_an_ipfs_uri(
    rsc: str | Await, module: CID | None, path: str
) -> None:
    instruction = wasm(rsc, "f")
    assert (instruction.module, instruction.module_path) == (module, path)


@pytest.mark.parametrize(("branch", "key"), [("ok", "await/ok"), ("error", "await/error")])
def test_an_await_is_a_single_key_map_with_a_link(branch: Any, key: str) -> None:
    wait = Await(branch, ADD.cid)
    assert wait.value() == {key: ADD.cid}
    assert Await.from_value(wait.value()) == wait


@pytest.mark.parametrize(
    "value",
    [
        {"await/ok": "text"},
        {"await/ok": {"await": MODULE}},
        {"await/other": MODULE},
        {"await/ok": MODULE, "more": 1},
        {"ok": MODULE},
        {},
        [MODULE],
        MODULE,
        None,
    ],
)
def test_anything_else_is_plain_data(value: Any) -> None:
    assert Await.from_value(value) is None
    assert wasm(MODULE, "f", value).awaits() == []


def test_awaits_are_found_at_any_depth_once_each() -> None:
    use = wasm(MODULE, "f", ADD.ok, [{"x": ADD.any}, ADD.ok])
    assert use.awaits() == [ADD.ok, ADD.any]
    assert use.input["args"] == [
        {"await/ok": ADD.cid},
        [{"x": {"await/*": ADD.cid}}, {"await/ok": ADD.cid}],
    ]
    assert wasm(ADD.ok, "f", ADD.error).awaits() == [ADD.ok, ADD.error]


def test_links_are_those_to_content() -> None:
    use = wasm(MODULE, "f", FILE, {"deep": [MODULE, FILE]}, ADD.ok)
    assert use.links() == [FILE, MODULE]


def test_an_instruction_in_place_of_its_result_is_a_mistake_that_is_explained() -> None:
    with pytest.raises(UsageError, match="not a value") as caught:
        wasm(MODULE, "f", [ADD])
    assert caught.value.hint == "Pass its result, step.ok."


OK, BAD = Result.of_ok({"n": 1}), Result.of_error({"code": "unreachable", "message": "trap"})


def test_await_ok_and_error_take_the_bare_value_and_star_the_whole_result() -> None:
    assert ADD.ok.select(OK) == {"n": 1}
    assert ADD.error.select(BAD) == {"code": "unreachable", "message": "trap"}
    assert ADD.any.select(OK) == {"ok": {"n": 1}}
    assert ADD.any.select(BAD) == {"error": BAD.body}


@pytest.mark.parametrize(
    ("wait", "out", "expected", "got"),
    [(ADD.ok, BAD, "ok", "error"), (ADD.error, OK, "error", "ok")],
)
def test_the_other_branch_fails_the_awaiting_instruction(
    wait: Await, out: Result, expected: str, got: str
) -> None:
    with pytest.raises(BranchMismatch) as caught:
        wait.select(out)
    error = caught.value.to_error(FILE)
    assert (error["code"], error["reason"]) == ("branch-mismatch", "branch mismatch")
    assert (error["expected"], error["got"], error["from"]) == (expected, got, FILE)
    dag_cbor.encode(error)


def test_substitution_gives_the_instruction_written_with_the_values() -> None:
    use = wasm(MODULE, "f", ADD.ok, [{"x": ADD.any}], 3, nnc="n")
    reified = use.substitute({ADD.ok: [b"v"], ADD.any: {"ok": [b"v"]}})
    assert reified == wasm(MODULE, "f", [b"v"], [{"x": {"ok": [b"v"]}}], 3, nnc="n")
    assert use.awaits() == [ADD.ok, ADD.any]


@pytest.mark.parametrize("value", [MODULE, f"ipfs://{MODULE}"])
def test_an_awaited_resource_may_be_a_link_or_a_uri(value: Any) -> None:
    assert wasm(ADD.ok, "f", 1).substitute({ADD.ok: value}) == wasm(MODULE, "f", 1)


@pytest.mark.parametrize("value", [b"\0asm", "no uri", 3, {"await/ok": MODULE}, None])
def test_an_awaited_resource_of_another_kind_is_refused(value: Any) -> None:
    with pytest.raises(UsageError, match="rsc: "):
        wasm(ADD.ok, "f").substitute({ADD.ok: value})


@pytest.mark.parametrize("value", [{"await/ok": MODULE}, [1, {"x": {"await/*": MODULE}}]])
def test_a_value_that_looks_like_an_await_is_refused(value: Any) -> None:
    with pytest.raises(UsageError, match="would be read as await"):
        wasm(MODULE, "f", ADD.ok).substitute({ADD.ok: value})


def test_a_value_that_completes_an_await_is_refused() -> None:
    use = wasm(MODULE, "f", {"await/ok": ADD.ok})
    with pytest.raises(UsageError, match="would be read as await/ok"):
        use.substitute({ADD.ok: FILE})


def test_a_missing_value_is_our_own_mistake() -> None:
    with pytest.raises(BugError):
        wasm(MODULE, "f", ADD.ok).substitute({ADD.any: 1})


def test_substitution_keeps_nesting_bounded() -> None:
    deep: Any = ADD.ok
    for _ in range(NESTING_MAX - 4):
        deep = [deep]
    use = wasm(MODULE, "f", deep)
    assert use.substitute({ADD.ok: 1}).awaits() == []
    with pytest.raises(UsageError, match="nested deeper"):
        use.substitute({ADD.ok: [[[[1]]]]})
