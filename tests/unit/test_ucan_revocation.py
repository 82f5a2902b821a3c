"""Revocations: their form, in whose name they count, and the witness."""

from __future__ import annotations

from typing import Any

import pytest

from lite.ipld.cid import CID, RAW
from lite.keys import Key
from lite.ucan import refusals, revocation
from lite.ucan.delegation import Delegation
from lite.ucan.refusals import MalformedToken
from lite.ucan.revocation import Revocation, Revocations
from tests.ucan_support import (
    LAPTOP,
    NOW,
    PHONE,
    PI,
    STRANGER,
    TABLET,
    Gate,
    delegation,
    invocation,
    invocation_token,
    three_links,
)

CHAIN = three_links()


def issued(key: Key, revoked: Delegation, **fields: Any) -> Revocation:
    return Revocation.issue(key, revoked=revoked.cid, **{"subject": PI.did, **fields})


def names(one: Revocation, *held: Delegation) -> frozenset[str]:
    gate = Gate().hold([*CHAIN, *held])
    read, found = revocation.revokers(
        one.data, now=NOW, resolve=gate.resolve, revoked_by=gate.revocations.revoked_by
    )
    assert read == one
    return found


def test_a_revocation_is_the_same_token_each_time_and_never_expires() -> None:
    one = issued(LAPTOP, CHAIN[1])
    assert one == issued(LAPTOP, CHAIN[1])
    payload = one.invocation.token.payload
    assert (payload["cmd"], payload["nonce"], payload["exp"]) == ("/ucan/revoke", b"", None)
    assert payload["args"] == {"revoke": CHAIN[1].cid}
    again = Revocation.parse(one.data)
    assert (again, again.revoked, again.path) == (one, CHAIN[1].cid, ())


def test_a_path_is_kept() -> None:
    one = issued(LAPTOP, CHAIN[2], path=[CHAIN[1].cid, CHAIN[2].cid])
    assert Revocation.parse(one.data).path == (CHAIN[1].cid, CHAIN[2].cid)


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"cmd": "/ucan"}, "its cmd is not /ucan/revoke"),
        ({"args": {}}, "revoke is missing"),
        ({"args": {"revoke": "bafy"}}, "revoke is .*, not a link"),
        ({"args": {"revoke": CHAIN[0].cid, "path": CHAIN[0].cid}}, "path is .*, not a list"),
    ],
)
def test_what_is_no_revocation(fields: dict[str, Any], problem: str) -> None:
    data = invocation_token(**{"cmd": "/ucan/revoke", "args": {}, **fields}).data
    with pytest.raises(MalformedToken, match=problem):
        Revocation.parse(data)
    with pytest.raises(MalformedToken, match=problem) as caught:
        revocation.revokers(
            data, now=NOW, resolve=Gate().resolve, revoked_by=Revocations().revoked_by
        )
    assert caught.value.step == "1"


def test_it_counts_in_the_name_of_its_issuer() -> None:
    assert names(issued(LAPTOP, CHAIN[1])) == {LAPTOP.did}
    assert names(issued(LAPTOP, CHAIN[1], proofs=[CHAIN[0].cid])) == {LAPTOP.did}
    assert names(issued(PI, CHAIN[1])) == {PI.did}
    assert names(issued(STRANGER, CHAIN[1])) == {STRANGER.did}


def test_it_counts_in_the_name_of_a_subject_that_gave_the_right_to_revoke() -> None:
    given = delegation(PI, STRANGER, command="/ucan/revoke")
    assert names(issued(STRANGER, CHAIN[1], proofs=[given.cid]), given) == {STRANGER.did, PI.did}
    for_one = delegation(
        PI, STRANGER, command="/ucan/revoke", policy=[["==", ".revoke", CHAIN[1].cid]]
    )
    proofs = [for_one.cid]
    assert PI.did in names(issued(STRANGER, CHAIN[1], proofs=proofs), for_one)
    assert PI.did not in names(issued(STRANGER, CHAIN[0], proofs=proofs), for_one)
    assert PI.did not in names(issued(STRANGER, CHAIN[1], proofs=[given.cid]))


def test_a_forged_revocation_is_refused_and_an_expired_one_counts_for_its_issuer() -> None:
    one = bytearray(issued(PI, CHAIN[0]).data)
    one[40] ^= 1
    none = Revocations().revoked_by
    with pytest.raises(refusals.InvalidSignature):
        revocation.revokers(bytes(one), now=NOW, resolve=Gate().resolve, revoked_by=none)
    args = {"revoke": CHAIN[0].cid}
    late = invocation(PI, [], command="/ucan/revoke", args=args, expires_at=NOW - 61)
    _, names = revocation.revokers(late.data, now=NOW, resolve=Gate().resolve, revoked_by=none)
    assert names == {PI.did}
    given = delegation(PI, STRANGER, command="/ucan/revoke")
    late = invocation(STRANGER, [given], command="/ucan/revoke", args=args, expires_at=NOW - 61)
    gate = Gate().hold([given])
    _, names = revocation.revokers(late.data, now=NOW, resolve=gate.resolve, revoked_by=none)
    assert names == {STRANGER.did}


def test_a_revocation_that_comes_first_counts_when_the_delegation_comes() -> None:
    gate = Gate()
    gate.revocations.add(CHAIN[1].cid, names(issued(LAPTOP, CHAIN[1])))
    with pytest.raises(refusals.Revoked, match=r"proof 2 of 3 .*: revoked by did:key:z6Mk"):
        gate.hold(CHAIN).check(invocation(TABLET, CHAIN).data)


def shows(path: list[CID], revoked: Delegation, key: Key, *held: Delegation) -> bool:
    one = issued(key, revoked, path=path)
    gate = Gate().hold(held or CHAIN)
    return revocation.path_shows(one, frozenset({key.did}), now=NOW, resolve=gate.resolve)


def test_a_path_shows_that_the_revoker_stands_above() -> None:
    cids = [link.cid for link in CHAIN]
    assert shows(cids, CHAIN[2], PI)
    assert shows(cids, CHAIN[2], PHONE)
    assert shows(cids[1:], CHAIN[2], LAPTOP)
    assert shows(cids, CHAIN[1], LAPTOP)
    assert not shows(cids, CHAIN[1], PHONE)
    assert not shows(cids, CHAIN[2], TABLET)
    assert not shows([], CHAIN[2], PI)
    assert not shows(cids[:2], CHAIN[2], PI)
    assert not shows([cids[0], cids[2]], CHAIN[2], PI)
    assert not shows([CID.of(b"", RAW), *cids], CHAIN[2], PI)
    expired = delegation(PI, LAPTOP, expires_at=NOW - 100)
    assert not shows([expired.cid], expired, PI, expired)


def test_a_set_of_revocations_only_grows() -> None:
    known = Revocations()
    cid = CHAIN[0].cid
    assert known.revoked_by(cid, [PI.did]) is None
    known.add(cid, frozenset({STRANGER.did}))
    assert known.revoked_by(cid, [PI.did]) is None
    known.add(cid, frozenset({PI.did}))
    assert known.revoked_by(cid, [LAPTOP.did, PI.did]) == PI.did
    assert known.revoked_by(cid, [STRANGER.did]) == STRANGER.did
