"""DAG-JSON: canonical out; in, everything that can be read in one way only."""

from __future__ import annotations

import math
from typing import Any

import pytest

from lite.errors import CodecError
from lite.ipld import dag_json
from lite.ipld.cid import CID, RAW

LINK = CID.of(b"linked", RAW)
V0 = CID.parse("QmdfTbBqBPQ7VNxZEYEj14VmRuZBkqFbiwReogJgS1zR1n")

VALUES: list[tuple[Any, str]] = [
    (None, "null"),
    (True, "true"),
    (False, "false"),
    (0, "0"),
    (-1, "-1"),
    (2**64 - 1, "18446744073709551615"),
    (-(2**64), "-18446744073709551616"),
    (10**40, "1" + "0" * 40),
    (1.0, "1.0"),
    (-0.0, "-0.0"),
    (0.5, "0.5"),
    (1e-6, "0.000001"),
    (-1.25e-5, "-0.0000125"),
    (1e-7, "1e-7"),
    (8.940696716308594e-8, "8.940696716308594e-8"),
    (1e16, "10000000000000000.0"),
    (1.2345678901234567e20, "123456789012345670000.0"),
    (1e21, "1e+21"),
    (1.7976931348623157e308, "1.7976931348623157e+308"),
    (5e-324, "5e-324"),
    ("", '""'),
    ("é水𐅑/", '"é水𐅑/"'),
    ('"\\\n\x00\x1f\x7f', '"\\"\\\\\\n\\u0000\\u001f\x7f"'),
    (b"", '{"/":{"bytes":""}}'),
    (b"\x00\xff", '{"/":{"bytes":"AP8"}}'),
    (b"\xfb\xff\xfe", '{"/":{"bytes":"+//+"}}'),
    (LINK, f'{{"/":"{LINK}"}}'),
    (V0, f'{{"/":"{V0}"}}'),
    ([], "[]"),
    ([1, [2, {}]], "[1,[2,{}]]"),
    ({"bb": 1, "a": 2, "B": 3, "é": 4, "": 5}, '{"":5,"B":3,"a":2,"bb":1,"é":4}'),
    ({"\uffff": 1, "𐅑": 2}, '{"\uffff":1,"𐅑":2}'),  # UTF-8 order, not UTF-16
    ({"/": True, "bar": 1}, '{"/":true,"bar":1}'),
    ({"/": {"bytes": True}}, '{"/":{"bytes":true}}'),
    ({"/": {"abar": 1, "bytes": "x"}}, '{"/":{"abar":1,"bytes":"x"}}'),
    ({"!": 1, "/": "text"}, '{"!":1,"/":"text"}'),
    ({"/": LINK}, f'{{"/":{{"/":"{LINK}"}}}}'),
    ({"/": b""}, '{"/":{"/":{"bytes":""}}}'),
]


@pytest.mark.parametrize(("value", "text"), VALUES)
def test_a_value_has_one_canonical_text(value: Any, text: str) -> None:
    assert dag_json.encode(value).decode() == text
    decoded = dag_json.decode(text, canonical=True)
    assert decoded == value
    assert type(decoded) is type(value)
    assert repr(dag_json.decode(text.encode())) == repr(decoded)


def test_white_space_and_any_order_of_keys_are_read() -> None:
    text = ' { "b" : 1 ,\n"a":\t[ 2.50 , "\\u0041\\ud83d\\ude00" ] }\r\n'
    value = dag_json.decode(text)
    assert value == {"b": 1, "a": [2.5, "A😀"]}
    with pytest.raises(CodecError, match="not canonical"):
        dag_json.decode(text, canonical=True)


@pytest.mark.parametrize("text", ["[1, 2]", '{"b":1,"a":2}', '"\\u0041"', "1.50", "1e3", "-0"])
def test_canonical_reading_refuses_other_spellings(text: str) -> None:
    dag_json.decode(text)
    with pytest.raises(CodecError, match="not canonical"):
        dag_json.decode(text, canonical=True)


def test_links_are_read_in_any_multibase_and_written_in_base32() -> None:
    for base in ("base58btc", "base16", "base36", "base64url"):
        assert dag_json.decode(f'{{"/":"{LINK.encode(base)}"}}') == LINK
    assert dag_json.encode(dag_json.decode(f'{{"/":"{LINK.encode("base58btc")}"}}')) == (
        f'{{"/":"{LINK}"}}'.encode()
    )


