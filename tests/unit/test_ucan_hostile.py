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
    MalformedToken,
    PolicyNotMet,
    PolicyTooCostly,
    Refusal,
    TooManyProofs,
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
    "wide nesting bomb": (asking(args={"x": nested(10, 3)}), MalformedToken, "at most 16384"),
    "unclosed nesting": (b"\x82" * 16_000, MalformedToken, "nested deeper"),
    "10,000 proofs": (
        asking(prf=[CID.of(b"", DAG_CBOR)] * 10_000),
        MalformedToken,
        "at most 16384",
    ),
    "300 proofs": (asking(prf=[CID.of(b"", DAG_CBOR)] * 300), TooManyProofs, "300 proofs"),
    "1 MB": (bytes(1_000_000), MalformedToken, "a token of 1000000 bytes"),
    "keys not sorted": (unsorted(), MalformedToken, "not sorted"),
    "key twice": (edited(b"\xa7\x63cmd", b"\xa8\x63cmd\x61/\x63cmd"), MalformedToken, "duplicate"),
    "long integer": (edited(b"\x1a" + END, b"\x1b\0\0\0\0" + END), MalformedToken, "shortest form"),
    "short float": (edited(b"\x1a" + END, b"\xfa" + END), MalformedToken, "only 64 are allowed"),
    "float time": (asking(exp=float(NOW)), InvalidTime, "whole seconds"),
    "time beyond 53 bits": (asking(exp=2**53), InvalidTime, "2^53"),
    "empty segment": (asking(cmd="/wasm//run"), InvalidCommand, "//"),
    "endless text": (edited(b"\x64args", b"\x7b" + b"\xff" * 8), MalformedToken, "truncated"),
    "indefinite map": (edited(b"\xa7\x63cmd", b"\xbf\x63cmd"), MalformedToken, "indefinite"),
    "unknown version": (
        edited(b"@1.0.0-rc.1", b"@9.0.0-rc.1"),
        MalformedToken,
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
        ([["==", ".a", "x" * 1_000_000]], MalformedToken, "at most 16384"),
        ([["and", []]] * 1500, InvalidPolicy, "more than 256"),
        ([["or", nested(40)]], InvalidPolicy, "does not begin with an operator"),
        ([["==", "." + "a" * 2000, 1]], InvalidPolicy, "at most 1024"),
        ([["all", ".x", ["all", ".", ["!=", ".", 1]]]] * 9, PolicyTooCostly, "20000"),
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
    assert caught.value.position == 0
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 400


def test_a_deep_policy_is_refused() -> None:
    statement: list[Any] = ["==", ".", 1]
    for _ in range(100):
        statement = ["not", statement]
    data = unsized(PI, TAG_DELEGATION, {**delegation_token().payload, "pol": [statement]})
    asked = invocation(LAPTOP, [], proofs=[cid_of(data)])
    with pytest.raises(InvalidPolicy, match="nested deeper than 32"):
        Gate(held={cid_of(data): data}).check(asked.data)
