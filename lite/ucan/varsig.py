"""Varsig version 1 headers: which key type signed, and how the payload was encoded.

A header is `0x34`, version 1, the algorithm, then the payload encoding, all as varints. The three
that UCAN 1.0 asks for, over DAG-CBOR, are read; Ed25519 is the only one written.
Source: the Varsig 1.0.0 spec.
"""

from __future__ import annotations

from typing import Final

from lite.errors import SignatureError
from lite.frozen import frozen
from lite.keys import ED25519_PUBLIC, P256_PUBLIC, SECP256K1_PUBLIC


@frozen
class Varsig:
    """One supported header.

    Attributes:
        name: of the algorithm, for people.
        key_code: multicodec of the public key that such a signature needs.
        header: the exact bytes in the envelope.
    """

    name: str
    key_code: int
    header: bytes


ED25519: Final = Varsig("Ed25519", ED25519_PUBLIC, bytes.fromhex("3401ed01ed011371"))
ES256: Final = Varsig("ES256", P256_PUBLIC, bytes.fromhex("3401ec0180241271"))
ES256K: Final = Varsig("ES256K", SECP256K1_PUBLIC, bytes.fromhex("3401ec01e7011271"))

_BY_HEADER = {varsig.header: varsig for varsig in (ED25519, ES256, ES256K)}
_PREFIX = 0x34
_VERSION = 0x01
LEAD: Final = bytes([_PREFIX, _VERSION])


def read(header: bytes) -> Varsig:
    """The meaning of a header.

    Raises:
        SignatureError: not a varsig header, or one that is not supported.
    """
    varsig = _BY_HEADER.get(header)
    if varsig is not None:
        return varsig
    if header[:1] != bytes([_PREFIX]):
        raise SignatureError("the signature header is not a varsig (it begins with 0x34)")
    if header[1:2] != bytes([_VERSION]):
        raise SignatureError("only version 1 varsig headers are supported")
    known = ", ".join(varsig.name for varsig in _BY_HEADER.values())
    raise SignatureError(
        f"varsig header {header[:16].hex()} is not one of {known} over DAG-CBOR",
    )
