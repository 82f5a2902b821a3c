"""Content identifiers: version, codec, hash function and digest of some bytes.

A `CID` holds the canonical binary form, which is also its identity: 36 bytes for everything that
this project makes (version 1, sha2-256). Text is made on demand. Of the hash functions, sha2,
sha3, shake-128 (32 bytes), shake-256 (64 bytes), blake2b, blake2s and identity are computed; a CID
with another one (blake3, sha1…) can be parsed and compared, but not checked, so no block comes in
under it. Nor under one whose digest is shorter than 20 bytes, identity apart.
Source: the CID, multihash and multicodec specs of multiformats.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any, Final

from lite import limits
from lite.errors import CidError, CodecError, quoted
from lite.ipld import multibase, varint

RAW: Final = 0x55
DAG_PB: Final = 0x70
DAG_CBOR: Final = 0x71
DAG_JSON: Final = 0x0129
CODEC_NAMES: Final = {RAW: "raw", DAG_PB: "dag-pb", DAG_CBOR: "dag-cbor", DAG_JSON: "dag-json"}

IDENTITY: Final = 0x00
SHA2_256: Final = 0x12
SHA2_512: Final = 0x13
SHA3_512: Final = 0x14
SHA3_384: Final = 0x15
SHA3_256: Final = 0x16
SHA3_224: Final = 0x17
SHAKE_128: Final = 0x18
SHAKE_256: Final = 0x19
SHA2_384: Final = 0x20
SHA2_224: Final = 0x1013
BLAKE3: Final = 0x1E
BLAKE2B_8: Final = 0xB201  # 0xb200 + digest bytes, up to 64
BLAKE2S_8: Final = 0xB241  # 0xb240 + digest bytes, up to 32
DIGEST_BYTES_MIN: Final = 20  # a shorter digest proves nothing, so it is never checked

TEXT_CHARS_MAX: Final = 8 * limits.CID_BYTES_MAX + 1  # the longest text is base2

_BASE64_PREFIXES = ("m", "M")
_V0_PREFIX = b"\x12\x20"
_V0_BYTES = 34
_V1_SHA2_256 = {codec: bytes((1, codec, SHA2_256, 32)) for codec in (RAW, DAG_PB, DAG_CBOR)}
_COMMON_PREFIXES = frozenset(_V1_SHA2_256.values())
_COMMON_BYTES = 36

_HASHES: Final[dict[int, Callable[[bytes], Any]]] = {
    SHA2_224: hashlib.sha224,
    SHA2_256: hashlib.sha256,
    SHA2_384: hashlib.sha384,
    SHA2_512: hashlib.sha512,
    SHA3_224: hashlib.sha3_224,
    SHA3_256: hashlib.sha3_256,
    SHA3_384: hashlib.sha3_384,
    SHA3_512: hashlib.sha3_512,
}


class CID:
    """An immutable content identifier. Equal, ordered and hashed by its binary form.

    `CID(text)` is the same as `CID.parse(text)`.

    Attributes:
        raw: the canonical binary form, e.g. 36 bytes `01 71 12 20 <digest>`.
    """

    __slots__ = ("_text", "raw")
    raw: bytes
    _text: str | None

    def __new__(cls, text: str) -> CID:
        return CID.parse(text)

    @staticmethod
    def of(data: bytes, codec: int, hash_code: int = SHA2_256) -> CID:
        """The version 1 CID of `data`.

        Raises:
            CidError: the hash function is not one that this node computes, or data too long for
                the identity function.
        """
        if hash_code == SHA2_256 and codec in _V1_SHA2_256:
            return _make(_V1_SHA2_256[codec] + hashlib.sha256(data).digest())
        digest = hash_digest(hash_code, data)
        raw = b"".join((b"\x01", *map(varint.encode, (codec, hash_code, len(digest))), digest))
        _check_length(raw)
        return _make(raw)

    @staticmethod
    def from_bytes(raw: bytes) -> CID:
        """Parse the binary form, strictly: shortest varints, exact length, version 0 or 1.

        Raises:
            CidError: it says what is wrong.
        """
        if len(raw) == _COMMON_BYTES and raw[:4] in _COMMON_PREFIXES:
            return _make(raw)
        _check_length(raw)
        if raw[:1] != b"\x12":
            _Parts.read(raw)
        elif len(raw) != _V0_BYTES or raw[:2] != _V0_PREFIX:
            raise CidError("a version 0 CID is exactly 34 bytes, 12 20 and a sha2-256 digest")
        return _make(raw)

    @staticmethod
    def split(data: bytes) -> tuple[CID, bytes]:
        """Take a binary CID off the front of `data`; returns it and the bytes after it.

        Raises:
            CidError: `data` does not begin with a CID.
        """
        if data[:2] == _V0_PREFIX:
            end = _V0_BYTES
        elif data[:4] in _COMMON_PREFIXES:
            end = _COMMON_BYTES
        else:
            end = _Parts.end(data)
        return CID.from_bytes(data[:end]), data[end:]

    @staticmethod
    def parse(text: str) -> CID:
        """Parse text in any multibase, or version 0 text (`Qm…`, 46 characters of base58).

        Raises:
            CidError: it says what is wrong.
        """
        if len(text) > TEXT_CHARS_MAX:
            raise CidError(f"{len(text)} characters are too many for a CID")
        is_v0 = len(text) == 46 and text.startswith("Qm")
        try:
            raw = multibase.base58_decode(text) if is_v0 else multibase.decode(text)
            cid = CID.from_bytes(raw)
        except (CodecError, CidError) as error:
            hint = "drop the ipfs:// in front" if text.startswith("ipfs://") else None
            raise CidError(f"{_shorten(text)} is not a CID: {error}", hint=hint) from error
        if (cid.version == 0) != is_v0:
            raise CidError(f"{_shorten(text)} is not a CID: version 0 is written as bare base58")
        if text.startswith("b"):
            object.__setattr__(cid, "_text", text)
        return cid

    @property
    def version(self) -> int:
        return 0 if self.raw[0] == 0x12 else 1

    @property
    def codec(self) -> int:
        """The multicodec of the content, e.g. `DAG_CBOR`."""
        return self.raw[1] if self._is_common else _Parts.read(self.raw).codec

    @property
    def hash_code(self) -> int:
        """The multicodec of the hash function, e.g. `SHA2_256`."""
        return SHA2_256 if self._is_common else _Parts.read(self.raw).hash_code

    @property
    def digest(self) -> bytes:
        return self.raw[4:] if self._is_common else _Parts.read(self.raw).digest

    @property
    def _is_common(self) -> bool:
        return len(self.raw) == _COMMON_BYTES and self.raw[:4] in _COMMON_PREFIXES

    def encode(self, base: str) -> str:
        """Text in the named multibase, e.g. "base58btc".

        Raises:
            CidError: a version 0 CID in anything but base58btc.
            UsageError: no base of that name.
        """
        if self.version == 1:
            return multibase.encode(self.raw, base)
        if base != "base58btc":
            raise CidError(f"a version 0 CID is written in base58btc, not in {base}")
        return multibase.base58_encode(self.raw)

    def matches(self, data: bytes) -> bool:
        """Whether `data` hashes to this CID.

        Raises:
            CidError: the hash function is not one that this node computes, or the digest is shorter
                than 20 bytes, which anybody could forge.
        """
        if self._is_common:
            return hashlib.sha256(data).digest() == self.raw[4:]
        parts = _Parts.read(self.raw)
        if parts.hash_code == IDENTITY:
            return data == parts.digest
        if len(parts.digest) < DIGEST_BYTES_MIN:
            raise CidError(f"the digest in {self} is only {len(parts.digest)} bytes long")
        return hash_digest(parts.hash_code, data) == parts.digest

    def __str__(self) -> str:
        if self._text is None:
            text = self.encode("base32" if self.version else "base58btc")
            object.__setattr__(self, "_text", text)
            return text
        return self._text

    def __repr__(self) -> str:
        return f"CID('{self}')"

    def __eq__(self, other: object) -> bool:
        if isinstance(other, CID):
            return self.raw == other.raw
        return NotImplemented

    def __lt__(self, other: CID) -> bool:
        return self.raw < other.raw

    def __hash__(self) -> int:
        return hash(self.raw)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"a CID is immutable: cannot set {name!r}")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"a CID is immutable: cannot delete {name!r}")

    def __reduce__(self) -> tuple[Callable[[bytes], CID], tuple[bytes]]:
        return CID.from_bytes, (self.raw,)


def is_cid(text: str) -> bool:
    """Whether a text is a CID, in any multibase."""
    try:
        CID.parse(text)
    except CidError:
        return False
    return True


def root_and_path(ref: str) -> tuple[str, str, str]:
    """`ROOT[/path]` as `str.partition` cuts it at a slash: at the first, but for a CID in base64,
    whose digits may be slashes. It says its own length, so that no other part is one."""
    at = ref.find("/") if ref.startswith(_BASE64_PREFIXES) else -1
    while 0 <= at < TEXT_CHARS_MAX:
        at = ref.find("/", at + 1)
        end = len(ref) if at < 0 else at
        if is_cid(ref[:end]):
            return ref[:end], ref[end : end + 1], ref[end + 1 :]
    return ref.partition("/")


def hash_digest(hash_code: int, data: bytes) -> bytes:
    """The digest of `data` under a multihash function.

    Raises:
        CidError: not one of the functions that this node computes.
    """
    if hash_code in _HASHES:
        digest: bytes = _HASHES[hash_code](data).digest()
        return digest
    if hash_code == IDENTITY:
        return bytes(data)
    if hash_code == SHAKE_128:
        return hashlib.shake_128(data).digest(32)
    if hash_code == SHAKE_256:
        return hashlib.shake_256(data).digest(64)
    if BLAKE2B_8 <= hash_code < BLAKE2B_8 + 64:
        return hashlib.blake2b(data, digest_size=hash_code - BLAKE2B_8 + 1).digest()
    if BLAKE2S_8 <= hash_code < BLAKE2S_8 + 32:
        return hashlib.blake2s(data, digest_size=hash_code - BLAKE2S_8 + 1).digest()
    raise CidError(
        f"this node does not compute the hash function 0x{hash_code:x}",
        hint="it knows sha2, sha3, shake, blake2b, blake2s and identity",
    )


class _Parts:
    """The fields of a CID that is not in the common 36-byte form."""

    __slots__ = ("codec", "digest", "hash_code")

    def __init__(self, codec: int, hash_code: int, digest: bytes) -> None:
        self.codec = codec
        self.hash_code = hash_code
        self.digest = digest

    @staticmethod
    def read(raw: bytes) -> _Parts:
        if raw[0] == 0x12:
            return _Parts(DAG_PB, SHA2_256, raw[2:])
        codec, hash_code, length, at = _Parts._numbers(raw)
        if length != len(raw) - at:
            raise CidError(f"the CID says {length} digest bytes, {len(raw) - at} follow")
        return _Parts(codec, hash_code, raw[at:])

    @staticmethod
    def end(data: bytes) -> int:
        """Where the version 1 CID at the start of `data` ends, by its own account."""
        _, _, length, at = _Parts._numbers(data)
        return at + length

    @staticmethod
    def _numbers(raw: bytes) -> tuple[int, int, int, int]:
        try:
            version, at = varint.decode(raw)
            if version != 1:
                raise CidError(f"CID version {version} is unknown")
            codec, at = varint.decode(raw, at)
            hash_code, at = varint.decode(raw, at)
            length, at = varint.decode(raw, at)
        except CodecError as error:
            raise CidError(f"bad CID: {error}") from error
        return codec, hash_code, length, at


_new = object.__new__
_set_raw: Callable[[CID, bytes], None] = CID.__dict__["raw"].__set__
_set_text: Callable[[CID, str | None], None] = CID.__dict__["_text"].__set__


def _make(raw: bytes) -> CID:
    cid = _new(CID)
    _set_raw(cid, raw)
    _set_text(cid, None)
    return cid


def _check_length(raw: bytes) -> None:
    if not raw:
        raise CidError("no bytes at all")
    if len(raw) > limits.CID_BYTES_MAX:
        raise CidError(f"a CID of {len(raw)} bytes, at most {limits.CID_BYTES_MAX}")


def _shorten(text: str) -> str:
    return quoted(text) if len(text) <= 80 else f"{quoted(text[:60])}…"
