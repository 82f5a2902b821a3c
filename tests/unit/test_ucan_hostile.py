"""Tokens made to break a node: each is refused, by its own name, on one short line."""

from __future__ import annotations

import re
from typing import Any

import pytest

from lite.ipld.cid import CID, DAG_CBOR
from lite.ucan.envelope import TAG_DELEGATION, TAG_INVOCATION
from lite.ucan.refusals import (
    Expired,
    InvalidCommand,
    InvalidPolicy,
    InvalidTime,
    KeysUnsorted,
    KeyTwice,
    MalformedToken,
    NotShortest,
    PolicyNotMet,
    PolicyTooCostly,
    PolicyTooLarge,
    Refusal,
    TokenTooLarge,
    TooDeep,
    TooManyItems,
    TooManyProofs,
    UnknownTag,
)
from tests.ucan_support import (
    LAPTOP,
    NOW,
    PI,
    Gate,
    cid_of,
    delegation_token,
    invocation,
    invocation_token,
    unsized,
)

SIGNED = invocation_token().signed
HEAD = b"\x82\x58\x40" + bytes(64) + b"\xa2"
END = (NOW + 60).to_bytes(4, "big")


def nested(levels: int, width: int = 1) -> Any:
    value: Any = 0
    for _ in range(levels):
        value = [value] * width
    return value


def asking(**fields: Any) -> bytes:
    return unsized(PI, TAG_INVOCATION, {**invocation_token().payload, **fields})


def signed_as_is(signed: bytes) -> bytes:
    return b"\x82\x58\x40" + PI.sign(signed) + signed


def edited(old: bytes, new: bytes) -> bytes:
    """A token signed over bytes that no encoder of ours would write."""
    assert old in SIGNED
    return signed_as_is(SIGNED.replace(old, new, 1))


def unsorted() -> bytes:
    """A token with the tag before the header."""
    at = SIGNED.index(b"\x73ucan/inv")
    return signed_as_is(SIGNED[:1] + SIGNED[at:] + SIGNED[1:at])


