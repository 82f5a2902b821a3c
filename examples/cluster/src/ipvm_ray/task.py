"""One run as it travels to a machine of the cluster, and what happens there."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from lite.engine.base import Outcome
from lite.engine.spool import Spooled
from lite.errors import NotFoundError
from lite.frozen import replace
from lite.ipld.cid import CID
from lite.limits import TRACE_BYTES_MAX, EngineCaps, Limits
from lite.model.instruction import Instruction
from lite.ops.base import Content, Ready

_HOMES: list[tempfile.TemporaryDirectory[str]] = []


@dataclass(frozen=True)
class Parcel:
    """All that a run needs, as bytes.

    Attributes:
        instruction: its bytes. content: by raw CID, kind and bytes.
        module: its raw CID, and its bytes; None: there is none.
    """

    op: str
    instruction: bytes
    content: dict[bytes, tuple[str, bytes]]
    module: tuple[bytes, bytes] | None
    limits: Limits
    caps: EngineCaps
    homestar: bool
    needs: dict[str, Any]

    @staticmethod
    def of(op: str, ready: Ready) -> Parcel:
        module, instruction = None, ready.instruction
        if instruction.module is not None and op == "wasm/run":
            cid = ready.files.resolve(instruction.module, instruction.module_path)
            module = cid.raw, ready.files.read(cid)
        return Parcel(
            op,
            instruction.data,
            {cid.raw: (one.kind, one.read()) for cid, one in ready.content.items()},
            module,
            ready.limits,
            ready.caps,
            ready.homestar,
            dict(ready.needs),
        )


class _Shipped:
    """The one file that came along."""

    def __init__(self, module: tuple[bytes, bytes] | None) -> None:
        self._module = module

    def resolve(self, cid: CID, path: str) -> CID:
        if self._module is None:
            raise NotFoundError(f"{cid} did not come along")
        return CID.from_bytes(self._module[0])

    def size(self, cid: CID) -> int:
        return len(self.read(cid))

    def read(self, cid: CID) -> bytes:
        if self._module is None or cid.raw != self._module[0]:
            raise NotFoundError(f"{cid} did not come along")
        return self._module[1]

    def gather(self, cid: CID) -> bytes:
        return self.read(cid)


def run_there(parcel: Parcel, settings: Mapping[str, str]) -> tuple[Outcome, bytes]:
    """The body of the Ray task: the value or error, and what the guest wrote."""
    trace = bytearray()

    def on_trace(data: bytes) -> None:
        trace.extend(data[: max(0, TRACE_BYTES_MAX - len(trace))])

    ready = Ready(
        Instruction.parse(parcel.instruction),
        {CID.from_bytes(raw): Content(kind, data) for raw, (kind, data) in parcel.content.items()},
        _Shipped(parcel.module),
        parcel.limits,
        parcel.caps,
        homestar=parcel.homestar,
        on_trace=on_trace,
        needs=parcel.needs,
    )
    op = _ops(tuple(sorted(settings.items())))[parcel.op]
    missing = op.missing(ready)
    if missing is not None:
        told = f"on the machine of the cluster: {missing}"
        return Outcome(error={"code": "not-on-cluster", "message": told, "transient": True}), b""
    outcome = op.run(ready)
    ok, error = in_memory(outcome.ok), in_memory(outcome.error)
    return replace(outcome, ok=ok, error=error), bytes(trace)


def in_memory(value: Any) -> Any:
    """A value without files of this machine: large bytes lie in one that has no name."""
    if isinstance(value, Spooled):
        return value.bytes()
    if isinstance(value, dict):
        return {key: in_memory(item) for key, item in value.items()}
    return [in_memory(item) for item in value] if isinstance(value, list) else value


@lru_cache(maxsize=1)
def _ops(settings: tuple[tuple[str, str], ...]) -> Any:
    """The operations of this machine, with a cache of compiled code while the process lives."""
    from lite.config import Config
    from lite.engine.pool import Workers
    from lite.ops.registry import Ops

    _HOMES.append(tempfile.TemporaryDirectory(prefix="ipvm-ray-"))  # removed when the process ends
    config = Config.load(_HOMES[-1].name, dict(settings), env={})
    return Ops(config, Workers(cache_dir=config.cache_dir, engine=config.engine, size=1))
