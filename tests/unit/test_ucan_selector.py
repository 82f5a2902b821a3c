"""Selectors: their grammar, and what each finds."""

from __future__ import annotations

from typing import Any

import pytest

from lite.ipld.cid import CID, RAW
from lite.ucan.refusals import InvalidPolicy
from lite.ucan.selector import UNRESOLVED, Selector

LINK = CID.of(b"", RAW)
MAIL = {
    "from": "alice@example.com",
    "to": ["bob@example.com", "carol@not.example.com", "dan@example.com"],
    "cc": ["fraud@example.com"],
    "title": "Meeting Confirmation",
    "none": None,
}


def found(selector: str, value: Any) -> Any:
    return Selector.parse(selector).resolve(value, lambda _: None)


@pytest.mark.parametrize(
    ("selector", "value"),
    [
        (".", MAIL),
        (".title", "Meeting Confirmation"),
        (".cc", ["fraud@example.com"]),
        (".to[1]", "carol@not.example.com"),
        (".to[-1]", "dan@example.com"),
        (".to[-3]", "bob@example.com"),
        (".to.[1]", "carol@not.example.com"),
        (".to[99]?", None),
        ('.["title"]', "Meeting Confirmation"),
        ('["title"]', ...),
        (".none", None),
        (".none?", None),
    ],
)
def test_the_specs_examples(selector: str, value: Any) -> None:
    if value is ...:
        with pytest.raises(InvalidPolicy):
            found(selector, MAIL)
    else:
        assert found(selector, MAIL) == value


@pytest.mark.parametrize(
    ("selector", "value", "expected"),
    [
        (".[]", [1, 2], [1, 2]),
        (".[]", {"b": 1, "a": 2, "aa": 3}, [2, 1, 3]),
        (".[][]", [[1], 2, [3]], [[1], 2, [3]]),
        (".[][0]", {"b": 1, "a": 2}, 2),
        (".[]", b"\x01\x02", [1, 2]),
        (".[3]", bytes.fromhex("d6a9c18cf8c4"), 140),
        (".[-1]", b"\x00\x07", 7),
        (".[1:]", b"\x00\x01\x02", b"\x01\x02"),
        (".[0:2]", [0, 1, 2], [0, 1]),
        (".[1:]", [0, 1, 2], [1, 2]),
        (".[:2]", [0, 1, 2], [0, 1]),
        (".[0:-2]", [0, 1, 2], [0]),
        (".[-2:]", [0, 1, 2], [1, 2]),
        (".[7:11]", [0, 1, 2], []),
        (".[2:1]", [0, 1, 2], []),
        (".[-9:9]", [0, 1, 2], [0, 1, 2]),
        (".[1:][0]", [0, 1, 2], 1),
        ('.["x y"].z', {"x y": {"z": 1}}, 1),
        ('.["."]', {".": 1}, 1),
        ('.["$_*"]', {"$_*": 1}, 1),
        ('.["1"]', {"1": 1}, 1),
        ('.[""]', {"": 1}, 1),
        ('.["a]b"]', {"a]b": 1}, 1),
        (r'.["a\"b\\"]', {'a"b\\': 1}, 1),
        ("._a1$-b", {"_a1$-b": 1}, 1),
        (".été.ほげ", {"été": {"ほげ": 1}}, 1),
        (".a?.b?", {}, None),
        (".a???", {}, None),
        (".?", {"a": 1}, {"a": 1}),
        (".a?", 7, None),
        (".[]?", None, None),
        (".length?", [1, 2], None),
    ],
)
def test_what_is_found(selector: str, value: Any, expected: Any) -> None:
    assert found(selector, value) == expected


@pytest.mark.parametrize(
    ("selector", "value"),
    [
        (".x", {}),
        (".x", None),
        (".x", []),
        (".length", [1, 2]),
        (".[]", None),
        (".[]", "text"),
        (".[4]", [0, 1]),
        (".[-3]", [0, 1]),
        (".[0]", "Hi"),
        (".[0:1]", "Hi"),
        (".[0]", {"0": 1}),
        (".[0]", LINK),
        (".[1:]", None),
        (".a.b?", {}),
        (".a?.b", {}),
    ],
)
def test_what_is_not_found(selector: str, value: Any) -> None:
    assert found(selector, value) is UNRESOLVED


@pytest.mark.parametrize(
    ("selector", "problem"),
    [
        ("", "begin with a dot"),
        ("a", "begin with a dot"),
        ("[0]", "begin with a dot"),
        ("..", "two dots at character 1"),
        (".a..b", "two dots at character 3"),
        ("...", "two dots"),
        (".a.", "no segment at character 3"),
        (".[0", "no segment"),
        (".[", "no segment"),
        (".a]", "no segment"),
        ('.["a]', "no segment"),
        (r'.["a\n"]', "no segment"),
        (".[:]", r"no index in \[:\]"),
        (".[-]", "no index"),
        (".[--1]", "no index"),
        (".[1:2:3]", "no index"),
        (".[a]", "no segment"),
        (".[ 0 ]", "no segment"),
        (".1a", "does not begin with a letter"),
        (".-a", "does not begin with a letter"),
        (".a b", "no segment"),
        (".a*", "no segment"),
        (".a\u0300", "no segment at character 3"),
        (".a²", "quoted form"),
        (".a?b", "no segment"),
        (".?a", "no segment"),
        (".a|.b", "no segment"),
        (".[99999999999999999]", "beyond 53 bits"),
        (".[:-99999999999999999]", "beyond 53 bits"),
        (".\x1b[0m", "no segment"),
        ("." + "a" * 1024, "1025 characters"),
    ],
)
def test_what_is_no_selector(selector: str, problem: str) -> None:
    with pytest.raises(InvalidPolicy, match=problem) as caught:
        Selector.parse(selector)
    assert str(caught.value).isprintable()
