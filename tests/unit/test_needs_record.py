"""What a node says of itself: one canonical form, signed, with an end; the newest counts."""

from __future__ import annotations

from typing import Any

import pytest

from lite.errors import CodecError, IntegrityError, SignatureError
from lite.frozen import replace
from lite.ipld import dag_cbor
from lite.keys import Key
from lite.limits import Limits
from lite.model.place import FieldError
from lite.model.receipt import Receipt
from lite.needs.capabilities import (
    DISK_STEP_BYTES,
    UNBOUNDED,
    Capabilities,
    Gpu,
    Offer,
    for_others,
)
from lite.needs.record import AHEAD_MAX_S, LIFETIME_MAX_S, CapabilityRecord, known, newest
from lite.ucan import envelope
from lite.ucan.invocation import Invocation
from lite.ucan.proofs import check

KEY, OTHER = Key.from_seed(bytes(range(32))), Key.from_seed(bytes(32))
NOW = 1_800_000_000
GIB = 1024**3
HAS = Capabilities(
    KEY.did,
    arch="x86_64",
    system="linux",
    cores=16,
    memory_bytes=128 * GIB,
    disk_bytes=64 * GIB,
    gpus=(Gpu("nvidia", "NVIDIA H200", 140 * GIB), Gpu("nvidia")),
    engine=("component", "wasmtime"),
    ops=("cuda/matmul", "wasm/run"),
    tags=("gpu-box", "lab"),
    limits=replace(UNBOUNDED, fuel=10**9),
    module_bytes=64 * 1024**2,
    fetch_bytes=256 * 1024**2,
)
RECORD = CapabilityRecord.issue(KEY, HAS, now=NOW, lifetime_s=3600, nonce=bytes(12))


def issue(key: Key = KEY, *, now: int = NOW, lifetime_s: int = 3600) -> CapabilityRecord:
    return CapabilityRecord.issue(key, replace(HAS, did=key.did), now=now, lifetime_s=lifetime_s)


def payload(**changes: Any) -> dict[str, Any]:
    """The payload of RECORD with other fields; `...` removes one."""
    changed = {**RECORD.token.payload, **changes}
    return {key: value for key, value in changed.items() if value is not ...}


def args(**changes: Any) -> dict[str, Any]:
    changed = {**HAS.value(), **changes}
    return payload(args={key: value for key, value in changed.items() if value is not ...})


def signed(body: dict[str, Any], key: Key = KEY, tag: str = envelope.TAG_INVOCATION) -> bytes:
    part = {"h": RECORD.token.header, tag: body}
    return dag_cbor.encode([key.sign(dag_cbor.encode(part)), part])


def test_the_canonical_form_says_all_and_comes_back() -> None:
    assert HAS.value() == {
        "arch": "x86_64",
        "system": "linux",
        "cores": 16,
        "memory": 128 * GIB,
        "disk": 64 * GIB,
        "gpus": [
            {"vendor": "nvidia", "name": "NVIDIA H200", "memory": 140 * GIB},
            {"vendor": "nvidia", "name": ""},
        ],
        "engine": ["component", "wasmtime"],
        "ops": ["cuda/matmul", "wasm/run"],
        "tags": ["gpu-box", "lab"],
        "limits": {"fuel": 10**9},
        "module": 64 * 1024**2,
        "fetch": 256 * 1024**2,
    }
    assert Capabilities.decode(KEY.did, HAS.encode()) == HAS
    bare = Capabilities(KEY.did)
    assert Capabilities.decode(KEY.did, bare.encode()) == bare


def test_the_order_in_which_lists_were_given_makes_no_difference() -> None:
    mixed = replace(HAS, ops=("wasm/run", "cuda/matmul", "wasm/run"), tags=("lab", "gpu-box"))
    assert mixed.encode() == HAS.encode()


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"cores": 16.0}, "cores: 16.0"),
        ({"cores": -1}, "cores: -1"),
        ({"cores": True}, "cores: True"),
        ({"memory": None}, "memory: None"),
        ({"disk": ...}, "disk: missing"),
        ({"more": 1}, "more: is not a field here"),
        ({"ops": ["wasm/run", "cuda/matmul"]}, "ops: is not in order"),
        ({"tags": ["a", "a"]}, "tags: is not in order, or has an item twice"),
        ({"tags": ["a b"]}, "tags[0]: 'a b' is not a word"),
        ({"tags": "lab"}, "tags: a list"),
        ({"tags": [f"t{n:03}" for n in range(65)]}, "tags: a list of at most 64"),
        ({"gpus": {}}, "gpus: a list"),
        ({"gpus": [{"vendor": "nvidia"}]}, "gpus[0].name: missing"),
        ({"gpus": [{"vendor": "nvidia", "name": "a\nb"}]}, "gpus[0].name: 'a\\nb' is not the name"),
        ({"gpus": [{"vendor": "nvidia", "name": "a", "memory": None}]}, "gpus[0].memory: None"),
        ({"limits": {"fuel": None}}, "limits.fuel: None"),
        ({"limits": {"fuel": 2**64 - 1}}, "limits.fuel: 18446744073709551615"),
        ({"limits": {"gas": 1}}, "limits.gas: is not a field"),
        ({"arch": 64}, "arch: 64 is not a word"),
    ],
)
def test_any_other_form_is_refused_by_field(change: dict[str, Any], where: str) -> None:
    value = {key: item for key, item in {**HAS.value(), **change}.items() if item is not ...}
    with pytest.raises(FieldError) as caught:
        Capabilities.from_value(KEY.did, value)
    assert str(caught.value).startswith(where)
    with pytest.raises(CodecError, match=r"^no capabilities: "):
        Capabilities.decode(KEY.did, dag_cbor.encode(value))
    with pytest.raises(IntegrityError) as refused:
        CapabilityRecord.parse(signed(args(**change)))
    assert f"args.{where}" in str(refused.value)


