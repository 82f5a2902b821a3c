"""Receipts: what is signed, what is refused, how they are shown; results."""

from __future__ import annotations

from typing import Any

import pytest

from lite.engine import base
from lite.errors import CodecError, IntegrityError, LimitError, SignatureError
from lite.ipld import dag_cbor
from lite.ipld.cid import CID, DAG_CBOR, DAG_PB, RAW, SHA3_256
from lite.keys import Key
from lite.limits import INLINE_BYTES_MAX, TIME_MAX_S, TOKEN_BYTES_MAX
from lite.model import result
from lite.model.instruction import wasm
from lite.model.receipt import COMMAND, Receipt, own_task_id
from lite.model.result import Result, TaskFailed, TaskOverLimit
from lite.ucan import envelope
from lite.ucan.task import task_id

KEY, OTHER = Key.from_seed(bytes(range(32))), Key.from_seed(bytes(32))
MODULE, FILE = CID.of(b"module", RAW), CID.of(b"file", RAW)
ADD = wasm(MODULE, "add", 2, 40)
NOW = 1_700_000_000
META = {"op": "wasm/run", "func": "add", "fuel": 21}
RECEIPT = Receipt.issue(KEY, ADD, Result.of_ok(42), now=NOW, meta=META, nonce=bytes(12))
FULL = Receipt.issue(
    KEY,
    ADD,
    Result.of_ok(FILE),
    now=NOW,
    linked="file",
    mode="homestar",
    fork=[MODULE, FILE, MODULE],
    join=ADD.cid,
    expires_at=NOW + 60,
    invocation=MODULE,
    ran=FILE,
)


def payload(**changes: Any) -> dict[str, Any]:
    """The payload of RECEIPT with other fields; `...` removes one."""
    changed = {**RECEIPT.token.payload, **changes}
    return {key: value for key, value in changed.items() if value is not ...}


def args(**changes: Any) -> dict[str, Any]:
    """The same for `args`."""
    changed = {**RECEIPT.token.payload["args"], **changes}
    return payload(args={key: value for key, value in changed.items() if value is not ...})


def signed(body: dict[str, Any], key: Key = KEY, tag: str = envelope.TAG_INVOCATION) -> bytes:
    """A token of any payload with a sound signature."""
    part = {"h": RECEIPT.token.header, tag: body}
    return dag_cbor.encode([key.sign(dag_cbor.encode(part)), part])


def test_a_receipt_is_a_self_issued_invocation_of_the_agreed_form() -> None:
    assert RECEIPT.token.tag == "ucan/inv@1.0.0-rc.1"
    assert RECEIPT.token.payload == {
        "iss": KEY.did,
        "sub": KEY.did,
        "cmd": COMMAND,
        "args": {
            "ran": own_task_id(KEY.did, ADD),
            "ins": ADD.cid,
            "out": {"ok": 42},
            "fx": {"fork": []},
        },
        "prf": [],
        "nonce": bytes(12),
        "exp": None,
        "iat": NOW,
        "meta": META,
    }


def test_everything_optional_is_carried_and_read_back() -> None:
    read = Receipt.parse(FULL.data)
    assert read == FULL
    assert (read.linked, read.mode, read.join) == ("file", "homestar", ADD.cid)
    assert read.fork == sorted([FILE, MODULE], key=str)
    assert (read.invocation, read.ran, read.expires_at) == (MODULE, FILE, NOW + 60)
    assert read.meta == {}


def test_the_fields_of_a_plain_receipt() -> None:
    read = Receipt.parse(RECEIPT.data)
    assert (read.cid, read.issuer) == (CID.of(RECEIPT.data, DAG_CBOR), KEY.did)
    assert (read.instruction, read.ran) == (ADD.cid, own_task_id(KEY.did, ADD))
    assert read.out == Result.of_ok(42)
    assert (read.linked, read.mode, read.join, read.invocation) == (None, "", None, None)
    assert (read.fork, read.proofs, read.meta) == ([], [], META)
    assert (read.issued_at, read.expires_at) == (NOW, None)


