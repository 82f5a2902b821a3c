"""What all proofs of one check may hold together, and what signatures are refused for."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest

from lite.keys import Key
from lite.ucan import refusals
from lite.ucan.checks import Place, check_signature
from lite.ucan.delegation import Delegation
from lite.ucan.envelope import TAG_DELEGATION, parse
from lite.ucan.memo import Memo
from lite.ucan.refusals import Refusal, TooManyItems
from lite.ucan.selector import Selector
from tests.ucan_support import (
    LAPTOP,
    PHONE,
    PI,
    Gate,
    delegation,
    foreign_delegation,
    invocation,
    unsized,
)

PEOPLE = [Key.from_seed(bytes([number]) * 32) for number in range(1, 18)]

Policy = list[Any]


def path(segments: int, seed: int) -> str:
    """A selector that no other has, so that none is remembered."""
    chosen = random.Random(seed)
    return "".join(f".{chosen.choice('abcdefgh')}?" for _ in range(segments))


HEAVY: dict[str, Callable[[int], Policy]] = {
    "long selectors": lambda n: [["==", path(330, n * 100 + k), None] for k in range(15)],
    "bracketed selectors": lambda n: (
        [["==", "[0]?" * 200 + f"[{n}]?", None]] * 0
        + [["==", "." + "[0]?" * 200 + f"[{n}]?", None]] * 8
    ),
    "patterns": lambda n: [["not", ["like", ".s", "a*b" * 5_000 + str(n)]]],
    "escapes": lambda n: [["not", ["like", ".s", "\\" * 14_000 + str(n)]]],
    "many small ones": lambda n: [["==", path(100, n * 100 + k), None] for k in range(2)],
}


@pytest.mark.parametrize("name", HEAVY)
def test_the_parts_of_selectors_and_patterns_count_like_values(name: str) -> None:
    chain = [
        foreign_delegation(PEOPLE[n], PEOPLE[n + 1], sub=PEOPLE[0].did, pol=HEAVY[name](n))
        for n in range(16)
    ]
    asked = invocation(PEOPLE[16], chain, subject=PEOPLE[0].did, args={"s": "aXb"})
    with pytest.raises(TooManyItems):
        Gate(PEOPLE[0]).hold(chain).check(asked.data)


def test_sixteen_proofs_with_ordinary_policies_are_not_too_many() -> None:
    policy: Policy = [["==", ".input.func", "add"], ["like", ".rsc", "ipfs://*"]] * 3
    chain = [
        delegation(PEOPLE[n], PEOPLE[n + 1], subject=PEOPLE[0].did, policy=policy)
        for n in range(16)
    ]
    asked = invocation(PEOPLE[16], chain, subject=PEOPLE[0].did)
    assert len(Gate(PEOPLE[0]).hold(chain).check(asked.data).chain) == 16


def test_a_memo_changes_nothing_about_how_much_may_be_read() -> None:
    """Two proofs that are too much together, the second of them remembered."""
    policy: Policy = [["!=", ".zz?", [[]] * 3_000]]
    chain = [
        delegation(PI, LAPTOP, policy=policy),
        delegation(LAPTOP, PHONE, policy=policy),
    ]
    gate = Gate(memo=Memo()).hold(chain)
    asked = invocation(PHONE, chain)
    with pytest.raises(TooManyItems):
        gate.check(asked.data)
    with pytest.raises(Refusal):
        gate.check(invocation(PHONE, chain[1:]).data)
    assert gate.memo is not None
    assert gate.memo.delegation(chain[1].cid) is not None
    with pytest.raises(TooManyItems) as caught:
        gate.check(asked.data)
    assert caught.value.position == 1


@pytest.mark.parametrize("text", [".a.b", ".a[0]", ".a?.b", ".é", ".a.é[1:]", '.a["x"]', "._$-1"])
def test_the_short_way_to_read_a_name_reads_what_the_long_one_does(text: str) -> None:
    names = [segment.key for segment in Selector.parse(text).segments]
    assert names[0] in ("a", "é", "_$-1")


@pytest.mark.parametrize("text", [".a\n", ".a b", ".a..b", ".a.", ".a-é b", ".1"])
def test_the_short_way_to_read_a_name_takes_no_more_than_the_long_one(text: str) -> None:
    with pytest.raises(refusals.InvalidPolicy):
        Selector.parse(text)


FIELDS = delegation(PI, LAPTOP).token.payload
ED25519 = bytes.fromhex("3401ed01ed011371")


def signed(header: bytes, issuer: str = PI.did, key: Key = PI) -> bytes:
    data = unsized(PI, TAG_DELEGATION, {**FIELDS, "iss": issuer})
    return data.replace(b"\x48" + ED25519, bytes([0x40 + len(header)]) + header)


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (signed(bytes.fromhex("34ed0171")), "ucan-signature-version"),
        (signed(b"\x01"), "ucan-signature-version"),
        (signed(bytes.fromhex("3401ed01ed01135f")), "ucan-signature-algorithm"),
        (signed(bytes.fromhex("3401ec0180241271")), "ucan-signature-key"),
        (signed(ED25519, "did:web:example.com"), "ucan-issuer-unknown"),
        (signed(ED25519, LAPTOP.did), "ucan-signature"),
    ],
)
def test_each_reason_why_a_signature_is_refused_has_a_code(data: bytes, code: str) -> None:
    with pytest.raises(refusals.InvalidSignature) as caught:
        check_signature(parse(data), Place(None, 0))
    assert (caught.value.code, caught.value.step) == (code, "7c")
    assert caught.value.wire_name == "InvalidSignature"
    assert Delegation.parse(data).audience == LAPTOP.did
