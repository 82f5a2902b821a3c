"""Names of peers: a did:key is an Ed25519 public key in text.

`did:key:z` + base58btc(0xed 0x01 + 32 bytes). Exactly one text names a key; another one is refused,
so names can be compared as text. Source: the did:key method.
"""

from __future__ import annotations

import os
from typing import Final, Protocol

from nacl import bindings
from nacl.exceptions import CryptoError

from sync.errors import IdentityError

SEED_BYTES: Final = 32
PUBLIC_BYTES: Final = 32
SIGNATURE_BYTES: Final = 64
DID_CHARS: Final = 56  # every Ed25519 did:key has as many

_PREFIX: Final = "did:key:z"
_ED25519: Final = b"\xed\x01"
_ALPHABET: Final = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_DIGITS: Final = {char: digit for digit, char in enumerate(_ALPHABET)}
# PKCS#8 of an Ed25519 key is this and the seed (RFC 8410).
_PKCS8: Final = bytes.fromhex("302e020100300506032b657004220420")


class Signer(Protocol):
    """A private key that stays where it is."""

    @property
    def did(self) -> str:
        """`did:key:z6Mk…`, the public half."""

    def sign(self, message: bytes) -> bytes:
        """An Ed25519 signature, 64 bytes."""


class ChannelKey(Signer, Protocol):
    """A private key that TLS can use, which needs the key itself."""

    def private_der(self) -> bytes:
        """PKCS#8 (DER) of the Ed25519 key."""


class SeedKey:
    """An Ed25519 key from 32 bytes of seed. `repr` does not show the seed."""

    __slots__ = ("_secret", "did", "public")

    def __init__(self, seed: bytes) -> None:
        """Raises IdentityError for a seed of another length."""
        if len(seed) != SEED_BYTES:
            raise IdentityError(f"an Ed25519 seed has {SEED_BYTES} bytes, not {len(seed)}")
        self.public, self._secret = bindings.crypto_sign_seed_keypair(seed)
        self.did = did_of(self.public)

    @staticmethod
    def generate() -> SeedKey:
        """A new key from the system's random numbers."""
        return SeedKey(os.urandom(SEED_BYTES))

    def sign(self, message: bytes) -> bytes:
        return bindings.crypto_sign(message, self._secret)[:SIGNATURE_BYTES]

    def private_der(self) -> bytes:
        return _PKCS8 + self._secret[:SEED_BYTES]


def did_of(public: bytes) -> str:
    """The did:key of a raw Ed25519 public key (32 bytes)."""
    if len(public) != PUBLIC_BYTES:
        raise IdentityError(f"an Ed25519 public key has {PUBLIC_BYTES} bytes, not {len(public)}")
    number, text = int.from_bytes(_ED25519 + public, "big"), ""
    while number:
        number, digit = divmod(number, 58)
        text = _ALPHABET[digit] + text
    return _PREFIX + text


def public_of(did: str) -> bytes:
    """The raw public key (32 bytes) that a did:key names.

    Raises:
        IdentityError: not a did:key of an Ed25519 key in its one spelling.
    """
    number = 0
    if len(did) == DID_CHARS and did.startswith(_PREFIX):
        for char in did[len(_PREFIX) :]:
            if char not in _DIGITS:
                break
            number = number * 58 + _DIGITS[char]
        else:
            size = len(_ED25519) + PUBLIC_BYTES
            if number < 1 << 8 * size and (raw := number.to_bytes(size, "big"))[:2] == _ED25519:
                return raw[2:]
    raise IdentityError(f"not the did:key of an Ed25519 key: {did[:80]!r}")


def verified(did: str, message: bytes, signature: bytes) -> bool:
    """Whether `did` signed the message.

    Raises:
        IdentityError: `did` is not an Ed25519 did:key.
    """
    public = public_of(did)
    if len(signature) != SIGNATURE_BYTES:
        return False
    try:
        bindings.crypto_sign_open(signature + message, public)
    except CryptoError:
        return False
    return True


def nonce(size: int) -> bytes:
    """Fresh random bytes."""
    return os.urandom(size)
