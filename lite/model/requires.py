"""What a task declares that it needs of the node that runs it: `meta.requires` and `meta.needs`.

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

A word or a list of words, as `requires` or as `needs`, is short for it: `gpu` is one GPU of any
kind, `network` says nothing (operations say it themselves), any other word is a tag that the node
must have. None of it is part of the memo key. `lite.needs` says what follows from it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from lite.frozen import frozen
from lite.model import fields
from lite.model.place import FieldError, Path, shown

__all__ = ["GpuNeed", "Term", "check_declared", "declared", "declares"]

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
WORDS_MAX: Final = 100
SOFT_MS: Final = 60_000  # what `soft: true` is worth


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


def declares(meta: Mapping[str, Any]) -> bool:
    """Whether a task says anything of the node that runs it."""
    return meta.get("requires") is not None or meta.get("needs") is not None


def declared(
    meta: Mapping[str, Any], requires: Path = REQUIRES, needs: Path = NEEDS
) -> dict[str, Any]:
    """The fields of `lite.needs.requirements.Requirements` that a task declares.

    Args:
        requires, needs: where the two stood, for messages.

    Raises:
        FieldError: it names the field, and what would be right.
    """
    found: dict[str, Any] = {}
    written = meta.get("requires")
    if type(written) in (str, list):
        _words(found, written, requires)
    elif written is not None:
        if type(written) is not dict:
            hint = "Write gpu, [gpu, lab], or {gpu: 1, memory: 16G}."
            raise FieldError(requires, "a map or a list of words is needed", hint=hint)
        for key, value in fields.mapping(written, requires, KEYS).items():
            if value is not None:
                _READERS[key](found, value, (*requires, key))
    if meta.get("needs") is not None:
        _words(found, meta["needs"], needs)
    return found


def check_declared(meta: Mapping[str, Any], path: Path = ("meta",)) -> None:
    """Refuse what `declared` cannot read.

    Raises:
        FieldError: it names the field; `path` is that of `meta`.
    """
    declared(meta, (*path, "requires"), (*path, "needs"))


def _words(found: dict[str, Any], value: Any, path: Path) -> None:
    items = [value] if type(value) is str else value
    if type(items) is not list or len(items) > WORDS_MAX:
        told = f"a list of words is needed, at most {WORDS_MAX}"
        raise FieldError(path, told, hint="Such as [gpu].")
    terms = list(found.get("affinity", ()))
    for at, item in enumerate(items):
        need = fields.word(item, path if items is not value else (*path, at))
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
