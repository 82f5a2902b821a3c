"""What a node has for steps, as a value with one canonical form.

    {arch, system, cores, memory, disk, gpus: [{vendor, name, memory?}], engine, ops, tags,
     limits: {fuel?, memory?, time?, output?}, module, fetch}

Sizes are in bytes, times in milliseconds. `engine`, `ops` and `tags` are sorted lists, GPUs stand
in the order of the machine. A limit that is absent does not bound.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from lite.errors import CodecError, UsageError
from lite.frozen import frozen, replace
from lite.ipld import dag_cbor
from lite.limits import INTEGER_MAX, MIB, Limits
from lite.model import fields
from lite.model.place import FieldError, Path, shown
from lite.model.requires import CORES_MAX, GPUS_MAX, LIST_MAX
from lite.quantities import SIZE_MAX

OPS_MAX: Final = 256
NAME_CHARS_MAX: Final = 100
DISK_STEP_BYTES: Final = 256 * MIB
UNBOUNDED: Final = Limits(
    fuel=INTEGER_MAX, memory_bytes=INTEGER_MAX, time_ms=INTEGER_MAX, output_bytes=INTEGER_MAX
)
_KEYS: Final = (
    *("arch", "system", "cores", "memory", "disk", "gpus", "engine", "ops", "tags"),
    *("limits", "module", "fetch"),
)
_LIMITS: Final = {
    "fuel": "fuel",
    "memory": "memory_bytes",
    "time": "time_ms",
    "output": "output_bytes",
}


@frozen
class Gpu:
    """One GPU, or one part of it that is used like one.

    Attributes:
        vendor: "nvidia"; empty: not known.
        name: the model as its driver calls it, such as "NVIDIA H200"; empty: not known.
        memory_bytes: all that it has; None: not known.
    """

    vendor: str
    name: str = ""
    memory_bytes: int | None = None

    def is_of(self, kind: str) -> bool:
        """Whether it is of a maker, or its model's name holds the word; capitals apart."""
        wanted = kind.casefold()
        return wanted in (self.vendor.casefold(), "") or wanted in self.name.casefold()


@frozen
class Capabilities:
    """What one node has.

    Attributes:
        did: the node. It is not in the canonical form: the record's issuer is.
        arch, system: "x86_64", "linux".
        cores, memory_bytes, disk_bytes: what steps may use of the machine; whole cores, free disk.
        engine: the name of the WebAssembly engine and its features; empty: none.
        ops: operations that it runs.
        tags: what its owner calls it.
        limits: the most that a step may ask for.
        module_bytes: the largest module that it compiles.
        fetch_bytes: the most that it downloads for one step.
    """

    did: str
    arch: str = ""
    system: str = ""
    cores: int = 1
    memory_bytes: int = 0
    disk_bytes: int = 0
    gpus: tuple[Gpu, ...] = ()
    engine: tuple[str, ...] = ()
    ops: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    limits: Limits = UNBOUNDED
    module_bytes: int = SIZE_MAX
    fetch_bytes: int = SIZE_MAX

    def value(self) -> dict[str, Any]:
        """The IPLD map of the canonical form."""
        return {
            "arch": self.arch,
            "system": self.system,
            "cores": self.cores,
            "memory": self.memory_bytes,
            "disk": self.disk_bytes,
            "gpus": [_gpu_value(gpu) for gpu in self.gpus],
            "engine": sorted(set(self.engine)),
            "ops": sorted(set(self.ops)),
            "tags": sorted(set(self.tags)),
            "limits": _limits_value(self.limits),
            "module": self.module_bytes,
            "fetch": self.fetch_bytes,
        }

    def encode(self) -> bytes:
        """The canonical DAG-CBOR; equal for equal capabilities, whoever has them."""
        return dag_cbor.encode(self.value())

    @staticmethod
    def from_value(did: str, value: Any, path: Path = ()) -> Capabilities:
        """Read the canonical form, and nothing else.

        Args:
            path: where the value stood, for messages.

        Raises:
            FieldError: it names the field that is wrong, missing or unknown.
        """
        told = fields.mapping(value, path, _KEYS)
        for key in _KEYS:
            if key not in told:
                raise FieldError((*path, key), "missing")

        def at(key: str) -> tuple[Any, Path]:
            return told[key], (*path, key)

        return Capabilities(
            did,
            _word_or_empty(*at("arch")),
            _word_or_empty(*at("system")),
            fields.whole(*at("cores"), 0, CORES_MAX),
            fields.whole(*at("memory"), 0, SIZE_MAX),
            fields.whole(*at("disk"), 0, SIZE_MAX),
            _gpus(*at("gpus")),
            fields.ordered(*at("engine"), fields.word, LIST_MAX),
            fields.ordered(*at("ops"), fields.op, OPS_MAX),
            fields.ordered(*at("tags"), fields.word, LIST_MAX),
            _limits(*at("limits")),
            fields.whole(*at("module"), 0, SIZE_MAX),
            fields.whole(*at("fetch"), 0, SIZE_MAX),
        )

    @staticmethod
    def decode(did: str, data: bytes) -> Capabilities:
        """Read canonical bytes.

        Raises:
            CodecError: other bytes.
        """
        value = dag_cbor.decode(data)
        try:
            return Capabilities.from_value(did, value)
        except UsageError as error:
            raise CodecError(f"no capabilities: {error}") from None


