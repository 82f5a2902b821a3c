"""The gate, step by step; the numbers in the names are those of `lite.ucan.proofs`."""

from __future__ import annotations

from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, utils

from lite import keys
from lite.ipld import dag_cbor
from lite.ucan import envelope, proofs, refusals, twins, varsig
from lite.ucan.delegation import Delegation
from lite.ucan.envelope import TAG_DELEGATION, TAG_INVOCATION
from lite.ucan.memo import Memo
from lite.ucan.refusals import Refusal
from lite.ucan.show import short
from tests.ucan_support import (
    HOUR,
    LAPTOP,
    NOW,
    PHONE,
    PI,
    STRANGER,
    TABLET,
    Gate,
    cid_of,
    delegation,
    delegation_token,
    foreign_invocation,
    invocation,
    invocation_token,
    three_links,
    unsized,
)


def refused(gate: Gate, data: bytes, kind: type[Refusal], step: str, **options: Any) -> Refusal:
    """Check that the gate refuses for this reason, and that it says so on one line."""
    with pytest.raises(kind) as caught:
        gate.check(data, **options)
    assert type(caught.value) is kind
    assert caught.value.step == step
    assert str(caught.value).isprintable()
    assert gate.seen == {}
    return caught.value


def test_a_chain_of_three_lets_its_last_audience_in() -> None:
    chain = three_links()
    allowed = Gate().hold(chain).check(invocation(TABLET, chain).data)
    assert allowed.chain == tuple(chain)
    assert allowed.expires_at == NOW + 60
    assert allowed.invocation.issuer == TABLET.did


def test_the_subject_itself_needs_no_proof() -> None:
    assert Gate().check(invocation(PI, []).data).chain == ()


def test_fragments_are_ignored_between_principals() -> None:
    one = Delegation.of(delegation_token(aud=f"{LAPTOP.did}#x"))
    asked = invocation(LAPTOP, [one], subject=f"{PI.did}#y", executor=f"{PI.did}#z")
    assert Gate().hold([one]).check(asked.data).chain == (one,)


def test_step_1_form_of_the_invocation() -> None:
    data = invocation(PI, []).data
    for broken in (
        b"",
        data[:-1],
        data + b"\0",
        b"\xff" * 100,
    ):
        refused(Gate(), broken, refusals.MalformedToken, "1")
    other = data.replace(b"ucan/inv", b"jwts/inv")
    refused(Gate(), other, refusals.UnknownTag, "1")
    refused(Gate(), delegation(PI, LAPTOP).data, refusals.MalformedToken, "1")
    refused(Gate(), invocation_token(cmd="/a//b").data, refusals.InvalidCommand, "1")
    late = refused(Gate(), invocation_token(exp=2**53).data, refusals.InvalidTime, "1")
    assert str(late) == "the invocation: exp 9007199254740992 is outside ±(2^53 - 1) (step 1)"


def test_step_2_signature_of_the_invocation() -> None:
    data = bytearray(invocation(PI, []).data)
    data[20] ^= 1
    refused(Gate(), bytes(data), refusals.InvalidSignature, "2")
    payload = {**invocation(PI, []).token.payload, "iss": LAPTOP.did}
    refused(Gate(), unsized(PI, TAG_INVOCATION, payload), refusals.InvalidSignature, "2")


def test_step_2_a_signature_of_another_length_is_none() -> None:
    _, signed = dag_cbor.decode(invocation(PI, []).data)
    for size in (0, 3, 23, 24, 63, 65, 255, 256, 512):
        data = dag_cbor.encode([bytes(size), signed])
        refused(Gate(), data, refusals.InvalidSignature, "2")
        assert envelope.parse(data).signed == dag_cbor.encode(signed)


def test_step_3_executor() -> None:
    asked = invocation(PI, [], executor=LAPTOP.did)
    error = refused(Gate(), asked.data, refusals.WrongExecutor, "3")
    assert "addressed to did:key:z6Mk…" in str(error)
    refused(Gate(LAPTOP), invocation(PI, []).data, refusals.WrongExecutor, "3")


def test_step_4_a_stranger_is_not_let_in_by_being_its_own_subject() -> None:
    own = invocation(STRANGER, [], subject=STRANGER.did, executor=PI.did)
    error = refused(Gate(), own.data, refusals.ForeignSubject, "4")
    assert "acts only for" in str(error)
    Gate().check(own.data, acts_for=[STRANGER.did])


