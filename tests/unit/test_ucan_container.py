"""Containers in all forms, within bounds."""

from __future__ import annotations

import gzip
import tracemalloc
import zlib
from base64 import b64encode, urlsafe_b64encode
from typing import get_args

import pytest

from lite.errors import CodecError, LimitError
from lite.ipld import dag_cbor
from lite.ucan import container
from lite.ucan.container import CONTAINER_BYTES_MAX, INFLATED_BYTES_MAX, TOKENS_MAX, Form
from tests.ucan_support import TABLET, invocation, three_links

CHAIN = three_links()
TOKENS = tuple(sorted([invocation(TABLET, CHAIN).data, *(link.data for link in CHAIN)]))
CBOR = dag_cbor.encode({"ctn-v1": list(TOKENS)})
ZIPPED = gzip.compress(CBOR, mtime=0)
OPENING = b"\xa1\x66ctn-v1"


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


def test_text_that_is_mostly_white_space_costs_no_more_memory_than_it_has() -> None:
    text = b"B" + b" A" * 2_000_000
    tracemalloc.start()
    try:
        with pytest.raises(CodecError, match="not a container"):
            container.read_any(text)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < 4 * len(text)


def test_unsorted_and_repeated_tokens_are_read_once_and_in_their_order() -> None:
    data = dag_cbor.encode({"ctn-v1": [b"b", b"a", b"b"]})
    assert container.read(data) == (b"b", b"a")


def test_a_token_by_itself_is_read_as_bytes_or_base64() -> None:
    token = TOKENS[0]
    assert container.read_any(token) == (token,)
    assert container.read_any(b64encode(token) + b"\n") == (token,)
    assert container.read_any(urlsafe_b64encode(token).rstrip(b"=")) == (token,)


@pytest.mark.parametrize("size", [0, 1, 12, 15, 16, 23, 24, 64, 71, 255, 256, 512, 4096])
def test_a_token_in_base64_is_known_by_any_length_of_its_signature(size: int) -> None:
    _, signed = dag_cbor.decode(TOKENS[0])
    token = dag_cbor.encode([bytes([0xFB]) * size, signed])
    for text in (b64encode(token), urlsafe_b64encode(token)):
        spaced = b"\n".join(text[at : at + 1] for at in range(len(text)))
        for shaped in (text, text.rstrip(b"="), b" \n" + spaced + b"\r\n"):
            assert container.read_any(shaped) == (token,)
            assert container.read_any(b"\xef\xbb\xbf" + shaped) == (token,)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (b"gm", "none begins with gm"),
        (b"g\ng" + b"A" * 80, "none begins with gg"),
        (b"g\x00k", r"none begins with g\\x00"),
        (b"g", "not base64"),
        (b"gk*", "not base64"),
        (b"hk", "none begins with h"),
    ],
)
def test_what_begins_only_half_like_a_token_in_base64_is_named_as_far(
    text: bytes, problem: str
) -> None:
    with pytest.raises(CodecError, match=problem):
        container.read_any(text)


def test_an_empty_container_is_one() -> None:
    assert container.read(container.write([])) == ()


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "not a container"),
        (b" \n", "not a container"),
        (b"A" + CBOR, "none begins with A"),
        (b"{}", "none begins with"),
        (b"@", "truncated"),
        (b"@" + CBOR + b"x", "trailing"),
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
        (b"M" + gzip.compress(b"", mtime=0), "truncated"),
        (b"M" + gzip.compress(OPENING, mtime=0), "truncated"),
        (b"M" + gzip.compress(OPENING + bytes(40), mtime=0), "not a container"),
        (OPENING, "truncated"),
        (OPENING[:4], "truncated"),
        (OPENING + b"\x81\x5a\xff\xff\xff\xff", "truncated"),
        (OPENING + b"\x9f\x40\xff", "indefinite"),
        (OPENING + b"\x9c\x40\xff", "reserved"),
        (OPENING + b"\x81\x58\x01\x40", "shortest form"),
        (OPENING + b"\x81\x5f\x40\xff", "indefinite"),
    ],
)
def test_anything_else_is_refused_with_its_reason(data: bytes, problem: str) -> None:
    with pytest.raises(CodecError, match=problem):
        container.read(data)
    with pytest.raises(CodecError):
        container.read_any(data)


