"""Giving, taking back and judging tokens, and what a wrong clock does to them."""

from __future__ import annotations

import pytest

from lite import Node
from lite.clock import EARLIEST_S
from lite.errors import NotFoundError, QueuedError, UsageError
from lite.ipld import dag_cbor
from lite.ipld.cid import CID, DAG_CBOR
from lite.model.instruction import Instruction
from lite.ucan import container
from lite.ucan.delegation import Delegation
from lite.ucan.invocation import Invocation
from lite.ucan.refusals import (
    ClockWrong,
    Expired,
    NoProofs,
    Revoked,
    TooEarly,
    UnavailableProof,
)
from tests.authority_support import DAY, Opener, add, ask, give, invocation_in
from tests.store_support import START, FakeClock
from tests.ucan_support import LAPTOP, STRANGER, invocation_token

# Clocks.


def test_a_clock_behind_the_newest_own_receipt_is_named_and_nothing_called_expired(
    pi: Node, phone: Node, clock: FakeClock
) -> None:
    give(pi, phone)
    data = ask(phone, pi, add(pi))
    answer = pi.run(add(pi))
    clock.seconds = 1_000
    state = pi.authority.clock_state()
    assert state.high_water == START
    assert state.suspicious is not None
    assert str(answer.receipt.cid)[-7:] in state.suspicious
    with pytest.raises(ClockWrong, match="1970-01-01 00:16:40Z") as refused:
        pi.run_invocation(data)
    assert (refused.value.code, refused.value.exit_code) == ("ucan-clock", 4)
    with pytest.raises(ClockWrong):
        pi.authority.delegate(phone.did, "/wasm/run", expires_in_s=60)
    assert isinstance(pi.authority.verify(data).refusal, ClockWrong)
    assert pi.run(add(pi)).source == "cached"
    clock.seconds = START + 1
    assert pi.run_invocation(data).out.unwrap() == 42


def test_without_time_bounds_a_wrong_clock_does_not_matter(
    pi: Node, phone: Node, clock: FakeClock
) -> None:
    pi.run(add(pi))
    clock.seconds = 1_000
    give(pi, phone, expires_in_s=None)
    data = ask(phone, pi, add(pi), expires_in_s=None)
    assert pi.run_invocation(data).out.unwrap() == 42


def test_a_new_node_with_the_clock_at_zero_says_so(pi: Node, clock: FakeClock) -> None:
    assert pi.authority.clock_state().suspicious is None
    clock.seconds = 0
    state = pi.authority.clock_state()
    assert state.high_water == EARLIEST_S
    assert state.suspicious is not None
    assert "before this program was written" in state.suspicious


def test_a_good_clock_says_too_early_and_expired_with_what_it_shows(
    pi: Node, phone: Node, clock: FakeClock
) -> None:
    give(pi, phone)
    data = ask(phone, pi, add(pi))
    clock.seconds = START + 2 * DAY
    verdict = pi.authority.verify(data)
    assert isinstance(verdict.refusal, Expired)
    assert "the clock here shows" in str(verdict.refusal)
    later = Invocation.issue(pi.key, subject=pi.did, command="/wasm/run", args={}, expires_at=None)
    assert not isinstance(pi.authority.verify(later.data).refusal, TooEarly)


# Keeping and judging tokens.


def test_delegate_finds_the_own_chain_and_never_outlives_it(
    pi: Node, laptop: Node, phone: Node
) -> None:
    give(pi, laptop, "/wasm", expires_in_s=100)
    issued = laptop.authority.delegate(phone.did, "/wasm/run", expires_in_s=DAY, subject=pi.did)
    assert [link.issuer for link in issued.chain] == [pi.did, laptop.did]
    assert issued.token == issued.chain[-1]
    assert issued.token.expires_at == START + 100
    with pytest.raises(NoProofs, match="/crud/read"):
        laptop.authority.delegate(phone.did, "/crud/read", expires_in_s=1, subject=pi.did)
    with pytest.raises(UsageError, match="not a DID"):
        pi.authority.delegate("phone", "/wasm/run", expires_in_s=1)
    with pytest.raises(UsageError, match="upper-case"):
        pi.authority.delegate(phone.did, "/Wasm", expires_in_s=1)
    with pytest.raises(UsageError):
        pi.authority.delegate(phone.did, "/wasm", expires_in_s=1, policy=[["no", 1]])


