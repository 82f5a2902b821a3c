"""Signing keys, did:key names and the key file.

A node has one Ed25519 key. It is kept as one line of multibase text, `z` + base58btc(0x1300 as a
varint, 32 bytes of seed), in a file that only its owner can read. Signatures of others are checked
for the three key types that UCAN 1.0 asks for: Ed25519, P-256 and secp256k1.
Source: the did:key method, the multicodec table, UCAN 1.0.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Final

from nacl import bindings
from nacl.exceptions import CryptoError

from lite.errors import (
    CodecError,
    ConfigError,
    NotFoundError,
    SignatureError,
    StoreError,
    StoreFull,
    UsageError,
    quoted,
)
from lite.ipld import multibase, varint

ED25519_PUBLIC: Final = 0xED
SECP256K1_PUBLIC: Final = 0xE7
P256_PUBLIC: Final = 0x1200
ED25519_PRIVATE: Final = 0x1300

SEED_BYTES: Final = 32
SIGNATURE_BYTES: Final = 64
NONCE_BYTES: Final = 12

_PUBLIC_BYTES = {ED25519_PUBLIC: 32, SECP256K1_PUBLIC: 33, P256_PUBLIC: 33}
_KEY_NAMES = {ED25519_PUBLIC: "Ed25519", SECP256K1_PUBLIC: "secp256k1", P256_PUBLIC: "P-256"}
_DID_PREFIX = "did:key:"
_DID_CHARS_MAX = 128
_KEY_FILE_BYTES_MAX = 4096
_PEM_BEGIN = "-----BEGIN "


class Key:
    """An Ed25519 key pair. Neither `repr` nor `str` shows the secret half.

    Attributes:
        public: 32 bytes.
        did: `did:key:z6Mk…`, the name under which it signs.
    """

    __slots__ = ("_secret", "did", "public")
    public: bytes
    did: str
    _secret: bytes

    def __init__(self, seed: bytes) -> None:
        if len(seed) != SEED_BYTES:
            raise ConfigError(f"an Ed25519 seed has {SEED_BYTES} bytes, not {len(seed)}")
        self.public, self._secret = bindings.crypto_sign_seed_keypair(seed)
        self.did = format_did(ED25519_PUBLIC, self.public)

    @staticmethod
    def generate() -> Key:
        """A new key from the system's random numbers."""
        return Key(os.urandom(SEED_BYTES))

    @staticmethod
    def from_seed(seed: bytes) -> Key:
        """The key of a 32-byte seed. Raises ConfigError for another length."""
        return Key(seed)

    @staticmethod
    def from_text(text: str) -> Key:
        """Read a key in multibase (ed25519-priv) or PEM (PKCS#8, not encrypted).

        Raises:
            ConfigError: neither of the two, or not an Ed25519 key. The text is never shown.
        """
        text = text.strip()
        if text.startswith(_PEM_BEGIN):
            return Key(_seed_of_pem(text))
        try:
            code, at = varint.decode(raw := multibase.decode(text))
        except CodecError:
            raise ConfigError(
                "this is not a private key in multibase or PEM",
                hint="a key file is one line beginning with z, or a PEM block",
            ) from None
        if code != ED25519_PRIVATE:
            raise ConfigError(f"multicodec 0x{code:x} is not an Ed25519 private key (0x1300)")
        return Key(raw[at:])

    @staticmethod
    def load(path: Path) -> Key:
        """Read the key file.

        Raises:
            NotFoundError: there is no such file.
            ConfigError: others can read or change it, or it holds no Ed25519 key.
        """
        try:
            return Key.from_text(_read_private(path))
        except ConfigError as error:
            raise ConfigError(f"key file {path}: {error}", hint=error.hint) from None

    @staticmethod
    def load_or_create(path: Path) -> tuple[Key, bool]:
        """Load the key, or make one when the file is absent.

        Two processes that do this at the same time end with the same key.

        Returns:
            The key, and whether this call made it.

        Raises:
            ConfigError: as `load`.
            StoreError, StoreFull: the file cannot be written.
        """
        try:
            return Key.load(path), False
        except NotFoundError:
            key = Key.generate()
        try:
            _write_private(path, key.export_text(), overwrite=False)
        except FileExistsError:
            return Key.load(path), False
        return key, True

    def save(self, path: Path, *, overwrite: bool = False) -> None:
        """Write the key file, mode 0600, atomically and durably. Its folder is made if absent.

        Raises:
            UsageError: the file exists and `overwrite` is false; it is left as it was.
            StoreError, StoreFull: the file cannot be written.
        """
        try:
            _write_private(path, self.export_text(), overwrite=overwrite)
        except FileExistsError:
            raise UsageError(
                f"key file {path} exists already and was left alone",
                hint="export it first if you mean to replace it",
            ) from None

    def export_text(self) -> str:
        """The secret in multibase, as in the key file but without the line feed."""
        return multibase.encode(varint.encode(ED25519_PRIVATE) + self._seed, "base58btc")

    def export_pem(self) -> str:
        """The secret as a PKCS#8 PEM block, as OpenSSL and Homestar read it."""
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        pem = Ed25519PrivateKey.from_private_bytes(self._seed).private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        return pem.decode("ascii")

    def sign(self, message: bytes) -> bytes:
        """The 64-byte Ed25519 signature of `message`."""
        return bindings.crypto_sign(message, self._secret)[:SIGNATURE_BYTES]

    def x25519(self) -> tuple[bytes, bytes]:
        """The same key for Diffie-Hellman: (public, secret), 32 bytes each."""
        return (
            bindings.crypto_sign_ed25519_pk_to_curve25519(self.public),
            bindings.crypto_sign_ed25519_sk_to_curve25519(self._secret),
        )

    @property
    def _seed(self) -> bytes:
        return self._secret[:SEED_BYTES]

    def __repr__(self) -> str:
        return f"Key({self.did})"

    def __reduce__(self) -> str:
        raise TypeError("a key is not pickled: its secret would leave this process")


