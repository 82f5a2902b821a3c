"""Whether a statement holds of a value. Nothing here raises on account of either.

Where the spec is silent or says two things, these rules hold:

- a selector that finds nothing makes its statement false, also `!=`, and so `not` around it true;
- a missing key of a map is not found (it is not null), unless the segment has `?`;
- `==` goes deep, and numbers are equal by value at every depth: `[1] == [1.0]`; true is no number;
- an ordering of anything but two numbers is false, and so is `like` of anything but text;
- `and` and `or` of nothing are true; `all` of nothing is true, `any` of nothing is false;
- `all` and `any` go through lists and the values of maps, and are false of anything else.

Every step is counted; when a policy needs more than it may, `OutOfSteps` ends the evaluation as a
whole, so that no `not` turns it into a yes.
Source: UCAN Delegation 1.0.0-rc.1, Policy.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable
from typing import Any, Final

from lite.ucan.selector import UNRESOLVED, Spend
from lite.ucan.statement import Statement

STEPS_MAX: Final = 10_000  # for all policies of one invocation; a few milliseconds

_NUMBERS = frozenset({int, float})


class OutOfSteps(Exception):
    """The policies take more steps than they may. Never leaves `lite.ucan.policy`."""


class Meter:
    """Counts the steps of an evaluation down to nothing."""

    __slots__ = ("left",)

    def __init__(self, steps: int = STEPS_MAX) -> None:
        self.left = steps

    def spend(self, steps: int) -> None:
        """Raises OutOfSteps when fewer are left."""
        self.left -= steps
        if self.left < 0:
            raise OutOfSteps


def holds(statement: Statement, value: Any, spend: Spend) -> bool:
    """Whether the statement is true of the value.

    Raises:
        OutOfSteps: `spend` did.
    """
    spend(1)
    return _RULES[statement.op](statement, value, spend)


def find(statement: Statement, value: Any, spend: Spend) -> Any:
    """What the statement's selector finds, or `UNRESOLVED`."""
    assert statement.selector is not None, "only connectives have none"
    return statement.selector.resolve(value, spend)


def members(value: Any) -> Iterable[Any] | None:
    """What a quantifier goes through: the items of a list, the values of a map."""
    if type(value) is list:
        return value
    return value.values() if type(value) is dict else None


def equal(one: Any, other: Any, spend: Spend) -> bool:
    """Deep equality; of numbers, that of their values."""
    pending = [(one, other)]
    while pending:
        spend(1)
        a, b = pending.pop()
        kind = type(a)
        if kind in _NUMBERS:
            if type(b) not in _NUMBERS or a != b:
                return False
        elif kind is not type(b):
            return False
        elif kind is list:
            if len(a) != len(b):
                return False
            spend(len(a))
            pending.extend(zip(a, b, strict=True))
        elif kind is dict:
            if a.keys() != b.keys():
                return False
            spend(len(a))
            pending.extend((a[key], b[key]) for key in a)
        elif a != b:
            return False
    return True


def _equality(statement: Statement, value: Any, spend: Spend) -> bool:
    found = find(statement, value, spend)
    if found is UNRESOLVED:
        return False
    return equal(found, statement.literal, spend) is (statement.op == "==")


_COMPARE: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def _ordering(statement: Statement, value: Any, spend: Spend) -> bool:
    found = find(statement, value, spend)
    return type(found) in _NUMBERS and _COMPARE[statement.op](found, statement.literal)


def _like(statement: Statement, value: Any, spend: Spend) -> bool:
    assert statement.glob is not None, "like has a pattern"
    found = find(statement, value, spend)
    if type(found) is not str:
        return False
    spend(statement.glob.cost(found))
    return statement.glob.matches(found)


def _and(statement: Statement, value: Any, spend: Spend) -> bool:
    return all(holds(inner, value, spend) for inner in statement.inner)


def _or(statement: Statement, value: Any, spend: Spend) -> bool:
    inner = statement.inner
    return not inner or any(holds(one, value, spend) for one in inner)


def _not(statement: Statement, value: Any, spend: Spend) -> bool:
    return not holds(statement.inner[0], value, spend)


def _all(statement: Statement, value: Any, spend: Spend) -> bool:
    items = members(find(statement, value, spend))
    if items is None:
        return False
    inner = statement.inner[0]
    return all(holds(inner, item, spend) for item in items)


def _any(statement: Statement, value: Any, spend: Spend) -> bool:
    items = members(find(statement, value, spend))
    if items is None:
        return False
    inner = statement.inner[0]
    return any(holds(inner, item, spend) for item in items)


_RULES: Final[dict[str, Callable[[Statement, Any, Spend], bool]]] = {
    "==": _equality,
    "!=": _equality,
    "<": _ordering,
    "<=": _ordering,
    ">": _ordering,
    ">=": _ordering,
    "like": _like,
    "and": _and,
    "or": _or,
    "not": _not,
    "all": _all,
    "any": _any,
}