HOSTILE: dict[str, tuple[bytes, type[Refusal], str]] = {
    "wide nesting bomb": (
        asking(args={"x": nested(10, 3)}),
        TokenTooLarge,
        "a token of 88852 bytes, at most 16384",
    ),
    "1 MB of small values": (asking(args={"x": [0] * 1_000_000}), TokenTooLarge, "at most 16384"),
    "unclosed nesting": (b"\x82" * 16_000, TooDeep, "nested deeper than 256 levels"),
    "100 KB of unclosed nesting": (
        b"\x82" * 100_000,
        TooDeep,
        "100000 bytes, at most 16384: nested",
    ),
    "100 KB of nesting": (
        edited(b"\x64args\xa0", b"\x64args" + b"\x81" * 100_000 + b"\xf6"),
        TooDeep,
        "nested deeper than 256 levels",
    ),
    "100 KB of tags": (HEAD + b"\xd8\x2a" * 50_000, TokenTooLarge, "at most 16384"),
    "10,000 proofs": (
        asking(prf=[CID.of(b"", DAG_CBOR)] * 10_000),
        TooManyProofs,
        "10000 proofs, at most 16",
    ),
    "endless proofs": (
        edited(b"\x63prf\x80", b"\x63prf\x9b" + b"\xff" * 8 + bytes(20_000)),
        TooManyProofs,
        f"{2**64 - 1} proofs",
    ),
    "300 proofs": (asking(prf=[CID.of(b"", DAG_CBOR)] * 300), TooManyProofs, "300 proofs"),
    "a large proof": (
        edited(b"\x63prf\x80", b"\x63prf\x81\x59\x50\0" + bytes(0x5000)),
        TokenTooLarge,
        "at most 16384",
    ),
    "1 MB": (bytes(1_000_000), TokenTooLarge, "a token of 1000000 bytes, at most 16384"),
    "1 MB of text": (asking(args={"x": "x" * 1_000_000}), TokenTooLarge, "at most 16384"),
    "1 MB, ends early": (asking(args={"x": "x" * 1_000_000})[:-200_000], TokenTooLarge, "at most"),
    "1 MB of no payload": (HEAD + b"\x61x" + b"\x78\x20" * 20_000, TokenTooLarge, "at most 16384"),
    "keys not sorted": (unsorted(), KeysUnsorted, "not sorted"),
    "key twice": (edited(b"\xa7\x63cmd", b"\xa8\x63cmd\x61/\x63cmd"), KeyTwice, "duplicate"),
    "long integer": (edited(b"\x1a" + END, b"\x1b\0\0\0\0" + END), NotShortest, "shortest form"),
    "short float": (edited(b"\x1a" + END, b"\xfa" + END), MalformedToken, "only 64 are allowed"),
    "float time": (asking(exp=float(NOW)), InvalidTime, "whole seconds"),
    "time beyond 53 bits": (asking(exp=2**53), InvalidTime, "2^53"),
    "empty segment": (asking(cmd="/wasm//run"), InvalidCommand, "//"),
    "endless text": (edited(b"\x64args", b"\x7b" + b"\xff" * 8), MalformedToken, "truncated"),
    "indefinite map": (edited(b"\xa7\x63cmd", b"\xbf\x63cmd"), MalformedToken, "indefinite"),
    "unknown version": (
        edited(b"@1.0.0-rc.1", b"@9.0.0-rc.1"),
        UnknownTag,
        "unknown token tag",
    ),
    "terminal codes": (asking(cmd="/\x1b[2j\u202e"), InvalidCommand, "control characters"),
    "expired by 61 s": (asking(exp=NOW - 61), Expired, "61 s ago"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_invocation_is_refused(name: str) -> None:
    data, kind, text = HOSTILE[name]
    gate = Gate()
    with pytest.raises(kind, match=re.escape(text)) as caught:
        gate.check(data)
    assert type(caught.value) is kind
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 400
    assert gate.seen == {}


def test_deep_arguments_within_the_bounds_are_no_fault() -> None:
    Gate().check(asking(args={"x": nested(200)}))


@pytest.mark.parametrize(
    ("policy", "kind", "text"),
    [
        ([["==", ".a", "x" * 1_000_000]], PolicyTooLarge, "a policy of 1000013 bytes"),
        ([["==", ".a", 1]] * 120_000, PolicyTooLarge, "120000 policy statements, at most 256"),
        ([["and", [["==", ".a", 1]] * 120_000]], PolicyTooLarge, "more than 2000 values"),
        ([["==", ".a", [0] * 1_000_000]], PolicyTooLarge, "more than 2000 values"),
        ("x" * 1_000_000, PolicyTooLarge, "a policy of 1000005 bytes"),
        ([["and", []]] * 700, PolicyTooLarge, "more than 256"),
        ([["!=", ".a", [[]] * 14_000]], TooManyItems, "over 4096 values"),
        ([["and", [["and", []]] * 200]] * 2, PolicyTooLarge, "more than 256 statements in all"),
        ([["or", nested(40)]], InvalidPolicy, "does not begin with an operator"),
        ([["==", "." + "a" * 2000, 1]], InvalidPolicy, "at most 1024"),
        ([["all", ".x", ["all", ".", ["!=", ".", 1]]]] * 9, PolicyTooCostly, "10000"),
        ([["like", ".t", "*" + "a*" * 5000 + "b"]], PolicyNotMet, "does not hold"),
        ([["==", ".\x1b[2J", 1]], InvalidPolicy, "no segment"),
    ],
)
def test_a_hostile_policy_is_refused(policy: Any, kind: type[Refusal], text: str) -> None:
    data = unsized(PI, TAG_DELEGATION, {**delegation_token().payload, "pol": policy})
    args = {"x": [[0] * 30] * 90, "t": "a" * 5000}
    asked = invocation(LAPTOP, [], proofs=[cid_of(data)], args=args)
    with pytest.raises(kind, match=text) as caught:
        Gate(held={cid_of(data): data}).check(asked.data)
    assert type(caught.value) is kind
    assert caught.value.position == 0
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 400


def test_each_of_the_hostile_forms_has_an_error_of_its_own() -> None:
    """Which of them are told apart by their code."""
    names = ["wide nesting bomb", "100 KB of nesting", "10,000 proofs", "keys not sorted"]
    names += ["key twice", "long integer", "time beyond 53 bits", "empty segment"]
    kinds = {HOSTILE[name][1] for name in [*names, "expired by 61 s"]} | {PolicyTooLarge}
    assert len({kind.code for kind in kinds}) == len(names) + 2


def test_a_deep_policy_is_refused() -> None:
    statement: list[Any] = ["==", ".", 1]
    for _ in range(100):
        statement = ["not", statement]
    data = unsized(PI, TAG_DELEGATION, {**delegation_token().payload, "pol": [statement]})
    asked = invocation(LAPTOP, [], proofs=[cid_of(data)])
    with pytest.raises(PolicyTooLarge, match="nested deeper than 32"):
        Gate(held={cid_of(data): data}).check(asked.data)
