"""Just enough of X.509 in DER to carry one Ed25519 key (RFC 5280, RFC 8410).

A library for all of X.509 would take more memory than the rest of an idle node. What is read has
to be DER in its one spelling, so that TLS and this module see the same key.
"""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256
from typing import Final

from sync.errors import AuthError
from sync.keys import PUBLIC_BYTES, Signer, public_of

_INTEGER, _BITS, _OID, _TEXT, _SHORT_TIME, _LONG_TIME = 0x02, 0x03, 0x06, 0x0C, 0x17, 0x18
_SEQUENCE, _SET, _VERSION = 0x30, 0x31, 0xA0
_ED25519: Final = bytes.fromhex("300506032b6570")  # the algorithm, as an AlgorithmIdentifier
_KEY_HEAD: Final = bytes.fromhex("302a") + _ED25519 + bytes.fromhex("032100")
_COMMON_NAME: Final = bytes.fromhex("550403")
_FROM, _UNTIL = b"200101000000Z", b"21200101000000Z"
_BEFORE_KEY: Final = (_VERSION, _INTEGER, _SEQUENCE, _SEQUENCE, _SEQUENCE, _SEQUENCE)


def certificate(key: Signer) -> bytes:
    """The self-signed certificate of a key: always the same bytes for the same key."""
    public = public_of(key.did)
    number = int.from_bytes(sha256(public).digest()[:8], "big") >> 1 | 1
    serial = number.to_bytes(number.bit_length() // 8 + 1, "big")
    common = _tlv(_SEQUENCE, _tlv(_OID, _COMMON_NAME), _tlv(_TEXT, key.did.encode()))
    name = _tlv(_SEQUENCE, _tlv(_SET, common))
    signed = _tlv(
        _SEQUENCE,
        _tlv(_VERSION, _tlv(_INTEGER, b"\x02")),
        _tlv(_INTEGER, serial),
        _ED25519,
        name,
        _tlv(_SEQUENCE, _tlv(_SHORT_TIME, _FROM), _tlv(_LONG_TIME, _UNTIL)),
        name,
        _KEY_HEAD + public,
    )
    return _tlv(_SEQUENCE, signed, _ED25519, _tlv(_BITS, b"\0", key.sign(signed)))


def public_key(certificate_der: bytes) -> bytes:
    """The Ed25519 key (32 bytes) in a certificate of version 3.

    The signature is not checked: TLS has proved that the other end has the key.

    Raises:
        AuthError: it is not DER, or holds another kind of key.
    """
    (whole,) = _exactly(certificate_der, 1)
    signed, algorithm, signature = _exactly(_content(whole, _SEQUENCE), 3)
    _content(algorithm, _SEQUENCE), _content(signature, _BITS)
    parts = list(_parts(_content(signed, _SEQUENCE)))
    if tuple(part[0] for part in parts[:6]) != _BEFORE_KEY or len(parts) < 7:
        raise AuthError("the server's certificate is not one of X.509 version 3")
    if len(parts[6]) != len(_KEY_HEAD) + PUBLIC_BYTES or not parts[6].startswith(_KEY_HEAD):
        raise AuthError("the server's certificate holds no Ed25519 key")
    return parts[6][len(_KEY_HEAD) :]


def _tlv(tag: int, *parts: bytes) -> bytes:
    body = b"".join(parts)
    size = len(body)
    if size < 0x80:
        return bytes((tag, size)) + body
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(length))) + length + body


def _exactly(data: bytes, count: int) -> list[bytes]:
    parts = list(_parts(data))
    if len(parts) != count:
        raise AuthError("the server's certificate is not DER: a part is missing or too many")
    return parts


def _content(part: bytes, tag: int) -> bytes:
    if part[0] != tag:
        raise AuthError("the server's certificate is not one of X.509")
    return part[2 if part[1] < 0x80 else 2 + (part[1] & 0x7F) :]


def _parts(data: bytes) -> Iterator[bytes]:
    """The elements of a DER text one after the other, heads included."""
    at = 0
    while at < len(data):
        size = _size(data[at : at + 4])
        if at + size > len(data):
            raise AuthError("the server's certificate is not DER: it is cut short")
        yield data[at : at + size]
        at += size


def _size(head: bytes) -> int:
    """Bytes of an element, from the first four of them; lengths in their shortest form alone."""
    if len(head) < 2 or head[0] & 0x1F == 0x1F:
        raise AuthError("the server's certificate is not DER: a tag of more than one byte")
    if head[1] < 0x80:
        return 2 + head[1]
    more = head[1] & 0x7F
    length = int.from_bytes(head[2 : 2 + more], "big")
    if more not in (1, 2) or len(head) < 2 + more or length < (0x80, 0x100)[more - 1]:
        raise AuthError("the server's certificate is not DER: a length is not in its one form")
    return 2 + more + length