def test_step_5_time_of_the_invocation() -> None:
    for shift in (-60, 0, 60):
        Gate(now=NOW + shift).check(invocation(PI, [], expires_at=NOW).data)
        Gate(now=NOW + shift).check(invocation_token(nbf=NOW).data)
    error = refused(
        Gate(now=NOW + 61), invocation(PI, [], expires_at=NOW).data, refusals.Expired, "5"
    )
    assert str(error) == (
        "the invocation: expired 61 s ago, at 2023-11-14 22:13:20Z; "
        "the clock here shows 2023-11-14 22:14:21Z (step 5)"
    )
    error = refused(Gate(now=NOW - 61), invocation_token(nbf=NOW).data, refusals.TooEarly, "5")
    assert "not valid for another 61 s" in str(error)
    Gate(now=2**53 - 1).check(invocation(PI, [], expires_at=None).data)


def test_step_6_proofs_are_bounded() -> None:
    chain = [delegation(PI, PI, nonce=bytes([n])) for n in range(proofs.PROOFS_MAX)]
    gate = Gate().hold(chain)
    gate.check(invocation(PI, chain).data)
    gate = Gate().hold(chain)
    many = foreign_invocation(PI, [*chain, chain[0]])
    error = refused(gate, many.data, refusals.TooManyProofs, "6")
    assert "17 proofs" in str(error)
    assert gate.resolved == []


def test_step_7a_a_proof_that_is_not_at_hand() -> None:
    chain = three_links()
    gate = Gate().hold([chain[0], chain[2]])
    error = refused(gate, invocation(TABLET, chain).data, refusals.UnavailableProof, "7a")
    assert (error.token, error.position) == (chain[1].cid, 1)
    assert "proof 2 of 3" in str(error)
    assert error.hint is not None


def test_step_7a_bytes_of_another_cid() -> None:
    one, other = delegation(PI, LAPTOP), delegation(PI, LAPTOP, nonce=b"other")
    wide = b"\x9b" + bytes([0xFF] * 8) + bytes(10_000)  # what has too many values: 7b comes later
    for data in (other.data, wide, b"", one.data[:-1]):
        gate = Gate(held={one.cid: data})
        error = refused(gate, invocation(LAPTOP, [one]).data, refusals.WrongProof, "7a")
        assert "bafy" not in str(error).replace(short(one.cid), "")  # no CID that nothing has
        assert error.hint is not None


def test_step_7b_form_of_a_proof() -> None:
    cases: list[tuple[dict[str, Any], type[Refusal]]] = [
        ({"cmd": "//"}, refusals.InvalidCommand),
        ({"nbf": -(2**53)}, refusals.InvalidTime),
        ({"pol": [["like", ".a", 1]]}, refusals.InvalidPolicy),
        ({"sub": ...}, refusals.MissingField),
        ({"aud": 5}, refusals.InvalidField),
    ]
    for fields, kind in cases:
        bad = delegation_token(**fields)
        asked = invocation(LAPTOP, [], proofs=[bad.cid])
        error = refused(Gate().hold([bad]), asked.data, kind, "7b")
        assert "proof 1 of 1" in str(error)


def test_step_7b_an_invocation_is_no_proof() -> None:
    other = invocation(PI, [])
    asked = invocation(LAPTOP, [], proofs=[other.cid])
    refused(Gate(held={other.cid: other.data}), asked.data, refusals.MalformedToken, "7b")


def test_step_7c_signature_of_a_proof() -> None:
    data = bytearray(delegation(PI, LAPTOP).data)
    data[30] ^= 0x40
    cid = cid_of(bytes(data))
    asked = invocation(LAPTOP, [], proofs=[cid])
    refused(Gate(held={cid: bytes(data)}), asked.data, refusals.InvalidSignature, "7c")
    forged = unsized(LAPTOP, TAG_DELEGATION, delegation(PI, LAPTOP).token.payload)
    asked = invocation(LAPTOP, [], proofs=[cid_of(forged)])
    refused(Gate(held={cid_of(forged): forged}), asked.data, refusals.InvalidSignature, "7c")


def test_step_7d_time_of_a_proof() -> None:
    chain = [delegation(PI, LAPTOP), delegation(LAPTOP, PHONE, expires_at=NOW)]
    asked = invocation(PHONE, chain, expires_at=NOW + HOUR)
    Gate(now=NOW + 60).hold(chain).check(asked.data)
    error = refused(Gate(now=NOW + 61).hold(chain), asked.data, refusals.Expired, "7d")
    assert "proof 2 of 2 (bafy…" in str(error)
    assert error.details == {"expires_at": NOW, "now": NOW + 61}
    chain = [delegation(PI, LAPTOP, not_before=NOW + 61)]
    error = refused(Gate().hold(chain), invocation(LAPTOP, chain).data, refusals.TooEarly, "7d")
    assert "2023-11-14 22:14:21Z" in str(error)