def test_two_receipts_of_one_run_differ_by_their_nonce() -> None:
    one, two = (Receipt.issue(KEY, ADD, Result.of_ok(42), now=NOW) for _ in range(2))
    assert one.cid != two.cid


def test_any_changed_byte_is_refused() -> None:
    for at in range(len(RECEIPT.data)):
        changed = bytearray(RECEIPT.data)
        changed[at] ^= 0x01
        with pytest.raises(IntegrityError):
            Receipt.parse(bytes(changed))


def test_a_signature_of_another_key_is_refused() -> None:
    with pytest.raises(SignatureError):
        Receipt.parse(signed(payload(), OTHER))
    assert Receipt.parse(signed(payload(), OTHER), verify=False).out == Result.of_ok(42)


def test_a_stored_receipt_is_read_without_checks() -> None:
    assert Receipt.from_store(RECEIPT.data) == RECEIPT
    assert Receipt.from_store(RECEIPT.data, RECEIPT.cid).cid is RECEIPT.cid
    Receipt.from_store(signed(payload(), OTHER))
    with pytest.raises(CodecError):
        Receipt.from_store(RECEIPT.data[:50])


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (payload(cmd="/ucan/assert"), "not a receipt: its cmd"),
        (payload(cmd=...), "not a receipt: its cmd"),
        (payload(aud=KEY.did), "aud: a receipt is addressed to nobody"),
        (payload(sub=OTHER.did), "delegates are not accepted"),
        (payload(sub=OTHER.did, prf=[MODULE]), "delegates are not accepted"),
        (payload(sub=...), "sub: missing"),
        (payload(iss=f"{KEY.did}#a", sub=f"{KEY.did}#a"), "without a fragment"),
        (payload(nbf=1), "nbf: not a field"),
        (payload(extra=1), "extra: not a field"),
        (payload(prf=...), "prf: missing"),
        (payload(prf=None), "prf: a list of links"),
        (payload(prf=["x"]), "prf: a list of links"),
        (payload(nonce=...), "nonce: missing"),
        (payload(nonce="text"), "nonce: bytes"),
        (payload(iat=...), "iat: missing"),
        (payload(iat=None), "iat: whole seconds"),
        (payload(iat=True), "iat: whole seconds"),
        (payload(iat=1.0), "iat: whole seconds"),
        (payload(iat=-1), "iat: whole seconds"),
        (payload(iat=TIME_MAX_S + 1), "iat: whole seconds"),
        (payload(exp=...), "exp: missing"),
        (payload(exp="never"), "exp: null or whole"),
        (payload(exp=-1), "exp: null or whole"),
        (payload(exp=TIME_MAX_S + 1), "exp: null or whole"),
        (payload(meta=None), "meta: a map"),
        (payload(meta=[]), "meta: a map"),
        (payload(cause=1), "cause: a link"),
        (payload(args=...), "args: missing"),
        (payload(args=[]), "args: a map"),
        (args(ran=...), "args.ran: missing"),
        (args(ran="bafy"), "args.ran: a link"),
        (args(ins=...), "args.ins: missing"),
        (args(ins=None), "args.ins: a link"),
        (args(out=...), "args.out: missing"),
        (args(out={}), "args.out: a result"),
        (args(out={"ok": 1, "error": {}}), "args.out: a result"),
        (args(out={"just": 1}), "args.out: a result"),
        (args(out=["ok", 1]), "args.out: a result"),
        (args(inv="x"), "args.inv: a link"),
        (args(outl="file"), "args.outl: out holds no link"),
        (args(outl="raw", out={"ok": FILE}), 'args.outl: "file" or'),
        (args(outl=None), 'args.outl: "file" or'),
        (args(outl=["file"]), 'args.outl: "file" or'),
        (args(outl="file", out={"ok": ADD.cid}), "args.outl: .* links to something else"),
        (args(outl="file", out={"error": FILE}), "args.outl: .* links to something else"),
        (args(outl="dag-cbor", out={"ok": FILE}), "args.outl: .* links to something else"),
        (args(mode=""), "args.mode: text"),
        (args(mode=1), "args.mode: text"),
        (args(mode="m" * 33), "args.mode: text"),
        (args(later=1), "args.later: not a field"),
        (args(fx=[]), "args.fx: a map"),
        (args(fx={}), "args.fx.fork: missing"),
        (args(fx={"fork": MODULE}), "args.fx.fork: a list"),
        (args(fx={"fork": [1]}), "args.fx.fork: a list"),
        (args(fx={"fork": [FILE, FILE]}), "args.fx.fork: not in order, or one twice"),
        (args(fx={"fork": sorted([FILE, MODULE], key=str)[::-1]}), "args.fx.fork: not in order"),
        (args(fx={"fork": [], "join": None}), "args.fx.join: a link"),
        (args(fx={"fork": [], "spoon": 1}), "args.fx.spoon: not a field"),
    ],
)
def test_any_other_shape_is_refused_by_field_though_well_signed(
    body: dict[str, Any], problem: str
) -> None:
    with pytest.raises(IntegrityError, match=problem):
        Receipt.parse(signed(body))


