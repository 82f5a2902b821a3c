"""How tokens and values look in a refusal: short, on one line, harmless to a terminal."""

from __future__ import annotations

from typing import Any

import pytest

from lite.ipld.cid import CID, RAW
from lite.ucan import show
from tests.ucan_support import PI

LINK = CID.of(b"", RAW)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "null"),
        (True, "true"),
        (-1, "-1"),
        (1.0, "1.0"),
        ('a"b\\c', '"a\\"b\\\\c"'),
        (b"\x01\xff", "0x01ff"),
        (LINK, f"bafk…{str(LINK)[-7:]}"),
        ([], "[]"),
        ({}, "{}"),
        ([1, [2], {"a": None}], '[1,[2],{"a":null}]'),
        ({"b": 1, "a": {}}, '{"b":1,"a":{}}'),
        ("\x1b[2J\n", '"\\x1b[2J\\n"'),
        (2**200, "an integer beyond 128 bits"),
    ],
)
def test_values(value: Any, text: str) -> None:
    assert show.value(value) == text


def test_large_and_deep_values_are_cut() -> None:
    deep: Any = []
    for _ in range(5000):
        deep = [deep]
    for value in (["x" * 10**6] * 1000, {"k" * 10**6: 1}, bytes(10**6), deep, list(range(10**6))):
        text = show.value(value)
        assert len(text) <= show.VALUE_CHARS_MAX
        assert text.endswith("…") or len(text) < show.VALUE_CHARS_MAX


def test_names() -> None:
    assert show.short(LINK) == f"bafk…{str(LINK)[-7:]}"
    assert show.short(PI.did) == f"did:key:z6Mk…{PI.did[-6:]}"
    assert show.short("did:web:a") == "did:web:a"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "1970-01-01 00:00:00Z"),
        (1_700_000_000, "2023-11-14 22:13:20Z"),
        (253_402_300_799, "9999-12-31 23:59:59Z"),
        (253_402_300_800, "second 253402300800"),
        (-1, "second -1"),
        (2**53 - 1, "second 9007199254740991"),
    ],
)
def test_moments(seconds: int, text: str) -> None:
    assert show.moment(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (61, "61 s"), (119, "119 s"), (120, "2 min"), (7200, "2 h"), (172_800, "2 d")],
)
def test_spans(seconds: int, text: str) -> None:
    assert show.span(seconds) == text
