"""ECDSA signatures have a twin: what is known of a token counts under both of its names."""

from __future__ import annotations

import pytest

from lite import Node
from lite.bundle_tokens import unfit
from lite.engine.stop import Stop
from lite.invocations import answer_to, args_of
from lite.ipld.cid import CID, RAW
from lite.limits import Limits
from lite.needs.capabilities import Capabilities
from lite.offload.doing import Doing, Done
from lite.peering.letters import LetterStore, LetterVerifier, asked
from lite.store.jobs import NewJob
from lite.ucan import container, twins
from lite.ucan.delegation import Delegation
from lite.ucan.envelope import TAG_INVOCATION
from lite.ucan.invocation import Invocation
from lite.ucan.refusals import Replayed, Revoked
from sync.base import Item
from tests.authority_support import DAY, add
from tests.integration.test_ucan_other_keys import KINDS, Curved


def twin_of(other: Curved, token: bytes) -> bytes:
    rest = twins.ORDERS[other.scheme.header] - int.from_bytes(token[35:67], "big")
    return token[:35] + rest.to_bytes(32, "big") + token[67:]


def ask_of(pi: Node, other: Curved, proofs: list[bytes], *, high: bool = False) -> bytes:
    args = args_of(add(pi))
    return other.invocation(proofs, high=high, sub=pi.did, args=args)


def given(pi: Node, other: Curved) -> bytes:
    return pi.authority.delegate(other.did, "/wasm/run", expires_in_s=DAY).token.data


def revocation(other: Curved, pi: Node, revoked: bytes) -> bytes:
    args = {"revoke": Delegation.parse(revoked).cid}
    payload = {"sub": pi.did, "cmd": "/ucan/revoke", "args": args, "prf": [], "nonce": b""}
    return other.token(TAG_INVOCATION, {**payload, "exp": None})


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("at_hand", [False, True])
def test_a_revocation_that_came_with_the_twin_of_what_it_revokes_is_kept(
    pi: Node, kind: str, at_hand: bool
) -> None:
    middle, last = Curved(kind), Curved(kind, 4712)
    first = given(pi, middle)
    low = middle.delegation(last.did, sub=pi.did)
    link = twin_of(middle, low)
    if at_hand:  # the twin is here, and does not come along
        pi.authority.import_(link)
    chain = [first] if at_hand else [first, link]
    invocation = ask_of(pi, last, [first, link])
    for extra in ([revocation(middle, pi, low)], []):
        with pytest.raises(Revoked):
            pi.run_invocation(container.write([invocation, *chain, *extra]))


@pytest.mark.parametrize("kind", KINDS)
def test_a_revocation_of_the_twin_of_what_is_here_is_kept(pi: Node, kind: str) -> None:
    middle, last = Curved(kind), Curved(kind, 4712)
    first = given(pi, middle)
    low = middle.delegation(last.did, sub=pi.did)
    high = twin_of(middle, low)
    pi.authority.import_(high)
    unrelated = ask_of(pi, middle, [first])
    data = container.write([unrelated, first, low, revocation(middle, pi, low)])
    assert pi.run_invocation(data).out.unwrap() == 42
    with pytest.raises(Revoked):
        pi.run_invocation(container.write([ask_of(pi, last, [first, high])]))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("high", [False, True])
def test_what_was_answered_is_found_by_either_name(pi: Node, kind: str, high: bool) -> None:
    other = Curved(kind)
    proof = given(pi, other)
    data = ask_of(pi, other, [proof], high=high)
    invocation, twin = Invocation.parse(data), Invocation.parse(twin_of(other, data))
    done = pi.run_invocation(container.write([data, proof]))
    found = pi.answered(invocation.cid)
    assert found is not None
    assert found.receipt == done.receipt
    for one in (invocation, twin):
        settled = answer_to(one, pi.store)
        assert settled is not None
        assert settled.receipt.cid == done.receipt.cid
        with pytest.raises(Replayed) as refused:
            pi.run_invocation(container.write([one.data, proof]))
        assert refused.value.details == {"receipt": str(done.receipt.cid)}
    assert answer_to(CID.of(b"no invocation", RAW), pi.store) is None


@pytest.mark.parametrize("high", [False, True])
def test_what_was_answered_does_not_wait_in_letters_or_bundles(pi: Node, high: bool) -> None:
    other = Curved("P-256")
    proof = given(pi, other)
    data = ask_of(pi, other, [proof], high=high)
    raw = container.write([data, proof], "raw")
    letters = LetterStore(pi.store, pi.did, other.did, pi.clock)
    id = CID.of(raw, RAW).digest
    accepted = LetterVerifier(letters, pi.did, other.did).verify(id, raw, other.did)
    letters.put([Item(id, raw, accepted.time, accepted.lane)], other.did, None)
    wanted = frozenset([other.did])
    assert len(asked(pi.store)) == 1
    assert unfit(pi, Invocation.parse(data), wanted) == ""
    pi.run_invocation(raw)
    assert asked(pi.store) == []
    for one in (data, twin_of(other, data)):
        assert "answered here" in unfit(pi, Invocation.parse(one), wanted)


@pytest.mark.parametrize("high", [False, True])
def test_a_job_whose_twin_was_done_already_has_its_answer(pi: Node, high: bool) -> None:
    other = Curved("P-256")
    proof = given(pi, other)
    data = ask_of(pi, other, [proof], high=high)
    done = pi.run_invocation(container.write([data, proof]))
    twin = twin_of(other, data)
    tokens = container.write([twin, proof])
    asked_for = (Invocation.parse(twin).cid, other.did, other.did, None, add(pi).cid)
    (job,) = pi.store.jobs.add([NewJob(*asked_for, 10**6, 2_000_000_000, tokens)])
    doing = Doing(pi, lambda _: Limits.guest(), lambda: Capabilities(pi.did))
    end = doing.do(job, Stop(), lambda _: None, lambda: None)
    assert isinstance(end, Done)
    assert end.receipt == done.receipt
