"""What a step needs of the node that runs it.

Some of it a person declares, in `meta.requires` of the task:

    requires:
      gpu: true                        # or a number, or {count: 1, memory: 8G, kind: h200}
      cpu: 4                           # cores
      memory: 16G                      # of the machine; meta.limits.memory is the guest's own
      disk: 10G                        # free
      engine: [wasmtime, component]    # what the WebAssembly engine must be able to do
      arch: x86_64                     # of the processor, as `uname -m` names it
      op: [cuda/matmul]                # operations that must be there beside the step's own
      key: did:key:z6Mk…               # only the node that holds this key: private data
      affinity: [{tag: lab}, {holds: bafk…, soft: 30s}]
      anti_affinity: {did: [did:key:z6Mk…]}

`meta.needs`, a list of words, is short for it: `gpu` is one GPU of any kind, `network` says
nothing (operations say it themselves), any other word is a tag that the node must have.

The rest follows from what the step is: its operation, the limits it names, the code and the
inputs it reads. None of it is part of the memo key.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from lite.frozen import frozen
from lite.ipld.cid import CID
from lite.limits import INTEGER_MAX, Limits
from lite.model.instruction import Instruction
from lite.model.limits_map import limits_from_meta
from lite.model.place import FieldError, Path, shown
from lite.needs import fields

REQUIRES: Final = ("meta", "requires")
NEEDS: Final = ("meta", "needs")
KEYS: Final = (
    *("gpu", "cpu", "memory", "disk", "engine", "arch", "op", "key"),
    *("affinity", "anti_affinity"),
)
GPU_KEYS: Final = ("count", "memory", "kind")
TERM_KEYS: Final = ("did", "tag", "holds")

GPUS_MAX: Final = 1_024
CORES_MAX: Final = 65_536
LIST_MAX: Final = 64
SOFT_MS: Final = 60_000  # what `soft: true` is worth
NOTHING: Final = Limits(fuel=0, memory_bytes=0, time_ms=0, output_bytes=0)


@frozen
class GpuNeed:
    """GPUs of one machine.

    Attributes:
        memory_bytes: that each of them must have; 0: any.
        kind: a maker or a part of the model's name, capitals apart; empty: any.
    """

    count: int = 1
    memory_bytes: int = 0
    kind: str = ""


@frozen
class Term:
    """Nodes to be near to, or to stay away from: those named, tagged so, or that hold something.

    Attributes:
        by: "did", "tag" or "holds".
        any_of: DIDs or words, sorted; or CIDs. One of them is enough.
        soft_ms: 0: it must hold. Else how much longer it may take to have it so.
    """

    by: str
    any_of: tuple[Any, ...]
    soft_ms: int = 0


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
        return Requirements(**_declared(meta))

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
        found = _declared(meta)
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

    @property
    def bytes_known(self) -> int:
        """Bytes of all its inputs of known size."""
        return sum(size or 0 for _, size in self.inputs)


def _named_limits(meta: Mapping[str, Any], defaults: Mapping[str, Any] | None) -> Limits:
    """The limits that somebody wrote down; what means "unlimited" is left to the node."""
    named = limits_from_meta(meta, defaults, NOTHING)
    parts = (named.fuel, named.memory_bytes, named.time_ms, named.output_bytes)
    return Limits(*(0 if part >= INTEGER_MAX else part for part in parts))


def _declared(meta: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of `Requirements` that a task declares."""
    found: dict[str, Any] = {}
    written = meta.get("requires")
    if written is not None:
        told = fields.mapping(written, REQUIRES, KEYS)
        for key, value in told.items():
            if value is not None:
                _READERS[key](found, value, (*REQUIRES, key))
    if meta.get("needs") is not None:
        _words(found, meta["needs"])
    return found


