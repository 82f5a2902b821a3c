"""What lies beside the tokens that matter: it stops nothing, uses nothing up and hides nothing; and
a claim is taken back whatever fails before anything acts."""

from __future__ import annotations

from typing import Any

import pytest

from lite import Node
from lite.engine.base import Outcome
from lite.errors import UsageError
from lite.ipld import dag_cbor
from lite.ipld.cid import CID, DAG_CBOR
from lite.ucan import container
from lite.ucan.refusals import (
    Expired,
    InvalidSignature,
    Refusal,
    Revoked,
    UnavailableProof,
    UnknownTag,
)
from lite.ucan.revocation import Revocation
from tests.authority_support import add, ask, give, invocation_in
from tests.integration.test_claims import Acting, acting, action
from tests.integration.test_ucan_damaged import damaged
from tests.store_support import FakeClock
from tests.ucan_support import LAPTOP, PHONE, PI, STRANGER, delegation, delegation_token

HEADER = bytes.fromhex("3401ed01ed011371")
SOUND = delegation(STRANGER, STRANGER, subject=STRANGER.did, command="/x", expires_at=None).data


def signed_by_nobody(payload: Any, tag: str = "ucan/dlg@1.0.0") -> bytes:
    return dag_cbor.encode([bytes(64), {"h": HEADER, tag: payload}])


JUNK = {
    "of a later version": signed_by_nobody({"iss": "x"}, "ucan/dlg@9.9.9"),
    "without fields": signed_by_nobody({"iss": "did:key:z"}),
    "without an issuer": signed_by_nobody({}),
    "with no payload": signed_by_nobody(None),
    "a truncated one": SOUND[:-3],
    "a flipped bit": SOUND[:20] + bytes([SOUND[20] ^ 1]) + SOUND[21:],
    "with too many values": signed_by_nobody({"iss": STRANGER.did, "pol": [0] * 9_000}),
}
every_junk = pytest.mark.parametrize("junk", JUNK.values(), ids=JUNK)


def with_junk(data: bytes, junk: bytes, *more: bytes) -> bytes:
    """The tokens with a bad delegation beside them, and a stranger's revocation of that."""
    stranger = Revocation.issue(STRANGER, revoked=CID.of(junk, DAG_CBOR), subject=STRANGER.did)
    return container.write([*container.read(data), junk, stranger.data, *more])