def test_reserved_forms_in_another_order_of_keys_are_plain_maps() -> None:
    assert dag_json.decode('{"0bar":"baz","/":"foo"}') == {"0bar": "baz", "/": "foo"}
    assert dag_json.decode('{"/":{"abar":"baz","bytes":"foo"}}') == {
        "/": {"abar": "baz", "bytes": "foo"}
    }


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"/":"foo","bar":"baz"}', "no other key"),
        (f'{{"/":"{LINK}","bar":"baz"}}', "no other key"),
        ('{"/":{"bytes":"foo","bar":"baz"}}', "no other key"),
        ('{"/":{"bytes":"AAA"},"bar":"baz"}', "no other key"),
        ('{"/":"foo"}', "bad link"),
        ('{"/":""}', "bad link"),
        ('{"/":{"bytes":"AA=="}}', "base64"),
        ('{"/":{"bytes":"A"}}', "base64"),
        ('{"/":{"bytes":"AB"}}', "base64"),
        ('{"/":{"bytes":"A A"}}', "base64"),
        ('{"/":{"bytes":"-_8"}}', "base64"),
        ('{"/":{"bytes":"é"}}', "base64"),
        ('{"a":1,"b":2,"a":1}', "duplicate map key 'a'"),
        ('[{"a":1,"\\u0061":2}]', "duplicate map key 'a'"),
        ("NaN", "NaN is not allowed"),
        ("[Infinity]", "Infinity is not allowed"),
        ("-Infinity", "-Infinity is not allowed"),
        ("1e999", "too large"),
        ("-1e999", "too large"),
        ('"\\ud800"', "lone surrogate"),
        ('{"\\udc00":1}', "lone surrogate"),
        ('{"a":[1,{"b":"\\ud800"}]}', "at /a/1/b"),
        ("", "line 1, column 1"),
        ("[1,]", "line 1"),
        ("[1\n,\n2", "line 3"),
        ("1 2", "Extra data"),
        ("01", "Extra data"),
        ("'a'", "line 1"),
        ('"\t"', "control character"),
        ("\ufeff1", "BOM"),
        ("nul", "line 1"),
    ],
)
def test_what_reads_in_two_ways_or_none_is_refused(text: str, reason: str) -> None:
    with pytest.raises(CodecError, match=reason):
        dag_json.decode(text)


def test_bytes_that_are_not_utf8_are_refused() -> None:
    with pytest.raises(CodecError, match="byte 1"):
        dag_json.decode(b'"\xff"')
    with pytest.raises(CodecError, match="lone surrogate"):
        dag_json.decode('"\ud800"')


@pytest.mark.parametrize(
    "text",
    ["[" * 1_000_000, '{"a":' * 300_000, "[" * 257 + "]" * 257, '["[",' * 300 + "1" + "]" * 300],
    ids=["lists", "maps", "one too many", "with brackets in strings"],
)
def test_nesting_bombs_are_answered_at_once(text: str) -> None:
    with pytest.raises(CodecError, match="nested deeper than 256"):
        dag_json.decode(text)


def test_brackets_inside_strings_are_not_nesting() -> None:
    text = '["' + "[{" * 1000 + '\\"","' + "]" * 5 + '"]'
    assert len(dag_json.decode(text)) == 2


def test_broken_text_full_of_quotes_takes_linear_time() -> None:
    with pytest.raises(CodecError, match="Unterminated string"):
        dag_json.decode('"' + '\\"' * 200_000 + "[" * 300)


def test_256_levels_with_bytes_inside_are_allowed() -> None:
    value: Any = b"x"
    for _ in range(256):
        value = [value]
    assert dag_json.decode(dag_json.encode(value)) == value
    with pytest.raises(CodecError, match="nested deeper than 256"):
        dag_json.encode([value])


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (math.nan, "NaN"),
        (math.inf, "NaN and infinities"),
        ((1,), "tuple is not in the IPLD data model"),
        ({1: 2}, "map key 1 is not a string"),
        ({"a": [{"b": {3}}]}, "set is not in the IPLD data model at /a/0/b"),
        ("\ud800", "lone surrogate"),
        ({"\ud800": 1}, "lone surrogate"),
        ({"/": "text"}, "reserved"),
        ({"/": str(LINK)}, "reserved"),
        ({"/": "text", "a": 1}, "reserved"),
        ({"/": {"bytes": "AA"}}, "reserved"),
        ({"/": {"bytes": "AA", "c": 1}}, "reserved"),
        ({"/": {"bytes": "AA"}, "a": 1}, "reserved"),
    ],
)
def test_values_that_would_not_read_back_are_refused(value: object, reason: str) -> None:
    with pytest.raises(CodecError, match=reason):
        dag_json.encode(value)


def test_an_integer_too_long_to_read_back_is_refused() -> None:
    with pytest.raises(CodecError, match="too many digits"):
        dag_json.encode(10**5000)
    with pytest.raises(CodecError, match="too long"):
        dag_json.decode("1" * 5000)


def test_pretty_text_is_indented_and_reads_back() -> None:
    value = {"b": [1, {"c": LINK}], "a": {}, "d": [], "e": b"xyz"}
    text = dag_json.pretty(value)
    assert text == (
        '{\n  "a": {},\n  "b": [\n    1,\n    {\n      "c": '
        f'{{"/":"{LINK}"}}\n    }}\n  ],\n  "d": [],\n  "e": {{"/":{{"bytes":"eHl6"}}}}\n}}'
    )
    assert dag_json.decode(text) == value