def _words(found: dict[str, Any], value: Any) -> None:
    if type(value) is not list:
        raise FieldError(NEEDS, "a list of words is needed", hint="Write [gpu], also for one.")
    terms = list(found.get("affinity", ()))
    for at, item in enumerate(value):
        need = fields.word(item, (*NEEDS, at))
        if need == "gpu":
            found["gpu"] = found.get("gpu") or GpuNeed()
        elif need != "network":
            terms.append(Term("tag", (need,)))
    if terms:
        found["affinity"] = tuple(dict.fromkeys(terms))


def _gpu(found: dict[str, Any], value: Any, path: Path) -> None:
    """`true`, a number, or `{count, memory, kind}`."""
    if type(value) is bool:
        need = GpuNeed() if value else None
    elif type(value) is not dict:
        if type(value) not in (int, float):
            hint = "Write true, a number, or {count: 1, memory: 8G, kind: nvidia}."
            raise FieldError(path, f"{shown(value)} says nothing of GPUs", hint=hint)
        count = fields.number(value, path, 0, GPUS_MAX)
        need = GpuNeed(count) if count else None
    else:
        told = {k: v for k, v in fields.mapping(value, path, GPU_KEYS).items() if v is not None}
        need = GpuNeed(
            fields.number(told.get("count", 1), (*path, "count"), 1, GPUS_MAX),
            fields.size(told["memory"], (*path, "memory")) if "memory" in told else 0,
            fields.word(told["kind"], (*path, "kind")) if "kind" in told else "",
        )
    found["gpu"] = need


def _terms(value: Any, path: Path) -> tuple[Term, ...]:
    """One map with one of `did`, `tag` and `holds`, or a list of such maps."""
    if type(value) is dict:
        return (_term(value, path),)
    if type(value) is not list or not 1 <= len(value) <= LIST_MAX:
        hint = "Write {tag: lab}, or a list of such maps."
        raise FieldError(path, f"a map or a list of at most {LIST_MAX} is needed", hint=hint)
    return tuple(dict.fromkeys(_term(item, (*path, at)) for at, item in enumerate(value)))


def _term(value: Any, path: Path) -> Term:
    told = fields.mapping(value, path, (*TERM_KEYS, "soft"))
    named = [key for key in TERM_KEYS if told.get(key) is not None]
    if len(named) != 1:
        raise FieldError(
            path, f"one of {', '.join(TERM_KEYS)} is needed", hint="Write a list for several."
        )
    by = named[0]
    any_of: Sequence[Any] = fields.some(told[by], (*path, by), _TERM_READERS[by], LIST_MAX)
    return Term(by, tuple(any_of), _soft_ms(told.get("soft"), (*path, "soft")))


def _soft_ms(value: Any, path: Path) -> int:
    """`true`, or how much time it is worth."""
    if value is None or type(value) is bool:
        return SOFT_MS if value else 0
    if type(value) is not str:
        raise FieldError(path, f"{shown(value)} is no duration", hint="Write true, or 30s.")
    found = fields.duration_ms(value, path)
    if not found:
        raise FieldError(path, "more than no time is needed", hint="Leave it out to demand it.")
    return found


def _put(name: str, read: Any) -> Any:
    def reader(found: dict[str, Any], value: Any, path: Path) -> None:
        found[name] = read(value, path)

    return reader


_TERM_READERS: Final[Mapping[str, Any]] = {
    "did": fields.did,
    "tag": fields.word,
    "holds": fields.cid,
}
_READERS: Final[Mapping[str, Any]] = {
    "gpu": _gpu,
    "cpu": _put("cores", lambda value, path: fields.number(value, path, 1, CORES_MAX)),
    "memory": _put("memory_bytes", fields.size),
    "disk": _put("disk_bytes", fields.size),
    "engine": _put("engine", lambda value, path: fields.some(value, path, fields.word, LIST_MAX)),
    "arch": _put("arch", fields.word),
    "op": _put("ops", lambda value, path: fields.some(value, path, fields.op, LIST_MAX)),
    "key": _put("key", fields.did),
    "affinity": _put("affinity", _terms),
    "anti_affinity": _put("anti_affinity", _terms),
}
assert tuple(_READERS) == KEYS
