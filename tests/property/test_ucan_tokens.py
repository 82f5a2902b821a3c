"""Laws of tokens and chains: nothing changes unseen, nothing widens, what is found holds."""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Iterable
from itertools import pairwise, permutations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lite.errors import CodecError, SignatureError
from lite.keys import Key
from lite.ucan import chains, command, container, proofs
from lite.ucan.chains import Wanted
from lite.ucan.delegation import Delegation
from lite.ucan.invocation import Invocation
from lite.ucan.memo import Memo
from lite.ucan.refusals import Refusal
from tests.property.test_ucan_policies import policies
from tests.ucan_support import (
    LAPTOP,
    NOW,
    PHONE,
    PI,
    STRANGER,
    TABLET,
    Gate,
    cid_of,
    delegation,
    invocation,
    three_links,
)

CROWD = (PI, LAPTOP, PHONE, TABLET, STRANGER)
COMMANDS = ["/", "/wasm", "/wasm/run", "/wasm/run/fast", "/wasmedge", "/crud"]

keys = st.sampled_from(CROWD)
times = st.sampled_from([None, NOW - 100, NOW - 61, NOW - 60, NOW, NOW + 60, NOW + 61, NOW + 500])
small_policies = st.lists(
    st.sampled_from(
        [
            ["==", ".n", 1],
            ["<=", ".n", 2],
            ["like", ".rsc", "ipfs://*"],
            ["not", ["==", ".n", 3]],
            ["all", ".list", [">", ".", 0]],
            ["!=", ".missing", 1],
        ]
    ),
    max_size=2,
)
arguments = st.fixed_dictionaries(
    {"n": st.integers(0, 3), "rsc": st.sampled_from(["ipfs://x", "dns:x"])},
    optional={"list": st.lists(st.integers(0, 2), max_size=2)},
)


@st.composite
def links(draw: st.DrawFn, giver: Key, taker: Key) -> Delegation:
    """One delegation that fits most requests, or is odd in one field."""
    odd = {
        "subject": st.sampled_from([None, LAPTOP.did]),
        "command": st.sampled_from(COMMANDS),
        "policy": small_policies,
        "expires_at": times,
        "not_before": times,
    }
    fields: dict[str, Any] = {"command": "/wasm", "expires_at": NOW + 500}
    name = draw(st.sampled_from([*odd, "subject", "", "", ""]))
    if name:
        fields[name] = draw(odd[name])
    return delegation(giver, taker, nonce=draw(st.binary(max_size=1)), **fields)


@st.composite
def rows(draw: st.DrawFn) -> list[Delegation]:
    """A row of delegations that begins with the Pi, mostly each given to the next issuer."""
    people = [PI, *draw(st.lists(keys, min_size=1, max_size=4))]
    row = [draw(links(giver, taker)) for giver, taker in pairwise(people)]
    if draw(st.integers(0, 9)) == 0:
        row.append(draw(links(draw(keys), draw(keys))))
    return row


def let_in(gate: Gate, data: bytes) -> bool:
    try:
        gate.check(data)
    except Refusal as error:
        assert str(error).isprintable()
        return False
    return True


def by_did(did: str) -> Key:
    return next(key for key in CROWD if key.did == did)


@given(rows(), arguments, st.sampled_from(COMMANDS))
def test_what_the_leaf_allows_every_link_above_allows(
    row: list[Delegation], args: dict[str, Any], asked: str
) -> None:
    invoker = by_did(row[-1].audience)
    if not let_in(Gate().hold(row), invocation(invoker, row, command=asked, args=args).data):
        return
    assert row[0].is_root
    for position, link in enumerate(row):
        assert command.covers(link.command, asked)
        assert link.policy.allows(args)
        assert link.subject in (None, PI.did)
        assert (link.not_before or 0) <= NOW + 60
        assert link.expires_at is None or link.expires_at >= NOW - 60
        above = row[: position + 1]
        holder = by_did(link.audience)
        assert let_in(Gate().hold(above), invocation(holder, above, command=asked, args=args).data)


@given(rows(), arguments, links(LAPTOP, STRANGER))
def test_another_link_never_widens(
    row: list[Delegation], args: dict[str, Any], more: Delegation
) -> None:
    """Whatever a longer chain allows, the shorter one allowed its own last audience."""
    longer = [*row, more]
    if let_in(Gate().hold(longer), invocation(STRANGER, longer, args=args).data):
        assert let_in(Gate().hold(row), invocation(LAPTOP, row, args=args).data)


@given(rows(), arguments, st.data())
def test_a_revocation_never_widens_and_the_memo_changes_no_answer(
    row: list[Delegation], args: dict[str, Any], data: st.DataObject
) -> None:
    gate, memo = Gate().hold(row), Memo()
    asked = invocation(by_did(row[-1].audience), row, args=args)
    first = let_in(Gate(memo=memo).hold(row), asked.data)
    assert first == let_in(Gate().hold(row), asked.data)
    revoked, revoker = data.draw(st.sampled_from(row)), data.draw(keys)
    gate.revocations.add(revoked.cid, frozenset({revoker.did}))
    second = let_in(gate, asked.data)
    assert first or not second
    gate.memo = memo
    gate.seen.clear()
    assert let_in(gate, asked.data) is second


