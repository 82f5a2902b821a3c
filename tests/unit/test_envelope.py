"""UCAN envelopes: strict form, signatures of three kinds, Task IDs."""

from __future__ import annotations

from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, utils

from lite import keys
from lite.errors import CodecError, IntegrityError, LimitError, SignatureError
from lite.ipld import dag_cbor
from lite.ipld.cid import CID, DAG_CBOR
from lite.keys import Key
from lite.limits import TOKEN_BYTES_MAX
from lite.ucan import envelope, varsig
from lite.ucan.task import task_id

KEY = Key.from_seed(bytes(range(32)))
PAYLOAD: dict[str, Any] = {"iss": KEY.did, "cmd": "/wasm/run", "args": {"n": 1}, "nonce": b""}
TOKEN = envelope.sign(envelope.TAG_INVOCATION, PAYLOAD, KEY)


def made(signature: Any, signed: Any) -> bytes:
    """A token of any parts, in canonical form."""
    return dag_cbor.encode([signature, signed])


def test_a_signed_token_reads_back_and_verifies() -> None:
    token = envelope.parse(TOKEN.data)
    assert token == TOKEN
    assert (token.tag, token.payload, token.issuer) == (TOKEN.tag, PAYLOAD, KEY.did)
    assert token.header == bytes.fromhex("3401ed01ed011371")
    assert token.cid == CID.of(TOKEN.data, DAG_CBOR)
    envelope.verify(token)


def test_the_signature_covers_the_whole_second_item() -> None:
    signature, signed = dag_cbor.decode(TOKEN.data)
    assert TOKEN.signed == dag_cbor.encode(signed)
    keys.verify(KEY.did, TOKEN.signed, signature)


def test_signing_is_deterministic() -> None:
    assert envelope.sign(TOKEN.tag, dict(reversed(PAYLOAD.items())), KEY).data == TOKEN.data


def test_any_changed_byte_fails() -> None:
    for at in range(len(TOKEN.data)):
        for flip in (0x01, 0x80, 0xFF):
            changed = bytearray(TOKEN.data)
            changed[at] ^= flip
            with pytest.raises(IntegrityError):
                envelope.verify(envelope.parse(bytes(changed)))


def test_any_cut_or_addition_fails() -> None:
    for size in range(len(TOKEN.data)):
        with pytest.raises(CodecError):
            envelope.parse(TOKEN.data[:size])
    with pytest.raises(CodecError, match="trailing"):
        envelope.parse(TOKEN.data + b"\0")


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (dag_cbor.encode({}), "list of a signature and a map"),
        (dag_cbor.encode([]), "list of a signature and a map"),
        (dag_cbor.encode([bytes(64)]), "list of a signature and a map"),
        (dag_cbor.encode([bytes(64), {}, 1]), "list of a signature and a map"),
        (made(bytes(64), []), "list of a signature and a map"),
        (made("text", {"h": b"", TOKEN.tag: PAYLOAD}), "header under h"),
        (made(bytes(64), {}), "header under h"),
        (made(bytes(64), {"h": b""}), "header under h"),
        (made(bytes(64), {"h": "text", TOKEN.tag: PAYLOAD}), "header under h"),
        (made(bytes(64), {TOKEN.tag: PAYLOAD, "x": b""}), "header under h"),
        (made(bytes(64), {"h": b"", TOKEN.tag: PAYLOAD, "x": 1}), "header under h"),
        (made(bytes(64), {"h": b"", "ucan/inv@0.9": PAYLOAD}), "unknown token tag"),
        (made(bytes(64), {"h": b"", TOKEN.tag: []}), "payload of a token is a map"),
        (made(bytes(64), {"h": b"", TOKEN.tag: {}}), "iss is missing"),
        (made(bytes(64), {"h": b"", TOKEN.tag: {"iss": 1}}), "iss is 1, not a DID"),
    ],
)
def test_any_other_form_is_refused_with_its_reason(data: bytes, problem: str) -> None:
    with pytest.raises(CodecError, match=problem):
        envelope.parse(data)


@pytest.mark.parametrize("size", [0, 3, 63, 65])
def test_a_signature_of_another_length_is_refused(size: int) -> None:
    token = envelope.parse(made(bytes(size), {"h": TOKEN.header, TOKEN.tag: PAYLOAD}))
    with pytest.raises(SignatureError, match=f"64 bytes, not {size}"):
        envelope.verify(token)


@pytest.mark.parametrize("tag", sorted(envelope.INVOCATION_TAGS | envelope.DELEGATION_TAGS))
def test_release_candidate_and_final_tags_are_read(tag: str) -> None:
    token = envelope.parse(envelope.sign(tag, PAYLOAD, KEY).data)
    envelope.verify(token)
    assert token.tag == tag