def test_a_small_container_cannot_grow_without_bound() -> None:
    bomb = gzip.compress(OPENING + b"\x81\x5a\x04\0\0\0" + bytes(64 << 20))
    assert len(bomb) < 100_000
    for data in (b"M" + bomb, b"O" + b64encode(bomb)):
        with pytest.raises(CodecError, match="more than 1048576 bytes, unpacked") as caught:
            container.read(data)
        assert caught.value.rule == "container-bytes"
    just = dag_cbor.encode({"ctn-v1": [bytes(INFLATED_BYTES_MAX - 14)]})
    assert len(just) == INFLATED_BYTES_MAX
    assert container.read(b"M" + gzip.compress(just)) == (bytes(INFLATED_BYTES_MAX - 14),)


def millions(count: int, item: bytes, before: bytes = b"") -> bytes:
    return OPENING + before + b"\x9a" + count.to_bytes(4, "big") + item * count


@pytest.mark.parametrize(
    ("data", "rule", "problem"),
    [
        (millions(4_000_000, b"\x40"), "container-tokens", "4000000 tokens, at most 4096"),
        (millions(1_000_000, b"\x40", b"\x81"), "", "not bytes"),
        (millions(1_000_000, b"\x80", b"\xa1\x61a"), "", "not a container"),
        (OPENING + b"\x9b" + b"\xff" * 8, "container-tokens", "at most 4096"),
        (b"\xa1\x66ctn-v2" + bytes(8_000_000), "", "not a container"),
    ],
)
def test_the_items_are_counted_before_there_are_any(data: bytes, rule: str, problem: str) -> None:
    zipped = b"M" + gzip.compress(data)
    assert len(zipped) < 10_000
    tracemalloc.start()
    try:
        with pytest.raises(CodecError, match=problem) as caught:
            container.read_any(zipped)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert caught.value.rule == rule
    assert peak_bytes < 3 * INFLATED_BYTES_MAX
    if len(data) <= CONTAINER_BYTES_MAX:
        with pytest.raises(CodecError, match=problem):
            container.read_any(b"@" + data)


def test_what_is_too_large_is_neither_read_nor_written() -> None:
    large = dag_cbor.encode({"ctn-v1": [bytes(CONTAINER_BYTES_MAX)]})
    for data in (large, b"@" + large, b"B" + b64encode(large), b"B" + b"A" * 9_000_000):
        with pytest.raises(CodecError, match=r"a container of|too much for a container") as caught:
            container.read(data)
        assert caught.value.rule == "container-bytes"
    with pytest.raises(LimitError):
        container.write([bytes(CONTAINER_BYTES_MAX)])
    many = [n.to_bytes(2, "big") for n in range(TOKENS_MAX + 1)]
    with pytest.raises(LimitError, match="4097 tokens"):
        container.write(many)
    with pytest.raises(CodecError, match="4097 tokens"):
        container.read(dag_cbor.encode({"ctn-v1": many}))


def in_pieces(data: bytes, size: int) -> bytes:
    return b"".join(gzip.compress(data[at : at + size]) for at in range(0, len(data), size))


@pytest.mark.parametrize("letter", [b"@", b"B", b"C", b"M", b"O", b"P", b""])
def test_what_editors_and_shells_add_does_not_matter(letter: bytes) -> None:
    """A byte order mark in front, a line end behind, and gzip in several members."""
    whole = {b"@": CBOR, b"": CBOR, b"M": in_pieces(CBOR, 600)}.get(letter)
    if whole is None:
        whole = b64encode(in_pieces(CBOR, 600) if letter in b"OP" else CBOR)
    found = container.read(letter + CBOR if letter in (b"@", b"") else letter + whole)
    for front in (b"", b"\xef\xbb\xbf"):
        for behind in (b"", b"\n", b"\r\n"):
            assert container.read_any(front + letter + whole + behind) == found


def test_gzip_of_many_members_is_not_followed_for_ever() -> None:
    with pytest.raises(CodecError, match="bytes after the gzip"):
        container.read(b"M" + in_pieces(CBOR, 1))
