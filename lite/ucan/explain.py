"""Why a statement does not hold, in a few words: the part of it and the value that failed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from lite.ucan.evaluate import find, holds, members
from lite.ucan.selector import UNRESOLVED, Spend
from lite.ucan.show import value as shown
from lite.ucan.statement import Statement

VALUES_MAX: Final = 3  # so many that are named of an `or` or a `not`


def why_not(statement: Statement, value: Any, spend: Spend) -> str:
    """The reason why a statement is false of a value. It must be.

    Raises:
        OutOfSteps: `spend` did.
    """
    if statement.op == "and":
        failed = next(inner for inner in statement.inner if not holds(inner, value, spend))
        return f"{shown(failed.source)} does not hold, {why_not(failed, value, spend)}"
    if statement.op == "or":
        none = f"none of its {len(statement.inner)} alternatives holds"
        return _with_values(none, statement, value, spend)
    if statement.op == "not":
        held = f"{shown(statement.inner[0].source)} holds"
        return _with_values(held, statement, value, spend)
    assert statement.selector is not None, "only connectives have none"
    path = statement.selector.text
    found = find(statement, value, spend)
    if found is UNRESOLVED:
        return f"there is no {shown(path)[1:-1]} in the arguments"
    if statement.op in ("all", "any"):
        return _quantified(statement, path, found, spend)
    return f"{shown(path)[1:-1]} is {shown(found)}"


def _with_values(reason: str, statement: Statement, value: Any, spend: Spend) -> str:
    """The reason, and what the statements inside look at."""
    said: dict[str, None] = {}
    for inner in _looking(statement):
        path = inner.selector.text if inner.selector is not None else ""
        found = find(inner, value, spend)
        absent = f"there is no {shown(path)[1:-1]}"
        said[absent if found is UNRESOLVED else f"{shown(path)[1:-1]} is {shown(found)}"] = None
        if len(said) == VALUES_MAX:
            break
    return f"{reason}: {', '.join(said)}" if said else reason


def _looking(statement: Statement) -> Iterator[Statement]:
    """The statements in it that look at a value of the arguments, the first ones first."""
    pending = [*reversed(statement.inner)]
    while pending:
        one = pending.pop()
        if one.selector is not None:
            yield one
        else:
            pending += reversed(one.inner)


def _quantified(statement: Statement, path: str, found: Any, spend: Spend) -> str:
    items = members(found)
    name = shown(path)[1:-1]
    if items is None:
        return f"{name} is {shown(found)}, neither list nor map"
    if statement.op == "any":
        return f"it holds of nothing in {name}, which is {shown(found)}"
    inner = statement.inner[0]
    number, item = next(
        (number, item) for number, item in enumerate(items, 1) if not holds(inner, item, spend)
    )
    return f"not of item {number} of {name}: {why_not(inner, item, spend)}"