def test_a_record_is_a_self_issued_invocation_and_comes_back() -> None:
    assert RECORD.token.payload == {
        "iss": KEY.did,
        "sub": KEY.did,
        "cmd": "/ipvm/capabilities",
        "args": HAS.value(),
        "prf": [],
        "nonce": bytes(12),
        "iat": NOW,
        "exp": NOW + 3600,
    }
    again = CapabilityRecord.parse(RECORD.data)
    assert (again, again.capabilities, again.issuer) == (RECORD, HAS, KEY.did)
    assert (again.issued_at, again.expires_at, again.cid) == (NOW, NOW + 3600, RECORD.cid)


def test_others_verify_it_like_any_invocation_of_its_issuer() -> None:
    done = check(
        RECORD.data,
        executor=None,
        now=NOW,
        resolve=lambda _: None,
        revoked_by=lambda *_: None,
        claim=None,
    )
    assert done.invocation.issuer == KEY.did
    assert Invocation.parse(RECORD.data).command == "/ipvm/capabilities"


def test_it_is_no_receipt_and_a_receipt_is_none() -> None:
    with pytest.raises(IntegrityError):
        Receipt.parse(RECORD.data)
    with pytest.raises(IntegrityError, match="not a record of capabilities"):
        CapabilityRecord.parse(signed(payload(cmd="/ucan/assert/receipt")))


def test_a_changed_byte_is_noticed() -> None:
    data = bytearray(RECORD.data)
    data[10] ^= 1
    with pytest.raises(SignatureError):
        CapabilityRecord.parse(bytes(data))
    assert CapabilityRecord.parse(bytes(data), verify=False).issuer == KEY.did
    with pytest.raises(SignatureError):
        CapabilityRecord.parse(signed(payload(), key=OTHER))


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"sub": OTHER.did}, "iss: the subject itself"),
        ({"iss": f"{KEY.did}#a", "sub": f"{KEY.did}#a"}, "iss: the subject itself"),
        ({"aud": OTHER.did}, "aud: not a field"),
        ({"meta": {}}, "meta: not a field"),
        ({"nonce": ...}, "nonce: missing"),
        ({"nonce": "x"}, "nonce: bytes are needed"),
        ({"prf": [RECORD.cid]}, "prf: an empty list"),
        ({"iat": -1}, "iat: whole seconds"),
        ({"iat": float(NOW)}, "iat: whole seconds"),
        ({"exp": None}, "exp: whole seconds"),
        ({"exp": NOW}, "exp: 1 to"),
        ({"exp": NOW + LIFETIME_MAX_S + 1}, "exp: 1 to"),
        ({"args": []}, "args: a map is needed"),
    ],
)
def test_a_field_that_is_wrong_is_named(change: dict[str, Any], field: str) -> None:
    with pytest.raises(IntegrityError) as caught:
        CapabilityRecord.parse(signed(payload(**change)))
    assert str(caught.value).startswith(f"not a valid record of capabilities: {field}")


def test_the_newest_record_of_a_node_counts() -> None:
    old, new, other = issue(now=NOW - 10), issue(), issue(OTHER, now=NOW - 5)
    for records in ([old, new, other], [new, other, old], [other, old, new, new]):
        assert newest(records, NOW) == {KEY.did: new, OTHER.did: other}
    assert known([old, new], NOW) == {KEY.did: HAS}


def test_when_the_newest_has_expired_nothing_is_known() -> None:
    long, short = issue(now=NOW - 10, lifetime_s=10_000), issue(now=NOW, lifetime_s=10)
    assert newest([long, short], NOW + 10) == {KEY.did: short}
    assert newest([long, short], NOW + 11) == {}
    assert known([issue()], NOW + 3601) == {}


def test_a_record_from_the_future_neither_counts_nor_hides_others() -> None:
    sound, wrong = issue(), issue(now=NOW + AHEAD_MAX_S + 1)
    assert newest([sound, wrong], NOW) == {KEY.did: sound}
    assert newest([sound, wrong], NOW + 1) == {KEY.did: wrong}


def test_two_of_the_same_second_are_told_apart_alike_everywhere() -> None:
    first, second = issue(), issue()
    assert first != second
    assert newest([first, second], NOW) == newest([second, first], NOW)


def test_a_new_record_is_due_when_something_changed_or_half_the_time_is_over() -> None:
    assert not RECORD.is_due(HAS, NOW)
    assert not RECORD.is_due(HAS, NOW + 1799)
    assert RECORD.is_due(HAS, NOW + 1800)
    assert RECORD.is_due(HAS, NOW - 1)
    assert RECORD.is_due(replace(HAS, cores=8), NOW)


def test_others_never_get_more_than_the_node_has() -> None:
    own = replace(HAS, limits=UNBOUNDED, disk_bytes=10 * DISK_STEP_BYTES + 1)
    offer = Offer(("wasm/run", "http/get"), Limits.guest(), ("paid",), 4, 500 * GIB, None, 1)
    found = for_others(own, offer)
    assert found.ops == ("wasm/run",)
    assert found.limits == Limits.guest()
    assert found.tags == ("gpu-box", "lab", "paid")
    assert (found.cores, found.memory_bytes) == (4, 128 * GIB)
    assert found.disk_bytes == 10 * DISK_STEP_BYTES
    assert found.gpus == HAS.gpus[:1]
    assert found.fetch_bytes == HAS.fetch_bytes
    assert for_others(own, replace(offer, gpus=0)).gpus == ()
    assert for_others(own, replace(offer, gpus=None)).gpus == HAS.gpus
