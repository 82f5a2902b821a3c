"""Policies and tokens in the words of people.

Everything in a token may be a stranger's: `lite.ucan.show` writes out what a terminal would obey.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lite.errors import CodecError
from lite.ipld.cid import CID
from lite.ucan.show import moment, printable, span
from lite.ucan.show import value as shown

if TYPE_CHECKING:
    from lite.cli.shell import Shell
    from lite.ucan.policy import Policy
    from lite.ucan.statement import Statement

ODD_NOTE = "some others refuse such a token"
WHOLE_MAX = 2**53 - 1  # the largest that go-ucan takes

_COMPARED = {
    "==": "is",
    "!=": "is not",
    "<": "is less than",
    "<=": "is at most",
    ">": "is more than",
    ">=": "is at least",
    "like": "looks like",
}


def say(shell: Shell, line: str) -> None:
    """A line of a result on stdout. All that is foreign in it is one line of plain signs: the only
    way out for the words of tokens."""
    shell.line(printable(line))


def as_json(value: Any) -> Any:
    """A value of a token for `--json`: a map that has no form in DAG-JSON as its DAG-CBOR bytes."""
    from lite.ipld import dag_cbor, dag_json

    try:
        dag_json.encode(value)
        return value
    except CodecError:
        pass
    if type(value) is list:
        return [as_json(item) for item in value]
    if type(value) is dict and "/" not in value:
        return {key: as_json(item) for key, item in value.items()}
    return dag_cbor.encode(value)


def link(value: Any) -> str:
    """What should be a link: its CID in full; anything else as a value."""
    return str(value) if type(value) is CID else shown(value)


def odd(value: Any) -> str | None:
    """The first part of a value that some other implementations do not take, and what it is."""
    pending = [value]
    while pending:
        item = pending.pop()
        if type(item) is float:
            return f"{item} is {'a float' if item.is_integer() else 'no whole number'}"
        if type(item) is int and abs(item) > WHOLE_MAX:
            return f"{item} is outside ±(2^53 - 1)"
        if type(item) is CID:
            return f"{item} is a link"
        if item is None:
            return "there is a null in it"
        if type(item) in (list, dict):
            pending += reversed(list(item.values() if type(item) is dict else item))
    return None


def conditions(policy: Policy) -> list[str]:
    """Each statement of a policy as a sentence: `.input.func is "add"`."""
    return [_sentence(statement) for statement in policy.statements]


def ends(expires_at: int | None, now: int) -> str:
    """`2026-11-28 07:48:00Z, in 6 d`."""
    if expires_at is None:
        return "for ever"
    gap = expires_at - now
    return f"{moment(expires_at)}, " + (f"in {span(gap)}" if gap >= 0 else f"{span(-gap)} ago")


def until(expires_at: int | None, now: int) -> str:
    """`until 2026-11-28 07:48:00Z, in 6 d`, or `for ever`."""
    text = ends(expires_at, now)
    return text if expires_at is None else f"until {text}"


def _sentence(statement: Statement) -> str:
    op = statement.op
    if op in ("and", "or"):
        if not statement.inner:
            return "always"  # both hold over nothing
        return f"({f' {op} '.join(map(_sentence, statement.inner))})"
    if op == "not":
        return f"not ({_sentence(statement.inner[0])})"
    assert statement.selector is not None, "only connectives have none"
    path = shown(statement.selector.text)[1:-1]
    place = "it" if path == "." else path
    if op in ("all", "any"):
        which = "each of" if op == "all" else "at least one of"
        return f"{which} {place}: {_sentence(statement.inner[0])}"
    return f"{place} {_COMPARED[op]} {shown(statement.source[2])}"
