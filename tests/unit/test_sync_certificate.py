"""The certificate of a did:key, read by this package and by a library for all of X.509."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from random import Random

import pytest
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from sync.certificate import certificate_of, server_context
from sync.der import public_key
from sync.errors import AuthError, IdentityError
from sync.keys import SeedKey

SERVER, OTHER = SeedKey(b"\x01" * 32), SeedKey(b"\x02" * 32)


def read_by_library(der: bytes) -> bytes | None:
    """The key that the library finds; None: it finds no Ed25519 key."""
    try:
        found = x509.load_der_x509_certificate(der).public_key()
    except (ValueError, UnsupportedAlgorithm, x509.InvalidVersion):
        return None
    return found.public_bytes_raw() if isinstance(found, Ed25519PublicKey) else None


@pytest.mark.parametrize("number", range(64))
def test_a_certificate_is_one_for_others_too(number: int) -> None:
    key = SeedKey(bytes([number]) * 32)
    made = certificate_of(key)
    assert made == certificate_of(key)
    read = x509.load_der_x509_certificate(made)
    read.verify_directly_issued_by(read)
    assert read.subject.rfc4514_string() == f"CN={key.did}"
    assert (read.not_valid_before_utc.year, read.not_valid_after_utc.year) == (2020, 2120)
    assert read_by_library(made) == public_key(made) == key.public
    server_context(key, made)


@pytest.mark.filterwarnings("ignore:Parsed a serial number")
def test_a_changed_certificate_is_refused_or_read_as_others_read_it() -> None:
    made, random = certificate_of(SERVER), Random(7)
    refused = 0
    for at in range(len(made) * 8):
        bent = bytearray(made)
        bent[at // 8] ^= 1 << at % 8
        refused += agrees(bytes(bent))
    for _ in range(3_000):
        bent = bytearray(made)
        for _ in range(random.randrange(1, 4)):
            at = random.randrange(len(bent))
            cut = bent[at : at + random.randrange(3)]
            bent[at : at + len(cut)] = random.randbytes(random.randrange(3))
        refused += agrees(bytes(bent))
    assert refused > 1_000


def agrees(der: bytes) -> bool:
    """Whether this package refuses a certificate; if not, the library has to find the same key."""
    try:
        found = public_key(der)
    except AuthError:
        return True
    assert read_by_library(der) in (found, None)
    return False


def test_what_is_no_certificate_is_refused() -> None:
    made = certificate_of(SERVER)
    for text in (b"", b"0", made[:-1], made + b"\0", made + made, b"\x30\x80\0\0", bytes(400)):
        with pytest.raises(AuthError):
            public_key(text)


def test_a_private_key_of_somebody_else_is_noticed_before_it_is_used() -> None:
    class Lying:
        did = OTHER.did
        sign = SERVER.sign
        private_der = SERVER.private_der

    with pytest.raises(IdentityError, match="not that of"):
        certificate_of(Lying())


def test_the_private_key_is_given_to_tls_without_a_file_that_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    made = certificate_of(SERVER)
    server_context(SERVER, made)
    monkeypatch.delattr(os, "memfd_create", raising=False)  # as on macOS
    context = server_context(SERVER, made)
    assert list(tmp_path.iterdir()) == []
    assert context.minimum_version.name == "TLSv1_3"
    assert context.num_tickets == 0