def random_nonce() -> bytes:
    """12 random bytes, what UCAN 1.0 advises for a token that must be unique."""
    return os.urandom(NONCE_BYTES)


def format_did(code: int, public: bytes) -> str:
    """The did:key of a public key, given its multicodec (`ED25519_PUBLIC` …)."""
    return _DID_PREFIX + multibase.encode(varint.encode(code) + public, "base58btc")


@lru_cache(maxsize=1024)
def parse_did(did: str) -> tuple[int, bytes]:
    """The multicodec and the public key bytes in a did:key.

    There is exactly one accepted text per key, so that equal keys are equal strings.

    Raises:
        CodecError: not a did:key, or a key type other than Ed25519, P-256 and secp256k1.
    """
    if not did.startswith(_DID_PREFIX + "z") or len(did) > _DID_CHARS_MAX:
        raise CodecError(f"{quoted(did[:_DID_CHARS_MAX])} is not a did:key (did:key:z…)")
    try:
        code, at = varint.decode(raw := multibase.decode(did[len(_DID_PREFIX) :]))
    except CodecError as error:
        raise CodecError(f"{quoted(did)} is not a did:key: {error}") from None
    if code not in _PUBLIC_BYTES:
        raise CodecError(f"{quoted(did)}: key type 0x{code:x} is not Ed25519, P-256 or secp256k1")
    if len(raw) - at != _PUBLIC_BYTES[code]:
        raise CodecError(f"{quoted(did)}: {len(raw) - at} key bytes, not {_PUBLIC_BYTES[code]}")
    return code, raw[at:]


def verify(did: str, message: bytes, signature: bytes) -> None:
    """Check that the key named by `did` signed `message`.

    Args:
        signature: 64 raw bytes; r then s for the two elliptic curves, which sign the SHA-256.

    Raises:
        SignatureError: it did not, or `did` is not a key that can be checked.
    """
    try:
        code, public = parse_did(did)
    except CodecError as error:
        raise SignatureError(f"cannot check the signature: {error}") from None
    if len(signature) != SIGNATURE_BYTES:
        raise SignatureError(f"a signature has {SIGNATURE_BYTES} bytes, not {len(signature)}")
    if code != ED25519_PUBLIC:
        _verify_ecdsa(code, public, message, signature, did)
        return
    try:
        bindings.crypto_sign_open(signature + message, public)
    except CryptoError:
        raise _wrong_signature(code, did) from None


