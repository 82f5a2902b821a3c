"""Keys: did:key names, the key file, signatures of three kinds."""

from __future__ import annotations

import copy
import os
import pickle
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, utils
from nacl import bindings

from lite import keys
from lite.errors import (
    CodecError,
    ConfigError,
    NotFoundError,
    SignatureError,
    StoreError,
    StoreFull,
    UsageError,
)
from lite.ipld import multibase
from lite.keys import Key

SEED = bytes(range(32))
MESSAGE = b"what was signed"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "home" / "key"


def test_a_did_names_exactly_the_public_key() -> None:
    key = Key.from_seed(SEED)
    assert key.did.startswith("did:key:z6Mk")
    assert keys.parse_did(key.did) == (keys.ED25519_PUBLIC, key.public)


def test_generated_keys_differ() -> None:
    assert Key.generate().did != Key.generate().did


def test_the_secret_is_never_shown() -> None:
    key = Key.from_seed(SEED)
    for shown in (repr(key), str(key), f"{key}"):
        assert shown == f"Key({key.did})"


@pytest.mark.parametrize("way", [pickle.dumps, copy.copy, copy.deepcopy])
def test_a_key_does_not_leave_its_process(way: object) -> None:
    with pytest.raises(TypeError, match="not pickled"):
        way(Key.from_seed(SEED))  # type: ignore[operator]


def test_a_signature_verifies_and_covers_every_byte() -> None:
    key = Key.from_seed(SEED)
    signature = key.sign(MESSAGE)
    keys.verify(key.did, MESSAGE, signature)
    for at in range(len(MESSAGE)):
        changed = MESSAGE[:at] + bytes([MESSAGE[at] ^ 1]) + MESSAGE[at + 1 :]
        with pytest.raises(SignatureError, match="is not of"):
            keys.verify(key.did, changed, signature)
    for at in range(len(signature)):
        changed = signature[:at] + bytes([signature[at] ^ 1]) + signature[at + 1 :]
        with pytest.raises(SignatureError):
            keys.verify(key.did, MESSAGE, changed)


def test_a_signature_of_another_key_or_length_is_refused() -> None:
    key, other = Key.from_seed(SEED), Key.from_seed(bytes(32))
    with pytest.raises(SignatureError, match="is not of"):
        keys.verify(other.did, MESSAGE, key.sign(MESSAGE))
    with pytest.raises(SignatureError, match="64 bytes"):
        keys.verify(key.did, MESSAGE, key.sign(MESSAGE)[:-1])


def test_a_signature_with_the_group_order_added_is_refused() -> None:
    key = Key.from_seed(SEED)
    signature = key.sign(MESSAGE)
    order = 2**252 + 27742317777372353535851937790883648493
    s = int.from_bytes(signature[32:], "little") + order
    with pytest.raises(SignatureError):
        keys.verify(key.did, MESSAGE, signature[:32] + s.to_bytes(32, "little"))


@pytest.mark.parametrize(
    ("curve", "code", "prefix"),
    [
        (ec.SECP256R1(), keys.P256_PUBLIC, "did:key:zDn"),
        (ec.SECP256K1(), keys.SECP256K1_PUBLIC, "did:key:zQ3s"),
    ],
)
def test_elliptic_curve_signatures_verify(curve: ec.EllipticCurve, code: int, prefix: str) -> None:
    private = ec.derive_private_key(12345, curve)
    did = keys.format_did(code, _compressed(private))
    assert did.startswith(prefix)
    signature = _ecdsa(private)
    keys.verify(did, MESSAGE, signature)
    with pytest.raises(SignatureError, match="is not of"):
        keys.verify(did, MESSAGE + b"!", signature)
    with pytest.raises(SignatureError, match="is not of"):
        keys.verify(did, MESSAGE, bytes(64))


def test_a_did_that_is_no_point_of_its_curve_is_refused() -> None:
    did = keys.format_did(keys.P256_PUBLIC, b"\x02" + b"\xff" * 32)
    with pytest.raises(SignatureError, match="not a point of P-256"):
        keys.verify(did, MESSAGE, bytes(64))


