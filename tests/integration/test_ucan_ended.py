"""What has expired, or seems to have, is named with the clock, and revocations go on to count."""

from __future__ import annotations

import pytest

from lite import Node
from lite.ipld.cid import CID
from lite.ucan import container
from lite.ucan.delegation import Delegation
from lite.ucan.invocation import Invocation
from lite.ucan.refusals import (
    ClockWrong,
    Expired,
    NoProofs,
    PolicyNotMet,
    Refusal,
    Revoked,
    TooEarly,
)
from lite.ucan.revocation import Revocation
from tests.authority_support import DAY, add, ask, give
from tests.store_support import START, FakeClock
from tests.ucan_support import LAPTOP, PHONE, STRANGER, delegation

RUN = "/wasm/run"


def refusals(phone: Node, pi: Node) -> list[Refusal]:
    """What the phone is told when it wants to use a right, and to pass it on."""
    job, found = add(pi), []
    with pytest.raises(Refusal) as asked:
        ask(phone, pi, job)
    found.append(asked.value)
    with pytest.raises(Refusal) as passed_on:
        phone.authority.delegate(LAPTOP.did, RUN, expires_in_s=60, subject=pi.did)
    found.append(passed_on.value)
    return found


def test_a_right_that_a_clock_ahead_finds_expired_is_named_with_the_clock(
    pi: Node, phone: Node, clock: FakeClock
) -> None:
    cid = give(pi, phone, expires_in_s=7 * DAY)
    clock.seconds = START + 30 * DAY
    for refusal in refusals(phone, pi):
        assert (type(refusal), refusal.token, refusal.step) == (Expired, cid, "7d")
        assert "no delegation here gives this node the right to /wasm/run" in str(refusal)
        assert "expired 23 d ago" in str(refusal)
        assert "the clock here shows" in str(refusal)
        assert "set the clock if it is ahead" in str(refusal.hint)
        assert refusal.details["cmd"] == RUN


def test_the_link_of_the_own_chain_that_ended_is_named(
    pi: Node, laptop: Node, phone: Node, clock: FakeClock
) -> None:
    upper = give(pi, laptop, expires_in_s=100)
    give(laptop, phone, subject=pi.did)
    clock.seconds = START + 1_000
    for refusal in refusals(phone, pi):
        assert (type(refusal), refusal.token) == (Expired, upper)
        assert "proof 1 of 2" in str(refusal)


def test_a_revoked_right_is_called_that(pi: Node, phone: Node) -> None:
    cid = give(pi, phone)
    phone.authority.import_(container.write([pi.authority.revoke(cid).data]))
    for refusal in refusals(phone, pi):
        assert (type(refusal), refusal.token) == (Revoked, cid)


def test_a_policy_against_it_is_named_with_the_value(pi: Node, phone: Node) -> None:
    cid = give(pi, phone, policy=[["==", ".input.func", "sub"]])
    with pytest.raises(PolicyNotMet) as caught:
        ask(phone, pi, add(pi))
    assert caught.value.token == cid
    assert '"add"' in str(caught.value)
    assert '"sub"' in str(caught.value)


def test_of_several_the_nearest_is_named(pi: Node, phone: Node, clock: FakeClock) -> None:
    """One that fails in one way alone, and rather the policy than the time."""
    other = [["==", ".input.func", "sub"]]
    give(pi, phone, "/crud", policy=other)
    gone = give(pi, phone, policy=other, expires_in_s=10)
    pi.authority.import_(container.write([pi.authority.revoke(gone).data]))
    near = give(pi, phone, policy=other)
    give(pi, phone, expires_in_s=20)
    clock.seconds = START + 1_000
    with pytest.raises(PolicyNotMet) as caught:
        ask(phone, pi, add(pi))
    assert caught.value.token == near


def test_what_begins_later_is_named(pi: Node, phone: Node) -> None:
    later = delegation(
        pi.key, phone.key, subject=pi.did, not_before=START + DAY, expires_at=START + 2 * DAY
    )
    phone.authority.import_(later.data)
    for refusal in refusals(phone, pi):
        assert (type(refusal), refusal.token) == (TooEarly, later.cid)


def test_with_nothing_or_another_command_there_is_nothing_near(pi: Node, phone: Node) -> None:
    for _ in range(2):
        assert [type(one) for one in refusals(phone, pi)] == [NoProofs, NoProofs]
        give(pi, phone, "/crud/read")


def test_with_a_clock_behind_nothing_is_called_too_early(
    pi: Node, phone: Node, clock: FakeClock
) -> None:
    give(pi, phone)
    phone.run(add(phone))
    later = delegation(pi.key, phone.key, subject=pi.did, not_before=START + 500, expires_at=None)
    for cid in (one.cid for one in phone.authority.tokens()):
        phone.authority.forget([cid])
    phone.authority.import_(later.data)
    clock.seconds = START - 10 * DAY
    with pytest.raises(ClockWrong):
        phone.authority.invoke(pi.did, RUN, {}, expires_in_s=None)


# Revocations, whatever has expired.


def chain(pi: Node) -> tuple[Delegation, Delegation]:
    return (
        delegation(pi.key, LAPTOP, subject=pi.did, expires_at=START + 100),
        delegation(LAPTOP, PHONE, subject=pi.did, expires_at=None),
    )


def test_a_revocation_counts_on_when_a_link_above_has_expired(pi: Node, clock: FakeClock) -> None:
    upper, leaf = chain(pi)
    pi.authority.import_(container.write([upper.data, leaf.data]))
    by_pi = pi.authority.revoke(leaf.cid)
    by_laptop = Revocation.issue(LAPTOP, revoked=leaf.cid, subject=pi.did)
    by_stranger = Revocation.issue(STRANGER, revoked=leaf.cid, subject=pi.did)
    for seconds in (START, START + 1_000):
        clock.seconds = seconds
        assert pi.authority.verify(by_pi.data).holds
        assert pi.authority.verify(by_laptop.data).holds
        assert not pi.authority.verify(by_stranger.data).holds