def _verify_ecdsa(code: int, public: bytes, message: bytes, signature: bytes, did: str) -> None:
    try:
        from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import ec, utils
    except ImportError as fault:
        raise SignatureError(
            f"{_KEY_NAMES[code]} signatures are checked with `cryptography`, which cannot be "
            f"loaded here: {fault}",
            hint="install it again: pip install --force-reinstall cryptography",
        ) from None

    curve = ec.SECP256R1() if code == P256_PUBLIC else ec.SECP256K1()
    half = SIGNATURE_BYTES // 2
    r, s = (int.from_bytes(part, "big") for part in (signature[:half], signature[half:]))
    try:
        point = ec.EllipticCurvePublicKey.from_encoded_point(curve, public)
        point.verify(utils.encode_dss_signature(r, s), message, ec.ECDSA(hashes.SHA256()))
    except ValueError:
        raise SignatureError(f"{did} is not a point of {_KEY_NAMES[code]}") from None
    except UnsupportedAlgorithm:
        raise SignatureError(f"the OpenSSL here was built without {_KEY_NAMES[code]}") from None
    except InvalidSignature:
        raise _wrong_signature(code, did) from None


def _wrong_signature(code: int, did: str) -> SignatureError:
    return SignatureError(f"the {_KEY_NAMES[code]} signature over these bytes is not of {did}")


def _seed_of_pem(text: str) -> bytes:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(text.encode(), password=None)
    except TypeError:
        raise ConfigError(
            "the PEM key is encrypted", hint="decrypt it first: openssl pkey -in KEY.pem -out PLAIN"
        ) from None
    except (ValueError, UnsupportedAlgorithm):
        raise ConfigError("the PEM block is not a private key that can be read") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigError("the PEM block holds a private key that is not Ed25519")
    return key.private_bytes_raw()


def _read_private(path: Path) -> str:
    try:
        # O_NONBLOCK: opening a pipe by mistake must not wait for a writer.
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    except FileNotFoundError:
        raise NotFoundError(f"there is no key file {path}") from None
    except OSError as error:
        raise ConfigError(f"cannot open it: {error.strerror}") from None
    try:
        mode = os.fstat(handle).st_mode
        if not stat.S_ISREG(mode):
            raise ConfigError("it is not a regular file")
        if os.name == "posix" and mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise ConfigError(
                f"others may use it (mode {stat.S_IMODE(mode):04o})", hint=f"run: chmod 600 {path}"
            )
        data = os.read(handle, _KEY_FILE_BYTES_MAX + 1)
    finally:
        os.close(handle)
    if len(data) > _KEY_FILE_BYTES_MAX:
        raise ConfigError(f"it is longer than {_KEY_FILE_BYTES_MAX} bytes")
    try:
        return data.decode("ascii")
    except UnicodeDecodeError:
        raise ConfigError("it is not text") from None


def _write_private(path: Path, text: str, *, overwrite: bool) -> None:
    """Raises FileExistsError when not `overwrite` and the file is there."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritten(f"the folder of {path} cannot be made", error) from None
    fresh = path.with_name(f".{path.name}.{os.urandom(6).hex()}.new")
    try:
        handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(text.encode("ascii") + b"\n")
                file.flush()
                os.fsync(handle)
            _place(fresh, path, overwrite=overwrite)
        finally:
            fresh.unlink(missing_ok=True)
        _sync_folder(path.parent)
    except FileExistsError:
        raise
    except OSError as error:
        raise _unwritten(f"the key file {path} cannot be written", error) from None


def _unwritten(what: str, error: OSError) -> StoreError:
    kind = StoreFull if error.errno in (errno.ENOSPC, errno.EDQUOT) else StoreError
    return kind(
        f"{what}: {error.strerror}",
        hint="Check owner, permissions and free space, or choose another home with --home.",
    )


def _place(fresh: Path, path: Path, *, overwrite: bool) -> None:
    if overwrite:
        fresh.replace(path)
        return
    try:
        os.link(fresh, path)  # atomic, and never replaces
    except FileExistsError:
        raise
    except OSError:
        # No hard links here (FAT, Android): a lock keeps a second process from replacing it.
        with _folder_lock(path):
            if path.exists():
                raise FileExistsError(path) from None
            fresh.replace(path)


@contextmanager
def _folder_lock(path: Path) -> Iterator[None]:
    import fcntl

    with path.with_name(f".{path.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