@pytest.mark.parametrize(
    "body",
    [
        payload(meta=...),
        payload(cause=MODULE),
        payload(prf=[MODULE]),
        payload(exp=0, iat=0),
        payload(exp=TIME_MAX_S, iat=TIME_MAX_S),
        args(fx=...),
        args(ins=ADD.sha3),
        args(out={"ok": None}),
        args(out={"error": "text"}),
        args(out={"error": ADD.cid}, outl="dag-cbor"),
        args(out={"ok": CID.of(b"leaf", DAG_PB)}, outl="file"),
    ],
)
def test_what_the_form_leaves_open_is_accepted(body: dict[str, Any]) -> None:
    data = signed(body)
    assert Receipt.parse(data).view()["cid"] == CID.of(data, DAG_CBOR)


def test_only_invocation_tokens_are_receipts() -> None:
    Receipt.parse(signed(payload(), tag="ucan/inv@1.0.0"))
    with pytest.raises(IntegrityError, match="tagged ucan/dlg@1"):
        Receipt.parse(signed(payload(), tag=envelope.TAG_DELEGATION))


def test_a_large_value_is_not_put_into_a_receipt() -> None:
    small = Result.of_ok(bytes(INLINE_BYTES_MAX - 3))
    assert Receipt.parse(Receipt.issue(KEY, ADD, small, now=NOW).data).out == small
    with pytest.raises(LimitError, match=r"out\.ok has 4097 bytes"):
        Receipt.issue(KEY, ADD, Result.of_ok(bytes(INLINE_BYTES_MAX - 2)), now=NOW)
    with pytest.raises(LimitError, match=r"meta\.trace has 5003 bytes"):
        Receipt.issue(KEY, ADD, Result.of_ok(1), now=NOW, meta={"trace": bytes(5000)})
    with pytest.raises(LimitError, match=f"at most {TOKEN_BYTES_MAX}"):
        Receipt.issue(KEY, ADD, Result.of_ok(bytes(TOKEN_BYTES_MAX)), now=NOW)


def test_a_flag_without_a_link_is_not_signed() -> None:
    with pytest.raises(IntegrityError, match="outl"):
        Receipt.issue(KEY, ADD, Result.of_ok(42), now=NOW, linked="file")


