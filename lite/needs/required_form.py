"""The canonical form of requirements, in which a customer sends them to a provider.

    {gpu?: {count, memory?, kind?}, cpu?, memory?, disk?, engine?, arch?, op?, key?,
     affinity?: [{did | tag | holds: […], soft?}], anti_affinity?,
     limits?: {fuel?, memory?, time?, output?}, module?, inputs?: [[link, size or null], …]}

Sizes are in bytes, times in milliseconds. What is not asked for is absent: no zero, no empty text
or list. `engine`, `op` and the names in a term are sorted, each once; terms and inputs stand in
the order of the step. Equal requirements have equal bytes in DAG-CBOR.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar

from lite.frozen import replace
from lite.ipld.cid import CID
from lite.limits import INTEGER_MAX, Limits
from lite.model import fields
from lite.model.place import FieldError, Path
from lite.model.requires import (
    CORES_MAX,
    GPU_KEYS,
    GPUS_MAX,
    KEYS,
    LIST_MAX,
    TERM_KEYS,
    WORDS_MAX,
    GpuNeed,
    Term,
)
from lite.needs.requirements import NOTHING, Requirements
from lite.quantities import DURATION_MAX_MS, SIZE_MAX

__all__ = ["INPUTS_MAX", "read", "written"]

T = TypeVar("T")

INPUTS_MAX: Final = 10_000
OPS_MAX: Final = LIST_MAX + 1  # with the step's own
TERMS_MAX: Final = LIST_MAX + WORDS_MAX
_LIMITS: Final = {
    "fuel": "fuel",
    "memory": "memory_bytes",
    "time": "time_ms",
    "output": "output_bytes",
}
_FORM_KEYS: Final = (*KEYS, "limits", "module", "inputs")


def written(needs: Requirements) -> dict[str, Any]:
    """The IPLD map of requirements."""
    whole: dict[str, Any] = {
        "gpu": None if needs.gpu is None else _gpu_value(needs.gpu),
        "cpu": needs.cores,
        "memory": needs.memory_bytes,
        "disk": needs.disk_bytes,
        "engine": sorted(set(needs.engine)),
        "arch": needs.arch,
        "op": sorted(set(needs.ops)),
        "key": needs.key,
        "affinity": [_term_value(term) for term in needs.affinity],
        "anti_affinity": [_term_value(term) for term in needs.anti_affinity],
        "limits": _said({key: getattr(needs.limits, name) for key, name in _LIMITS.items()}),
        "module": needs.module,
        "inputs": [[cid, size] for cid, size in needs.inputs],
    }
    return _said(whole)


def read(value: Any, path: Path = ()) -> Requirements:
    """Requirements from their canonical form.

    Raises:
        FieldError: it names the field that is wrong or unknown.
    """
    told = fields.mapping(value, path, _FORM_KEYS)

    def at(key: str, reader: Callable[[Any, Path], T], absent: T) -> T:
        return reader(told[key], (*path, key)) if key in told else absent

    nothing = Requirements()
    return Requirements(
        gpu=at("gpu", _gpu, None),
        cores=at("cpu", lambda item, where: fields.whole(item, where, 1, CORES_MAX), 0),
        memory_bytes=at("memory", _size, 0),
        disk_bytes=at("disk", _size, 0),
        engine=at("engine", lambda item, where: _some(item, where, fields.word), ()),
        arch=at("arch", fields.word, ""),
        ops=at("op", lambda item, where: _some(item, where, fields.op, OPS_MAX), ()),
        key=at("key", fields.did, ""),
        affinity=at("affinity", _terms, nothing.affinity),
        anti_affinity=at("anti_affinity", _terms, nothing.anti_affinity),
        limits=at("limits", _limits, NOTHING),
        module=at("module", _link, None),
        inputs=at("inputs", _inputs, nothing.inputs),
    )


def _said(whole: dict[str, Any]) -> dict[str, Any]:
    """The fields that ask for something."""
    return {key: item for key, item in whole.items() if item}


def _gpu_value(need: GpuNeed) -> dict[str, Any]:
    return _said({"count": need.count, "memory": need.memory_bytes, "kind": need.kind})


def _gpu(value: Any, path: Path) -> GpuNeed | None:
    told = fields.mapping(value, path, GPU_KEYS)
    if "count" not in told:
        raise FieldError((*path, "count"), "missing")
    return GpuNeed(
        fields.whole(told["count"], (*path, "count"), 1, GPUS_MAX),
        _size(told["memory"], (*path, "memory")) if "memory" in told else 0,
        fields.word(told["kind"], (*path, "kind")) if "kind" in told else "",
    )


def _term_value(term: Term) -> dict[str, Any]:
    return _said({term.by: sorted(set(term.any_of), key=str), "soft": term.soft_ms})


def _terms(value: Any, path: Path) -> tuple[Term, ...]:
    if type(value) is not list or not 1 <= len(value) <= TERMS_MAX:
        raise FieldError(path, f"a list of 1 to {TERMS_MAX} is needed")
    return tuple(_term(item, (*path, at)) for at, item in enumerate(value))


def _term(value: Any, path: Path) -> Term:
    told = fields.mapping(value, path, (*TERM_KEYS, "soft"))
    named = [key for key in TERM_KEYS if key in told]
    if len(named) != 1:
        raise FieldError(path, f"one of {', '.join(TERM_KEYS)} is needed")
    soft_ms = 0
    if "soft" in told:
        soft_ms = fields.whole(told["soft"], (*path, "soft"), 1, DURATION_MAX_MS)
    return Term(named[0], _some(told[named[0]], (*path, named[0]), _NAMES[named[0]]), soft_ms)


def _limits(value: Any, path: Path) -> Limits:
    told = fields.mapping(value, path, tuple(_LIMITS))
    if not told:
        raise FieldError(path, "is empty: leave it out")
    asked = {
        _LIMITS[key]: fields.whole(item, (*path, key), 1, INTEGER_MAX - 1)
        for key, item in told.items()
    }
    return replace(NOTHING, **asked)


def _inputs(value: Any, path: Path) -> tuple[tuple[CID, int | None], ...]:
    if type(value) is not list or not 1 <= len(value) <= INPUTS_MAX:
        raise FieldError(path, f"a list of 1 to {INPUTS_MAX} is needed")
    found: dict[CID, int | None] = {}
    for at, item in enumerate(value):
        if type(item) is not list or len(item) != 2:
            raise FieldError((*path, at), "[link, size or null] is needed")
        cid = _link(item[0], (*path, at, 0))
        if cid in found:
            raise FieldError((*path, at), "stands there twice")
        size = item[1]
        found[cid] = None if size is None else fields.whole(size, (*path, at, 1), 0, SIZE_MAX)
    return tuple(found.items())


def _some(
    value: Any, path: Path, reader: Callable[[Any, Path], T], count_max: int = LIST_MAX
) -> tuple[T, ...]:
    """A list that is sorted, without an item twice, and not empty."""
    found = fields.ordered(value, path, reader, count_max)
    if not found:
        raise FieldError(path, "is empty: leave it out")
    return found


def _size(value: Any, path: Path) -> int:
    return fields.whole(value, path, 1, SIZE_MAX)


def _link(value: Any, path: Path) -> CID:
    if type(value) is not CID:
        raise FieldError(path, "a link is needed")
    return value


_NAMES: Final[dict[str, Callable[[Any, Path], Any]]] = {
    "did": fields.did,
    "tag": fields.word,
    "holds": _link,
}
