"""The other name of a token whose signature has a twin.

Of an ECDSA signature (r, s) anybody can make (r, n - s), which is just as valid, and UCAN 1.0 does
not say which of the two to take. Both tokens say the same under different CIDs. So what is known
of one CID, that it was revoked or accepted once, must count for both. Ed25519 signatures that
libsodium accepts have no twin.
"""

from __future__ import annotations

from typing import Final

from lite.ipld.cid import CID, DAG_CBOR
from lite.keys import SIGNATURE_BYTES
from lite.ucan import varsig
from lite.ucan.envelope import Token

_HALF = SIGNATURE_BYTES // 2
ORDERS: Final = {
    varsig.ES256.header: 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551,
    varsig.ES256K.header: 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141,
}


def names(token: Token) -> tuple[CID, ...]:
    """All CIDs under which the token could come: its own, and that of its twin if it has one.
    What has no signature that could verify has none."""
    order = ORDERS.get(token.header)
    if order is None or len(token.signature) != SIGNATURE_BYTES:
        return (token.cid,)
    r, s = token.signature[:_HALF], int.from_bytes(token.signature[_HALF:], "big")
    twin = r + ((order - s) % order).to_bytes(_HALF, "big")
    head = token.data[: -SIGNATURE_BYTES - len(token.signed)]
    data = head + twin + token.signed
    return tuple(sorted((token.cid, CID.of(data, DAG_CBOR))))
