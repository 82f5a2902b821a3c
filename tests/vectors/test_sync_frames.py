"""Golden frames: every kind of frame of PROTOCOL.md with its bytes, both ways.

Ids are written `id(b"x")`: the sha2-256 digest of those bytes.
"""

from __future__ import annotations

import hashlib

import pytest

from sync import codec
from sync.base import START, Cursor, Position, Summary
from sync.errors import CodecError, FrameError
from sync.messages import (
    FRAME_BYTES_MAX,
    Ack,
    Ask,
    Bye,
    Compare,
    Give,
    Hello,
    Message,
    Miss,
    Mode,
    Offer,
    State,
    Unknown,
    Want,
    encode,
    parse,
)


def id(raw: bytes) -> bytes:
    return hashlib.sha256(raw).digest()


AT = Position(7, id(b"a"))
SUMMARY = Summary(b"epoch 01", AT, 300, bytes(16))
PLAIN = Hello(id(b"set"), Summary(b"epoch 01", START, 0, bytes(16)), None, 2**53 - 1, 7)
FULL = Hello(
    id(b"set"), SUMMARY, Cursor(b"epoch 02", Position(5, id(b"b"))), 0, 3, 32_768,
    ("a",), ("tcp:[::1]:7",), 2,
)  # fmt: skip

GOLDEN: dict[str, tuple[Message, str]] = {
    "hello": (
        PLAIN,
        "a8616e00617461686176016265704865706f63682030316266705000000000000000000000000000"
        "0000006268648200406373657458206ee0eb490ff832101cf82a3d387c35f29e4230be786978f7ac"
        "f9e811febf67236477616e7407",
    ),
    "hello, everything": (
        FULL,
        "ad616e19012c61746168617602626375834865706f63682030320558203e23e8160039594a33894f"
        "6564e1b1348bbd7a0088d42c4acb73eeaed59c009d6265704865706f636820303162667050000000"
        "0000000000000000000000000062667481616162686482075820ca978112ca1bbdcafac231b39a23"
        "dc4da786eff8147c4e72b9807785afee48bb626d78198000627078816b7463703a5b3a3a315d3a37"
        "63627564006373657458206ee0eb490ff832101cf82a3d387c35f29e4230be786978f7acf9e811fe"
        "bf67236477616e7403",
    ),
    "mode": (Mode(2), "a2616d0261746176"),
    "offer": (
        Offer((id(b"a"), id(b"b")), (600, 16_384), AT),
        "a461695840ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb3e23e8"
        "160039594a33894f6564e1b1348bbd7a0088d42c4acb73eeaed59c009d6173821902581940006174"
        "616f617a82075820ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb",
    ),
    "offer, not the last": (
        Offer((id(b"a"),), (0,)),
        "a361695820ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb617381"
        "006174616f",
    ),
    "compare": (Compare(bytes.fromhex("6100000200")), "a2616d4561000002006174616e"),
    "want": (
        Want((id(b"a"),)),
        "a261695820ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb61746177",
    ),
    "give": (
        Give((b"a", b"b"), AT),
        "a36172824161416261746167617a82075820ca978112ca1bbdcafac231b39a23dc4da786eff8147c"
        "4e72b9807785afee48bb",
    ),
    "give, an answer": (
        Give((b"a",), None, id(b"question")),
        "a3617158201f5087db919ced5c123c7f507d3fcce818cb0cf6e77c2f95a8a35e951e03fdb9617281"
        "416161746167",
    ),
    "ack": (
        Ack(AT),
        "a26174616b617a82075820ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb",
    ),
    "miss": (
        Miss((id(b"a"),)),
        "a261695820ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb61746178",
    ),
    "ask": (
        Ask((id(b"question"),)),
        "a2616958201f5087db919ced5c123c7f507d3fcce818cb0cf6e77c2f95a8a35e951e03fdb961746171",
    ),
    "state": (
        State(300, bytes(16), AT),
        "a4616e19012c61746165626670500000000000000000000000000000000062686482075820ca9781"
        "12ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb",
    ),
    "bye": (Bye(0), "a261630061746162"),
    "bye, later": (Bye(2, 60), "a36163026172183c61746162"),
}


# Keys that a frame of a kind may lack.
OPTIONAL = {"h": {"cu", "mx", "bud", "ft", "px"}, "o": {"z"}, "g": {"z", "q"}, "b": {"r"}}


