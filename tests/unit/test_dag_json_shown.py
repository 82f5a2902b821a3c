"""What DAG-JSON cannot say is shown all the same."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lite.errors import CodecError
from lite.ipld import dag_json
from lite.ipld.cid import CID, RAW

CIDS = CID.of(b"", RAW)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"/": "x"}, '{"//":"x"}'),
        ({"/": "x", "a": 1}, '{"//":"x","a":1}'),
        ({"/": {"bytes": "x"}}, '{"//":{"bytes":"x"}}'),
        ([{"h": {"/": "x"}}], '[{"h":{"//":"x"}}]'),
        ({"//": "x"}, '{"///":"x"}'),
        ({"/": 1, "//": "x"}, '{"//":1,"///":"x"}'),
        ({"/": 1}, '{"/":1}'),
        ({"/a": "x"}, '{"/a":"x"}'),
        ({"": 1}, '{"":1}'),
        (CIDS, f'{{"/":"{CIDS}"}}'),
        (b"", '{"/":{"bytes":""}}'),
    ],
)
def test_keys_that_would_make_a_link_have_one_slash_more(value: Any, text: str) -> None:
    assert dag_json.shown(value).decode() == text


KEYS = st.sampled_from(["/", "//", "///", "a", "bytes", ""])
VALUES = st.recursive(
    st.none() | st.integers(0, 3) | st.sampled_from(["x", "/", b"b", CIDS]),
    lambda inner: st.dictionaries(KEYS, inner, max_size=3) | st.lists(inner, max_size=2),
    max_leaves=8,
)


def back(value: Any) -> Any:
    """What was shown, read back."""
    if isinstance(value, list):
        return [back(item) for item in value]
    if not isinstance(value, dict):
        return value
    many = any(len(key) > 1 and not key.strip("/") for key in value)
    return {
        key[:-1] if many and key and not key.strip("/") else key: back(item)
        for key, item in value.items()
    }


@given(VALUES)
def test_what_is_shown_says_which_value_it_is(value: Any) -> None:
    assert back(dag_json.decode(dag_json.shown(value))) == value
    try:
        plain = dag_json.encode(value)
    except CodecError:
        return
    slashes = json.dumps(plain.decode()).count("//")
    assert slashes or dag_json.shown(value) == plain


def test_nesting_has_no_bound() -> None:
    deep: Any = 1
    for _ in range(300):
        deep = [deep]
    assert dag_json.shown(deep) == b"[" * 300 + b"1" + b"]" * 300
    with pytest.raises(CodecError):
        dag_json.encode(deep)


@pytest.mark.parametrize("value", [float("nan"), {1: 2}, {1}, "\ud800"])
def test_what_is_no_value_is_refused(value: Any) -> None:
    with pytest.raises(CodecError):
        dag_json.shown(value)
