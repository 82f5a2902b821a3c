"""Which failures fail a run, and which were seen to by the workflow itself.

As with promises: a failure goes from step to step along `ok`, until a step that awaits `error` or
`*` takes it. A step that awaits the `error` of one that succeeded was written for another case.

    not-taken   it did not run, only because an awaited step succeeded whose error it wanted, or
                because it awaits the value of a step that is not taken itself
    handled     a step that awaits its `error` or `*` has a value; or all steps that the failure
                went on to are handled
    open        anything else: it fails the run

Pure: the same states give the same answer, in whatever order they came about.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Final, Literal

from lite.model.receipt import Receipt

if TYPE_CHECKING:
    from lite.scheduler.state import Facts

__all__ = [
    "MISMATCH",
    "Failure",
    "all_passed_over",
    "counted",
    "is_passed_over",
    "judge",
    "missed_branch",
]

Failure = Literal["open", "handled", "not-taken"]

MISMATCH: Final = "branch-mismatch"
_VALUE: Final = ("done", "cached")


def missed_branch(receipt: Receipt) -> str:
    """The branch that a step awaited in vain, as its receipt says; "" when it failed otherwise."""
    error = receipt.out.body
    if receipt.out.is_ok or type(error) is not dict or error.get("code") != MISMATCH:
        return ""
    return "error" if error.get("expected") == "error" else "ok"


def is_passed_over(
    facts: Facts, states: Sequence[str], branch: str, not_taken: Container[int]
) -> bool:
    """Whether a step that missed `branch` is not taken; all that it awaits has been judged."""
    lacks = [at for at, wanted in facts.awaits if wanted == "ok" and states[at] == "failed"]
    too_good = any(wanted == "error" and states[at] in _VALUE for at, wanted in facts.awaits)
    # With neither it missed a branch of what is no step of the run.
    return bool(lacks or too_good or branch == "error") and all(at in not_taken for at in lacks)


def all_passed_over(
    facts: Sequence[Facts], states: Sequence[str], missed: Mapping[int, str]
) -> set[int]:
    """The steps that are not taken.

    Args:
        missed: by position, what `missed_branch` says of each step where it says something.
    """
    behind: dict[int, list[int]] = {}
    for position in missed:
        for at, _ in facts[position].awaits:
            behind.setdefault(at, []).append(position)
    found: set[int] = set()
    todo = list(missed)
    while todo:
        position = todo.pop()
        if position in found:
            continue
        if is_passed_over(facts[position], states, missed[position], found):
            found.add(position)
            todo.extend(behind.get(position, ()))
    return found


def judge(
    facts: Sequence[Facts],
    states: Sequence[str],
    missed: Mapping[int, str],
    not_taken: Container[int],
) -> dict[int, Failure]:
    """What becomes of each step that failed, by position.

    Args:
        missed, not_taken: as for and from `all_passed_over`.
    """
    handled = _handled(facts, states, missed, not_taken)
    found: dict[int, Failure] = {}
    for position, state in enumerate(states):
        if state == "failed":
            twin = facts[position].twin
            at = position if twin is None else twin
            found[position] = "open"
            if at in not_taken:
                found[position] = "not-taken"
            elif at in handled:
                found[position] = "handled"
    return found


def counted(states: Mapping[str, int], failures: Iterable[Failure]) -> dict[str, int]:
    """How many steps are in each state, handled and not taken ones apart from those that failed.

    Args:
        states: with all of them under "failed".
    """
    apart: Counter[str] = Counter(failure for failure in failures if failure != "open")
    left = states.get("failed", 0) - sum(apart.values())
    counts: dict[str, int] = {**states, "failed": left, **apart}
    return {state: count for state, count in counts.items() if count}


def _handled(
    facts: Sequence[Facts],
    states: Sequence[str],
    missed: Mapping[int, str],
    not_taken: Container[int],
) -> set[int]:
    """Failures that some step took, or that went on only to steps that are handled."""
    todo: list[int] = []
    took: dict[int, list[int]] = {}  # a failure, and those that it goes back to
    left: dict[int, int] = {}
    for position, one in enumerate(facts):
        for at, branch in one.awaits:
            if states[at] != "failed" or at in not_taken:
                continue
            if branch != "ok" and states[position] in _VALUE:
                todo.append(at)
            elif _goes_on(position, branch, states, missed, not_taken):
                took.setdefault(position, []).append(at)
                left[at] = left.get(at, 0) + 1
    found: set[int] = set()
    while todo:
        position = todo.pop()
        if position in found:
            continue
        found.add(position)
        for at in took.get(position, ()):
            left[at] -= 1
            if not left[at]:
                todo.append(at)
    return found


def _goes_on(
    position: int,
    branch: str,
    states: Sequence[str],
    missed: Mapping[int, str],
    not_taken: Container[int],
) -> bool:
    """Whether a failure that a step awaits by `branch` became that step's own: it lacked the value,
    or it took the error and failed."""
    failed = states[position] == "failed" and position not in not_taken
    return failed and (branch == "ok") == (position in missed)