def test_a_powerline_passes_on_what_comes_later(pi: Node, laptop: Node, phone: Node) -> None:
    give(laptop, phone, powerline=True)
    give(pi, laptop)
    given = pi.authority.find_chain(subject=pi.did, audience=laptop.did, command="/wasm/run")
    assert given is not None
    phone.authority.import_(given[0].data)
    assert pi.run_invocation(ask(phone, pi, add(pi))).out.unwrap() == 42


def test_import_takes_what_is_good_and_names_the_rest(pi: Node, phone: Node) -> None:
    good = pi.authority.delegate(phone.did, "/wasm/run", expires_in_s=1).token.data
    receipt = pi.run(add(pi)).receipt
    forged = bytearray(good)
    forged[20] ^= 1
    nothing = dag_cbor.encode(["no", "token"])
    parts = [good, bytes(forged), nothing, receipt.data, receipt.data[:-1]]
    found = phone.authority.import_(container.write(parts))
    assert [(one.kind, one.cid) for one in found.taken] == [
        ("delegation", CID.of(good, DAG_CBOR)),
        ("receipt", receipt.cid),
    ]
    assert {one.cid: one.error.code for one in found.refused} == {
        CID.of(bytes(forged), DAG_CBOR): "ucan-signature",
        CID.of(nothing, DAG_CBOR): "ucan-malformed",
        CID.of(receipt.data[:-1], DAG_CBOR): "ucan-malformed",
    }
    assert phone.store.receipts.get(receipt.cid) == receipt
    assert [(one.kind, one.token.data) for one in phone.authority.tokens()] == [
        ("delegation", good)
    ]


def test_a_revocation_that_expired_counts_and_one_of_the_future_stops_nothing_else(
    pi: Node, laptop: Node, phone: Node
) -> None:
    link, other = give(pi, phone), give(pi, laptop)
    fields = {"sub": pi.did, "cmd": "/ucan/revoke", "nonce": b"", "prf": []}
    late = invocation_token(pi.key, **fields, args={"revoke": link}, exp=START - DAY)
    early = invocation_token(pi.key, **fields, args={"revoke": other}, exp=None, nbf=START + DAY)
    found = phone.authority.import_(container.write([late.data, early.data]))
    assert [(one.cid, one.note) for one in found.taken] == [(late.cid, f"of {link}")]
    assert [(one.cid, type(one.error)) for one in found.refused] == [(early.cid, TooEarly)]
    (held,) = (one for one in phone.authority.tokens() if one.kind == "delegation")
    assert isinstance(phone.authority.verify(held.token.data).refusal, Revoked)


def test_an_imported_invocation_is_looked_at_and_not_kept(pi: Node, phone: Node) -> None:
    give(pi, phone)
    data = ask(phone, pi, add(pi))
    found = pi.authority.import_(data)
    assert found.refused == []
    assert [one.kind for one in found.taken] == ["delegation", "invocation"]
    assert pi.run_invocation(data).source == "ran"


def test_a_delegation_is_judged_with_the_chain_above_it(
    pi: Node, laptop: Node, phone: Node, opened: Opener
) -> None:
    root = give(pi, laptop, expires_in_s=100)
    low = give(laptop, phone, subject=pi.did)
    data = phone.authority.container([root, low])
    verdict = opened("tablet").authority.verify(data)
    assert (verdict.kind, verdict.holds, verdict.until) == ("delegation", True, START + 100)
    assert [link.cid for link in verdict.chain] == [root, low]
    alone = phone.authority.get(low)
    assert alone is not None
    assert phone.authority.verify(alone).holds
    assert isinstance(opened("tv").authority.verify(alone).refusal, UnavailableProof)
    phone.authority.import_(pi.authority.revoke(root).data)
    gone = phone.authority.verify(data)
    assert isinstance(gone.refusal, Revoked)
    assert gone.refusal.position == 0


