"""Laws of instructions, tokens, receipts and trust, over many values."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lite.errors import CodecError, IntegrityError, UsageError
from lite.ipld import dag_cbor
from lite.ipld.cid import CID, DAG_CBOR, RAW
from lite.keys import Key
from lite.limits import INTEGER_MAX, INTEGER_MIN, Limits
from lite.model.instruction import Instruction, wasm
from lite.model.limits_map import limits_from_meta
from lite.model.promise import Await
from lite.model.receipt import Receipt
from lite.model.result import MEMOISABLE_ERRORS, Result
from lite.model.trust import TrustPolicy, choose_answer
from lite.ucan import envelope

KEYS = [Key.from_seed(bytes([n] * 32)) for n in range(4)]
MODULE = CID.of(b"module", RAW)
ADD = wasm(MODULE, "add", 2, 40)
NOW = 1_700_000_000

cids = st.binary(max_size=4).map(lambda data: CID.of(data, RAW))
awaits = st.builds(Await, st.sampled_from(["ok", "error", "*"]), cids)
scalars = (
    st.none()
    | st.booleans()
    | st.integers(INTEGER_MIN, INTEGER_MAX)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8)
    | st.binary(max_size=8)
    | cids
)


def values(leaves: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.recursive(
        leaves,
        lambda inner: (
            st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4)
        ),
        max_leaves=12,
    )


plain = values(scalars)


def shuffled(value: Any, rng: random.Random) -> Any:
    """The same value with the keys of its maps in another order."""
    if isinstance(value, dict):
        items = [(key, shuffled(item, rng)) for key, item in value.items()]
        rng.shuffle(items)
        return dict(items)
    if isinstance(value, list):
        return [shuffled(item, rng) for item in value]
    return value


@given(st.lists(plain, max_size=4), st.text(max_size=8) | st.binary(max_size=8))
def test_an_instruction_reads_back_from_its_bytes(args: list[Any], nnc: str | bytes) -> None:
    made = wasm(MODULE, "f", *args, nnc=nnc)
    assert Instruction.parse(made.data) == made
    assert Instruction.from_value(dag_cbor.decode(made.data)).cid == made.cid


@given(plain, st.randoms(use_true_random=False))
def test_an_instructions_cid_does_not_depend_on_the_order_of_keys(
    value: Any, rng: random.Random
) -> None:
    made = wasm(MODULE, "f", value)
    assert Instruction.from_value(shuffled(made.value(), rng)).cid == made.cid


@given(values(scalars | awaits), st.data())
def test_substitution_equals_writing_the_values(value: Any, data: st.DataObject) -> None:
    use = wasm(MODULE, "f", value)
    chosen = {wait: data.draw(scalars) for wait in use.awaits()}

    def written(part: Any) -> Any:
        if isinstance(part, Await):
            return chosen[part]
        if isinstance(part, dict):
            return {key: written(item) for key, item in part.items()}
        return [written(item) for item in part] if isinstance(part, list) else part

    reified = use.substitute(chosen)
    assert reified == wasm(MODULE, "f", written(value))
    assert reified.awaits() == []


@given(plain)
def test_any_value_can_be_an_argument_and_its_links_are_found(value: Any) -> None:
    made = wasm(MODULE, "f", value)
    expected = [cid for cid in dag_cbor.links(dag_cbor.decode(made.data))]  # noqa: C416
    awaited = [wait.instruction for wait in made.awaits()]
    assert set(made.links()) | set(awaited) == set(expected)


@given(st.dictionaries(st.sampled_from(["iss", "cmd", "args", "x"]), plain, max_size=4))
def test_a_signed_payload_reads_back_and_verifies(payload: dict[str, Any]) -> None:
    payload["iss"] = KEYS[0].did
    token = envelope.sign(envelope.TAG_INVOCATION, payload, KEYS[0])
    read = envelope.parse(token.data)
    envelope.verify(read)
    assert dag_cbor.encode(read.payload) == dag_cbor.encode(payload)


@given(st.binary(max_size=200))
def test_bytes_that_are_no_token_are_refused(data: bytes) -> None:
    with pytest.raises(CodecError):
        envelope.parse(data)


@given(
    st.recursive(
        scalars | st.sampled_from([bytes(64), {"h": b"", "ucan/inv@1.0.0": {"iss": "x"}}]),
        lambda inner: st.lists(inner, min_size=2, max_size=2),
        max_leaves=4,
    )
)
def test_values_that_are_no_receipt_are_refused(value: Any) -> None:
    with pytest.raises(IntegrityError):
        Receipt.parse(dag_cbor.encode(value))


@given(
    plain,
    st.booleans(),
    st.dictionaries(st.text(max_size=8), plain, max_size=3),
    st.lists(cids, max_size=3),
    st.none() | st.integers(0, 2**53 - 1),
)
def test_a_receipt_reads_back_as_it_was_issued(
    value: Any, ok: bool, meta: dict[str, Any], fork: list[CID], expires_at: int | None
) -> None:
    out = Result.of_ok(value) if ok else Result.of_error(value)
    made = Receipt.issue(KEYS[0], ADD, out, now=NOW, meta=meta, fork=fork, expires_at=expires_at)
    for read in (Receipt.parse(made.data), Receipt.from_store(made.data)):
        assert read == made
        assert dag_cbor.encode(read.view()) == dag_cbor.encode(made.view())
        assert dag_cbor.encode(read.out.value()) == dag_cbor.encode(out.value())
        assert set(read.fork) == set(fork)


RECEIPT = Receipt.issue(KEYS[0], ADD, Result.of_ok(42), now=NOW, meta={"a": 1}, nonce=bytes(12))


@given(st.integers(0, len(RECEIPT.data) - 1), st.integers(1, 255))
def test_a_changed_byte_of_a_receipt_is_noticed(at: int, flip: int) -> None:
    changed = bytearray(RECEIPT.data)
    changed[at] ^= flip
    with pytest.raises(IntegrityError):
        Receipt.parse(bytes(changed))


def _payload_paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [path]
    if isinstance(value, dict):
        for key in value:
            found += _payload_paths(value[key], (*path, key))
    return found


def _with(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    if not path:
        return new
    return {**value, path[0]: _with(value[path[0]], path[1:], new)}


@given(st.sampled_from(_payload_paths(RECEIPT.token.payload)), plain)
def test_a_well_signed_payload_of_any_shape_is_accepted_whole_or_refused(
    path: tuple[Any, ...], new: Any
) -> None:
    payload = _with(RECEIPT.token.payload, path, new)
    signed = {"h": RECEIPT.token.header, envelope.TAG_INVOCATION: payload}
    data = dag_cbor.encode([KEYS[0].sign(dag_cbor.encode(signed)), signed])
    try:
        receipt = Receipt.parse(data)
    except IntegrityError:
        return
    dag_cbor.encode(receipt.view())
    assert receipt.error_code == "" or not receipt.out.is_ok
    choose_answer([receipt], TrustPolicy(receipt.issuer), fuel=1, memory_bytes=1, now=NOW)


def _pool() -> list[Receipt]:
    """Receipts of one instruction by four issuers that differ in all that a choice looks at."""
    rng = random.Random(20)
    outs = [Result.of_ok(1), Result.of_ok(1), Result.of_ok(2)]
    outs += [Result.of_error({"code": code}) for code in ("out-of-fuel", "exit", "time-limit")]
    return [
        Receipt.issue(
            rng.choice(KEYS),
            ADD,
            rng.choice(outs),
            now=NOW,
            mode=rng.choice(["", "", "homestar"]),
            meta={"limits": {"fuel": rng.choice([5, 10]), "memory": rng.choice([5, 10])}},
            expires_at=rng.choice([None, None, NOW - 1, NOW]),
            nonce=n.to_bytes(12, "big"),
        )
        for n in range(60)
    ]


POOL = _pool()
receipts = st.lists(st.sampled_from(POOL), max_size=12)
policies = st.builds(
    TrustPolicy,
    st.just(KEYS[0].did),
    st.frozensets(st.sampled_from([key.did for key in KEYS[1:]])),
    st.integers(1, 3),
)
wanted = st.fixed_dictionaries(
    {"fuel": st.sampled_from([4, 7, 11]), "memory_bytes": st.sampled_from([4, 7, 11])},
    optional={"mode": st.sampled_from(["", "homestar"])},
)


@given(receipts, policies, wanted, st.randoms(use_true_random=False))
def test_the_answer_depends_on_the_set_of_receipts_only(
    given_receipts: list[Receipt], policy: TrustPolicy, want: dict[str, Any], rng: random.Random
) -> None:
    answer = choose_answer(given_receipts, policy, now=NOW, **want)
    other = [*given_receipts, *rng.sample(given_receipts, len(given_receipts) // 2)]
    rng.shuffle(other)
    assert choose_answer(other, policy, now=NOW, **want) == answer


@given(receipts, policies, wanted)
def test_an_answer_obeys_the_policy(
    given_receipts: list[Receipt], policy: TrustPolicy, want: dict[str, Any]
) -> None:
    answer = choose_answer(given_receipts, policy, now=NOW, **want)
    if answer is None:
        return
    receipt = answer.receipt
    trusted = {policy.self_did, *policy.issuers}
    assert receipt.issuer in trusted
    assert receipt.mode == want.get("mode", "")
    assert receipt.expires_at is None or receipt.expires_at >= NOW
    assert receipt.out.is_ok or receipt.error_code in MEMOISABLE_ERRORS
    same = {
        other.issuer
        for other in given_receipts
        if other.out == receipt.out and other.mode == receipt.mode and other.issuer in trusted
    }
    assert len(same) >= policy.confirmations


@given(receipts, policies, wanted)
def test_strangers_change_nothing(
    given_receipts: list[Receipt], policy: TrustPolicy, want: dict[str, Any]
) -> None:
    trusted = {policy.self_did, *policy.issuers}
    known = [receipt for receipt in given_receipts if receipt.issuer in trusted]
    assert choose_answer(given_receipts, policy, now=NOW, **want) == choose_answer(
        known, policy, now=NOW, **want
    )


@given(receipts, policies, wanted)
def test_lower_limits_never_lose_an_answer(
    given_receipts: list[Receipt], policy: TrustPolicy, want: dict[str, Any]
) -> None:
    if choose_answer(given_receipts, policy, now=NOW, **want) is not None:
        lower = {**want, "fuel": 1, "memory_bytes": 1}
        assert choose_answer(given_receipts, policy, now=NOW, **lower) is not None


amounts = plain | st.lists(
    st.integers(-1, 10) | st.sampled_from(["kilo", "milli", "seconds", "bytes", "bits"]), max_size=3
)
fields = st.dictionaries(
    st.sampled_from(["fuel", "gas", "memory", "time", "output", "limits", "ipvm/config"]),
    amounts | st.dictionaries(st.sampled_from(["fuel", "gas", "memory", "time"]), amounts),
    max_size=4,
)


@given(fields, st.none() | fields)
def test_any_meta_gives_limits_or_a_named_mistake(
    meta: dict[str, Any], defaults: dict[str, Any] | None
) -> None:
    try:
        limits = limits_from_meta(meta, defaults, Limits())
    except UsageError as error:
        assert str(error).startswith(("meta", "defaults"))
        return
    for amount in (limits.fuel, limits.memory_bytes, limits.time_ms, limits.output_bytes):
        assert 0 <= amount <= INTEGER_MAX


@given(plain)
def test_an_instruction_from_any_value_is_whole_or_a_mistake(value: Any) -> None:
    try:
        made = Instruction.from_value(value)
    except UsageError:
        return
    assert made.cid == CID.of(made.data, DAG_CBOR)