def test_step_7e_a_powerline_is_no_root() -> None:
    chain = [delegation(PI, LAPTOP, subject=None)]
    asked = invocation(LAPTOP, chain)
    refused(Gate().hold(chain), asked.data, refusals.PowerlineRoot, "7e")


def test_a_powerline_further_down_passes_on_any_subject() -> None:
    chain = [delegation(PI, LAPTOP), delegation(LAPTOP, PHONE, subject=None)]
    assert len(Gate().hold(chain).check(invocation(PHONE, chain).data).chain) == 2


def test_step_7f_subject() -> None:
    chain = [delegation(PI, LAPTOP), delegation(LAPTOP, PHONE, subject=LAPTOP.did)]
    asked = invocation(PHONE, chain)
    error = refused(Gate().hold(chain), asked.data, refusals.InvalidSubject, "7f")
    assert error.position == 1


def test_step_7g_principals() -> None:
    skipping = [delegation(PI, LAPTOP), delegation(PHONE, TABLET)]
    asked = invocation(TABLET, skipping)
    error = refused(Gate().hold(skipping), asked.data, refusals.InvalidAudience, "7g")
    assert "but proof 1 gave the right to" in str(error)
    foreign = [delegation(STRANGER, LAPTOP)]
    asked = invocation(LAPTOP, foreign)
    error = refused(Gate().hold(foreign), asked.data, refusals.InvalidAudience, "7g")
    assert "the right belongs to" in str(error)


def test_step_7g_proofs_from_the_leaf_to_the_root_are_refused() -> None:
    chain = three_links()
    gate = Gate().hold(chain)
    refused(gate, invocation(TABLET, chain[::-1]).data, refusals.InvalidAudience, "7g")


def test_step_7h_every_proof_covers_the_command() -> None:
    for at in range(3):
        chain = [
            delegation(giver, taker, command="/wasmedge" if number == at else "/wasm")
            for number, (giver, taker) in enumerate(
                [(PI, LAPTOP), (LAPTOP, PHONE), (PHONE, TABLET)]
            )
        ]
        asked = invocation(TABLET, chain)
        error = refused(Gate().hold(chain), asked.data, refusals.CommandNotCovered, "7h")
        assert error.position == at
        assert 'for "/wasmedge", which does not cover "/wasm/run"' in str(error)


def test_step_7h_wasm_does_not_cover_wasmedge() -> None:
    chain = [delegation(PI, LAPTOP, command="/wasm")]
    asked = invocation(LAPTOP, chain, command="/wasmedge/run")
    refused(Gate().hold(chain), asked.data, refusals.CommandNotCovered, "7h")


def test_step_7h_a_wider_powerline_adds_nothing() -> None:
    chain = [
        delegation(PI, LAPTOP, command="/wasm"),
        delegation(LAPTOP, PHONE, subject=None, command="/"),
    ]
    Gate().hold(chain).check(invocation(PHONE, chain).data)
    asked = invocation(PHONE, chain, command="/crud/read")
    error = refused(Gate().hold(chain), asked.data, refusals.CommandNotCovered, "7h")
    assert error.position == 0


def test_step_7i_every_policy_holds() -> None:
    policy = [["==", ".rsc", "ipfs://x"], ["<=", ".limits.fuel", 10]]
    for at in range(3):
        chain = [
            delegation(giver, taker, policy=policy if number == at else [])
            for number, (giver, taker) in enumerate(
                [(PI, LAPTOP), (LAPTOP, PHONE), (PHONE, TABLET)]
            )
        ]
        args = {"rsc": "ipfs://x", "limits": {"fuel": 11}}
        asked = invocation(TABLET, chain, args=args)
        error = refused(Gate().hold(chain), asked.data, refusals.PolicyNotMet, "7i")
        assert error.position == at
        assert str(error).endswith(
            'policy statement 2 ["<=",".limits.fuel",10] does not hold: .limits.fuel is 11 '
            "(step 7i)"
        )
        args = {"rsc": "ipfs://x", "limits": {"fuel": 10}}
        Gate().hold(chain).check(invocation(TABLET, chain, args=args).data)


