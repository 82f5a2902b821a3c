"""Turns of customers, the terms of their delegations, and what is said of a refusal."""

from __future__ import annotations

import pytest

from lite.ipld.cid import CID, DAG_CBOR, RAW
from lite.keys import Key
from lite.limits import MIB, Limits
from lite.model.receipt import Receipt
from lite.model.result import Result
from lite.offload import refused
from lite.offload.news import TAIL_BYTES_MAX, Tail
from lite.offload.terms import Terms, issue, limits_within, terms_of
from lite.offload.turns import Turns
from lite.offload.wire import Output
from lite.ucan.invocation import Invocation
from lite.ucan.refusals import Refusal
from tests.store_support import instruction

PI, PHONE = (Key.from_seed(bytes([n]) * 32) for n in (1, 2))
MODULE = CID.of(b"code", RAW)


def taken(turns: Turns) -> list[int]:
    found = []
    while (job := turns.take()) is not None:
        found.append(job)
    return found


def test_each_party_has_one_turn_after_the_other() -> None:
    turns = Turns()
    for job in (1, 2, 3, 4):
        turns.add("a", job)
    for job in (10, 11):
        turns.add("b", job)
    turns.add("c", 20)
    assert (turns.ahead("b"), turns.ahead("new")) == (2 + 3 + 1, 3)
    assert taken(turns) == [1, 10, 20, 2, 11, 3, 4]
    assert turns.take() is None


def test_what_can_go_on_comes_first_and_what_is_dropped_not_at_all() -> None:
    turns = Turns()
    for job in (1, 2, 3):
        turns.add("a", job)
    turns.add("a", 3, first=True)
    turns.drop("a", 1)
    turns.drop("b", 9)
    turns.drop("a", 9)
    assert len(turns) == 2
    assert taken(turns) == [3, 2]


def test_terms_are_in_the_policy_and_what_has_to_be_counted_in_the_meta() -> None:
    terms = Terms((MODULE,), fuel=10**9, memory=MIB, time=5_000, jobs=7, day_fuel=10**12)
    token = issue(PI, terms, to=PHONE.did, command="/wasm/run", expires_at=None)
    assert terms_of(token) == terms
    assert Terms.decode(terms.encode()) == terms

    def passes(**args: object) -> bool:
        return not token.policy.failure(args)

    good = {"fuel": 10**9, "memory": MIB, "time": 5_000}
    for rsc in (f"ipfs://{MODULE}", f"ipfs://{MODULE}/a/b.wasm"):
        assert passes(rsc=rsc, limits=good)
        assert not passes(rsc=rsc, limits={**good, "fuel": 10**9 + 1})
        assert not passes(rsc=rsc)
    assert not passes(rsc=f"ipfs://{CID.of(b'other', RAW)}", limits=good)
    assert not passes(rsc=f"ipfs://{MODULE}x", limits=good)
    wanted = Limits(fuel=10**12, memory_bytes=1 << 40, time_ms=1_000, output_bytes=9)
    within = limits_within(token, wanted)
    assert within == {"fuel": 10**9, "memory": MIB, "time": 1_000, "output": 9}
    assert passes(rsc=f"ipfs://{MODULE}", limits=within)


def test_an_owner_lets_more_or_less_than_guests_get_but_never_more_than_himself() -> None:
    guest = Limits(fuel=100, memory_bytes=100, time_ms=100, output_bytes=100)
    own = Limits(fuel=1_000, memory_bytes=1_000, time_ms=1_000, output_bytes=1_000)
    found = Terms(fuel=5_000, memory=50, time=500).limits(guest, own)
    assert found == Limits(fuel=1_000, memory_bytes=50, time_ms=500, output_bytes=100)


def test_a_delegation_without_terms_or_with_wrong_ones_has_none() -> None:
    from lite.ucan.delegation import Delegation

    for meta in (None, {"provider": {"fuel": "much"}}, {"provider": 7}):
        token = Delegation.issue(
            PI, audience=PHONE.did, subject=PI.did, command="/a", expires_at=None, meta=meta
        )
        assert terms_of(token) is None


def asked() -> Invocation:
    return Invocation.issue(
        PHONE, subject=PI.did, command="/wasm/run", args={"rsc": "x"}, expires_at=None
    )


def test_a_statement_names_the_invocation_and_answers_no_instruction() -> None:
    invocation = asked()
    told = refused.state(PI, invocation.data, "busy", "a\x1b[31mb", now=5, name="Busy")
    found = refused.read(told.data)
    assert found == refused.Refused(invocation.cid, PI.did, "busy", "a\\x1b[31mb", 5, "Busy")
    with pytest.raises(Exception, match="ins"):
        Receipt.parse(told.data)


def test_a_statement_of_what_is_no_invocation_and_a_long_one() -> None:
    told = refused.state(PI, b"junk", "usage", "x" * 5_000, now=5)
    found = refused.read(told.data)
    assert found.invocation == CID.of(b"junk", DAG_CBOR)
    assert len(found.message) == refused.MESSAGE_CHARS_MAX


def test_what_is_no_statement_is_refused() -> None:
    told = refused.state(PI, asked().data, "busy", "no", now=5).data
    receipt = Receipt.issue(PI, instruction(1), Result.of_ok(1), now=5, meta={})
    for data in (told[:-1] + b"x", asked().data, receipt.data, b"junk"):
        with pytest.raises(Refusal):
            refused.read(data)


def test_a_tail_keeps_the_end_and_says_where_it_is() -> None:
    tail = Tail().plus(b"abc").plus(b"def")
    assert tail.after(0) == Output(0, b"abcdef")
    assert tail.after(4) == Output(4, b"ef")
    assert tail.after(6) is None
    long = tail.plus(bytes(TAIL_BYTES_MAX))
    found = long.after(0)
    assert found is not None and (found.at, len(found.data)) == (6, TAIL_BYTES_MAX)