@pytest.fixture(autouse=True)
def _others_may_act(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IPVM_OPS_ALLOWED_FOR_OTHERS", f"wasm/run,{Acting.name}")


@every_junk
def test_a_bad_delegation_beside_an_invocation_changes_nothing(
    pi: Node, phone: Node, junk: bytes
) -> None:
    give(pi, phone)
    data = with_junk(ask(phone, pi, add(pi)), junk)
    verdict = pi.authority.verify(data, executor=pi.did)
    assert (verdict.holds, verdict.kind) == (True, "invocation")
    assert "of what lies beside it one is bad: the delegation" in verdict.note
    assert pi.run_invocation(data).out.unwrap() == 42


@every_junk
def test_a_bad_delegation_beside_a_revocation_does_not_keep_it_from_being_kept(
    pi: Node, phone: Node, junk: bytes
) -> None:
    cid = give(pi, phone)
    own = Revocation.issue(pi.key, revoked=cid, subject=pi.did)
    with pytest.raises(Revoked):
        pi.run_invocation(with_junk(ask(phone, pi, add(pi)), junk, own.data))
    with pytest.raises(Revoked):
        pi.run_invocation(ask(phone, pi, add(pi, 3)))


@every_junk
def test_an_operation_that_acts_is_done_once_with_a_bad_delegation_beside_it(
    pi: Node, phone: Node, monkeypatch: pytest.MonkeyPatch, junk: bytes
) -> None:
    give(pi, phone, "/test")
    acting(pi, monkeypatch, lambda _: Outcome(ok="done"))
    assert pi.run_invocation(with_junk(ask(phone, pi, action(pi)), junk)).out.unwrap() == "done"


def test_what_is_no_token_beside_an_invocation_changes_nothing(pi: Node, phone: Node) -> None:
    give(pi, phone)
    tokens = container.read(ask(phone, pi, add(pi)))
    data = container.write([*tokens, b"\x82nothing", signed_by_nobody({}, "ucan/inv@9")])
    assert pi.authority.verify(data, executor=pi.did).holds
    assert pi.run_invocation(data).out.unwrap() == 42


def badly_signed(data: bytes) -> bytes:
    """An invocation whose signature is of other bytes."""
    signature, signed = dag_cbor.decode(data)
    return dag_cbor.encode([bytes([signature[0] ^ 1]) + signature[1:], signed])


def by_did_web(data: bytes) -> bytes:
    signature, signed = dag_cbor.decode(data)
    signed["ucan/inv@1.0.0-rc.1"]["iss"] = "did:web:example.com"
    return dag_cbor.encode([signature, signed])


@pytest.mark.parametrize("spoilt", [badly_signed, by_did_web])
def test_an_invocation_that_nobody_signed_changes_nothing_beside_another(
    pi: Node, phone: Node, spoilt: Any
) -> None:
    give(pi, phone)
    tokens = container.read(ask(phone, pi, add(pi)))
    bad = spoilt(invocation_in(ask(phone, pi, add(pi, 9))).data)
    data = container.write([bad, *tokens])
    verdict = pi.authority.verify(data, executor=pi.did)
    assert (verdict.holds, verdict.kind) == (True, "invocation")
    assert "of what lies beside it one is bad: the invocation" in verdict.note
    assert pi.run_invocation(data).out.unwrap() == 42
    only = container.write([bad, spoilt(invocation_in(ask(phone, pi, add(pi, 8))).data)])
    assert not pi.authority.verify(only).holds
    with pytest.raises(Refusal):
        pi.run_invocation(only)


def test_all_that_is_bad_beside_an_invocation_is_noted(pi: Node, phone: Node) -> None:
    give(pi, phone)
    tokens = container.read(ask(phone, pi, add(pi)))
    receipt = badly_signed(pi.run(add(pi, 7)).receipt.data)
    revocation = badly_signed(Revocation.issue(STRANGER, revoked=ROOT.cid, subject=PI.did).data)
    for bad in (b"\x82nothing", signed_by_nobody({}, "ucan/inv@9"), receipt, revocation):
        verdict = pi.authority.verify(container.write([*tokens, bad]), executor=pi.did)
        assert verdict.holds and "one is bad: the " in verdict.note, bad
    data = container.write([*tokens, receipt, revocation])
    assert "2 are bad, the first: the " in pi.authority.verify(data).note


def test_two_invocations_that_can_be_read_are_not_one(pi: Node, phone: Node) -> None:
    give(pi, phone)
    both = container.read(ask(phone, pi, add(pi))) + container.read(ask(phone, pi, add(pi, 5)))
    with pytest.raises(UsageError, match="2 invocations in it, not one"):
        pi.run_invocation(container.write(both))


def test_a_receipt_beside_an_invocation_changes_nothing(pi: Node, phone: Node) -> None:
    give(pi, phone)
    receipt = pi.run(add(pi, 7)).receipt.data
    data = container.write([*container.read(ask(phone, pi, add(pi))), receipt])
    assert pi.authority.verify(data, executor=pi.did).kind == "invocation"
    assert pi.run_invocation(data).out.unwrap() == 42


# Genuine revocations are kept.


def test_a_revocation_is_kept_whatever_becomes_of_the_invocation_that_it_came_with(
    pi: Node, phone: Node, laptop: Node, clock: FakeClock
) -> None:
    cid, other = give(pi, phone), give(pi, laptop)
    data = ask(phone, pi, add(pi), expires_in_s=60)
    own = Revocation.issue(pi.key, revoked=other, subject=pi.did)
    clock.seconds += 600
    with pytest.raises(Expired):
        pi.run_invocation(container.write([*container.read(data), own.data]))
    assert pi.store.tokens.revokers(other) == {pi.did}
    assert pi.store.tokens.revokers(cid) == frozenset()


def test_a_revocation_of_what_the_disk_changed_is_kept_without_its_bytes(
    pi: Node, phone: Node, laptop: Node
) -> None:
    give(pi, phone)
    other = give(pi, laptop)
    damaged(pi, other)
    own = Revocation.issue(pi.key, revoked=other, subject=pi.did)
    stranger = Revocation.issue(STRANGER, revoked=other, subject=STRANGER.did)
    tokens = container.read(ask(phone, pi, add(pi)))
    pi.run_invocation(container.write([*tokens, own.data, stranger.data]))
    assert pi.store.tokens.revokers(other) == {pi.did}


def test_what_says_that_it_is_of_this_node_and_is_not_signed_by_it_fills_no_store(
    pi: Node, phone: Node
) -> None:
    give(pi, phone)
    fields = {"iss": STRANGER.did, "aud": PHONE.did, "sub": pi.did, "cmd": "/x", "pol": []}
    fake = signed_by_nobody({**fields, "nonce": b"", "exp": None})
    pi.run_invocation(with_junk(ask(phone, pi, add(pi)), fake))
    assert list(pi.store.tokens.revocations()) == []


# A claim that led to nothing.


class Broken(Exception):
    """What nobody expects."""


def broken(*_: object, **__: object) -> Any:
    raise Broken


def failing(
    data: bytes, pi: Node, patch: pytest.MonkeyPatch, where: tuple[object | str, ...]
) -> None:
    with patch.context() as during:
        during.setattr(*where, broken)  # type: ignore[arg-type]
        with pytest.raises(Broken):
            pi.run_invocation(data)
    assert pi.run_invocation(data).out.unwrap() == "done"


@pytest.mark.parametrize("place", ["instruction_of", "check_open", "permit_of"])
def test_an_unexpected_error_before_anything_acts_uses_nothing_up(
    pi: Node, phone: Node, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    give(pi, phone, "/test")
    acting(pi, monkeypatch, lambda _: Outcome(ok="done"))
    data = ask(phone, pi, action(pi))
    if place == "instruction_of":  # it is asked once before there is a claim
        monkeypatch.setattr("lite.invocations._is_harmless", lambda *_: False)
    failing(data, pi, monkeypatch, (f"lite.invocations.{place}",))


def test_an_error_while_the_proofs_are_kept_or_awaits_filled_in_uses_nothing_up(
    pi: Node, phone: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    give(pi, phone, "/test")
    acting(pi, monkeypatch, lambda _: Outcome(ok="done"))
    failing(ask(phone, pi, action(pi)), pi, monkeypatch, (type(pi.store.tokens), "add"))
    data = ask(phone, pi, action(pi), expires_in_s=301)
    failing(data, pi, monkeypatch, (pi._executor, "_filled"))


def test_an_unexpected_error_while_it_acts_leaves_it_in_doubt(
    pi: Node, phone: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    give(pi, phone, "/test")
    acting(pi, monkeypatch, broken)
    data = ask(phone, pi, action(pi))
    with pytest.raises(Broken):
        pi.run_invocation(data)
    assert pi.store.tokens.claim(invocation_in(data).cid, None) == "open"
    with pytest.raises(Refusal, match="not known"):
        pi.run_invocation(data)


# A container of delegations.

ROOT = delegation(PI, LAPTOP, expires_at=None)
LEAF = delegation(LAPTOP, PHONE, expires_at=None)


@every_junk
def test_a_bad_delegation_beside_a_chain_is_no_more_than_noted(pi: Node, junk: bytes) -> None:
    verdict = pi.authority.verify(container.write([ROOT.data, LEAF.data, junk]))
    assert (verdict.holds, verdict.chain) == (True, [ROOT, LEAF])
    assert "one is bad" in verdict.note
    assert pi.authority.verify(container.write([ROOT.data, LEAF.data])).note == ""


def test_a_bad_link_of_a_chain_is_named(pi: Node) -> None:
    def flipped(data: bytes) -> bytes:
        return data[:20] + bytes([data[20] ^ 1]) + data[21:]

    for some in ([ROOT.data, flipped(LEAF.data)], [flipped(ROOT.data), LEAF.data]):
        refusal = pi.authority.verify(container.write(some)).refusal
        assert type(refusal) is InvalidSignature
    alone = pi.authority.verify(container.write([LEAF.data, JUNK["of a later version"]])).refusal
    assert type(alone) is UnavailableProof
    only = pi.authority.verify(JUNK["of a later version"]).refusal
    assert type(only) is UnknownTag


def test_what_cannot_be_read_is_named_when_a_chain_is_missing(pi: Node) -> None:
    broken_root = delegation_token(PI, sub=PI.did, cmd="x").data
    refusal = pi.authority.verify(container.write([broken_root, LEAF.data])).refusal
    assert type(refusal) is UnavailableProof
    assert "of what lies beside it one is bad: the delegation" in str(refusal.hint)