def test_step_7i_policies_are_given_so_many_steps_in_all() -> None:
    heavy = [["all", ".x", ["not", ["==", ".", -1]]]] * 10
    chain = [
        delegation(PI, LAPTOP, policy=heavy),
        delegation(LAPTOP, PHONE, policy=heavy),
    ]
    asked = invocation(PHONE, chain, args={"x": [0] * 300})
    error = refused(Gate().hold(chain), asked.data, refusals.PolicyTooCostly, "7i")
    assert error.position == 1


def test_step_7j_a_link_that_an_issuer_so_far_revoked() -> None:
    chain = three_links()
    asked = invocation(TABLET, chain)
    for position, revoker in ((0, PI), (1, PI), (1, LAPTOP), (2, PI), (2, LAPTOP), (2, PHONE)):
        gate = Gate().hold(chain)
        gate.revocations.add(chain[position].cid, frozenset({revoker.did}))
        error = refused(gate, asked.data, refusals.Revoked, "7j")
        assert error.position == position
        assert error.details == {"revoker": revoker.did}


def test_step_7j_a_revocation_by_anybody_else_counts_for_nothing() -> None:
    chain = three_links()
    gate = Gate().hold(chain)
    for position, others in enumerate(((LAPTOP, PHONE), (PHONE, TABLET), (TABLET, STRANGER))):
        gate.revocations.add(chain[position].cid, frozenset(key.did for key in others))
    gate.check(invocation(TABLET, chain).data)


def test_step_8_the_invoker_is_the_last_audience() -> None:
    chain = three_links()
    asked = invocation(STRANGER, chain)
    error = refused(Gate().hold(chain), asked.data, refusals.WrongInvoker, "8")
    assert "the last proof gave the right to" in str(error)


def test_step_8_without_proofs_only_the_subject() -> None:
    error = refused(Gate(), invocation(STRANGER, []).data, refusals.NoProofs, "8")
    assert "without proofs" in str(error)


def test_step_9_once_only() -> None:
    gate, asked = Gate(), invocation(PI, [])
    gate.check(asked.data)
    assert gate.seen == {asked.cid: NOW + 60 + 60}
    with pytest.raises(refusals.Replayed) as caught:
        gate.check(asked.data)
    assert caught.value.step == "9"
    other = Gate()
    other.check(invocation(PI, [], expires_at=None).data)
    assert list(other.seen.values()) == [None]


def test_for_inspection_neither_executor_nor_replay_is_looked_at() -> None:
    asked = invocation(PI, [])
    for _ in range(2):
        proofs.check(
            asked.data,
            executor=None,
            now=NOW,
            resolve=Gate().resolve,
            revoked_by=Gate().revocations.revoked_by,
            claim=None,
        )


def test_a_delegation_is_checked_by_itself() -> None:
    one = delegation(PI, LAPTOP)
    assert proofs.check_delegation(one.data, now=NOW) == one
    with pytest.raises(refusals.Expired, match=r"the delegation \(bafy.*expired 2 h ago"):
        proofs.check_delegation(one.data, now=NOW + 3 * HOUR)
    with pytest.raises(refusals.MalformedToken):
        proofs.check_delegation(one.data[1:], now=NOW)
    with pytest.raises(refusals.InvalidSignature):
        proofs.check_delegation(one.data[:5] + b"\0" + one.data[6:], now=NOW)


def test_an_authorised_invocation_judges_what_its_awaits_became() -> None:
    chain = [delegation(PI, LAPTOP, policy=[["!=", ".n", 7]])]
    allowed = Gate().hold(chain).check(invocation(LAPTOP, chain, args={"n": {"a": 1}}).data)
    assert allowed.failure({"n": 8}) is None
    found = allowed.failure({"n": 7})
    assert found is not None
    assert found[0] == 0


def ecdsa_delegation(
    curve: ec.EllipticCurve, code: int, scheme: varsig.Varsig
) -> tuple[str, bytes]:
    """The DID of such a key, and a delegation of everything of its own to the laptop."""
    private = ec.derive_private_key(4711, curve)
    point = private.public_key().public_bytes(
        serialization.Encoding.X962, serialization.PublicFormat.CompressedPoint
    )
    did = keys.format_did(code, point)
    payload = {**delegation(PI, LAPTOP).token.payload, "iss": did, "sub": did}
    signed = dag_cbor.encode({"h": scheme.header, TAG_DELEGATION: payload})
    r, s = utils.decode_dss_signature(private.sign(signed, ec.ECDSA(hashes.SHA256())))
    return did, b"\x82\x58\x40" + r.to_bytes(32, "big") + s.to_bytes(32, "big") + signed


