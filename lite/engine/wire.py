"""Jobs and outcomes as messages between the node and a worker.

What a message says about the connection is plain CBOR; what comes from an instruction or goes into
a receipt is DAG-CBOR inside it, so that a value outside the data model is found before it is sent.
Every job crosses here, so nothing is encoded twice.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from operator import attrgetter
from pathlib import Path
from typing import Any

from lite.engine.base import Host, Outcome, Usage
from lite.engine.frames import BLOB_BYTES_MIN
from lite.engine.job import Content, Job
from lite.engine.spool import Spooled
from lite.frozen import fields
from lite.ipld import dag_cbor
from lite.ipld.cid import CID
from lite.limits import EngineCaps, Limits

_limits_values = attrgetter(*fields(Limits))
_caps_values = attrgetter(*fields(EngineCaps))


class Blobs(list["bytes | Spooled"]):
    """The byte strings beside a message."""

    def put(self, data: bytes | Spooled) -> bytes | int:
        """What stands for `data` in the message: itself when short, else its index."""
        if isinstance(data, bytes) and len(data) < BLOB_BYTES_MIN:
            return data
        self.append(data)
        return len(self) - 1

    def given(self, placed: bytes | int) -> bytes | Spooled:
        """What was put, large bytes in a file where they came in one."""
        return self[placed] if isinstance(placed, int) else placed

    def get(self, placed: bytes | int) -> bytes:
        """What was put, in memory."""
        data = self.given(placed)
        return data if isinstance(data, bytes) else data.bytes()


def job_message(job: Job, blobs: Blobs) -> dict[str, Any]:
    """The message that asks a worker to run `job`. Paths of content must be absolute.

    Raises:
        CodecError: an argument is not an IPLD value.
    """
    host = job.host
    given = [job.func, list(job.args), list(host.args), [list(pair) for pair in host.env]]
    return {
        "do": "run",
        "module": job.module.raw,
        "given": blobs.put(dag_cbor.encode(given)),
        "content": [
            [cid.raw, c.kind, str(c.data) if isinstance(c.data, Path) else blobs.put(c.data)]
            for cid, c in job.content.items()
        ],
        "limits": _limits_values(job.limits),
        "caps": _caps_values(job.caps),
        "stdin": str(host.stdin) if isinstance(host.stdin, Path) else blobs.put(host.stdin),
        "seed": host.seed,
        "homestar": host.homestar,
    }


def job_from(
    message: dict[str, Any], blobs: Blobs, on_trace: Callable[[bytes], None] | None = None
) -> Job:
    """The inverse of `job_message`; `on_trace` is of this side."""
    func, args, host_args, env = dag_cbor.decode_trusted(blobs.get(message["given"]))
    stdin = message["stdin"]
    return Job(
        module=CID.from_bytes(message["module"]),
        func=func,
        args=tuple(args),
        content={
            CID.from_bytes(cid): Content(
                kind, Path(data) if isinstance(data, str) else blobs.get(data)
            )
            for cid, kind, data in message["content"]
        },
        limits=_limits(tuple(message["limits"])),
        caps=caps_from(message["caps"]),
        host=Host(
            args=tuple(host_args),
            env=tuple((name, value) for name, value in env),
            stdin=Path(stdin) if isinstance(stdin, str) else blobs.get(stdin),
            seed=message["seed"],
            homestar=message["homestar"],
            on_trace=on_trace,
        ),
    )


def describe_message(module: CID, caps: EngineCaps) -> dict[str, Any]:
    """The message that asks a worker for the types of a module."""
    return {"do": "describe", "module": module.raw, "caps": _caps_values(caps)}


def caps_from(values: list[int]) -> EngineCaps:
    return _caps(tuple(values))


@lru_cache
def _limits(values: tuple[int, ...]) -> Limits:
    return Limits(*values)


@lru_cache
def _caps(values: tuple[int, ...]) -> EngineCaps:
    return EngineCaps(*values)


def outcome_message(outcome: Outcome, ok: bytes | None, blobs: Blobs) -> dict[str, Any]:
    """A worker's answer to a job.

    Args:
        ok: DAG-CBOR of `outcome.ok`; None when that is a byte string, which goes as it is.
    """
    usage = outcome.usage
    error = None if outcome.error is None else blobs.put(dag_cbor.encode(outcome.error))
    return {
        "at": "done",
        "ok": None if error is not None else blobs.put(outcome.ok if ok is None else ok),
        "bytes": ok is None,
        "error": error,
        "usage": [usage.fuel, usage.time_ms, usage.memory_bytes, usage.memory_refused],
        "trace": blobs.put(outcome.trace),
        "stdout": list(outcome.trace_stdout),
        "path": outcome.path,
        "engine": outcome.engine,
    }


def outcome_from(message: dict[str, Any], blobs: Blobs) -> Outcome:
    """The inverse of `outcome_message`."""
    ok, error = None, None
    if message["error"] is not None:
        error = dag_cbor.decode_trusted(blobs.get(message["error"]))
    else:
        whole = message["bytes"]
        placed = message["ok"]
        ok = blobs.given(placed) if whole else dag_cbor.decode_trusted(blobs.get(placed))
    return Outcome(
        ok=ok,
        error=error,
        usage=Usage(*message["usage"]),
        trace=blobs.get(message["trace"]),
        path=message["path"],
        engine=message["engine"],
        trace_stdout=tuple(message["stdout"]),
    )
