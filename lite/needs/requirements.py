"""What a step needs of the node that runs it.

Some of it the task declares (`lite.model.requires`). The rest follows from what the step is: its
operation, the limits it names, the code and the inputs it reads. None of it is part of the memo
key. Whoever asks another node for a bid sends it in the form of `lite.needs.required_form`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from lite.frozen import frozen
from lite.ipld.cid import CID
from lite.limits import INTEGER_MAX, Limits
from lite.model.instruction import Instruction
from lite.model.limits_map import limits_from_meta
from lite.model.place import Path
from lite.model.requires import GpuNeed, Term, declared

NOTHING: Final = Limits(fuel=0, memory_bytes=0, time_ms=0, output_bytes=0)


@frozen
class Requirements:
    """All that one step needs.

    Attributes:
        gpu, cores, memory_bytes, disk_bytes: of the machine; None or 0: not asked for.
        engine: features that the engine must have.
        ops: operations that must be there, the step's own among them.
        key: the DID of the only node that may run it; empty: any.
        affinity, anti_affinity: see `Term`; all of them count.
        limits: those that the step itself names; 0 in one: not named, or without bound, and then
            the node's own counts.
        module: its code, None when there is none or a step that comes before makes it.
        inputs: code and content that it reads, with the bytes of all below; None: not known here.
    """

    gpu: GpuNeed | None = None
    cores: int = 0
    memory_bytes: int = 0
    disk_bytes: int = 0
    engine: tuple[str, ...] = ()
    arch: str = ""
    ops: tuple[str, ...] = ()
    key: str = ""
    affinity: tuple[Term, ...] = ()
    anti_affinity: tuple[Term, ...] = ()
    limits: Limits = NOTHING
    module: CID | None = None
    inputs: tuple[tuple[CID, int | None], ...] = ()

    @staticmethod
    def declared(meta: Mapping[str, Any]) -> Requirements:
        """What `meta.requires` and `meta.needs` of a task say.

        Raises:
            FieldError: it names the field, and what would be right.
        """
        return Requirements(**declared(meta))

    @staticmethod
    def of(
        instruction: Instruction,
        meta: Mapping[str, Any],
        defaults: Mapping[str, Any] | None = None,
        sizes: Mapping[CID, int] | None = None,
    ) -> Requirements:
        """What a step needs, declared and derived.

        Args:
            meta: of its task.
            defaults: of its workflow, for the limits.
            sizes: bytes of what is below a CID, where they are known.

        Raises:
            FieldError: a field of `meta` or `defaults` is wrong.
        """
        found = declared(meta)
        found["ops"] = tuple(sorted({instruction.op, *found.get("ops", ())}))
        roots = [*([] if instruction.module is None else [instruction.module])]
        roots += [cid for cid in instruction.links() if cid not in roots]
        known = sizes or {}
        return Requirements(
            **found,
            limits=_named_limits(meta, defaults),
            module=instruction.module,
            inputs=tuple((cid, known.get(cid)) for cid in roots),
        )

    def value(self) -> dict[str, Any]:
        """The IPLD map of the canonical form, without what is not asked for."""
        from lite.needs.required_form import written

        return written(self)

    @staticmethod
    def from_value(value: Any, path: Path = ()) -> Requirements:
        """Read the canonical form, and nothing else.

        Args:
            path: where the value stood, for messages.

        Raises:
            FieldError: it names the field that is wrong or unknown.
        """
        from lite.needs.required_form import read

        return read(value, path)

    @property
    def bytes_known(self) -> int:
        """Bytes of all its inputs of known size."""
        return sum(size or 0 for _, size in self.inputs)


def _named_limits(meta: Mapping[str, Any], defaults: Mapping[str, Any] | None) -> Limits:
    """The limits that somebody wrote down; what means "unlimited" is left to the node."""
    named = limits_from_meta(meta, defaults, NOTHING)
    parts = (named.fuel, named.memory_bytes, named.time_ms, named.output_bytes)
    return Limits(*(0 if part >= INTEGER_MAX else part for part in parts))