def changed(data: bytes, scaled: Callable[[int, int], int]) -> Iterable[bytes]:
    """The bytes with one of them changed: at every place, in one way or in all."""
    rng = random.Random(7)
    for at in range(len(data)):
        flips = range(1, 256) if scaled(0, 1) else (rng.randrange(1, 256), 1, 0x80)
        for flip in flips:
            yield data[:at] + bytes([data[at] ^ flip]) + data[at + 1 :]


def test_any_changed_byte_of_an_invocation_is_refused(scaled: Callable[[int, int], int]) -> None:
    chain = three_links()
    gate = Gate(memo=Memo()).hold(chain)
    data = invocation(TABLET, chain, executor=PI.did, issued_at=NOW, meta={"a": 1}).data
    gate.check(data)
    for other in changed(data, scaled):
        with pytest.raises(Refusal):
            gate.check(other)


def test_any_changed_byte_of_a_delegation_is_refused(scaled: Callable[[int, int], int]) -> None:
    one = delegation(PI, LAPTOP, policy=[["like", ".rsc", "ipfs://*"]], meta={"a": b"x"})
    for other in changed(one.data, scaled):
        with pytest.raises(Refusal):
            proofs.check_delegation(other, now=NOW)


def test_a_changed_proof_is_refused_under_either_name() -> None:
    one = delegation(PI, LAPTOP)
    asked = invocation(LAPTOP, [one])
    for other in list(changed(one.data, lambda n, _: n))[::5]:
        with pytest.raises(Refusal):
            Gate(held={one.cid: other}).check(asked.data)
        named = invocation(LAPTOP, [], proofs=[cid_of(other)])
        with pytest.raises(Refusal):
            Gate(held={cid_of(other): other}).check(named.data)


@given(st.binary(max_size=300))
def test_random_bytes_are_refused(data: bytes) -> None:
    for parse in (Delegation.parse, Invocation.parse):
        with pytest.raises((CodecError, SignatureError)):
            parse(data)
    assert not let_in(Gate(), data)
    try:
        container.read_any(data)
    except CodecError as error:
        assert str(error)


@given(policies, times, times, st.binary(max_size=20), st.sampled_from(COMMANDS))
def test_a_delegation_reads_back_as_it_was_minted(
    policy: list[Any], begins: int | None, ends: int | None, nonce: bytes, asked: str
) -> None:
    one = delegation(
        PI,
        LAPTOP,
        policy=policy,
        not_before=begins,
        expires_at=ends,
        nonce=nonce,
        command=asked,
    )
    again = Delegation.parse(one.data)
    assert (again, again.cid, again.policy) == (one, one.cid, one.policy)
    assert (again.not_before, again.expires_at, again.command) == (begins, ends, asked)


@given(arguments, st.binary(max_size=20), st.none() | st.integers(0, NOW))
def test_an_invocation_reads_back_as_it_was_minted(
    args: dict[str, Any], nonce: bytes, issued_at: int | None
) -> None:
    one = invocation(PI, three_links(), args=args, nonce=nonce, issued_at=issued_at)
    again = Invocation.parse(one.data)
    assert (again, again.cid, again.task) == (one, one.cid, one.task)
    assert (again.args, again.nonce, again.issued_at) == (args, nonce, issued_at)
    assert again.proofs == one.proofs


@given(
    st.lists(st.binary(max_size=40), max_size=6),
    st.sampled_from(["raw", "base64", "base64url", "bare"]),
)
def test_a_container_reads_back(tokens: list[bytes], form: container.Form) -> None:
    assert container.read(container.write(tokens, form)) == tuple(sorted(set(tokens)))


class Held:
    def __init__(self, held: list[Delegation]) -> None:
        self.held = sorted(held, key=lambda one: -(one.expires_at or 2**53))

    def takers(self, issuer: str, subject: str) -> list[str]:
        return [one.audience for one in self.held if one.issuer == issuer]

    def givers(self, audience: str, subject: str) -> list[str]:
        return [one.issuer for one in self.held if one.audience == audience]

    def given_to(
        self, audience: str, subject: str, command: str, issuers: Collection[str] | None
    ) -> list[Delegation]:
        return [one for one in self.held if one.audience == audience]


@st.composite
def webs(draw: st.DrawFn) -> list[Delegation]:
    few = st.sampled_from((PI, LAPTOP, PHONE))
    pairs = draw(st.lists(st.tuples(few, few), min_size=2, max_size=7))
    return [draw(links(giver, taker)) for giver, taker in pairs]


@given(webs(), arguments, st.data())
def test_a_chain_is_found_exactly_when_some_chain_passes_the_gate(
    web: list[Delegation], args: dict[str, Any], data: st.DataObject
) -> None:
    gate = Gate()
    for revoked in data.draw(st.lists(st.sampled_from(web), max_size=2)):
        gate.revocations.add(revoked.cid, frozenset({data.draw(keys).did}))
    gate.hold(web)
    wanted = Wanted(PI.did, PHONE.did, "/wasm/run", NOW, args)
    found = chains.find(Held(web), wanted, revoked_by=gate.revocations.revoked_by)

    def passes(chain: Iterable[Delegation]) -> bool:
        gate.seen.clear()
        return let_in(gate, invocation(PHONE, chain, args=args).data)

    if found is not None:
        assert passes(found)
        return
    rooted = [one for one in web if one.is_root]
    for length in range(1, 4):
        for rest in permutations(web, length - 1):
            for root in rooted:
                chain = [root, *rest]
                fits = all(a.audience == b.issuer for a, b in pairwise(chain))
                if fits and chain[-1].audience == PHONE.did:
                    assert not passes(chain)
