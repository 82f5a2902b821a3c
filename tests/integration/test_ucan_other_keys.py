"""Tokens of P-256 and secp256k1 keys, from the bytes to what the command line says of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, utils

from lite import keys
from lite.errors import CodecError
from lite.ipld import dag_cbor
from lite.keys import Key
from lite.limits import TIME_MAX_S
from lite.ucan import container, envelope, twins, varsig
from lite.ucan.checks import Place, check_signature
from lite.ucan.delegation import Delegation
from lite.ucan.envelope import TAG_DELEGATION, TAG_INVOCATION
from lite.ucan.invocation import Invocation
from lite.ucan.refusals import InvalidSignature, Replayed
from tests.integration.conftest import Ipvm
from tests.ucan_support import LAPTOP, NONCE, NOW, PHONE, PI, Gate

KINDS = ["P-256", "secp256k1"]
CURVES: dict[str, ec.EllipticCurve] = {"P-256": ec.SECP256R1(), "secp256k1": ec.SECP256K1()}
SCHEMES = {"P-256": varsig.ES256, "secp256k1": varsig.ES256K}
PREFIXES = {"P-256": "did:key:zDn", "secp256k1": "did:key:zQ3s"}


class Curved:
    """A key of another kind, which signs with a low or a high S as it is told."""

    def __init__(self, kind: str, secret: int = 4711) -> None:
        self.scheme = SCHEMES[kind]
        self._private = ec.derive_private_key(secret, CURVES[kind])
        point = self._private.public_key().public_bytes(
            serialization.Encoding.X962, serialization.PublicFormat.CompressedPoint
        )
        self.did = keys.format_did(self.scheme.key_code, point)

    def token(self, tag: str, payload: dict[str, Any], *, high: bool = False) -> bytes:
        signed = dag_cbor.encode({"h": self.scheme.header, tag: {"iss": self.did, **payload}})
        der = self._private.sign(signed, ec.ECDSA(hashes.SHA256()))
        r, s = utils.decode_dss_signature(der)
        order = twins.ORDERS[self.scheme.header]
        s = max(s, order - s) if high else min(s, order - s)
        return b"\x82\x58\x40" + r.to_bytes(32, "big") + s.to_bytes(32, "big") + signed

    def delegation(self, taker: str, *, high: bool = False, **fields: Any) -> bytes:
        payload = {
            "aud": taker,
            "sub": self.did,
            "cmd": "/wasm/run",
            "pol": [],
            "exp": TIME_MAX_S,
            "nonce": NONCE,
            **fields,
        }
        return self.token(TAG_DELEGATION, payload, high=high)

    def invocation(self, proofs: list[bytes], *, high: bool = False, **fields: Any) -> bytes:
        payload = {
            "sub": PI.did,
            "cmd": "/wasm/run",
            "args": {},
            "prf": [Delegation.parse(proof).cid for proof in proofs],
            "exp": TIME_MAX_S,
            "nonce": NONCE,
            **fields,
        }
        return self.token(TAG_INVOCATION, payload, high=high)


def given_by_pi(taker: Curved) -> Delegation:
    return Delegation.issue(
        PI,
        audience=taker.did,
        subject=PI.did,
        command="/wasm/run",
        expires_at=TIME_MAX_S,
        nonce=NONCE,
    )


@pytest.mark.parametrize("high", [False, True], ids=["low S", "high S"])
@pytest.mark.parametrize("kind", KINDS)
def test_such_a_key_may_stand_anywhere_in_a_chain(kind: str, high: bool) -> None:
    other = Curved(kind)
    assert other.did.startswith(PREFIXES[kind])
    first = given_by_pi(other)
    second = Delegation.parse(other.delegation(LAPTOP.did, sub=PI.did, high=high))
    gate = Gate().hold([first, second])
    asked = Invocation.issue(
        LAPTOP,
        subject=PI.did,
        command="/wasm/run",
        args={},
        proofs=[first.cid, second.cid],
        expires_at=NOW + 60,
    )
    assert gate.check(asked.data).chain == (first, second)
    own = other.invocation([first.data], high=high)
    assert gate.check(own).invocation.issuer == other.did
    about_itself = Delegation.parse(other.delegation(PHONE.did, high=high))
    asked = Invocation.issue(
        PHONE,
        subject=other.did,
        command="/wasm/run",
        args={},
        proofs=[about_itself.cid],
        executor=PI.did,
        expires_at=NOW + 60,
    )
    allowed = Gate().hold([about_itself]).check(asked.data, acts_for=[other.did])
    assert allowed.chain == (about_itself,)


@pytest.mark.parametrize("kind", KINDS)
def test_the_twin_of_an_invocation_is_a_replay(kind: str) -> None:
    other = Curved(kind)
    proof = given_by_pi(other)
    gate = Gate().hold([proof])
    low = other.invocation([proof.data])
    order = twins.ORDERS[other.scheme.header]
    high = low[:35] + (order - int.from_bytes(low[35:67], "big")).to_bytes(32, "big") + low[67:]
    gate.check(low)
    with pytest.raises(Replayed):
        gate.check(high)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("part", ["r", "s"])
def test_a_signature_out_of_its_range_is_refused(kind: str, part: str) -> None:
    other = Curved(kind)
    data = other.delegation(LAPTOP.did)
    order = twins.ORDERS[other.scheme.header]
    at = 3 if part == "r" else 35
    number = int.from_bytes(data[at : at + 32], "big")
    for bad in {0, order, 2**256 - 1, (number + 1) % 2**256, min(number + order, 2**256 - 1)}:
        forged = Delegation.parse(data[:at] + bad.to_bytes(32, "big") + data[at + 32 :])
        asked = Invocation.issue(
            LAPTOP,
            subject=other.did,
            command="/wasm/run",
            args={},
            proofs=[forged.cid],
            executor=PI.did,
            expires_at=NOW + 60,
        )
        with pytest.raises(InvalidSignature, match="is not of did:key:z"):
            Gate().hold([forged]).check(asked.data, acts_for=[other.did])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("scheme", [varsig.ED25519, varsig.ES256, varsig.ES256K])
def test_a_header_of_another_kind_of_key_is_refused(kind: str, scheme: varsig.Varsig) -> None:
    other = Curved(kind)
    if scheme is other.scheme:
        envelope.verify(envelope.parse(other.invocation([], sub=other.did)))
        return
    body = {"iss": other.did, "sub": other.did}
    signed = dag_cbor.encode({"h": scheme.header, TAG_INVOCATION: body})
    token = envelope.parse(b"\x82\x58\x40" + bytes(64) + signed)
    with pytest.raises(InvalidSignature, match=f"the header says {scheme.name}, but"):
        check_signature(token, Place(None))


@pytest.mark.parametrize("kind", KINDS)
def test_there_is_one_name_for_such_a_key(kind: str) -> None:
    did = Curved(kind).did
    code, public = keys.parse_did(did)
    assert keys.format_did(code, public) == did
    uncompressed = (
        ec.derive_private_key(4711, CURVES[kind])
        .public_key()
        .public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)
    )
    with pytest.raises(CodecError, match="65 key bytes, not 33"):
        keys.parse_did(keys.format_did(code, uncompressed))
    mixed = keys.format_did(code, b"\x04" + public[1:])
    gate = Gate()
    asked = Invocation.issue(
        Key.from_seed(bytes(32)), subject=mixed, command="/x", args={}, expires_at=None
    )
    with pytest.raises(InvalidSignature):
        payload = {**asked.token.payload, "iss": mixed}
        body = dag_cbor.encode({"h": SCHEMES[kind].header, TAG_INVOCATION: payload})
        gate.check(b"\x82\x58\x40" + bytes(63) + b"\1" + body)


@pytest.mark.parametrize("high", [False, True], ids=["low S", "high S"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_command_line_reads_and_judges_them(
    ipvm: Ipvm, here: Path, kind: str, high: bool
) -> None:
    other = Curved(kind)
    chain = [given_by_pi(other).data, other.delegation(LAPTOP.did, sub=PI.did, high=high)]
    (here / "chain.ucan").write_bytes(container.write(chain))
    verdict = ipvm("ucan", "verify", "chain.ucan", "--json")
    assert (verdict.status, len(verdict.json["chain"])) == (0, 2), verdict.err
    shown = ipvm("ucan", "inspect", "chain.ucan")
    assert other.did in shown.text
    assert "does not hold" not in shown.text
    assert ipvm("ucan", "import", "chain.ucan").status == 0
    assert ipvm("ucan", "list").text.count("✓") == 2
    (here / "asked.ucan").write_bytes(
        container.write([given_by_pi(other).data, other.invocation(chain[:1], high=high)])
    )
    judged = ipvm("ucan", "verify", "asked.ucan", "--executor", PI.did, "--json")
    assert (judged.status, judged.json["kind"]) == (0, "invocation"), judged.err
    forged = bytearray(chain[1])
    forged[40] ^= 1
    (here / "forged.ucan").write_bytes(container.write([chain[0], bytes(forged)]))
    refused = ipvm("ucan", "verify", "forged.ucan", "--json")
    assert (refused.status, refused.json["error"]["code"]) == (4, "ucan-signature")
