"""What verify says of a delegation is what an invocation through it would be told."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from lite.delegations import LOOKS_MAX, Searches
from lite.gate import Gate, Verdict
from lite.keys import Key
from lite.limits import PROOFS_MAX
from lite.store import Store
from lite.ucan import container
from lite.ucan.delegation import Delegation
from lite.ucan.refusals import Refusal
from lite.ucan.revocation import Revocation
from tests.store_support import START, FakeClock
from tests.ucan_support import (
    LAPTOP,
    PHONE,
    PI,
    STRANGER,
    TABLET,
    delegation,
    foreign_invocation,
    invocation,
)

PEOPLE = [PI, *(Key.from_seed(bytes([n]) * 32) for n in range(50, 50 + PROOFS_MAX + 1))]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "home", durability="normal", clock=FakeClock()) as opened:
        yield opened


@pytest.fixture
def gate(store: Store) -> Gate:
    return Gate(store, FakeClock())


def link(giver: Key, taker: Key, **fields: Any) -> Delegation:
    return delegation(giver, taker, **{"expires_at": START + 60, **fields})


def row(people: Sequence[Key], **fields: Any) -> list[Delegation]:
    return [link(giver, taker, **fields) for giver, taker in pairwise(people)]


def verified(gate: Gate, chain: Sequence[Delegation]) -> Verdict:
    return gate.verify(container.write(one.data for one in chain))


def told(gate: Gate, invoker: Key, chain: Sequence[Delegation], command: str) -> str:
    """The code with which an invocation through the chain is refused; empty when it is let in."""
    asked = foreign_invocation(invoker, chain, cmd=command, exp=START + 60)
    with_it = {one.cid: one.data for one in chain}
    try:
        gate.authorise(asked.data, executor=PI.did, proofs_with_it=with_it, claim=None)
    except Refusal as refusal:
        return refusal.code
    return ""


def code(verdict: Verdict) -> str:
    assert verdict.holds == (verdict.refusal is None)
    return "" if verdict.refusal is None else verdict.refusal.code


@pytest.mark.parametrize("links", [1, 2, 7, 8, 9, 10, PROOFS_MAX - 1, PROOFS_MAX])
def test_a_chain_holds_up_to_as_many_links_as_an_invocation_may_have(
    gate: Gate, store: Store, links: int
) -> None:
    people = PEOPLE[: links + 1]
    chain = row(people)
    verdict = verified(gate, chain)
    assert (code(verdict), verdict.until, len(verdict.chain)) == ("", START + 60, links)
    assert told(gate, people[-1], chain, "/wasm/run") == ""
    store.tokens.add(chain)
    assert all(gate.verify(one.data).holds for one in chain)
    found = gate.search(PI.did, people[-1].did, "/wasm/run", None, {}).chain
    assert found == tuple(chain)


def test_one_link_more_is_too_many_for_both(gate: Gate, store: Store) -> None:
    chain = row(PEOPLE)
    assert len(chain) == PROOFS_MAX + 1
    assert code(verified(gate, chain)) == "ucan-proofs-too-many"
    assert told(gate, PEOPLE[-1], chain, "/wasm/run") == "ucan-proofs-too-many"
    store.tokens.add(chain)
    assert code(gate.verify(chain[-1].data)) == "ucan-proofs-too-many"
    assert gate.verify(chain[-2].data).holds


@pytest.mark.parametrize(
    "words",
    [
        ["/wasm/run", "/wasm"],
        ["/wasm/run", "/"],
        ["/wasm", "/wasm/run", "/"],
        ["/", "/wasm/run", "/wasm", "/wasm/run"],
    ],
)
def test_a_link_wider_than_those_above_it_holds_as_far_as_they_go(
    gate: Gate, store: Store, words: list[str]
) -> None:
    people = PEOPLE[: len(words) + 1]
    pairs = zip(pairwise(people), words, strict=True)
    chain = [link(giver, taker, command=word) for (giver, taker), word in pairs]
    assert code(verified(gate, chain)) == ""
    assert told(gate, people[-1], chain, "/wasm/run") == ""
    store.tokens.add(chain)
    assert gate.verify(chain[-1].data).chain == chain


CHAINS: dict[str, tuple[list[Delegation], str]] = {
    "root expired": (
        [link(PI, LAPTOP, expires_at=START - 61), link(LAPTOP, PHONE)],
        "ucan-expired",
    ),
    "leaf expired": (
        [link(PI, LAPTOP), link(LAPTOP, PHONE, expires_at=START - 61)],
        "ucan-expired",
    ),
    "both, in two ways": (
        [link(PI, LAPTOP, not_before=START + 61), link(LAPTOP, PHONE, expires_at=START - 61)],
        "ucan-too-early",
    ),
    "disjoint": ([link(PI, LAPTOP, command="/crud"), link(LAPTOP, PHONE)], "ucan-command"),
    "no prefix": ([link(PI, LAPTOP, command="/wasm/r"), link(LAPTOP, PHONE)], "ucan-command"),
    "powerline": ([link(PI, LAPTOP), link(LAPTOP, PHONE, subject=None, command="/")], ""),
    "powerline below what has expired": (
        [link(PI, LAPTOP, expires_at=START - 61), link(LAPTOP, PHONE, subject=None)],
        "ucan-expired",
    ),
    "powerline in the middle": (
        [link(PI, LAPTOP), link(LAPTOP, PHONE, subject=None), link(PHONE, TABLET)],
        "",
    ),
}


@pytest.mark.parametrize("name", CHAINS)
def test_the_reason_is_the_same(gate: Gate, name: str) -> None:
    chain, expected = CHAINS[name]
    invoker = next(key for key in (PHONE, TABLET) if key.did == chain[-1].audience)
    assert told(gate, invoker, chain, "/wasm/run") == expected
    assert code(verified(gate, chain)) == expected


@pytest.mark.parametrize("position", [0, 1, 2])
def test_a_revoked_link_is_named_by_both(gate: Gate, store: Store, position: int) -> None:
    chain = row([PI, LAPTOP, PHONE, TABLET])
    gone = Revocation.issue(PI, revoked=chain[position].cid, subject=PI.did)
    store.tokens.add(chain, [(gone, [PI.did])])
    verdict = verified(gate, chain)
    assert code(verdict) == told(gate, TABLET, chain, "/wasm/run") == "ucan-revoked"
    assert verdict.refusal is not None
    assert (verdict.refusal.position, verdict.refusal.token) == (position, chain[position].cid)


def test_a_gap_is_a_missing_proof_for_both(gate: Gate) -> None:
    chain = row([PI, LAPTOP, PHONE])
    verdict = verified(gate, chain[1:])
    assert code(verdict) == "ucan-proof-missing"
    asked = invocation(PHONE, chain, expires_at=START + 60)
    with pytest.raises(Refusal) as caught:
        gate.authorise(
            asked.data,
            executor=PI.did,
            proofs_with_it={chain[1].cid: chain[1].data},
            claim=None,
        )
    assert caught.value.code == "ucan-proof-missing"


def test_a_powerline_by_itself_holds_and_one_below_nothing_does_not(gate: Gate) -> None:
    line = link(LAPTOP, PHONE, subject=None)
    assert verified(gate, [line]).chain == [line]
    below = link(PHONE, TABLET, subject=None)
    assert code(verified(gate, [line, below])) == "ucan-proof-missing"
    elsewhere = [link(STRANGER, LAPTOP, subject=STRANGER.did), line]
    assert verified(gate, elsewhere).chain == elsewhere


def test_many_rows_in_the_store_that_do_not_fit_hide_none_that_does(
    gate: Gate, store: Store
) -> None:
    unfit = [
        link(PI, LAPTOP, policy=[["==", ".x", 1]], expires_at=START + 900 + n) for n in range(300)
    ]
    good = link(PI, LAPTOP, policy=[["==", ".x", 2]])
    store.tokens.add([*unfit, good])
    assert gate.search(PI.did, LAPTOP.did, "/wasm/run", {"x": 2}, {}).chain == (good,)
    assert gate.search(PI.did, LAPTOP.did, "/wasm/run", {"x": 3}, {}).chain is None


def test_a_search_that_was_cut_off_says_so(gate: Gate, store: Store) -> None:
    chain = row([PI, LAPTOP, PHONE])
    store.tokens.add(chain)
    data = container.write([chain[1].data])
    assert gate.verify(data, searches=gate.searches()).holds
    short = Searches(store.tokens, looks=1)
    verdict = gate.verify(data, searches=short)
    assert (code(verdict), short.exhausted) == ("ucan-proof-missing", True)
    assert "was cut off" in str(verdict.refusal)


def test_searches_share_what_they_have_read(gate: Gate, store: Store) -> None:
    """A chain costs little the second time: nothing is parsed or verified again."""
    chain = row([PI, LAPTOP, PHONE, TABLET])
    store.tokens.add(chain)
    data = container.write([chain[2].data])
    searches = gate.searches()
    spent = []
    for _ in range(2):
        before = searches.left
        assert gate.verify(data, searches=searches).holds
        spent.append(before - searches.left)
    assert spent[1] < 10 < spent[0] < LOOKS_MAX / 1000