@pytest.mark.parametrize("name", GOLDEN)
def test_a_frame_is_its_golden_bytes(name: str) -> None:
    message, text = GOLDEN[name]
    assert encode(message).hex() == text
    assert parse(bytes.fromhex(text)) == message


@pytest.mark.parametrize("name", GOLDEN)
def test_unknown_keys_are_ignored(name: str) -> None:
    message, text = GOLDEN[name]
    fields = codec.decode(bytes.fromhex(text))
    later = codec.encode({**fields, "later": [1.5, None, {"x": codec.Link(b"cid")}]})
    assert parse(later) == message


@pytest.mark.parametrize("name", GOLDEN)
def test_a_field_that_is_missing_or_of_another_kind_is_an_error(name: str) -> None:
    message, text = GOLDEN[name]
    fields = codec.decode(bytes.fromhex(text))
    optional = OPTIONAL.get(fields["t"], set())
    for key in fields:
        without = {other: value for other, value in fields.items() if other != key}
        if key in optional:
            assert parse(codec.encode(without)) != message
        else:
            with pytest.raises(FrameError):
                parse(codec.encode(without))
        for wrong in (None, -1, [[]], {"a": 1}):
            with pytest.raises(FrameError):
                parse(codec.encode({**fields, key: wrong}))


ID = bytes(32)
BAD = {
    "no map": [1],
    "no kind": {"x": 1},
    "hello of version 0": codec.decode(encode(PLAIN)) | {"v": 0},
    "hello with too many hints": codec.decode(encode(PLAIN)) | {"px": ["a"] * 17},
    "hello with a long hint": codec.decode(encode(PLAIN)) | {"px": ["a" * 257]},
    "hello with half a cursor": codec.decode(encode(PLAIN)) | {"cu": [bytes(8), 1]},
    "hello with a cursor on no row": codec.decode(encode(PLAIN)) | {"cu": [bytes(8), 0, b""]},
    "row 0 of a cursor with an id": codec.decode(encode(PLAIN)) | {"cu": [bytes(8), 0, ID]},
    "frames of a byte more": codec.decode(encode(PLAIN)) | {"mx": FRAME_BYTES_MAX + 1},
    "a size of 2^53": {"t": "o", "i": ID, "s": [2**53]},
    "hello with 7 bytes of epoch": codec.decode(encode(PLAIN)) | {"ep": bytes(7)},
    "mode 3": {"t": "v", "m": 3},
    "half an id": {"t": "o", "i": ID[1:], "s": [1]},
    "a size too few": {"t": "o", "i": ID * 2, "s": [1]},
    "a negative size": {"t": "o", "i": ID, "s": [-1]},
    "a size that is true": {"t": "o", "i": ID, "s": [True]},
    "1,025 offers": {"t": "o", "i": ID * 1_025, "s": [1] * 1_025},
    "513 wants": {"t": "w", "i": ID * 513},
    "65 questions": {"t": "q", "i": ID * 65},
    "5 answers": {"t": "g", "r": [b""] * 5, "q": ID},
    "a give of text": {"t": "g", "r": ["a"]},
    "row 0 with an id": {"t": "k", "z": [0, ID]},
    "row 1 without one": {"t": "k", "z": [1, b""]},
    "an empty comparison": {"t": "n", "m": b""},
    "60,001 bytes of comparison": {"t": "n", "m": bytes(60_001)},
    "a fingerprint of 15 bytes": {"t": "e", "n": 1, "fp": bytes(15), "hd": [0, b""]},
    "a bye for two days": {"t": "b", "c": 0, "r": 172_800},
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_out_of_its_bounds_is_an_error(name: str) -> None:
    with pytest.raises(FrameError):
        parse(codec.encode(BAD[name]))


@pytest.mark.parametrize("kind", ["", "later", "k" * 33, "k" * 65_000])
def test_a_frame_of_a_later_version_is_unknown_and_no_error(kind: str) -> None:
    assert parse(codec.encode({"t": kind, "x": 1})) == Unknown(kind)


def test_size_and_depth_of_a_frame_are_bounded() -> None:
    with pytest.raises(FrameError, match="65536"):
        parse(bytes(FRAME_BYTES_MAX + 1))
    with pytest.raises(CodecError, match="deep"):
        parse(codec.encode({"t": "later", "x": [[[[[[[[1]]]]]]]]}))
