"""A workflow: labelled tasks, in the form in which they are stored, and in Homestar's.

Order means nothing: what has to come first follows from the awaits (`lite.model.graph`). Labels are
for people; they stand in a list of their own beside `tasks`, so that a reader of Homestar's form
finds the tasks as it knows them.
Sources: UCAN Invocation 0.2.0 and Homestar (`tasks`); IPVM workflow 0.1.0 (`defaults`, `meta`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from lite.errors import CodecError, UsageError
from lite.frozen import frozen
from lite.ipld import dag_cbor
from lite.ipld.cid import CID, DAG_CBOR, SHA3_256
from lite.limits import BLOCK_BYTES_MAX
from lite.model.instruction import Instruction
from lite.model.known_meta import check_defaults, check_meta, is_private
from lite.model.limits_map import FLAT, limits_asked
from lite.model.place import FieldError, Path, shown, within
from lite.model.task import Task

STEPS_MAX: Final = 10_000
LABEL_CHARS_MAX: Final = 100
NAME_CHARS_MAX: Final = 200
LABEL_RULE: Final = f"letters, digits, _ and -, at most {LABEL_CHARS_MAX}, no - in front"

_LABEL = re.compile(r"\w[\w-]*")
_KEYS = frozenset({"tasks", "labels", "name", "defaults", "meta"})
_ONE_STEP: Final = 'Such as crop: {run: "tools.wasm:crop"}, or {"run": {…}} under tasks.'


@frozen
class Step:
    """A task and what people call it within its workflow."""

    label: str
    task: Task

    @property
    def instruction(self) -> Instruction:
        return self.task.run

    @property
    def meta(self) -> dict[str, Any]:
        return self.task.meta


class Workflow:
    """Labelled tasks. Equal to another when the stored bytes are.

    Two steps may have equal instructions: they run once.

    Attributes:
        steps: in the order in which they were written.
        name: for people; may be empty.
        defaults: limits for tasks that name none, in any spelling that `limits_map` reads, or None.
        meta: an IPLD map.
        data: canonical DAG-CBOR of `value()`.
        cid: sha2-256 of `data`.

    Args:
        steps: labels are the keywords; a bare instruction is a task without meta.

    Raises:
        UsageError: no step, too many, a label twice or not fit to be one, `meta` or limits that
            cannot be read, or more than fits into one block.
    """

    __slots__ = ("_by_label", "cid", "data", "defaults", "meta", "name", "steps")

    steps: tuple[Step, ...]
    name: str
    defaults: dict[str, Any] | None
    meta: dict[str, Any]
    data: bytes
    cid: CID
    _by_label: dict[str, Step]

    def __init__(self, /, **steps: Instruction | Task) -> None:
        self._fill([Step(label, _task(label, what)) for label, what in steps.items()])

    @staticmethod
    def of(
        steps: Iterable[Step],
        *,
        name: str = "",
        defaults: Mapping[str, Any] | None = None,
        meta: Mapping[str, Any] | None = None,
    ) -> Workflow:
        """The same from steps, whose labels need not be Python names.

        Raises:
            UsageError: as for `Workflow`.
        """
        made = object.__new__(Workflow)
        made._fill(
            list(steps), name, None if defaults is None else dict(defaults), dict(meta or {})
        )
        return made

    @staticmethod
    def parse(data: bytes) -> Workflow:
        """Read a stored workflow: exactly the bytes that `data` of the result holds.

        Raises:
            CodecError: other bytes.
        """
        value = dag_cbor.decode(data)
        try:
            made = Workflow.from_value(value)
        except UsageError as error:
            raise CodecError(f"not a workflow: {error}") from None
        if made.data != data:
            raise CodecError("not the block of a workflow: it has other fields or forms")
        return made

    @staticmethod
    def from_value(value: Any) -> Workflow:
        """Read the stored form as an IPLD value; `labels` and all after it may be absent.

        Tasks without labels, as Homestar writes them, are called after their functions.

        Raises:
            UsageError: it names the task and the field that is wrong.
        """
        if type(value) is not dict or type(value.get("tasks")) is not list:
            raise FieldError(
                ("tasks",), "a list of tasks is needed", hint="Write [{run: {rsc, op, input}}]."
            )
        for key in sorted(map(str, value.keys() - _KEYS)):
            raise FieldError(
                (key,),
                "is not a field of a workflow with tasks",
                hint="It has tasks, labels, name, defaults and meta.",
            )
        written = value["tasks"]
        check_count(len(written), ("tasks",))
        tasks = [_read_task(position, part) for position, part in enumerate(written)]
        labels = value.get("labels")
        if labels is None:
            labels = list(_labels_for(tasks))
        if type(labels) is not list or len(labels) != len(tasks):
            raise FieldError(
                ("labels",),
                "a list with one label for each task is needed",
                hint="Leave it out, and they are called after their functions.",
            )
        made = object.__new__(Workflow)
        steps = [Step(label, task) for label, task in zip(labels, tasks, strict=True)]
        meta = value.get("meta")
        made._fill(
            steps,
            value.get("name", ""),
            value.get("defaults"),
            {} if meta is None else meta,
            as_tasks=True,
        )
        return made

    def _fill(
        self,
        steps: list[Step],
        name: Any = "",
        defaults: Any = None,
        meta: Any = None,
        *,
        as_tasks: bool = False,
    ) -> None:
        """Check all and keep it; `as_tasks`: errors count the steps instead of naming them."""
        check_count(len(steps), ())
        if type(name) is not str or len(name) > NAME_CHARS_MAX or not name.isprintable():
            raise FieldError(
                ("name",),
                f"printable text of at most {NAME_CHARS_MAX} characters is needed",
                hint="Leave it out where there is none.",
            )
        defaults = _plain_map("defaults", defaults)
        meta = _plain_map("meta", meta)
        check_defaults(defaults)
        check_meta(meta or {})
        by_label: dict[str, Step] = {}
        for position, step in enumerate(steps):
            at: Path = ("tasks", position) if as_tasks else ("steps", step.label)
            _check_step(step, by_label, ("labels", position) if as_tasks else ("steps",))
            _check_meta(step, defaults, at)
            by_label[step.label] = step
        put = object.__setattr__
        put(self, "steps", tuple(steps))
        put(self, "_by_label", by_label)
        put(self, "name", name)
        put(self, "defaults", defaults)
        put(self, "meta", meta or {})
        put(self, "data", _encoded(self.value()))
        put(self, "cid", CID.of(self.data, DAG_CBOR))

    def value(self) -> dict[str, Any]:
        """The IPLD map that is stored: `tasks` and `labels`; `name`, `defaults` and `meta` where
        there are any."""
        value: dict[str, Any] = {
            "tasks": [step.task.value() for step in self.steps],
            "labels": [step.label for step in self.steps],
        }
        if self.name:
            value["name"] = self.name
        if self.defaults is not None:
            value["defaults"] = self.defaults
        if self.meta:
            value["meta"] = self.meta
        return value

    def homestar_value(self) -> dict[str, Any]:
        """Homestar's form, `{"tasks": [{cause, meta, prf, run}]}`.

        Limits that only `defaults`, `meta.limits` or `meta["ipvm/config"]` name are repeated as
        `meta.fuel`, `.memory` and `.time`, the one spelling that Homestar reads. What came from
        Homestar goes back unchanged.
        """
        return {
            "tasks": [
                {**step.task.value(), "meta": _with_flat_limits(step.meta, self.defaults)}
                for step in self.steps
            ]
        }

    @property
    def homestar_cid(self) -> CID:
        """sha3-256 of `homestar_value()`: the name that Homestar gives to this workflow."""
        return CID.of(dag_cbor.encode(self.homestar_value()), DAG_CBOR, SHA3_256)

    @property
    def is_private(self) -> bool:
        """Whether all of its steps are to be secret, as it says itself."""
        return is_private(self.meta) or is_private(self.defaults or {})

    def secret_steps(self, *, private: bool = False) -> list[Step]:
        """The steps that are to be secret, whatever they are made from.

        Args:
            private: all are, whatever it says itself.
        """
        private = private or self.is_private
        return [step for step in self if private or is_private(step.meta)]

    def __getitem__(self, label: str) -> Step:
        """The step of a label; `KeyError` when there is none."""
        return self._by_label[label]

    def __iter__(self) -> Iterator[Step]:
        return iter(self.steps)

    def __len__(self) -> int:
        return len(self.steps)

    def __eq__(self, other: object) -> bool:
        return self.data == other.data if isinstance(other, Workflow) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.data)

    def __repr__(self) -> str:
        return f"Workflow({self.name!r}, {len(self.steps)} steps, {self.cid})"

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"Workflow.{name} cannot be assigned: workflows do not change")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"Workflow.{name} cannot be deleted: workflows do not change")

    def __reduce__(self) -> tuple[Any, ...]:
        return Workflow.parse, (self.data,)


def check_label(label: Any) -> None:
    """Refuse what cannot stand in `${label}` or in a table.

    Raises:
        UsageError: it says what a label is made of.
    """
    if type(label) is not str:
        raise UsageError(f"{shown(label)} is not a label: text is needed")
    if len(label) > LABEL_CHARS_MAX or not _LABEL.fullmatch(label):
        raise UsageError(f"{shown(label)} cannot be a label", hint=f"A label has {LABEL_RULE}.")


def _task(label: str, what: Any) -> Task:
    if isinstance(what, Task):
        return what
    if isinstance(what, Instruction):
        return Task(what)
    raise FieldError(("steps", label), "an instruction or a task is needed")


def check_count(count: int, path: Path) -> None:
    """Refuse a workflow without steps, or with too many.

    Raises:
        FieldError: at `path`; it says the bound.
    """
    if not count:
        raise FieldError(path, "it is empty: a workflow needs at least one step", hint=_ONE_STEP)
    if count > STEPS_MAX:
        raise FieldError(
            path,
            f"a workflow has at most {STEPS_MAX} steps, this one {count}",
            hint="Split it: a step can await one of another workflow by its CID.",
        )


def _read_task(position: int, value: Any) -> Task:
    try:
        return Task.from_value(value)
    except UsageError as error:
        raise within(("tasks", position), error) from None


def _labels_for(tasks: list[Task]) -> Iterator[str]:
    """The names of the functions, or else of the operations, made unique with -2, -3 …"""
    taken: set[str] = set()
    next_number: dict[str, int] = {}
    for task in tasks:
        func = task.run.input.get("func")
        base = re.sub(r"[^\w-]+", "-", func if type(func) is str else task.run.op)
        base = base.strip("-")[: LABEL_CHARS_MAX - 6] or "task"
        label, number = base, next_number.get(base, 2)
        while label in taken:
            label, number = f"{base}-{number}", number + 1
        next_number[base] = number
        taken.add(label)
        yield label


def _check_step(step: Step, others: Mapping[str, Step], path: Path) -> None:
    try:
        check_label(step.label)
    except UsageError as error:
        raise within(path, error) from None
    if step.label in others:
        at = path if path[0] == "labels" else (*path, step.label)
        raise FieldError(
            at, f"the label {step.label} is there twice", hint="Give each step one of its own."
        )


def _check_meta(step: Step, defaults: dict[str, Any] | None, path: Path) -> None:
    try:
        check_meta(step.meta)
        limits_asked(step.meta, defaults)
    except FieldError as error:
        raise error if error.path[0] == "defaults" else within(path, error) from None


def _with_flat_limits(meta: dict[str, Any], defaults: dict[str, Any] | None) -> dict[str, Any]:
    asked = limits_asked(meta, defaults)
    flat = {key: asked[limit] for key, limit in FLAT.items() if limit in asked}
    return {**meta, **{key: n for key, n in flat.items() if meta.get(key) is None}}


def _plain_map(where: str, value: Any) -> Any:
    """A copy of its own, so that what is kept is what was checked."""
    if value is None:
        return None
    if type(value) is not dict:
        raise FieldError((where,), "a map is needed")
    try:
        return dag_cbor.decode_trusted(dag_cbor.encode(value))
    except CodecError as error:
        raise FieldError((where,), str(error)) from None


def _encoded(value: dict[str, Any]) -> bytes:
    try:
        data = dag_cbor.encode(value)
    except CodecError as error:
        raise UsageError(f"the workflow {error}") from None
    if len(data) > BLOCK_BYTES_MAX:
        raise UsageError(
            f"the workflow has {len(data)} bytes, at most {BLOCK_BYTES_MAX}",
            hint="Add large values as files and pass their CIDs.",
        )
    return data
