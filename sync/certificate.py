"""TLS 1.3 contexts and the self-signed certificate of a did:key.

The certificate says nothing but the key: its dates are 2020 to 2120 and are not checked, because
small machines start with a wrong clock. Whoever connects compares the key with the did:key that it
wanted. Source: RFC 8410 (Ed25519 in X.509), RFC 8446 (TLS 1.3).
"""

from __future__ import annotations

import os
import ssl
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from hashlib import sha256
from pathlib import Path
from typing import Final

from sync.errors import AuthError, IdentityError
from sync.keys import ChannelKey, did_of, public_of

ALPN: Final = "http/1.1"
CERTIFICATE_BYTES_MAX: Final = 4096
_FROM: Final = datetime(2020, 1, 1, tzinfo=timezone.utc)
_UNTIL: Final = datetime(2120, 1, 1, tzinfo=timezone.utc)


def certificate_of(key: ChannelKey) -> bytes:
    """The DER of the certificate of a key: always the same bytes for the same key."""
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        load_der_private_key,
    )
    from cryptography.x509.oid import NameOID

    private = load_der_private_key(key.private_der(), None)
    if not isinstance(private, Ed25519PrivateKey):
        raise IdentityError("the key of a channel is an Ed25519 key")
    if did_of(private.public_key().public_bytes_raw()) != key.did:
        raise IdentityError(f"the private key is not that of {key.did}")
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, key.did)])
    serial = int.from_bytes(sha256(public_of(key.did)).digest()[:8], "big") >> 1 | 1
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name)
    builder = builder.public_key(private.public_key()).serial_number(serial)
    builder = builder.not_valid_before(_FROM).not_valid_after(_UNTIL)
    return builder.sign(private, None).public_bytes(Encoding.DER)


def server_context(key: ChannelKey, certificate: bytes) -> ssl.SSLContext:
    """TLS 1.3 only, with the certificate of the key; clients show none."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.num_tickets = 0  # a resumed connection would skip the proof of the key
    context.set_alpn_protocols([ALPN])
    pem = ssl.DER_cert_to_PEM_cert(certificate) + _private_pem(key)
    with _unnamed(pem.encode()) as path:
        context.load_cert_chain(path)
    return context


def client_context() -> ssl.SSLContext:
    """TLS 1.3 only, any certificate: use it only where `did_of_server` is asked afterwards."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols([ALPN])
    return context


def did_of_server(tls: ssl.SSLObject) -> tuple[str, bytes]:
    """Whose key signed this finished TLS handshake, and the certificate's DER.

    Raises:
        AuthError: not TLS 1.3, no certificate, or one without an Ed25519 key.
    """
    if tls.version() != "TLSv1.3":
        raise AuthError(f"the connection is {tls.version()}, not TLS 1.3")
    der = tls.getpeercert(binary_form=True)
    if not der or len(der) > CERTIFICATE_BYTES_MAX:
        raise AuthError("the server shows no certificate of a did:key")
    return did_of(_public_key(der)), der


def _public_key(der: bytes) -> bytes:
    from cryptography import x509
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        public = x509.load_der_x509_certificate(der).public_key()
    except (ValueError, UnsupportedAlgorithm) as error:
        raise AuthError(f"the server's certificate cannot be read: {error}") from None
    if not isinstance(public, Ed25519PublicKey):
        raise AuthError("the server's certificate holds no Ed25519 key")
    return public.public_bytes_raw()


def _private_pem(key: ChannelKey) -> str:
    from base64 import b64encode

    body = b64encode(key.private_der()).decode()
    return f"-----BEGIN PRIVATE KEY-----\n{body}\n-----END PRIVATE KEY-----\n"


@contextmanager
def _unnamed(secret: bytes) -> Iterator[str]:
    """A path to the bytes, for an interface that reads only files.

    Where the system has files in memory, nothing is written to a disk; elsewhere it is a file that
    only this user can read, gone at once.
    """
    if hasattr(os, "memfd_create") and Path("/proc/self/fd").is_dir():
        handle = os.memfd_create("channel", os.MFD_CLOEXEC)
        try:
            os.write(handle, secret)
            yield f"/proc/self/fd/{handle}"
        finally:
            os.close(handle)
        return
    with tempfile.NamedTemporaryFile() as file:
        file.write(secret)
        file.flush()
        yield file.name
