"""Policies and tokens in the words of people.

Everything in a token may be a stranger's: `lite.ucan.show` writes out what a terminal would obey.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lite.ucan.show import moment, span
from lite.ucan.show import value as shown

if TYPE_CHECKING:
    from lite.ucan.policy import Policy
    from lite.ucan.statement import Statement

_COMPARED = {
    "==": "is",
    "!=": "is not",
    "<": "is less than",
    "<=": "is at most",
    ">": "is more than",
    ">=": "is at least",
    "like": "looks like",
}


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
