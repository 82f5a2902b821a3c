"""Junk of strangers beside what counts: revocations, powerlines, costly policies, and names."""

from __future__ import annotations

from itertools import permutations

import pytest

from lite import Node
from lite.errors import AuthorityError, UsageError
from lite.ipld import dag_cbor
from lite.ipld.cid import CID
from lite.model.instruction import Instruction
from lite.ucan import container
from lite.ucan.delegation import Delegation
from lite.ucan.refusals import Refusal, Revoked
from lite.ucan.revocation import Revocation
from tests.authority_support import add, ask, give, invocation_in
from tests.ucan_support import LAPTOP, PHONE, STRANGER, TABLET

RUN = "/wasm/run"


def from_laptop(pi: Node, taker: str, **told: object) -> Delegation:
    fields = {"audience": taker, "subject": pi.did, "command": RUN, "expires_at": None, **told}
    return Delegation.issue(LAPTOP, **fields)  # type: ignore[arg-type]


def junk_revocations(count: int, *revoked: CID) -> list[bytes]:
    return [
        Revocation.issue(STRANGER, revoked=cid, subject=STRANGER.did, path=[cid] * (n + 1)).data
        for cid in revoked
        for n in range(count)
    ]


def test_revocations_that_bury_the_one_that_counts_are_refused_as_too_many(
    pi: Node, phone: Node
) -> None:
    give(pi, phone)
    data = ask(phone, pi, add(pi))
    (proof,) = invocation_in(data).proofs
    real = Revocation.issue(pi.key, revoked=proof, subject=pi.did).data
    few = [*container.read(data), *junk_revocations(60, proof), real]
    with pytest.raises(Revoked):
        pi.run_invocation(container.write(few))
    many = [*container.read(data), *junk_revocations(70, proof), real]
    with pytest.raises(UsageError, match="71 revocations"):
        pi.run_invocation(container.write(many))
    assert [one.kind for one in pi.authority.tokens()] == ["delegation", "revocation"]


def test_more_revocations_than_a_second_can_check_are_not_half_heeded(pi: Node) -> None:
    root = pi.authority.delegate(LAPTOP.did, RUN, expires_in_s=None).token
    short = pi.authority.searches()
    short.left = 1_000
    data = container.write([root.data, *junk_revocations(20, root.cid)])
    with pytest.raises(UsageError, match="20 revocations"):
        pi.authority.verify(data, searches=short)


def test_a_revocation_beside_a_chain_counts_in_every_order_and_however_often(pi: Node) -> None:
    root = pi.authority.delegate(LAPTOP.did, RUN, expires_in_s=None).token
    leaf = from_laptop(pi, PHONE.did)
    back = Revocation.issue(LAPTOP, revoked=leaf.cid, subject=pi.did)
    for tokens in permutations([root.data, leaf.data, back.data, leaf.data]):
        data = b"@" + dag_cbor.encode({"ctn-v1": list(tokens)})
        assert isinstance(pi.authority.verify(data).refusal, Revoked)
    assert len(pi.authority.tokens()) == 1  # looking keeps nothing


def test_a_revocation_by_a_delegated_right_is_heeded_with_its_proof_beside_it(pi: Node) -> None:
    """The proof is no second chain of the file."""
    root = pi.authority.delegate(LAPTOP.did, RUN, expires_in_s=None).token
    right = pi.authority.delegate(TABLET.did, "/ucan/revoke", expires_in_s=None).token
    pi.authority.forget([root.cid, right.cid])
    leaf = from_laptop(pi, PHONE.did)
    back = Revocation.issue(TABLET, revoked=leaf.cid, subject=pi.did, proofs=[right.cid])
    tokens = [root.data, leaf.data, right.data, back.data]
    assert isinstance(pi.authority.verify(container.write(tokens)).refusal, Revoked)
    without = pi.authority.verify(container.write([root.data, leaf.data, back.data]))
    assert without.refusal is not None
    assert without.refusal.code == "ucan-no-proofs"


def test_a_revocation_seen_once_beside_a_chain_is_not_remembered_by_looking(pi: Node) -> None:
    root = pi.authority.delegate(LAPTOP.did, RUN, expires_in_s=None).token
    back = Revocation.issue(pi.key, revoked=root.cid, subject=pi.did)
    for _ in range(2):
        assert pi.authority.verify(root.data).holds
        together = container.write([root.data, back.data])
        assert isinstance(pi.authority.verify(together).refusal, Revoked)


def test_powerlines_of_strangers_hide_no_way_to_what_is_to_be_revoked(pi: Node) -> None:
    pi.authority.delegate(LAPTOP.did, RUN, expires_in_s=None)
    junk = [
        Delegation.issue(STRANGER, audience=LAPTOP.did, subject=about, command="/", expires_at=None)
        for about in (None, pi.did, TABLET.did)
        for _ in range(100)
    ]
    line = from_laptop(pi, PHONE.did, subject=None)
    pi.authority.import_(container.write([line.data, *(one.data for one in junk)]))
    assert pi.authority.revoke(line.cid).revoked == line.cid


def test_a_memo_of_one_node_lets_nothing_in_that_a_fresh_one_does_not(
    pi: Node, phone: Node
) -> None:
    """With proofs for another command, then a chain revoked by what came along."""
    give(pi, phone, "/wasm")
    data = ask(phone, pi, add(pi))
    (proof,) = invocation_in(data).proofs
    assert pi.authority.verify(data).holds
    real = Revocation.issue(pi.key, revoked=proof, subject=pi.did).data
    with_it = container.write([*container.read(data), real])
    assert isinstance(pi.authority.verify(with_it).refusal, Revoked)
    pi.authority.import_(real)
    with pytest.raises(Refusal) as caught:
        pi.run_invocation(data)
    assert caught.value.code == "ucan-revoked"


def test_a_task_id_is_no_way_to_a_result_that_became_secret(pi: Node, phone: Node) -> None:
    give(pi, phone)
    data = ask(phone, pi, add(pi))
    receipt = pi.run_invocation(data).receipt
    value = add(pi, 1, 1).value()
    value["input"]["args"][0] = {"await/ok": invocation_in(data).task}
    asked = ask(phone, pi, Instruction.from_value(value))
    for secret in (receipt.cid, receipt.instruction):
        pi.store.secrets.mark([secret])
        with pytest.raises(AuthorityError, match="not here for others"):
            pi.run_invocation(asked)
        pi.store.secrets.unmark([secret])
    assert pi.run_invocation(asked).out.unwrap() == 43
