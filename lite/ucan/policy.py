"""Policies: what the arguments of an invocation must be like.

A policy is a list of statements that must all hold, see `lite.ucan.policy_parse` for their form
and `lite.ucan.evaluate` for their meaning. Evaluation gives an answer for every policy and all
arguments, within a bounded number of steps.
Source: UCAN Delegation 1.0.0-rc.1, Policy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from lite.ucan import explain, policy_parse
from lite.ucan.evaluate import STEPS_MAX, Meter, OutOfSteps, holds
from lite.ucan.show import value as shown
from lite.ucan.statement import Statement

EXPLAIN_STEPS_MAX: Final = 2_000  # to say what of a statement failed


@dataclass(frozen=True, slots=True)
class Failure:
    """Why arguments are not allowed.

    Attributes:
        statement: its number in the policy, counted from 1.
        source: the statement as IPLD.
        reason: one line for people: the statement, and the value that failed.
        costly: whether it is only that the steps ran out.
    """

    statement: int
    source: list[Any]
    reason: str
    costly: bool = False


@dataclass(frozen=True, slots=True)
class Policy:
    """A parsed policy. An empty one allows everything."""

    statements: tuple[Statement, ...] = ()

    @staticmethod
    def parse(value: Any) -> Policy:
        """Read a policy from IPLD.

        Raises:
            InvalidPolicy: it says which statement and what is wrong there.
        """
        return Policy(policy_parse.parse(value)) if value != [] else _EMPTY

    def value(self) -> list[Any]:
        """The policy as IPLD."""
        return [statement.source for statement in self.statements]

    def allows(self, args: Any) -> bool:
        """Whether every statement holds of the arguments."""
        return self.failure(args) is None

    def decide(self, args: Any, meter: Meter) -> bool | None:
        """The same within the steps of a meter; None when they run out."""
        try:
            return all(holds(statement, args, meter.spend) for statement in self.statements)
        except OutOfSteps:
            return None

    def may_see(self, *path: str) -> bool:
        """Whether what it says may depend on what is at a path of keys in the arguments."""
        pending = list(self.statements)
        while pending:
            one = pending.pop()
            if one.selector is None:
                pending += one.inner
            elif one.selector.may_pass(path):
                return True
        return False

    def failure(self, args: Any, meter: Meter | None = None) -> Failure | None:
        """The first statement that does not hold of the arguments, or None.

        Args:
            args: an IPLD value, usually a map.
            meter: when several policies share their steps.
        """
        meter = meter or Meter()
        for number, statement in enumerate(self.statements, 1):
            try:
                if not holds(statement, args, meter.spend):
                    return _failure(number, statement, args)
            except OutOfSteps:
                reason = f"{_named(number, statement)} needs more than {STEPS_MAX} steps to decide"
                return Failure(number, statement.source, reason, costly=True)
        return None


_EMPTY = Policy()


def _failure(number: int, statement: Statement, args: Any) -> Failure:
    reason = f"{_named(number, statement)} does not hold"
    try:
        reason += f": {explain.why_not(statement, args, Meter(EXPLAIN_STEPS_MAX).spend)}"
    except OutOfSteps:
        reason += " of the arguments"
    return Failure(number, statement.source, reason)


def _named(number: int, statement: Statement) -> str:
    return f"policy statement {number} {shown(statement.source)}"
