"""How the two ends of a TLS connection learn each other's did:key. No input or output here.

TLS 1.3 proves the server: its certificate carries the Ed25519 key of its did:key, and the
handshake is signed with that key. The client proves itself inside, with three frames:

    server -> client  challenge  {t: "c", v: 1, n: 32 random bytes}
    client -> server  proof      {t: "p", d: its did:key, n: 32 random bytes, s: signature}
    server -> client  welcome    {t: "o", k: 32 random bytes}      or a closed connection

The signature covers both nonces, both keys and the digest of the server's certificate, which the
client took from its own end of the TLS connection. So a proof is worth nothing on another
connection (the server's nonce), to another server (its key and certificate), or under another
name. `k` is the token that opens the server's other paths to the same client while this channel
lives. Frames are strict DAG-CBOR.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final

from sync.codec import decode, encode
from sync.errors import AuthError, CodecError
from sync.keys import SIGNATURE_BYTES, Signer, public_of, verified

VERSION: Final = 1
NONCE_BYTES: Final = 32
TOKEN_BYTES: Final = 32
FRAME_BYTES_MAX: Final = 512
CONTEXT: Final = b"ipvm-sync/1 client-auth\0"


@dataclass(frozen=True, slots=True)
class Server:
    """The server of one TLS connection, as the certificate in use shows it.

    Attributes:
        did: its did:key.
        certificate: sha2-256 of the certificate's DER, 32 bytes.
    """

    did: str
    certificate: bytes

    @staticmethod
    def of(did: str, certificate_der: bytes) -> Server:
        return Server(did, sha256(certificate_der).digest())


def signed_bytes(server: Server, challenge: bytes, client_did: str, answer: bytes) -> bytes:
    """What the client signs. Every part has a fixed length, so the parts cannot be shifted."""
    keys = public_of(server.did) + public_of(client_did)
    return CONTEXT + keys + challenge + answer + server.certificate


def challenge_frame(nonce: bytes) -> bytes:
    return encode({"t": "c", "v": VERSION, "n": nonce})


def proof_frame(challenge: bytes, server: Server, key: Signer, nonce: bytes) -> bytes:
    """The client's answer to a challenge frame.

    Raises:
        AuthError: the frame is not a challenge of this version.
    """
    fields = _read(challenge, "c")
    if fields.get("v") != VERSION:
        raise AuthError(f"the server speaks version {str(fields.get('v'))[:20]}, not {VERSION}")
    theirs = _sized(fields, "n", NONCE_BYTES)
    signature = key.sign(signed_bytes(server, theirs, key.did, nonce))
    return encode({"t": "p", "d": key.did, "n": nonce, "s": signature})


def proved_did(proof: bytes, server: Server, challenge_nonce: bytes) -> str:
    """The did:key of the client that made a proof frame for this challenge on this connection.

    Raises:
        AuthError: the frame is none, the signature does not verify, or the client claims to be
            the server itself.
        IdentityError: the client's name is not an Ed25519 did:key.
    """
    fields = _read(proof, "p")
    did = fields.get("d")
    if not isinstance(did, str):
        raise AuthError("the proof names no client")
    answer, signature = _sized(fields, "n", NONCE_BYTES), _sized(fields, "s", SIGNATURE_BYTES)
    if did == server.did:
        raise AuthError("the client claims to be the server itself")
    if not verified(did, signed_bytes(server, challenge_nonce, did, answer), signature):
        raise AuthError("the client's proof does not verify on this connection")
    return did


def welcome_frame(token: bytes) -> bytes:
    return encode({"t": "o", "k": token})


def welcome_token(welcome: bytes) -> bytes:
    """The token of a welcome frame (32 bytes). Raises AuthError for another frame."""
    return _sized(_read(welcome, "o"), "k", TOKEN_BYTES)


def _read(frame: bytes, kind: str) -> dict[str, Any]:
    if len(frame) > FRAME_BYTES_MAX:
        raise AuthError(f"a handshake frame has at most {FRAME_BYTES_MAX} bytes, not {len(frame)}")
    try:
        fields = decode(frame)
    except CodecError as error:
        raise AuthError(f"a handshake frame cannot be read: {error}") from None
    if not isinstance(fields, dict) or fields.get("t") != kind:
        raise AuthError(f"expected handshake frame {kind!r}")
    return fields


def _sized(fields: dict[str, Any], name: str, size: int) -> bytes:
    value = fields.get(name)
    if not isinstance(value, bytes) or len(value) != size:
        raise AuthError(f"a handshake frame needs {size} bytes as {name!r}")
    return value