def test_a_middleman_s_revocation_counts_when_the_link_above_it_has_expired(
    laptop: Node, clock: FakeClock
) -> None:
    """The issuer stands above by a link that has expired, and the subject is another."""
    links = [
        delegation(STRANGER, LAPTOP, subject=STRANGER.did, expires_at=START + 100),
        delegation(LAPTOP, PHONE, subject=STRANGER.did, expires_at=START + 100),
        delegation(PHONE, laptop.key, subject=STRANGER.did, expires_at=None),
    ]
    laptop.authority.import_(container.write(one.data for one in links))
    clock.seconds = START + 1_000
    revocation = Revocation.issue(LAPTOP, revoked=links[2].cid, subject=STRANGER.did)
    assert laptop.authority.verify(revocation.data).holds


def test_who_issued_the_root_may_revoke_below_it_when_that_has_expired(
    pi: Node, clock: FakeClock
) -> None:
    upper, leaf = chain(pi)
    pi.authority.import_(container.write([upper.data, leaf.data]))
    clock.seconds = START + 1_000
    revocation = pi.authority.revoke(leaf.cid)
    assert revocation.path == (upper.cid, leaf.cid)


def test_a_middleman_may_revoke_below_its_own_link_when_that_has_expired(
    laptop: Node, clock: FakeClock
) -> None:
    own = delegation(laptop.key, LAPTOP, subject=STRANGER.did, expires_at=START + 100)
    leaf = delegation(LAPTOP, PHONE, subject=STRANGER.did, expires_at=None)
    laptop.authority.import_(container.write([own.data, leaf.data]))
    clock.seconds = START + 1_000
    assert laptop.authority.revoke(leaf.cid).path == (own.cid, leaf.cid)


def test_whatever_is_about_this_node_it_may_revoke_without_the_links_between(
    pi: Node, laptop: Node
) -> None:
    upper, leaf = chain(pi)
    pi.authority.import_(leaf.data)
    revocation = pi.authority.revoke(leaf.cid)
    assert pi.authority.verify(revocation.data).holds
    assert "revoked" in str(pi.authority.verify(container.write([upper.data, leaf.data])).refusal)
    # So it does elsewhere, with the chain and without.
    for tokens in ([leaf.data], [upper.data, leaf.data]):
        laptop.authority.import_(container.write([*tokens, revocation.data]))
        assert laptop.authority.verify(revocation.data).holds
    asked = Invocation.issue(
        PHONE, subject=pi.did, command=RUN, args={}, expires_at=START + 60,
        proofs=[upper.cid, leaf.cid],
    )  # fmt: skip
    verdict = laptop.authority.verify(
        container.write([asked.data, upper.data, leaf.data]), executor=pi.did
    )
    assert type(verdict.refusal) is Revoked


def test_what_is_about_another_and_below_nothing_of_its_own_it_may_not(pi: Node) -> None:
    leaf = delegation(LAPTOP, PHONE, subject=STRANGER.did, expires_at=None)
    pi.authority.import_(leaf.data)
    with pytest.raises(NoProofs, match="issued nothing above it"):
        pi.authority.revoke(leaf.cid)


def test_a_direct_link_is_found_for_a_revocation_among_junk(laptop: Node) -> None:
    """Links by others that last longer are looked at first, and only so many."""
    between = [
        delegation(laptop.key, STRANGER, subject=PHONE.did, expires_at=None),
        delegation(laptop.key, LAPTOP, subject=PHONE.did, expires_at=START + DAY),
    ]
    junk = [
        delegation(STRANGER, LAPTOP, subject=PHONE.did, expires_at=None, nonce=b"%d" % n)
        for n in range(300)
    ]
    leaf = delegation(LAPTOP, STRANGER, subject=PHONE.did, expires_at=None)
    laptop.store.tokens.add([*between, *junk, leaf])
    assert laptop.authority.revoke(leaf.cid).path == (between[1].cid, leaf.cid)


# Verifying what stands below an expired link.


def test_an_upper_link_of_the_store_that_expired_is_named_with_the_clock(
    laptop: Node, pi: Node, clock: FakeClock
) -> None:
    upper, leaf = chain(pi)
    laptop.authority.import_(container.write([upper.data, leaf.data]))
    clock.seconds = START + 1_000
    refusal = laptop.authority.verify(leaf.data).refusal
    assert isinstance(refusal, Expired)
    assert refusal.token == upper.cid
    assert "the clock here shows" in str(refusal)


# A root that is hidden.


@pytest.mark.parametrize("ends", [START + DAY, None])
def test_a_root_right_is_found_among_all_that_a_middleman_gives(
    pi: Node, phone: Node, ends: int | None
) -> None:
    root = delegation(pi.key, phone.key, subject=pi.did, expires_at=ends)
    middle = delegation(pi.key, LAPTOP, subject=pi.did, expires_at=None)
    never = [["==", ".x", 1]]
    junk = [
        delegation(
            LAPTOP, phone.key, subject=pi.did, policy=never, expires_at=None, nonce=b"%d" % n
        )
        for n in range(5_000)
    ]
    phone.store.tokens.add([root, middle, *junk])
    tokens = phone.authority.invoke(pi.did, RUN, {})
    assert [CID.of(data, root.cid.codec) for data in tokens[1:]] == [root.cid]