@pytest.mark.parametrize(
    ("curve", "code", "scheme"),
    [
        (ec.SECP256R1(), keys.P256_PUBLIC, varsig.ES256),
        (ec.SECP256K1(), keys.SECP256K1_PUBLIC, varsig.ES256K),
    ],
)
def test_an_ecdsa_token_cannot_leave_its_revocation_behind_by_its_twin(
    curve: ec.EllipticCurve, code: int, scheme: varsig.Varsig
) -> None:
    did, data = ecdsa_delegation(curve, code, scheme)
    one = Delegation.parse(data)
    n = twins.ORDERS[scheme.header]
    twin_data = data[:35] + (n - int.from_bytes(data[35:67], "big")).to_bytes(32, "big") + data[67:]
    twin = Delegation.parse(twin_data)
    assert one.cid != twin.cid
    assert twins.names(one.token) == twins.names(twin.token)
    for link in (one, twin):
        asked = invocation(LAPTOP, [link], subject=did, executor=PI.did)
        gate = Gate().hold([link])
        gate.check(asked.data, acts_for=[did])
        gate = Gate().hold([link])
        gate.revocations.add(one.cid, frozenset({did}))
        refused(gate, asked.data, refusals.Revoked, "7j", acts_for=[did])


def test_the_memo_answers_the_same_and_looks_nothing_up() -> None:
    chain = three_links()
    asked = invocation(TABLET, chain)
    gate = Gate(memo=Memo()).hold(chain)
    first = gate.check(asked.data)
    gate.seen.clear()
    gate.resolved.clear()
    assert gate.check(asked.data) is first
    assert gate.resolved == []


def test_the_memo_knows_the_links_for_another_invocation() -> None:
    chain = three_links()
    gate = Gate(memo=Memo()).hold(chain)
    gate.check(invocation(TABLET, chain).data)
    gate.resolved.clear()
    gate.check(invocation(TABLET, chain, nonce=b"another").data)
    assert gate.resolved == []


def test_what_the_memo_knows_is_still_judged_by_time_address_and_replay() -> None:
    chain = three_links()
    data = invocation(TABLET, chain).data
    memo = Memo()
    Gate(memo=memo).hold(chain).check(data)
    refused(Gate(memo=memo, now=NOW + 121), data, refusals.Expired, "5")
    refused(Gate(memo=memo, now=NOW + 2 * HOUR), data, refusals.Expired, "5")
    refused(Gate(LAPTOP, memo=memo), data, refusals.WrongExecutor, "3")
    late = three_links(not_before=NOW)
    asked = invocation(TABLET, late)
    Gate(memo=memo).hold(late).check(asked.data)
    refused(Gate(memo=memo, now=NOW - 61), asked.data, refusals.TooEarly, "7d")
    gate = Gate(memo=memo)
    gate.check(data)
    with pytest.raises(refusals.Replayed):
        gate.check(data)


@pytest.mark.parametrize("position", [0, 1, 2])
def test_a_revocation_drops_the_chain_from_the_memo(position: int) -> None:
    chain = three_links()
    data = invocation(TABLET, chain).data
    gate = Gate(memo=(memo := Memo())).hold(chain)
    gate.check(data)
    gate.seen.clear()
    gate.revocations.add(chain[position].cid, frozenset({PI.did}))
    refused(gate, data, refusals.Revoked, "7j")
    assert len(memo) == 0
    assert memo.delegation(chain[position].cid) is None


def test_a_memo_forgets_a_delegation_when_told() -> None:
    chain = three_links()
    gate = Gate(memo=(memo := Memo())).hold(chain)
    gate.check(invocation(TABLET, chain).data)
    gate.check(invocation(PI, []).data)
    memo.forget(chain[1].cid)
    assert len(memo) == 1
    assert memo.delegation(chain[1].cid) is None
    assert memo.delegation(chain[0].cid) == chain[0]


def test_a_memo_is_bounded() -> None:
    gate = Gate(memo=(memo := Memo(entries_max=3)))
    for number in range(10):
        gate.check(invocation(PI, [], nonce=bytes([number])).data)
    assert len(memo) == 3


def test_nothing_refused_enters_the_memo() -> None:
    chain = three_links()
    gate = Gate(memo=(memo := Memo())).hold(chain)
    refused(gate, invocation(STRANGER, chain).data, refusals.WrongInvoker, "8")
    assert len(memo) == 0
