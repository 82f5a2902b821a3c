"""Commands: their form, and which covers which."""

from __future__ import annotations

import pytest

from lite.ucan import command
from lite.ucan.refusals import InvalidCommand


@pytest.mark.parametrize(
    "text", ["/", "/crud", "/crud/create", "/foo/bar/baz/qux/quux", "/ほげ/ふが", "/a-b_c.d/1"]
)
def test_the_specs_examples_are_commands(text: str) -> None:
    command.check(text)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "does not begin with /"),
        ("crud", "does not begin with /"),
        ("/crud/", "ends with /"),
        ("//", "has an empty segment: //"),
        ("/crud//", "has an empty segment: //"),
        ("//crud", "empty segment"),
        ("/crud//read", "empty segment"),
        ("/Crud", "upper-case"),
        ("/É", "upper-case"),
        ("/crud\n", "control characters"),
        ("/\x1b[2j", "control characters"),
        ("/" + "a" * 512, "513 characters"),
    ],
)
def test_any_other_form_is_refused_with_its_reason(text: str, problem: str) -> None:
    with pytest.raises(InvalidCommand, match=problem) as caught:
        command.check(text)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("broad", "narrow", "covered"),
    [
        ("/", "/", True),
        ("/", "/wasm/run", True),
        ("/wasm", "/wasm", True),
        ("/wasm", "/wasm/run", True),
        ("/wasm/run", "/wasm/run/now", True),
        ("/wasm", "/wasmedge", False),
        ("/wasm", "/wasmedge/run", False),
        ("/crypto", "/cryptocurrency", False),
        ("/crypto", "/stack/pop", False),
        ("/wasm/run", "/wasm", False),
        ("/wasm", "/", False),
    ],
)
def test_a_command_covers_itself_and_all_below_by_segments(
    broad: str, narrow: str, covered: bool
) -> None:
    assert command.covers(broad, narrow) is covered