def test_the_view_is_the_drawn_receipt_with_its_names() -> None:
    assert RECEIPT.view() == {
        "cid": RECEIPT.cid,
        "ins": ADD.cid,
        "ran": RECEIPT.ran,
        "out": {"ok": 42},
        "fx": {"fork": []},
        "meta": META,
        "iss": KEY.did,
        "prf": [],
        "sig": RECEIPT.token.signature,
        "iat": NOW,
        "exp": None,
    }
    view = FULL.view()
    assert (view["outl"], view["mode"], view["inv"]) == ("file", "homestar", MODULE)
    assert view["fx"] == {"fork": FULL.fork, "join": ADD.cid}
    dag_cbor.encode(view)


def test_the_homestar_view_has_no_signature_and_names_the_task() -> None:
    task = {"run": ADD.value(), "cause": None, "meta": {}, "prf": []}
    assert RECEIPT.homestar_view(task) == {
        "ran": CID.of(dag_cbor.encode({"task": task}), DAG_CBOR, SHA3_256),
        "out": ["ok", 42],
        "meta": {"op": "add"},
        "iss": None,
        "prf": [],
    }


@pytest.mark.parametrize(
    ("out", "linked", "meta", "code"),
    [
        (Result.of_ok({"code": "x"}), None, {}, ""),
        (Result.of_error({"code": "exit"}), None, {"code": "other"}, "exit"),
        (Result.of_error(ADD.cid), "dag-cbor", {"code": "guest-error"}, "guest-error"),
        (Result.of_error(ADD.cid), "dag-cbor", {}, ""),
        (Result.of_error(ADD.cid), "dag-cbor", {"code": 1}, ""),
        (Result.of_error(FILE), None, {"code": "guest-error"}, ""),
    ],
)
def test_the_error_code_of_a_linked_error_is_in_meta(
    out: Result, linked: Any, meta: dict[str, Any], code: str
) -> None:
    receipt = Receipt.issue(KEY, ADD, out, now=NOW, linked=linked, meta=meta)
    assert receipt.error_code == code


def test_a_result_is_keyed_by_exactly_one_branch() -> None:
    for out in (Result.of_ok(None), Result.of_ok({"error": 1}), Result.of_error({"code": "exit"})):
        assert Result.from_value(out.value()) == out
    for value in ({}, {"ok": 1, "error": 1}, {"other": 1}, [], None, ["ok", 1]):
        with pytest.raises(CodecError, match="exactly one key"):
            Result.from_value(value)


def test_unwrap_gives_the_value_or_raises_with_the_error() -> None:
    assert Result.of_ok({"n": 1}).unwrap() == {"n": 1}
    error = {"code": "unreachable", "message": "wasm trap"}
    with pytest.raises(TaskFailed, match="unreachable: wasm trap") as caught:
        Result.of_error(error).unwrap()
    assert (caught.value.error, caught.value.exit_code) == (error, 1)
    assert caught.value.code == "task-failed"
    with pytest.raises(TaskFailed, match="error: no message"):
        Result.of_error(FILE).unwrap()


def test_a_task_that_a_limit_ended_exits_with_8() -> None:
    with pytest.raises(TaskOverLimit) as caught:
        Result.of_error({"code": "out-of-fuel", "message": "m"}).unwrap()
    assert (caught.value.exit_code, caught.value.code) == (8, "task-limit")


def test_model_and_engine_have_the_same_error_codes() -> None:
    assert result.MEMOISABLE_ERRORS == base.MEMOISABLE_ERRORS
    assert result.LIMIT_ERRORS == base.LIMIT_ERRORS


def test_the_task_id_adds_the_executor_and_carries_the_nonce() -> None:
    args = {"rsc": f"ipfs://{MODULE}", "input": {"func": "add", "args": [2, 40]}}
    did = "did:key:x"
    assert own_task_id(did, ADD) == task_id(did, "/wasm/run", args, b"")
    text = wasm(MODULE, "add", 2, 40, nnc="n")
    assert own_task_id(did, text) == task_id(did, "/wasm/run", {**args, "nnc": "n"}, b"")
    raw = wasm(MODULE, "add", 2, 40, nnc=b"n")
    assert own_task_id(did, raw) == task_id(did, "/wasm/run", args, b"n")
