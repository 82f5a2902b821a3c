"""A task: an instruction and what is said about this run of it.

`meta` holds limits, `secret`, `retry` and whatever else a tool keeps there; none of it is part of
the memo key. Source: UCAN Invocation 0.2.0, Task; Homestar's encoding, which inlines `run` and
writes `cause: null`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from lite.errors import CodecError, UsageError
from lite.frozen import field, frozen
from lite.ipld import dag_cbor
from lite.ipld.cid import CID
from lite.model.instruction import Instruction

_KEYS = frozenset({"run", "meta", "prf", "cause"})
_FIELD = re.compile(r"(run|meta|prf|cause|rsc|op|input|nnc)[.:]")


@frozen
class Task:
    """One run of an instruction that is asked for.

    Attributes:
        run: what to compute.
        meta: an IPLD map, not part of the memo key.
        prf: CIDs of delegations.
        cause: the receipt whose effects asked for this task.

    Raises:
        UsageError: it names the field that is wrong.
    """

    run: Instruction
    meta: dict[str, Any] = field(default_factory=dict, compare=False)
    prf: tuple[CID, ...] = ()
    cause: CID | None = None
    data: bytes = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if type(self.run) is not Instruction:
            raise UsageError("run: an instruction is needed")
        if type(self.meta) is not dict:
            raise UsageError("meta: a map is needed")
        if type(self.prf) is not tuple or any(type(proof) is not CID for proof in self.prf):
            raise UsageError("prf: a list of links to delegations is needed")
        if self.cause is not None and type(self.cause) is not CID:
            raise UsageError("cause: a link to a receipt, or null, is needed")
        try:
            data = dag_cbor.encode(self.meta)
        except CodecError as error:
            raise UsageError(f"meta {error}") from None
        # What is kept is what was checked, whatever the caller does with the map it gave.
        object.__setattr__(self, "meta", dag_cbor.decode_trusted(data))
        object.__setattr__(self, "data", data)

    @staticmethod
    def from_value(value: Any, resolve: Callable[[CID], Instruction] | None = None) -> Task:
        """Read a task that a person or another tool wrote, as an IPLD value.

        `op` may have capitals and spaces around it, as Homestar takes it; `meta`, `prf` and `cause`
        may be absent or null.

        Args:
            resolve: finds the instruction that a linked `run` names; None: only inlined ones.

        Raises:
            UsageError: it names the field that is wrong.
        """
        if type(value) is not dict or "run" not in value:
            raise UsageError("a task is a map with run, meta, prf and cause")
        for key in sorted(map(str, value.keys() - _KEYS)):
            raise UsageError(f"{key[:64]!r} is not a field of a task")
        prf = value.get("prf")
        if prf is not None and type(prf) is not list:
            raise UsageError("prf: a list of links to delegations is needed")
        meta = value.get("meta")
        return Task(
            _instruction(value["run"], resolve),
            {} if meta is None else meta,
            tuple(prf or ()),
            value.get("cause"),
        )

    def value(self) -> dict[str, Any]:
        """The IPLD map of all four keys, the instruction inlined."""
        return {
            "run": self.run.value(),
            "meta": self.meta,
            "prf": list(self.prf),
            "cause": self.cause,
        }


def _instruction(run: Any, resolve: Callable[[CID], Instruction] | None) -> Instruction:
    if type(run) is CID:
        if resolve is None:
            raise UsageError(f"run: {run} is a link, the instruction itself is needed here")
        return resolve(run)
    try:
        if type(run) is dict and type(run.get("op")) is str:
            run = {**run, "op": run["op"].strip().lower()}
        return Instruction.from_value(run)
    except UsageError as error:
        raise within("run", error) from None


def within(place: str, error: UsageError) -> UsageError:
    """The same error, with where it happened in front: `run.op: …`, `run: an instruction is …`."""
    separator = "." if _FIELD.match(str(error)) else ": "
    return UsageError(f"{place}{separator}{error}", hint=error.hint)