@frozen
class Offer:
    """How much of a machine its owner holds for others; None in a field: all of it.

    Attributes:
        tags: added to those of the node.
        ops: operations that others may have done.
        limits: the most that a step of others may ask for.
    """

    ops: tuple[str, ...]
    limits: Limits
    tags: tuple[str, ...] = ()
    cores: int | None = None
    memory_bytes: int | None = None
    disk_bytes: int | None = None
    gpus: int | None = None
    fetch_bytes: int | None = None


def for_others(own: Capabilities, offer: Offer) -> Capabilities:
    """What of a node's own capabilities others may count on: never more than it has.

    The free disk is in whole steps, so that not every file makes another record.
    """
    disk_bytes = _least(own.disk_bytes, offer.disk_bytes)
    return replace(
        own,
        cores=_least(own.cores, offer.cores),
        memory_bytes=_least(own.memory_bytes, offer.memory_bytes),
        disk_bytes=disk_bytes - disk_bytes % DISK_STEP_BYTES,
        gpus=own.gpus[: offer.gpus],
        ops=tuple(sorted(set(own.ops) & set(offer.ops))),
        tags=tuple(sorted({*own.tags, *offer.tags})),
        limits=own.limits.clamp(offer.limits),
        fetch_bytes=_least(own.fetch_bytes, offer.fetch_bytes),
    )


def _least(own: int, held: int | None) -> int:
    return own if held is None else min(own, held)


def _gpu_value(gpu: Gpu) -> dict[str, Any]:
    value: dict[str, Any] = {"vendor": gpu.vendor, "name": gpu.name}
    return value if gpu.memory_bytes is None else value | {"memory": gpu.memory_bytes}


def _gpus(value: Any, path: Path) -> tuple[Gpu, ...]:
    if type(value) is not list or len(value) > GPUS_MAX:
        raise FieldError(path, f"a list of at most {GPUS_MAX} is needed")
    return tuple(_gpu(item, (*path, at)) for at, item in enumerate(value))


def _gpu(value: Any, path: Path) -> Gpu:
    told = fields.mapping(value, path, ("vendor", "name", "memory"))
    for key in ("vendor", "name"):
        if key not in told:
            raise FieldError((*path, key), "missing")
    name = told["name"]
    if type(name) is not str or len(name) > NAME_CHARS_MAX or not (name.isprintable()):
        raise FieldError((*path, "name"), f"{shown(name)} is not the name of a model")
    memory = told.get("memory")
    if "memory" in told:
        memory = fields.whole(memory, (*path, "memory"), 0, SIZE_MAX)
    return Gpu(_word_or_empty(told["vendor"], (*path, "vendor")), name, memory)


def _limits_value(limits: Limits) -> dict[str, int]:
    found = {key: getattr(limits, name) for key, name in _LIMITS.items()}
    return {key: value for key, value in found.items() if value < INTEGER_MAX}


def _limits(value: Any, path: Path) -> Limits:
    told = fields.mapping(value, path, tuple(_LIMITS))
    asked: Mapping[str, int] = {
        _LIMITS[key]: fields.whole(item, (*path, key), 0, INTEGER_MAX - 1)
        for key, item in told.items()
    }
    return replace(UNBOUNDED, **asked)


def _word_or_empty(value: Any, path: Path) -> str:
    return "" if value == "" else fields.word(value, path)
