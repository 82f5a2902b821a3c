"""Two codecs, one language: `sync.codec` and `lite.ipld.dag_cbor` take and write the same bytes."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from lite.errors import CodecError as LiteCodecError
from lite.ipld import dag_cbor
from lite.ipld.cid import CID
from sync import codec
from sync.errors import CodecError

CIDS = st.binary(min_size=32, max_size=32).map(
    lambda raw: CID.from_bytes(b"\x01\x71\x12\x20" + raw)
)
LEAVES = (
    st.none() | st.booleans() | st.integers(-(2**64), 2**64 - 1) | st.binary(max_size=300)
    | st.text(max_size=40) | st.floats(allow_nan=False, allow_infinity=False) | CIDS
)  # fmt: skip
VALUES = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=6) | st.dictionaries(st.text(max_size=30), inner, max_size=6)
    ),
    max_leaves=30,
)


def as_sync(value: Any) -> Any:
    if isinstance(value, CID):
        return codec.Link(value.raw)
    if isinstance(value, list):
        return [as_sync(item) for item in value]
    if isinstance(value, dict):
        return {key: as_sync(item) for key, item in value.items()}
    return value


@given(VALUES)
def test_both_write_the_same_bytes_and_read_them_back(value: Any) -> None:
    raw = dag_cbor.encode(value)
    assert codec.encode(as_sync(value)) == raw
    assert codec.decode(raw) == as_sync(dag_cbor.decode(raw))


def verdicts(raw: bytes) -> tuple[bool, bool]:
    found = []
    for decode, error in ((codec.decode, CodecError), (dag_cbor.decode, LiteCodecError)):
        try:
            decode(raw)
        except error:
            found.append(False)
        else:
            found.append(True)
    return found[0], found[1]


@given(VALUES, st.data())
def test_both_agree_about_damaged_bytes(value: Any, data: st.DataObject) -> None:
    raw = bytearray(dag_cbor.encode(value))
    for _ in range(data.draw(st.integers(1, 3))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    ours, theirs = verdicts(bytes(raw))
    assert ours >= theirs
    if ours != theirs:  # only what a link holds is none of this codec's business
        assert b"\xd8\x2a" in raw


@given(st.binary(max_size=40))
def test_both_agree_about_noise(raw: bytes) -> None:
    ours, theirs = verdicts(raw)
    assert ours == theirs or b"\xd8\x2a" in raw