def test_the_tag_is_under_the_signature() -> None:
    changed = TOKEN.data.replace(b"ucan/inv@1.0.0-rc.1", b"ucan/dlg@1.0.0-rc.1")
    with pytest.raises(SignatureError):
        envelope.verify(envelope.parse(changed))


@pytest.mark.parametrize(
    ("header", "problem"),
    [
        (b"", "not a varsig"),
        (b"\x35\x01", "not a varsig"),
        (bytes.fromhex("34ed0171"), "version 1"),
        (bytes.fromhex("34"), "version 1"),
        (bytes.fromhex("3401ed01ed011300"), "not one of Ed25519, ES256, ES256K"),
        (bytes.fromhex("3401ed01ed01135f"), "not one of Ed25519"),
        (bytes.fromhex("3401ed01ed01137100"), "not one of Ed25519"),
        (varsig.ES256.header, "another key type"),
        (varsig.ES256K.header, "another key type"),
    ],
)
def test_a_header_that_does_not_fit_is_refused(header: bytes, problem: str) -> None:
    signed = {"h": header, TOKEN.tag: PAYLOAD}
    data = made(KEY.sign(dag_cbor.encode(signed)), signed)
    with pytest.raises(SignatureError, match=problem):
        envelope.verify(envelope.parse(data))


@pytest.mark.parametrize(
    ("curve", "code", "scheme"),
    [
        (ec.SECP256R1(), keys.P256_PUBLIC, varsig.ES256),
        (ec.SECP256K1(), keys.SECP256K1_PUBLIC, varsig.ES256K),
    ],
)
def test_tokens_of_elliptic_curve_keys_verify(
    curve: ec.EllipticCurve, code: int, scheme: varsig.Varsig
) -> None:
    private = ec.derive_private_key(4711, curve)
    point = private.public_key().public_bytes(
        serialization.Encoding.X962, serialization.PublicFormat.CompressedPoint
    )
    signed = {"h": scheme.header, TOKEN.tag: {"iss": keys.format_did(code, point)}}
    der = private.sign(dag_cbor.encode(signed), ec.ECDSA(hashes.SHA256()))
    raw = b"".join(part.to_bytes(32, "big") for part in utils.decode_dss_signature(der))
    envelope.verify(envelope.parse(made(raw, signed)))
    with pytest.raises(SignatureError):
        envelope.verify(envelope.parse(made(bytes(64), signed)))


def test_a_fragment_of_the_issuer_names_the_same_key() -> None:
    signed = {"h": TOKEN.header, TOKEN.tag: {"iss": f"{KEY.did}#anything"}}
    envelope.verify(envelope.parse(made(KEY.sign(dag_cbor.encode(signed)), signed)))


def test_an_issuer_that_is_no_key_cannot_be_checked() -> None:
    signed = {"h": TOKEN.header, TOKEN.tag: {"iss": "did:web:example.org"}}
    with pytest.raises(SignatureError, match="not a did:key"):
        envelope.verify(envelope.parse(made(bytes(64), signed)))


def test_a_token_may_have_exactly_the_greatest_size() -> None:
    spare = TOKEN_BYTES_MAX - len(TOKEN.data) - 2  # the nonce's length takes two bytes more
    largest = envelope.sign(TOKEN.tag, {**PAYLOAD, "nonce": bytes(spare)}, KEY)
    assert len(largest.data) == TOKEN_BYTES_MAX
    envelope.verify(envelope.parse(largest.data))
    with pytest.raises(LimitError, match="16385 bytes"):
        envelope.sign(TOKEN.tag, {**PAYLOAD, "nonce": bytes(spare + 1)}, KEY)
    with pytest.raises(CodecError, match="16385 bytes"):
        envelope.parse(largest.data + b"\0")


def test_a_value_outside_the_data_model_is_not_signed() -> None:
    with pytest.raises(CodecError):
        envelope.sign(TOKEN.tag, {**PAYLOAD, "args": {"x": float("nan")}}, KEY)


def test_a_stored_token_is_read_without_checks() -> None:
    assert envelope.parse_trusted(TOKEN.data) == TOKEN
    token = envelope.parse_trusted(TOKEN.data, TOKEN.cid)
    assert token.cid is TOKEN.cid
    assert token.payload == PAYLOAD
    with pytest.raises(CodecError):
        envelope.parse_trusted(b"\x82\x58\x40")


def test_a_task_id_depends_on_all_four_fields_and_nothing_else() -> None:
    base: tuple[str, str, dict[str, Any], bytes] = ("did:key:a", "/wasm/run", {"a": 1, "b": 2}, b"")
    same = task_id(*base[:2], {"b": 2, "a": 1}, b"")
    others = {
        task_id("did:key:b", *base[1:]),
        task_id(base[0], "/wasm", *base[2:]),
        task_id(*base[:2], {"a": 1}, b""),
        task_id(*base[:3], b"\0"),
    }
    assert task_id(*base) == same
    assert len(others) == 4
    assert same not in others
