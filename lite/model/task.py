"""A task: an instruction and what is said about this run of it.

`meta` holds limits, `secret`, `retry` and whatever else a tool keeps there; none of it is part of
the memo key. Source: UCAN Invocation 0.2.0, Task; Homestar's encoding, which inlines `run` and
writes `cause: null`.
"""

from __future__ import annotations

from typing import Any

from lite.errors import CodecError, UsageError
from lite.frozen import field, frozen
from lite.ipld import dag_cbor
from lite.ipld.cid import CID
from lite.model.instruction import Instruction
from lite.model.place import FieldError, within

_CID_TEXT = '{"/": "bafy…"}'

_KEYS = frozenset({"run", "meta", "prf", "cause"})


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
            raise FieldError(("run",), "an instruction is needed")
        if type(self.meta) is not dict:
            raise FieldError(("meta",), "a map is needed", hint='Write {"fuel": 1000000} or {}.')
        _check_links(self.prf, self.cause)
        try:
            data = dag_cbor.encode(self.meta)
        except CodecError as error:
            raise FieldError(("meta",), str(error)) from None
        # What is kept is what was checked, whatever the caller does with the map it gave.
        object.__setattr__(self, "meta", dag_cbor.decode_trusted(data))
        object.__setattr__(self, "data", data)

    @staticmethod
    def from_value(value: Any) -> Task:
        """Read a task that a person or another tool wrote, as an IPLD value.

        `op` may have capitals and spaces around it, as Homestar takes it; `meta`, `prf` and `cause`
        may be absent or null. `run` is the instruction itself; links to one are resolved before
        (`lite.model.workflow_read`).

        Raises:
            UsageError: it names the field that is wrong.
        """
        if type(value) is not dict or "run" not in value:
            raise UsageError(
                "a task is a map with run, meta, prf and cause", hint="Only run has to be there."
            )
        for key in sorted(map(str, value.keys() - _KEYS)):
            raise FieldError(
                (key,), "is not a field of a task", hint="It has run, meta, prf and cause."
            )
        prf = value.get("prf")
        if prf is not None and type(prf) is not list:
            raise FieldError(
                ("prf",), "a list of links to delegations is needed", hint=f"Write [{_CID_TEXT}]."
            )
        meta = value.get("meta")
        return Task(
            _instruction(value["run"]),
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


def _check_links(prf: Any, cause: Any) -> None:
    if type(prf) is not tuple:
        raise FieldError(("prf",), "a list of links to delegations is needed")
    for position, proof in enumerate(prf):
        if type(proof) is not CID:
            raise FieldError(
                ("prf", position), "a link to a delegation is needed", hint=f"Write {_CID_TEXT}."
            )
    if cause is not None and type(cause) is not CID:
        raise FieldError(
            ("cause",), "a link to a receipt, or null, is needed", hint=f"Write {_CID_TEXT}."
        )


def _instruction(run: Any) -> Instruction:
    if type(run) is CID:
        raise FieldError(("run",), f"{run} is a link, the instruction itself is needed here")
    try:
        if type(run) is dict and type(run.get("op")) is str:
            run = {**run, "op": run["op"].strip().lower()}
        return Instruction.from_value(run)
    except UsageError as error:
        raise within(("run",), error) from None
