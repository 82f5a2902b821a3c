"""What an operation says of input that does not fit: the field, the index, and what is right."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from lite.engine.base import GuestFailure
from lite.ops.arguments import Arguments


def texts(value: Any) -> list[str]:
    instruction = SimpleNamespace(input={"args": value}, op="exec/run")
    ready: Any = SimpleNamespace(instruction=instruction, content={})
    return Arguments(ready, frozenset({"args"})).texts("args")


def test_a_list_of_texts_is_taken_as_it_is() -> None:
    assert texts(["x", "true"]) == ["x", "true"]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (["x", True], "input.args[1] must be text, not true or false: put it in quotes"),
        ([1], "input.args[0] must be text, not a number: put it in quotes"),
        ("x", "input.args must be a list of texts, not text"),
    ],
)
def test_what_is_no_list_of_texts_is_named_with_its_index(value: Any, message: str) -> None:
    with pytest.raises(GuestFailure) as caught:
        texts(value)
    assert (caught.value.code, caught.value.message) == ("bad-argument", message)
