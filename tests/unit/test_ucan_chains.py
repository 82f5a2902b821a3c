"""Finding the chain that authorises something, and adding a link to it."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable
from itertools import pairwise
from typing import Any

import pytest

from lite.errors import UsageError
from lite.keys import Key
from lite.ucan import chains
from lite.ucan.chains import LINKS_MAX, Chain, Wanted
from lite.ucan.delegation import Delegation
from lite.ucan.refusals import TooManyProofs
from lite.ucan.revocation import Revocations
from tests.ucan_support import (
    HOUR,
    LAPTOP,
    NOW,
    PHONE,
    PI,
    STRANGER,
    TABLET,
    Gate,
    delegation,
    invocation,
    three_links,
)


class Held:
    """Delegations in memory, the longest-lived first; counts the questions."""

    def __init__(self, held: Iterable[Delegation]) -> None:
        self.held = sorted(held, key=lambda one: -(one.expires_at or 2**53))
        self.questions = 0

    def takers(self, issuer: str, subject: str) -> list[str]:
        return [one.audience for one in self.held if one.issuer == issuer]

    def givers(self, audience: str, subject: str) -> list[str]:
        return [one.issuer for one in self.held if one.audience == audience]

    def given_to(
        self, audience: str, subject: str, command: str, issuers: Collection[str] | None
    ) -> Iterable[Delegation]:
        self.questions += 1
        return [
            one
            for one in self.held
            if one.audience == audience
            and one.subject in (None, subject)
            and (issuers is None or one.issuer in issuers)
        ]


def find(
    held: Iterable[Delegation],
    audience: Key = TABLET,
    revoked: Revocations | None = None,
    **wanted: Any,
) -> Chain | None:
    told: dict[str, Any] = {
        "subject": PI.did,
        "audience": audience.did,
        "command": "/wasm/run",
        "now": NOW,
        **wanted,
    }
    revoked_by = (revoked or Revocations()).revoked_by
    return chains.find(Held(held), Wanted(**told), revoked_by=revoked_by)


def test_a_chain_is_found_in_any_order_and_passes_the_gate() -> None:
    chain = three_links()
    found = find(chain[::-1])
    assert found == tuple(chain)
    Gate().hold(chain).check(invocation(TABLET, found or ()).data)


def test_the_subject_needs_no_chain_and_a_stranger_has_none() -> None:
    assert find([], audience=PI) == ()
    assert find(three_links(), audience=STRANGER) is None
    assert find(three_links()[1:]) is None


def test_the_shortest_chain_is_preferred_even_if_it_ends_sooner() -> None:
    direct = delegation(PI, TABLET, expires_at=NOW + 10)
    assert find([*three_links(), direct]) == (direct,)


def test_of_equal_chains_the_one_that_lasts_longest_is_preferred() -> None:
    soon, late, forever = (
        delegation(PI, TABLET, expires_at=at) for at in (NOW + 10, NOW + 20, None)
    )
    assert find([soon, late]) == (late,)
    assert find([soon, forever, late]) == (forever,)
    first, second = (delegation(PI, LAPTOP, expires_at=NOW + n) for n in (50, 100))
    last = delegation(LAPTOP, TABLET, expires_at=NOW + 70)
    assert find([first, last, second]) == (second, last)


@pytest.mark.parametrize(
    "fields",
    [
        {"command": "/crud"},
        {"command": "/wasmedge"},
        {"subject": LAPTOP.did},
        {"expires_at": NOW - 61},
        {"not_before": NOW + 61},
        {"policy": [["==", ".rsc", "other"]]},
    ],
)
def test_links_that_do_not_fit_are_passed_over(fields: dict[str, Any]) -> None:
    unfit = delegation(PI, TABLET, **fields)
    chain = three_links()
    assert find([unfit, *chain], args={"rsc": "x"}) == tuple(chain)
    assert find([unfit], args={"rsc": "x"}) is None


def test_policies_are_heeded_only_when_the_arguments_are_known() -> None:
    one = delegation(PI, TABLET, policy=[["==", ".rsc", "other"]])
    assert find([one]) == (one,)
    assert find([one], args={"rsc": "x"}) is None


def test_a_link_that_is_met_on_two_ways_is_judged_once() -> None:
    top = delegation(PI, LAPTOP, policy=[["==", ".rsc", "x"]], expires_at=NOW + 50)
    ways = [delegation(LAPTOP, PHONE), delegation(LAPTOP, STRANGER)]
    last = [delegation(key, TABLET, nonce=bytes([n])) for n, key in enumerate((PHONE, STRANGER))]
    assert find([top, *ways, *last], args={"rsc": "y"}) is None
    found = find([top, *ways, *last], args={"rsc": "x"})
    assert found is not None
    assert found[0] == top


def test_powerlines_are_followed_but_begin_nothing() -> None:
    root, line = delegation(PI, LAPTOP), delegation(LAPTOP, TABLET, subject=None)
    assert find([line, root]) == (root, line)
    assert find([delegation(PI, TABLET, subject=None)]) is None


def test_a_powerline_of_the_subject_needs_a_root_before_it() -> None:
    line, root = delegation(PI, TABLET, subject=None), delegation(PI, PI)
    assert find([line, root]) == (root, line)
    Gate().hold([root, line]).check(invocation(TABLET, [root, line]).data)


def test_revoked_chains_are_passed_over() -> None:
    chain, detour = three_links(), delegation(LAPTOP, TABLET, expires_at=NOW + 5)
    assert find([*chain, detour]) == (chain[0], detour)
    for revoker in (PI, LAPTOP):
        revoked = Revocations()
        revoked.add(detour.cid, frozenset({revoker.did}))
        assert find([*chain, detour], revoked=revoked) == tuple(chain)
    revoked.add(chain[0].cid, frozenset({PI.did}))
    assert find([*chain, detour], revoked=revoked) is None


def test_a_link_revoked_from_above_is_replaced_by_one_that_is_not() -> None:
    """Many links last longer than the good one, and the laptop has revoked them all."""
    root = delegation(PI, LAPTOP)
    bad = [delegation(LAPTOP, PHONE, expires_at=NOW + 500 + n) for n in range(30)]
    good, last = delegation(LAPTOP, PHONE, expires_at=NOW + 9), delegation(PHONE, TABLET)
    revoked = Revocations()
    for one in bad:
        revoked.add(one.cid, frozenset({PI.did}))
    assert find([root, *bad, good, last], revoked=revoked) == (root, good, last)


@pytest.mark.parametrize("about", [None, PI.did])
def test_what_strangers_give_cannot_hide_a_chain(about: str | None) -> None:
    """Longer-lived, wider and more than any bound, from one of them or from many."""
    fields: dict[str, Any] = {"subject": about, "command": "/", "expires_at": None}
    junk = [
        delegation(STRANGER, TABLET, nonce=n.to_bytes(2, "big"), **fields)
        for n in range(chains.LOOKED_AT_MAX + 1)
    ]
    chain = three_links()
    assert find([*junk, *chain]) == tuple(chain)
    crowd = [
        Key.from_seed((n + 5_000).to_bytes(2, "big") * 16) for n in range(chains.PARTIALS_MAX + 1)
    ]
    assert find([*(delegation(one, TABLET, **fields) for one in crowd), *chain]) == tuple(chain)


def test_revocations_by_a_middle_issuer_do_not_hide_what_is_left() -> None:
    """Whether they count depends on the way up, so they must not crowd out the one that holds."""
    root, middle = delegation(PI, LAPTOP), delegation(LAPTOP, PHONE)
    revoked = Revocations()
    bad = [delegation(PHONE, TABLET, expires_at=NOW + 500 + n) for n in range(40)]
    for one in bad:
        revoked.add(one.cid, frozenset({LAPTOP.did}))
    good = delegation(PHONE, TABLET, expires_at=NOW + 9)
    assert find([root, middle, *bad, good], revoked=revoked) == (root, middle, good)
    past_the_laptop = delegation(PI, PHONE, expires_at=NOW + 20)
    found = find([root, middle, past_the_laptop, *bad], revoked=revoked)
    assert found == (past_the_laptop, bad[-1])


def test_of_chains_that_last_as_long_as_is_wished_the_plainest_is_preferred() -> None:
    narrow = [delegation(PI, TABLET, policy=[["==", ".x", n]], expires_at=None) for n in range(300)]
    plain = delegation(PI, TABLET, expires_at=NOW + 5)
    assert find([*narrow, plain], until=NOW + 5) == (plain,)
    assert find([*narrow, plain], args={"x": 7}) == (narrow[7],)
    also_for_ever = delegation(PI, TABLET, expires_at=None)
    assert find([*narrow, plain, also_for_ever]) == (also_for_ever,)


def test_without_a_wish_the_chain_that_lasts_longest_is_preferred_to_the_plainest() -> None:
    narrow = delegation(PI, TABLET, policy=[["==", ".x", 1]], expires_at=NOW + 900)
    plain = delegation(PI, TABLET, expires_at=NOW + 5)
    assert find([narrow, plain]) == (narrow,)


def test_a_chain_that_lasts_as_long_as_is_wished_is_preferred_to_a_shorter_one() -> None:
    direct = delegation(PI, PHONE, expires_at=NOW + 600)
    longer = [delegation(PI, LAPTOP), delegation(LAPTOP, PHONE)]
    assert find([direct, *longer], PHONE, until=NOW + HOUR) == tuple(longer)
    assert find([direct, *longer], PHONE, until=NOW + 60) == (direct,)
    assert find([direct, *longer], PHONE, until=NOW + 2 * HOUR) == (direct,)


def test_policies_that_cost_much_do_not_hide_one_that_costs_little() -> None:
    """With nearly as many as are looked at, each as costly as one policy may be."""
    args = {"rows": list(range(1_000)), "func": "add"}
    costly = [["all", ".rows", ["!=", ".", -1]]] * 9 + [["==", ".no", 1]]
    junk = [
        delegation(
            STRANGER, TABLET, policy=costly, expires_at=None, nonce=bytes([n % 256, n // 256])
        )
        for n in range(4_000)
    ]
    known = [delegation(PI, STRANGER), delegation(PI, LAPTOP)]
    good = delegation(LAPTOP, TABLET, policy=[["==", ".func", "add"]])
    assert find([*junk, *known, good], args=args) == (known[1], good)


def test_a_search_that_was_cut_off_says_so() -> None:
    args = {"rows": list(range(1_000))}
    costly = [["all", ".rows", ["!=", ".", -1]]] * 40
    wanted = Wanted(PI.did, TABLET.did, "/wasm/run", NOW, args)
    for policy, cut_off in ((costly, True), ([["==", ".no", 1]], False)):
        held = Held([delegation(PI, TABLET, policy=policy)])
        found = chains.search(held, wanted, revoked_by=Revocations().revoked_by)
        assert (found.chain, found.cut_off) == (None, cut_off)


def test_circles_end() -> None:
    circle = [delegation(LAPTOP, PHONE), delegation(PHONE, LAPTOP), delegation(LAPTOP, TABLET)]
    assert find(circle) is None
    assert find([*circle, delegation(LAPTOP, LAPTOP)]) is None
    root = delegation(PI, LAPTOP)
    assert find([root, *circle]) == (root, circle[2])


def people(count: int) -> list[Key]:
    return [Key.from_seed(bytes([n, 77] * 16)) for n in range(count)]


def test_a_chain_may_have_so_many_links_and_no_more() -> None:
    row = [PI, *people(LINKS_MAX)]
    chain = [delegation(giver, taker) for giver, taker in pairwise(row)]
    assert find(chain, audience=row[-1]) == tuple(chain)
    longer = delegation(row[-1], TABLET)
    assert find([*chain, longer], audience=TABLET) is None


def test_a_link_that_nothing_could_use_is_not_signed() -> None:
    row = [PI, *people(LINKS_MAX)]
    chain = [delegation(giver, taker) for giver, taker in pairwise(row)]
    with pytest.raises(TooManyProofs, match="at most 16 are followed") as caught:
        chains.extend(chain, row[-1], audience=TABLET.did)
    assert "further up" in (caught.value.hint or "")
    last = chains.extend(chain[:-1], row[-2], audience=TABLET.did)
    Gate().hold([*chain, last]).check(invocation(TABLET, [*chain[:-1], last]).data)


@pytest.mark.parametrize("fields", [{"policy": [["==", ".x", 1]]}, {"not_before": NOW + 600}])
def test_links_that_do_not_fit_cannot_hide_one_that_does(fields: dict[str, Any]) -> None:
    unfit = [delegation(PI, TABLET, expires_at=NOW + HOUR + n, **fields) for n in range(300)]
    good = delegation(PI, TABLET, expires_at=NOW + 600)
    assert find([*unfit, good], args={"x": 2}) == (good,)


def test_the_search_is_bounded_where_everybody_trusts_everybody() -> None:
    crowd = people(12)
    everybody = [delegation(one, other) for one in crowd for other in crowd if one is not other]
    held = Held([*everybody, *everybody])
    wanted = Wanted(PI.did, crowd[0].did, "/wasm/run", NOW)
    assert chains.find(held, wanted, revoked_by=Revocations().revoked_by) is None
    assert held.questions <= chains.PARTIALS_MAX + 1
    root = delegation(PI, crowd[5])
    found = find([*everybody, root], audience=crowd[0])
    assert found is not None
    assert found[0] == root
    assert len(found) == 2


def test_costly_policies_cannot_hold_up_a_search() -> None:
    heavy = [["not", ["all", ".x", ["!=", ".", 0]]]] + [["all", ".x", [">", ".", 0]]] * 40
    costly = [delegation(PI, TABLET, policy=heavy, nonce=bytes([n])) for n in range(50)]
    started = time.process_time()
    assert find(costly, args={"x": [*range(1, 1000), 0]}) is None
    assert time.process_time() - started < 2
    cheap = delegation(PI, TABLET, expires_at=None)
    assert find([*costly, cheap], args={"x": [*range(1, 1000), 0]}) == (cheap,)


def test_extending_a_chain_hands_on_what_it_gives() -> None:
    chain = [delegation(PI, LAPTOP, command="/wasm"), delegation(LAPTOP, PHONE)]
    one = chains.extend(chain, PHONE, audience=TABLET.did)
    assert (one.subject, one.command, one.expires_at) == (PI.did, "/wasm/run", NOW + HOUR)
    full = [*chain, one]
    Gate().hold(full).check(invocation(TABLET, full).data)


def test_extending_a_chain_can_narrow_it_and_nothing_else() -> None:
    chain = [delegation(PI, LAPTOP, command="/wasm")]
    one = chains.extend(
        chain,
        LAPTOP,
        audience=PHONE.did,
        command="/wasm/run/fast",
        policy=[["==", ".rsc", "x"]],
        expires_at=NOW + 5,
        not_before=NOW - 61,
    )
    assert (one.command, one.expires_at, one.not_before) == ("/wasm/run/fast", NOW + 5, NOW - 61)
    assert chains.extend(chain, LAPTOP, audience=PHONE.did, expires_at=None).expires_at is not None
    longer = chains.extend(chain, LAPTOP, audience=PHONE.did, expires_at=NOW + 9 * HOUR)
    assert longer.expires_at == NOW + HOUR
    with pytest.raises(UsageError, match=r'cannot pass on "/wasmedge": .* only gives .* "/wasm"'):
        chains.extend(chain, LAPTOP, audience=PHONE.did, command="/wasmedge")
    with pytest.raises(UsageError, match='cannot pass on "/"'):
        chains.extend(chain, LAPTOP, audience=PHONE.did, command="/")
    with pytest.raises(UsageError, match="does not give anything to"):
        chains.extend(chain, PHONE, audience=TABLET.did)
    with pytest.raises(UsageError, match="does not give anything to"):
        chains.extend([], PHONE, audience=TABLET.did)


def test_commands_narrow_along_a_chain_with_a_wide_powerline() -> None:
    """So that implementations that compare neighbours accept it as well."""
    chain = [delegation(PI, LAPTOP), delegation(LAPTOP, PHONE, subject=None, command="/")]
    assert chains.extend(chain, PHONE, audience=TABLET.did).command == "/wasm/run"
