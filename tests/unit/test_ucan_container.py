"""Containers in all forms, within bounds."""

from __future__ import annotations

import gzip
import zlib
from base64 import b64encode, urlsafe_b64encode
from typing import get_args

import pytest

from lite.errors import CodecError, LimitError
from lite.ipld import dag_cbor
from lite.ucan import container
from lite.ucan.container import CONTAINER_BYTES_MAX, TOKENS_MAX, Form
from tests.ucan_support import TABLET, invocation, three_links

CHAIN = three_links()
TOKENS = tuple(sorted([invocation(TABLET, CHAIN).data, *(link.data for link in CHAIN)]))
CBOR = dag_cbor.encode({"ctn-v1": list(TOKENS)})
ZIPPED = gzip.compress(CBOR, mtime=0)


@pytest.mark.parametrize("form", get_args(Form))
def test_every_form_that_is_written_is_read(form: Form) -> None:
    data = container.write(TOKENS, form)
    assert container.read(data) == TOKENS
    assert container.read_any(data) == TOKENS
    assert container.write(reversed([*TOKENS, *TOKENS]), form) == data


def test_the_written_forms_byte_for_byte() -> None:
    assert container.write(TOKENS, "bare") == CBOR
    assert container.write(TOKENS, "raw") == b"@" + CBOR
    assert container.write(TOKENS) == b"B" + b64encode(CBOR)
    assert container.write(TOKENS, "base64url") == b"C" + urlsafe_b64encode(CBOR).rstrip(b"=")


@pytest.mark.parametrize("letter", [b"@", b"B", b"C", b"M", b"O", b"P", b"D", b"E", b"F"])
def test_all_nine_letters_are_read(letter: bytes) -> None:
    body = CBOR if letter in b"@BC" else ZIPPED
    if letter in b"BOE":
        body = b64encode(body)
    elif letter in b"CPF":
        body = urlsafe_b64encode(body).rstrip(b"=")
    assert container.read(letter + body) == TOKENS


def test_white_space_in_text_does_not_matter() -> None:
    text = container.write(TOKENS).decode()
    lines = "\n".join(text[at : at + 64] for at in range(0, len(text), 64))
    assert container.read(f"\r\n {lines}\n".encode()) == TOKENS


def test_unsorted_and_repeated_tokens_are_read_once_and_in_their_order() -> None:
    data = dag_cbor.encode({"ctn-v1": [b"b", b"a", b"b"]})
    assert container.read(data) == (b"b", b"a")


def test_a_token_by_itself_is_read_as_bytes_or_base64() -> None:
    token = TOKENS[0]
    assert container.read_any(token) == (token,)
    assert container.read_any(b64encode(token) + b"\n") == (token,)
    assert container.read_any(urlsafe_b64encode(token).rstrip(b"=")) == (token,)


def test_an_empty_container_is_one() -> None:
    assert container.read(container.write([])) == ()


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "not a container"),
        (b" \n", "not a container"),
        (b"A" + CBOR, "none begins with b'A'"),
        (b"{}", "none begins with"),
        (b"@", "truncated"),
        (b"@" + CBOR + b"\n", "trailing"),
        (b"@" + CBOR[:-1], "truncated"),
        (b"@" + dag_cbor.encode([b""]), "not a container"),
        (dag_cbor.encode({"ctn-v2": []}), "not a container"),
        (dag_cbor.encode({"ctn-v1": {}}), "not a container"),
        (dag_cbor.encode({"ctn-v1": ["text"]}), "not bytes"),
        (b"@" + dag_cbor.encode({"ctn-v1": [], "x": 1}), "not a container"),
        (b"@\xa1\x66ctn-v1\x98\x01\x40", "shortest form"),
        (b"B" + b64encode(CBOR)[:-5] + b"*", "not base64"),
        (b"B\xff\xfe", "not base64"),
        (b"Boh", "bits that are not zero"),
        (b"M" + CBOR, "not gzip"),
        (b"M" + ZIPPED[:-4], "ends early"),
        (b"M" + ZIPPED + b"x", "1 bytes after the gzip"),
        (b"M" + zlib.compress(CBOR), "not gzip"),
        (b"M", "ends early"),
    ],
)
def test_anything_else_is_refused_with_its_reason(data: bytes, problem: str) -> None:
    with pytest.raises(CodecError, match=problem):
        container.read(data)
    with pytest.raises(CodecError):
        container.read_any(data)


def test_a_small_container_cannot_grow_without_bound() -> None:
    bomb = gzip.compress(bytes(64 << 20))
    assert len(bomb) < 100_000
    with pytest.raises(CodecError, match="more than 4194304 bytes"):
        container.read(b"M" + bomb)
    with pytest.raises(CodecError, match="more than 4194304 bytes"):
        container.read(b"O" + b64encode(bomb))


def test_what_is_too_large_is_neither_read_nor_written() -> None:
    large = dag_cbor.encode({"ctn-v1": [bytes(CONTAINER_BYTES_MAX)]})
    for data in (large, b"@" + large, b"B" + b64encode(large), b"B" + b"A" * 9_000_000):
        with pytest.raises(CodecError, match=r"a container of|too much for a container"):
            container.read(data)
    with pytest.raises(LimitError):
        container.write([bytes(CONTAINER_BYTES_MAX)])
    many = [n.to_bytes(2, "big") for n in range(TOKENS_MAX + 1)]
    with pytest.raises(LimitError, match="4097 tokens"):
        container.write(many)
    with pytest.raises(CodecError, match="4097 tokens"):
        container.read(dag_cbor.encode({"ctn-v1": many}))
