"""What `verify` and `import` say of the same token, revocations in any order, and forgetting."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from lite import Node
from lite.errors import UsageError
from lite.ipld.cid import CID, DAG_CBOR
from lite.ucan import container
from lite.ucan.delegation import Delegation
from lite.ucan.invocation import Invocation
from lite.ucan.revocation import COMMAND as REVOKE
from lite.ucan.revocation import Revocation
from tests.authority_support import DAY, Opener
from tests.ucan_support import LAPTOP, PHONE, STRANGER, TABLET

RECEIPT = "/ucan/assert/receipt"
LINK = CID.of(b"x", DAG_CBOR)
RUN = "/wasm/run"


def own(node: Node, **told: Any) -> Delegation:
    told = {"to": LAPTOP.did, "command": RUN, "expires_in_s": None, **told}
    return node.authority.delegate(**told).token


def onwards(node: Node) -> Delegation:
    """From the laptop to the phone, about the node."""
    return Delegation.issue(
        LAPTOP, audience=PHONE.did, subject=node.did, command=RUN, expires_at=None
    )


def special(command: str, args: dict[str, Any], **told: Any) -> bytes:
    told = {"subject": STRANGER.did, "expires_at": None, **told}
    return Invocation.issue(STRANGER, command=command, args=args, **told).data


MALFORMED: dict[str, Callable[[], bytes]] = {
    "a receipt with both results": lambda: special(
        RECEIPT, {"ran": LINK, "ins": LINK, "out": {"ok": 1, "error": 2}}, issued_at=1
    ),
    "a receipt with neither": lambda: special(
        RECEIPT, {"ran": LINK, "ins": LINK, "out": {}}, issued_at=1
    ),
    "a receipt of nothing": lambda: special(RECEIPT, {}, issued_at=1),
    "a receipt whose out is a number": lambda: special(
        RECEIPT, {"ran": LINK, "ins": LINK, "out": 7}, issued_at=1
    ),
    "an addressed receipt": lambda: special(
        RECEIPT, {"ran": LINK, "ins": LINK, "out": {"ok": 1}}, issued_at=1, executor=LAPTOP.did
    ),
    "a revocation of nothing": lambda: special(REVOKE, {}),
    "a revocation of a text": lambda: special(REVOKE, {"revoke": "x"}),
    "a revocation with a text as path": lambda: special(REVOKE, {"revoke": LINK, "path": "x"}),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_what_import_refuses_verify_refuses_with_the_same_code(pi: Node, name: str) -> None:
    data = MALFORMED[name]()
    verdict = pi.authority.verify(data)
    (refused,) = pi.authority.import_(data).refused
    assert not verdict.holds
    assert verdict.refusal is not None
    assert (verdict.refusal.code, str(verdict.refusal)) == (refused.error.code, str(refused.error))
    assert verdict.kind in name


def test_a_receipt_of_another_kind_is_verified_but_not_kept(pi: Node) -> None:
    """The form that ucantone writes."""
    data = special(RECEIPT, {"ran": LINK, "out": {"ok": {"a": 1}}})
    verdict = pi.authority.verify(data)
    assert verdict.holds
    assert 'gave {"ok":{"a":1}}; it names no instruction' in verdict.note
    (refused,) = pi.authority.import_(data).refused
    assert "not kept because it names no instruction" in str(refused.error)
    over = special(RECEIPT, {"ran": LINK, "out": {"error": 1}}, expires_at=1)
    assert "held until 1970-01-01 00:00:01Z" in pi.authority.verify(over).note


@pytest.mark.parametrize(
    ("args", "told", "code"),
    [
        ({"ran": LINK, "out": {"ok": 1, "error": 2}}, {}, "ucan-field-invalid"),
        ({"ran": LINK, "out": {"x": 1}}, {}, "ucan-field-invalid"),
        ({"ran": "x", "out": {"ok": 1}}, {}, "ucan-field-invalid"),
        ({"ran": LINK}, {}, "ucan-field-missing"),
        ({"ran": LINK, "out": {"ok": 1}}, {"executor": LAPTOP.did}, "ucan-field-invalid"),
        ({"ran": LINK, "out": {"ok": 1}}, {"subject": LAPTOP.did}, "ucan-no-proofs"),
    ],
)
def test_a_receipt_of_another_kind_must_be_one(
    pi: Node, args: dict[str, Any], told: dict[str, Any], code: str
) -> None:
    refusal = pi.authority.verify(special(RECEIPT, args, **told)).refusal
    assert refusal is not None
    assert (refusal.code, refusal.exit_code) == (code, 4)


@pytest.mark.parametrize("args", [{"ran": LINK, "out": {"ok": 1}}, {"ran": LINK, "ins": LINK}])
def test_a_receipt_that_its_issuer_did_not_sign_is_refused_by_name(
    pi: Node, args: dict[str, Any]
) -> None:
    data = bytearray(special(RECEIPT, args))
    data[10] ^= 1
    refusal = pi.authority.verify(bytes(data)).refusal
    assert refusal is not None
    assert (refusal.code, refusal.exit_code) == ("ucan-signature", 4)


def test_revocations_are_judged_by_who_stands_above(pi: Node) -> None:
    root = own(pi)
    link = onwards(pi)
    both = [root.data, link.data]

    def holds(revocation: Revocation, *beside: bytes) -> bool:
        return pi.authority.verify(container.write([revocation.data, *beside])).holds

    by_laptop = Revocation.issue(LAPTOP, revoked=link.cid, subject=pi.did)
    refusal = pi.authority.verify(container.write([by_laptop.data, *both])).refusal
    assert refusal is not None
    assert refusal.code == "ucan-revoked"
    verdict = pi.authority.verify(by_laptop.data)
    assert verdict.holds
    assert "its delegation is not here" in verdict.note
    pi.authority.import_(container.write(both))
    assert holds(by_laptop)
    assert pi.authority.verify(by_laptop.data).note == ""
    assert holds(pi.authority.revoke(link.cid))
    late = Invocation.issue(
        LAPTOP, subject=pi.did, command=REVOKE, args={"revoke": link.cid}, expires_at=1
    )
    assert pi.authority.verify(late.data).holds
    for key in (PHONE, STRANGER):
        verdict = pi.authority.verify(Revocation.issue(key, revoked=link.cid, subject=pi.did).data)
        assert verdict.refusal is not None
        assert verdict.refusal.code == "ucan-no-proofs"
        assert "issued neither" in str(verdict.refusal)
    assert not holds(Revocation.issue(LAPTOP, revoked=root.cid, subject=pi.did))


@pytest.mark.parametrize("first", ["delegation", "proof"])
def test_a_delegated_revocation_counts_once_its_proof_is_here(pi: Node, first: str) -> None:
    link = own(pi)
    right = own(pi, to=TABLET.did, command=REVOKE)
    pi.authority.forget([link.cid, right.cid])
    asked = Invocation.issue(
        TABLET,
        subject=pi.did,
        command=REVOKE,
        args={"revoke": link.cid},
        expires_at=None,
        proofs=[right.cid],
    )
    pi.authority.import_(asked.data)
    pieces = [link, right] if first == "delegation" else [right, link]
    for one in pieces:
        pi.authority.import_(one.data)
    refusal = pi.authority.verify(link.data).refusal
    assert refusal is not None
    assert refusal.code == "ucan-revoked"


def test_a_proof_for_something_else_makes_no_revocation_count(pi: Node) -> None:
    link, right = own(pi), own(pi, to=TABLET.did, command="/ucan/other")
    pi.authority.forget([right.cid])
    fields = {"subject": pi.did, "command": REVOKE, "args": {"revoke": link.cid}}
    asked = Invocation.issue(TABLET, **fields, expires_at=None, proofs=[right.cid])
    pi.authority.import_(asked.data)
    pi.authority.import_(right.data)
    assert pi.authority.verify(link.data).holds


def test_junk_of_strangers_hides_nothing_and_can_be_forgotten(opened: Opener, pi: Node) -> None:
    laptop = opened("laptop")
    good = own(pi, to=laptop.did, expires_in_s=DAY)
    laptop.authority.import_(good.data)
    junk = [
        Delegation.issue(STRANGER, audience=laptop.did, subject=about, command="/", expires_at=None)
        for about in (None, pi.did)
        for _ in range(150)
    ]
    laptop.authority.import_(container.write(one.data for one in junk))
    found = laptop.authority.find_chain(subject=pi.did, audience=laptop.did, command=RUN)
    assert found == [good]
    assert len(laptop.authority.invoke(pi.did, RUN, {})) == 2
    dropped = laptop.authority.forget(one.cid for one in [*junk, *junk])
    assert dropped == [one.cid for one in junk]
    assert [one.token for one in laptop.authority.tokens()] == [good]
    assert laptop.authority.forget([junk[0].cid]) == []


def test_what_is_forgotten_stays_revoked(pi: Node) -> None:
    link = own(pi)
    pi.authority.revoke(link.cid)
    assert pi.authority.forget([link.cid]) == [link.cid]
    pi.authority.import_(link.data)
    refusal = pi.authority.verify(link.data).refusal
    assert refusal is not None
    assert refusal.code == "ucan-revoked"


def test_nothing_is_kept_of_a_delegation_that_could_not_be_handed_on(pi: Node) -> None:
    def fail(_: object) -> None:
        raise UsageError("no room")

    with pytest.raises(UsageError, match="no room"):
        pi.authority.delegate(LAPTOP.did, RUN, expires_in_s=None, before_keeping=fail)
    assert pi.authority.tokens() == []
