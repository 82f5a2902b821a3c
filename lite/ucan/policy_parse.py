"""From IPLD to statements, with bounds on their number and on how deep they nest.

    statement = ["==" | "!=", selector, any]
              / ["<" | "<=" | ">" | ">=", selector, number]
              / ["like", selector, glob]
              / ["and" | "or", [*statement]] / ["not", statement]
              / ["all" | "any", selector, statement]

Source: UCAN Delegation 1.0.0-rc.1, Policy. Its table says `[Statement]` for `all` and `any`; its
schema and every example say one statement.
"""

from __future__ import annotations

from math import isfinite
from typing import Any, Final

from lite.ucan.glob import Glob
from lite.ucan.refusals import InvalidPolicy, PolicyTooLarge
from lite.ucan.selector import Selector
from lite.ucan.show import value as shown
from lite.ucan.statement import Statement

STATEMENTS_MAX: Final = 256
STATEMENT_DEPTH_MAX: Final = 32

_EQUALITIES = frozenset({"==", "!="})
_ORDERINGS = frozenset({"<", "<=", ">", ">="})
_CONNECTIVES = frozenset({"and", "or"})
_QUANTIFIERS = frozenset({"all", "any"})
_LENGTHS = {"and": 2, "or": 2, "not": 2}  # all others have three parts


def parse(value: Any) -> tuple[Statement, ...]:
    """The statements of a policy.

    Raises:
        InvalidPolicy: it says which statement, counted from 1, and what is wrong there.
        PolicyTooLarge: over `STATEMENTS_MAX` statements, or `STATEMENT_DEPTH_MAX` levels.
    """
    if type(value) is not list:
        raise InvalidPolicy(f"a policy is a list of statements, not {shown(value)}")
    return _Reader().statements(value, "policy statement", 0)


class _Reader:
    """Counts what it has read."""

    def __init__(self) -> None:
        self.count = 0

    def statements(self, value: list[Any], where: str, depth: int) -> tuple[Statement, ...]:
        if len(value) > STATEMENTS_MAX:
            raise PolicyTooLarge(f"{where}s: more than {STATEMENTS_MAX}")
        return tuple(
            self.statement(item, f"{where} {number}", depth) for number, item in enumerate(value, 1)
        )

    def statement(self, value: Any, where: str, depth: int) -> Statement:
        self.count += 1
        if self.count > STATEMENTS_MAX:
            raise PolicyTooLarge(f"{where}: more than {STATEMENTS_MAX} statements in all")
        if depth >= STATEMENT_DEPTH_MAX:
            raise PolicyTooLarge(
                f"policy statements nested deeper than {STATEMENT_DEPTH_MAX} levels"
            )
        if type(value) is not list or not value or type(value[0]) is not str:
            raise InvalidPolicy(f"{where}: {shown(value)} does not begin with an operator")
        op = value[0]
        if len(value) != _LENGTHS.get(op, 3):
            raise InvalidPolicy(
                f"{where}: {shown(value)} has {len(value)} parts, not {_LENGTHS.get(op, 3)}"
            )
        return self._by_operator(op, value, where, depth)

    def _by_operator(self, op: str, value: list[Any], where: str, depth: int) -> Statement:
        if op in _EQUALITIES:
            return Statement(value, op, _selector(value, where), literal=value[2])
        if op in _ORDERINGS:
            return Statement(value, op, _selector(value, where), literal=_number(value, where))
        if op == "like":
            return Statement(value, op, _selector(value, where), glob=_glob(value, where))
        if op in _CONNECTIVES:
            if type(value[1]) is not list:
                raise InvalidPolicy(f"{where}: {op} takes a list, not {shown(value[1])}")
            inner = self.statements(value[1], f"{where}, {op}", depth + 1)
            return Statement(value, op, inner=inner)
        if op == "not":
            inner = (self.statement(value[1], f"{where}, not", depth + 1),)
            return Statement(value, op, inner=inner)
        if op in _QUANTIFIERS:
            selector = _selector(value, where)
            inner = (self.statement(value[2], f"{where}, {op}", depth + 1),)
            return Statement(value, op, selector, inner=inner)
        raise InvalidPolicy(f"{where}: {shown(op)} is not an operator")


def _selector(value: list[Any], where: str) -> Selector:
    text = value[1]
    if type(text) is not str:
        raise InvalidPolicy(f"{where}: {shown(text)} is not a selector")
    try:
        return Selector.parse(text)
    except InvalidPolicy as error:
        raise InvalidPolicy(f"{where}: {error}", details=error.details) from None


def _number(value: list[Any], where: str) -> int | float:
    number = value[2]
    if type(number) is int or (type(number) is float and isfinite(number)):
        return number
    raise InvalidPolicy(f"{where}: {value[0]} takes a number, not {shown(number)}")


def _glob(value: list[Any], where: str) -> Glob:
    if type(value[2]) is not str:
        raise InvalidPolicy(f"{where}: like takes a pattern, not {shown(value[2])}")
    return Glob.parse(value[2])