@pytest.mark.parametrize(
    ("did", "problem"),
    [
        ("", "not a did:key"),
        ("did:web:example.org", "not a did:key"),
        ("did:key:", "not a did:key"),
        ("did:key:" + multibase.encode(b"\xed\x01" + bytes(32), "base32"), "not a did:key"),
        ("did:key:z0OIl", "not a digit"),
        ("did:key:z" + "1" * 200, "not a did:key"),
        (keys.format_did(0xEC, bytes(32)), "0xec is not"),
        (keys.format_did(keys.ED25519_PUBLIC, bytes(31)), "31 key bytes"),
        (keys.format_did(keys.ED25519_PUBLIC, bytes(33)), "33 key bytes"),
        (Key.from_seed(SEED).did + "#z6Mk", "not a digit"),
        ("did:key:z" + multibase.base58_encode(b"\xed\x81\x00" + bytes(32)), "shortest form"),
    ],
)
def test_a_did_in_any_other_form_is_refused(did: str, problem: str) -> None:
    with pytest.raises(CodecError, match=problem):
        keys.parse_did(did)
    with pytest.raises(SignatureError, match=problem):
        keys.verify(did, MESSAGE, bytes(64))


def test_the_same_key_serves_diffie_hellman() -> None:
    one, two = Key.from_seed(SEED).x25519(), Key.from_seed(bytes(32)).x25519()
    assert bindings.crypto_scalarmult(one[1], two[0]) == bindings.crypto_scalarmult(two[1], one[0])


def test_text_and_pem_carry_the_key() -> None:
    key = Key.from_seed(SEED)
    text, pem = key.export_text(), key.export_pem()
    assert multibase.decode(text) == b"\x80\x26" + SEED
    assert text.startswith("z")
    for form in (text, f"  {text}\r\n", pem, "\n" + pem):
        assert Key.from_text(form).did == key.did


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "not a private key"),
        ("hello world", "not a private key"),
        (multibase.encode(b"\xed\x01" + bytes(32), "base58btc"), "0xed is not"),
        (multibase.encode(b"\x80\x26" + bytes(31), "base58btc"), "32 bytes, not 31"),
        (multibase.encode(b"\x80\x26" + bytes(33), "base58btc"), "32 bytes, not 33"),
        ("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "cannot|not a private"),
    ],
)
def test_text_that_is_no_key_is_refused_without_showing_it(text: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem) as caught:
        Key.from_text(text)
    assert not text.strip() or text.strip() not in str(caught.value)


def test_a_pem_key_of_another_kind_or_under_a_password_is_refused() -> None:
    private = ec.derive_private_key(12345, ec.SECP256R1())
    with pytest.raises(ConfigError, match="not Ed25519"):
        Key.from_text(_pem(private, serialization.NoEncryption()))
    with pytest.raises(ConfigError, match="encrypted"):
        Key.from_text(_pem(private, serialization.BestAvailableEncryption(b"secret")))


def test_the_key_file_is_one_private_line(path: Path) -> None:
    key = Key.from_seed(SEED)
    key.save(path)
    assert path.read_text() == key.export_text() + "\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert list(path.parent.iterdir()) == [path]
    assert Key.load(path).did == key.did


def test_a_pem_file_can_be_the_key_file(path: Path) -> None:
    path.parent.mkdir()
    path.touch(0o600)
    path.write_text(Key.from_seed(SEED).export_pem())
    assert Key.load(path).did == Key.from_seed(SEED).did


def test_saving_never_replaces_a_key_unless_told(path: Path) -> None:
    first, second = Key.from_seed(SEED), Key.from_seed(bytes(32))
    first.save(path)
    with pytest.raises(UsageError, match="exists already"):
        second.save(path)
    assert Key.load(path).did == first.did
    second.save(path, overwrite=True)
    assert Key.load(path).did == second.did
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o660, 0o644])
def test_a_key_that_others_may_use_is_not_loaded(path: Path, mode: int) -> None:
    Key.from_seed(SEED).save(path)
    path.chmod(mode)
    with pytest.raises(ConfigError, match=f"mode {mode:04o}") as caught:
        Key.load(path)
    assert caught.value.hint == f"run: chmod 600 {path}"
    assert stat.S_IMODE(path.stat().st_mode) == mode