def test_only_who_issued_something_above_may_revoke(pi: Node, laptop: Node, phone: Node) -> None:
    root = give(pi, laptop)
    with pytest.raises(NoProofs, match="cannot take it back"):
        laptop.authority.revoke(root)
    with pytest.raises(NotFoundError):
        phone.authority.revoke(root)


# Chains.


def test_a_chain_that_ends_is_not_passed_on_for_ever_by_a_wrong_clock(
    pi: Node, phone: Node, clock: FakeClock
) -> None:
    give(pi, phone)
    phone.run(add(phone))
    clock.seconds = 1_000
    with pytest.raises(ClockWrong):
        phone.authority.delegate(STRANGER.did, "/wasm/run", expires_in_s=None, subject=pi.did)
    assert len(phone.authority.tokens()) == 1


def test_what_is_passed_on_lasts_as_long_as_was_wished_where_it_can(pi: Node, phone: Node) -> None:
    give(pi, phone, expires_in_s=600)
    give(pi, phone, expires_in_s=10 * DAY, policy=[["==", ".input.func", "add"]])
    told = {"to": STRANGER.did, "command": "/wasm/run", "subject": pi.did}
    for wished, conditions in ((300, 0), (DAY, 1)):
        token = phone.authority.delegate(**told, expires_in_s=wished).chain[0]
        assert len(token.policy.statements) == conditions
    assert phone.authority.delegate(**told, expires_in_s=DAY).token.expires_at == START + DAY


def test_costly_junk_in_the_store_hides_no_chain_and_a_search_cut_off_is_called_that(
    pi: Node, phone: Node
) -> None:
    """From one who stands between the Pi and the phone."""
    costly = [["all", ".input.args", ["!=", ".", -1]]] * 9 + [["==", ".no", 1]]
    between = [
        Delegation.issue(
            pi.key, audience=taker, subject=pi.did, command="/wasm/run", expires_at=None
        )
        for taker in (STRANGER.did, LAPTOP.did)
    ]
    junk = [
        Delegation.issue(
            STRANGER,
            audience=phone.did,
            subject=pi.did,
            command="/wasm/run",
            policy=costly,
            expires_at=None,
        )
        for _ in range(60)
    ]
    phone.authority.import_(container.write(one.data for one in [*between, *junk]))
    args = {"rsc": "ipfs://x", "input": {"func": "add", "args": list(range(1_000))}}
    with pytest.raises(NoProofs, match="the search was cut off"):
        phone.authority.invoke(pi.did, "/wasm/run", args)
    good = Delegation.issue(
        LAPTOP,
        audience=phone.did,
        subject=pi.did,
        command="/wasm/run",
        policy=[["==", ".input.func", "add"]],
        expires_at=START + DAY,
    )
    phone.authority.import_(good.data)
    found = phone.authority.find_chain(
        subject=pi.did, audience=phone.did, command="/wasm/run", args=args
    )
    assert found == [between[1], good]


def test_an_await_of_the_task_id_of_an_invocation_finds_its_receipt(pi: Node, phone: Node) -> None:
    """And of nothing else: the receipt is not found under the CID of the invocation."""
    give(pi, phone)
    data = ask(phone, pi, add(pi))
    asked = invocation_in(data)
    receipt = pi.run_invocation(data).receipt
    assert receipt.ran == asked.task

    def second(awaited: CID) -> bytes:
        value = add(pi, 1, 1).value()
        value["input"]["args"][0] = {"await/ok": awaited}
        return ask(phone, pi, Instruction.from_value(value))

    assert pi.run_invocation(second(asked.task)).out.unwrap() == 43
    with pytest.raises(QueuedError):
        pi.run_invocation(second(asked.cid))
    came = pi.why(receipt.cid)
    assert came is not None
