"""What a workflow's awaits say about it: order, dependencies, duplicates, safety.

Pure, and the same on every node. Awaits are matched with steps under every hash function that they
use, so a workflow whose awaits are sha3-256, as Homestar writes them, is one graph. An await on
an instruction that is no step waits for a receipt from elsewhere.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Final, TypeVar

from lite.errors import CidError, UsageError
from lite.frozen import frozen
from lite.ipld.cid import CID, DAG_CBOR, IDENTITY, SHA2_256, hash_digest
from lite.model.instruction import WASM_RUN, Instruction
from lite.model.place import FieldError
from lite.model.promise import Await, AwaitBranch
from lite.model.safety import LEVELS, Level, is_mutation
from lite.model.workflow import Step

_T = TypeVar("_T")
_NAMED: Final = 5  # labels in a line about the whole
_RANKS: Final = {"pure": 0, "query": 0, "idempotent-mutation": 1, "mutation": 2}


@frozen
class Edge:
    """A step needs another one: `label` is the awaited step, `branch` what of its result."""

    label: str
    branch: AwaitBranch


@frozen
class Graph:
    """The dependencies of a workflow.

    Attributes:
        order: every label once, each behind all that it needs; mutations as late as that allows,
            those that may be repeated before those that may not, else as they were written.
        needs: for each label, the steps that it awaits, without repetition. An await on one of
            several equal steps names the first of them.
        external: for each label that has some, the awaits that no step answers.
        waiting: those of `external` whose receipt is not here.
        duplicates: labels of steps that are equal to an earlier one, and that one; they run once.
        levels: for each label; "query" where the operation is not known.
        unknown: labels of the steps whose operation is not known.
        asking: labels of the steps whose result may ask for more work.
        volatile: labels of steps that are not pure, or have such a step among their ancestors.
            Their receipts may not be taken from the memo under the awaiting address, nor put there.
        force: labels of the mutations that need consent: all when there are several, or the one
            when other steps depend on it; else empty.
        safety: "pure", "query", "one mutation at the end: atomic", "needs --force: a, b"; "unknown
            …" where an operation is not known; and what may be asked for is not known before.
        critical_path: labels of a longest chain of steps, in order.
    """

    order: tuple[str, ...]
    needs: dict[str, tuple[Edge, ...]]
    external: dict[str, tuple[Await, ...]]
    waiting: dict[str, tuple[Await, ...]]
    duplicates: dict[str, str]
    levels: dict[str, Level]
    unknown: tuple[str, ...]
    asking: tuple[str, ...]
    volatile: frozenset[str]
    force: tuple[str, ...]
    safety: str
    critical_path: tuple[str, ...]


class Circle(UsageError):
    """Steps await each other.

    Attributes:
        labels: each awaits the next one, and the last the first.
    """

    def __init__(self, labels: list[str], message: str) -> None:
        super().__init__(
            message, hint="Each of them awaits the next one: take one of these awaits out."
        )
        self.labels = labels


def analyse(
    workflow: Collection[Step],
    level_of: Callable[[Instruction], Level | None],
    known: Callable[[CID], bool] = lambda _: False,
) -> Graph:
    """Find out what depends on what.

    Args:
        workflow: its steps.
        level_of: the safety level of an instruction, by its operation; None: it is not known.
        known: whether a receipt of an instruction is here, asked for awaits on no step.

    Raises:
        UsageError: the steps await each other in a circle; it names them.
    """
    duplicates = _duplicates(workflow)
    needs, external = _edges(workflow)
    said = {step.label: level_of(step.instruction) for step in workflow}
    levels: dict[str, Level] = {label: level or "query" for label, level in said.items()}
    unknown = tuple(label for label, level in said.items() if level is None)
    asking = tuple(step.label for step in workflow if _may_ask(step.instruction))
    order = _order(needs, levels, duplicates)
    force = _force(order, needs, levels, duplicates)
    return Graph(
        order=order,
        needs=needs,
        external=external,
        waiting=_unknown(external, known),
        duplicates=duplicates,
        levels=levels,
        unknown=unknown,
        asking=asking,
        volatile=_volatile(order, needs, levels),
        force=force,
        safety=_safety(levels, force, unknown, asking),
        critical_path=_critical_path(order, needs),
    )


def ordered(needs: Mapping[str, Mapping[str, object] | list[str] | tuple[str, ...]]) -> list[str]:
    """Labels so that each comes behind all that it needs, else as given.

    Args:
        needs: for each label, the labels that it needs, all of which are keys.

    Raises:
        UsageError: there is a circle; it names the labels on it.
    """
    done: list[str] = []
    state: dict[str, bool] = {}  # False: being visited, True: done
    for start in needs:
        path = [(start, iter(needs[start]))] if start not in state else []
        state.setdefault(start, False)
        while path:
            label, rest = path[-1]
            following = next(rest, None)
            if following is None:
                state[label] = True
                done.append(label)
                path.pop()
            elif following not in state:
                state[following] = False
                path.append((following, iter(needs[following])))
            elif not state[following]:
                names = [entry[0] for entry in path]
                raise _circle(names[names.index(following) :])
    return done


def _circle(labels: list[str]) -> UsageError:
    shown = [*labels, labels[0]]
    if len(shown) > 12:
        shown = [*shown[:10], f"… ({len(labels) - 10} more)", labels[0]]
    if len(labels) == 1:
        return FieldError(
            ("steps", labels[0]),
            "it awaits itself",
            hint="Name the step whose result was meant, or take the await out.",
        )
    return Circle(labels, f"steps await each other in a circle: {' → '.join(shown)}")


def _duplicates(workflow: Collection[Step]) -> dict[str, str]:
    first: dict[bytes, str] = {}
    found: dict[str, str] = {}
    for step in workflow:
        earlier = first.setdefault(step.instruction.data, step.label)
        if earlier != step.label:
            found[step.label] = earlier
    return found


def _edges(
    workflow: Collection[Step],
) -> tuple[dict[str, tuple[Edge, ...]], dict[str, tuple[Await, ...]]]:
    awaits = {step.label: step.instruction.awaits() for step in workflow}
    names = {wait.instruction for waits in awaits.values() for wait in waits}
    steps = ((step.label, step.instruction) for step in workflow)
    labels = by_cid(steps, {cid.hash_code for cid in names})
    needs: dict[str, tuple[Edge, ...]] = {}
    external: dict[str, tuple[Await, ...]] = {}
    for label, waits in awaits.items():
        inside = [
            Edge(labels[wait.instruction], wait.branch)
            for wait in waits
            if wait.instruction in labels
        ]
        needs[label] = tuple(dict.fromkeys(inside))
        outside = tuple(wait for wait in waits if wait.instruction not in labels)
        if outside:
            external[label] = outside
    return needs, external


def by_cid(named: Iterable[tuple[_T, Instruction]], hash_codes: set[int]) -> dict[CID, _T]:
    """What each instruction is called, by its CIDs under these hash functions as far as they are
    known here; of equal instructions the first name."""
    found: dict[CID, _T] = {}
    codes = sorted(code for code in hash_codes - {IDENTITY} if _is_computed(code))
    for name, instruction in named:
        for code in codes:
            is_own = code == SHA2_256
            cid = instruction.cid if is_own else CID.of(instruction.data, DAG_CBOR, code)
            found.setdefault(cid, name)
    return found


def _is_computed(hash_code: int) -> bool:
    try:
        hash_digest(hash_code, b"")
    except CidError:
        return False
    return True


def _order(
    needs: Mapping[str, tuple[Edge, ...]],
    levels: Mapping[str, Level],
    duplicates: Mapping[str, str],
) -> tuple[str, ...]:
    """Of the steps that could be next, always the first of the lowest rank."""
    position = {label: at for at, label in enumerate(needs)}
    behind: dict[str, list[str]] = {label: [] for label in needs}
    missing: dict[str, int] = {}
    for label, edges in needs.items():
        before = {edge.label for edge in edges} | {duplicates.get(label, label)} - {label}
        missing[label] = len(before)
        for earlier in before:
            behind[earlier].append(label)
    ready = [
        (_RANKS[levels[label]], position[label], label) for label in needs if not missing[label]
    ]
    heapq.heapify(ready)
    order: list[str] = []
    while ready:
        label = heapq.heappop(ready)[2]
        order.append(label)
        for later in behind[label]:
            missing[later] -= 1
            if not missing[later]:
                heapq.heappush(ready, (_RANKS[levels[later]], position[later], later))
    if len(order) < len(needs):
        ordered({label: [edge.label for edge in edges] for label, edges in needs.items()})
    return tuple(order)


def _volatile(
    order: tuple[str, ...],
    needs: Mapping[str, tuple[Edge, ...]],
    levels: Mapping[str, Level],
) -> frozenset[str]:
    found: set[str] = set()
    for label in order:
        if levels[label] != "pure" or any(edge.label in found for edge in needs[label]):
            found.add(label)
    return frozenset(found)


def _force(
    order: tuple[str, ...],
    needs: Mapping[str, tuple[Edge, ...]],
    levels: Mapping[str, Level],
    duplicates: Mapping[str, str],
) -> tuple[str, ...]:
    mutations = tuple(
        label for label in order if is_mutation(levels[label]) and label not in duplicates
    )
    awaited = {edge.label for edges in needs.values() for edge in edges}
    return mutations if len(mutations) > 1 or awaited.intersection(mutations) else ()


def _may_ask(instruction: Instruction) -> bool:
    return instruction.op == WASM_RUN and instruction.input.get("fx") is True


def _safety(
    levels: Mapping[str, Level],
    force: tuple[str, ...],
    unknown: tuple[str, ...],
    asking: tuple[str, ...],
) -> str:
    highest = max(levels.values(), key=LEVELS.index)
    said = "one mutation at the end: atomic" if is_mutation(highest) else str(highest)
    if unknown:
        said = f"unknown until the operation of {_some(unknown)} is here"
    if force:
        said = f"needs --force: {', '.join(force)}"
    return f"{said}; {_some(asking)} may ask for more work" if asking else said


def _some(labels: tuple[str, ...]) -> str:
    rest = len(labels) - _NAMED
    return ", ".join(labels[:_NAMED]) + (f" and {rest} more" if rest > 0 else "")


def _critical_path(
    order: tuple[str, ...], needs: Mapping[str, tuple[Edge, ...]]
) -> tuple[str, ...]:
    depth: dict[str, int] = {}
    before: dict[str, str] = {}
    for label in order:
        longest = max(needs[label], key=lambda edge: depth[edge.label], default=None)
        depth[label] = depth[longest.label] + 1 if longest else 1
        if longest:
            before[label] = longest.label
    last: str | None = max(order, key=depth.__getitem__)
    path: list[str] = []
    while last is not None:
        path.append(last)
        last = before.get(last)
    return tuple(reversed(path))


def _unknown(
    external: Mapping[str, tuple[Await, ...]], known: Callable[[CID], bool]
) -> dict[str, tuple[Await, ...]]:
    answers = {wait.instruction for waits in external.values() for wait in waits}
    here = {cid for cid in answers if known(cid)}
    found = {
        label: tuple(wait for wait in waits if wait.instruction not in here)
        for label, waits in external.items()
    }
    return {label: waits for label, waits in found.items() if waits}