def test_an_absent_key_file_is_not_found(path: Path) -> None:
    with pytest.raises(NotFoundError, match="no key file"):
        Key.load(path)


@pytest.mark.parametrize(
    ("content", "problem"),
    [(b"", "not a private key"), (b"\xff\xfe", "not text"), (b"z" * 5000, "longer than")],
)
def test_a_damaged_key_file_is_named(path: Path, content: bytes, problem: str) -> None:
    Key.from_seed(SEED).save(path)
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=problem) as caught:
        Key.load(path)
    assert str(path) in str(caught.value)


def test_a_folder_or_a_pipe_is_not_a_key_file(path: Path) -> None:
    path.mkdir(parents=True)
    with pytest.raises(ConfigError, match="not a regular file"):
        Key.load(path)
    pipe = path.parent / "pipe"
    os.mkfifo(pipe, 0o600)
    with pytest.raises(ConfigError, match="not a regular file"):
        Key.load(pipe)


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match=r"the folder of .* cannot be made"):
        Key.from_seed(SEED).save(tmp_path / "file" / "key")


def test_a_failed_write_leaves_no_file_behind(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_handle: int) -> None:
        raise OSError(28, "No space left on device")

    path.parent.mkdir()
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreFull, match="No space left"):
        Key.from_seed(SEED).save(path)
    assert list(path.parent.iterdir()) == []


def test_load_or_create_makes_a_key_once(path: Path) -> None:
    key, created = Key.load_or_create(path)
    assert created
    again, created = Key.load_or_create(path)
    assert not created
    assert again.did == key.did


def test_load_or_create_does_not_replace_a_damaged_key(path: Path) -> None:
    Key.from_seed(SEED).save(path)
    path.write_text("damaged\n")
    with pytest.raises(ConfigError):
        Key.load_or_create(path)
    assert path.read_text() == "damaged\n"


@pytest.mark.parametrize("links", [True, False], ids=["links", "no-links"])
def test_many_threads_that_create_the_key_end_with_one(
    path: Path, links: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not links:
        monkeypatch.setattr(os, "link", _no_links)
    start = threading.Barrier(8)
    found: list[tuple[str, bool]] = []

    def create() -> None:
        start.wait(timeout=30)
        key, created = Key.load_or_create(path)
        found.append((key.did, created))

    threads = [threading.Thread(target=create) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    assert len(found) == 8
    assert {did for did, _ in found} == {Key.load(path).did}
    assert sum(created for _, created in found) == 1


def test_two_processes_that_create_the_key_end_with_one(path: Path, root: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from lite.keys import Key; "
        "print('ready', flush=True); sys.stdin.readline(); "
        "print(*reversed(Key.load_or_create(Path(sys.argv[1]))))"
    )
    children = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(path)],
            cwd=root,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    for child in children:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
    outputs = [child.communicate("go\n", timeout=30)[0] for child in children]
    assert sorted(line.split()[0] for line in outputs) == ["False", "False", "True"]
    assert {line.split()[1] for line in outputs} == {f"Key({Key.load(path).did})"}


def test_nonces_are_12_bytes_and_differ() -> None:
    one, two = keys.random_nonce(), keys.random_nonce()
    assert len(one) == len(two) == 12
    assert one != two


def _no_links(*_: object) -> None:
    raise PermissionError(1, "Operation not permitted")


def _compressed(private: ec.EllipticCurvePrivateKey) -> bytes:
    return private.public_key().public_bytes(
        serialization.Encoding.X962, serialization.PublicFormat.CompressedPoint
    )


def _ecdsa(private: ec.EllipticCurvePrivateKey) -> bytes:
    r, s = utils.decode_dss_signature(private.sign(MESSAGE, ec.ECDSA(hashes.SHA256())))
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")


def _pem(
    private: ec.EllipticCurvePrivateKey, lock: serialization.KeySerializationEncryption
) -> str:
    return private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, lock
    ).decode()
