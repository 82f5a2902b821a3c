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
from pathlib import Path
from typing import Final

from sync import der
from sync.errors import AuthError, IdentityError
from sync.keys import SEED_BYTES, ChannelKey, SeedKey, did_of

ALPN: Final = "http/1.1"
CERTIFICATE_BYTES_MAX: Final = 4096


def certificate_of(key: ChannelKey) -> bytes:
    """The DER of the certificate of a key: always the same bytes for the same key.

    Raises:
        IdentityError: the private key is not that of the did:key.
    """
    made = der.certificate(key)
    if SeedKey(key.private_der()[-SEED_BYTES:]).did != key.did:
        raise IdentityError(f"the private key is not that of {key.did}")
    return made


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
    shown = tls.getpeercert(binary_form=True)
    if not shown or len(shown) > CERTIFICATE_BYTES_MAX:
        raise AuthError("the server shows no certificate of a did:key")
    return did_of(der.public_key(shown)), shown


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
