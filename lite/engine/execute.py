"""Running one job, the same in a worker process and inside the node.

It finds the code and the function, converts the arguments by the function's types, runs, and
converts what came back.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from functools import partial
from typing import Any

from lite.engine import convert
from lite.engine.base import Engine, GuestFailure, Host, Outcome
from lite.engine.cache import CodeCache
from lite.engine.death import compile_memory, memory_limit, time_limit
from lite.engine.job import UNRESOLVED, Job, failed
from lite.engine.module import ModuleInfo
from lite.engine.refusal import Refused
from lite.engine.spool import Blob, Spooled
from lite.engine.to_wit import Load
from lite.engine.wit import BYTES, STRING, WitType, render, unwrapped
from lite.errors import CodecError
from lite.frozen import frozen, replace
from lite.ipld import dag_cbor
from lite.ipld.cid import CID
from lite.limits import BLOCK_BYTES_MAX, Limits

EXPORTS_SHOWN = 20


class Phases:
    """Told how far a job is; this one does not care."""

    def compiling(self) -> None:
        """A compilation begins."""

    def running(self, path: str, limits: Limits) -> None:
        """The input is read, then the guest begins; `path` as in `Outcome`, `limits` with the bound
        on its result."""


def engine_id(engine: Engine) -> str:
    """As it stands in receipts: "wasmtime 50.0.1"."""
    return f"{engine.name} {engine.version}"


def execute(engine: Engine, codes: CodeCache, job: Job, load_wasm: Callable[[], Blob]) -> Outcome:
    """Run one job in this process; see `run_job`."""
    return run_job(engine, codes, job, load_wasm, Phases())[0]


def run_job(
    engine: Engine,
    codes: CodeCache,
    job: Job,
    load_wasm: Callable[[], Blob],
    phases: Phases,
) -> tuple[Outcome, bytes | None]:
    """Run one job to its end. What the guest or its arguments do wrong is an error in the outcome.

    Args:
        load_wasm: gives the module's bytes; called only when `codes` does not hold it in memory.
            What it raises is passed on.
        phases: told when a compilation and when the guest begins.

    Returns:
        The outcome, and the DAG-CBOR of its ok unless that is a byte string or absent.

    Raises:
        EngineUnavailable: this engine cannot run a module of this kind; another one may.
    """
    made_by, path = engine_id(engine), ""
    try:
        loaded = codes.get(engine, job.module, load_wasm, job.caps, phases.compiling)
        path = loaded.info.path
        export = _find(job.func, loaded.info)
        limits = _for_result(job.limits, loaded.info.exports[export].result, loaded.info)
        # Before the input is read: until here the bounds of a compilation or of another run hold.
        phases.running(path, limits)
        call = _prepare(job, export, loaded.info)
        run = engine.open(loaded.code, limits, job.caps, call.host)
    except GuestFailure as failure:
        return failed(failure, path=path, engine=made_by), None
    except MemoryError:
        no_memory = memory_limit(job.limits) if path else compile_memory(job.caps)
        return failed(no_memory, path=path, engine=made_by), None
    with closing(run):
        try:
            began = time.monotonic()
            ok = call.convert(run.call(call.export, call.args))
            encoded = check_output(ok, job.limits)
            if (time.monotonic() - began) * 1000 > job.limits.time_ms:
                raise time_limit(job.limits)
            outcome = Outcome(ok, None, run.usage(), run.trace(), path, made_by)
            return replace(outcome, trace_stdout=run.trace_stdout()), encoded
        except GuestFailure as failure:
            ended = _bounded(failure, job.limits, limits)
        except MemoryError:
            ended = memory_limit(job.limits)
        outcome = failed(ended, run.usage(), trace=run.trace(), path=path, engine=made_by)
        return replace(outcome, trace_stdout=run.trace_stdout()), None


@frozen
class _Call:
    """What to call, with what, and how to read what comes back."""

    export: str
    args: list[Any]
    host: Host
    convert: Callable[[Any], Any]


def _prepare(job: Job, export: str, info: ModuleInfo) -> _Call:
    """Convert the arguments of the function `export`. Raises `GuestFailure`."""
    func = info.exports[export]
    load = partial(_load, job)
    if info.kind == "wasi-command":
        host = replace(job.host, args=(*job.host.args, *_texts(job.args, load)))
        return _Call(export, [], host, _unchanged)
    if info.kind == "core":
        args = convert.core_arguments(job.args, func, load=load)
        return _Call(export, args, job.host, partial(convert.core_outcome, f=func))
    if job.host.homestar:
        from lite.engine import homestar

        args = homestar.arguments(job.args, func, load=load)
        return _Call(export, args, job.host, partial(homestar.outcome, f=func))
    args = convert.arguments(job.args, func, load=load)
    return _Call(export, args, job.host, partial(convert.outcome, f=func))


def _find(func: str | None, info: ModuleInfo) -> str:
    if func is not None:
        return info.find(func)
    if len(info.exports) == 1:
        return next(iter(info.exports))
    names = sorted(info.exports)
    shown = ", ".join(names[:EXPORTS_SHOWN]) + (", …" if len(names) > EXPORTS_SHOWN else "")
    raise GuestFailure(
        "bad-argument",
        f"name the function to call; the module exports {shown}"
        if names
        else "the module exports no function to call",
    )


def _texts(args: Sequence[Any], load: Load) -> Iterator[str]:
    """The arguments of a command: text as it is, numbers and truth values as JSON writes them."""
    for i, arg in enumerate(args, 1):
        if isinstance(arg, bool):
            yield "true" if arg else "false"
        elif isinstance(arg, (int, float)):
            yield repr(arg)
        elif isinstance(arg, (str, bytes, CID)):
            yield convert.to_wit(arg, STRING, load=load)
        else:
            kind = "null" if arg is None else "a list" if isinstance(arg, list) else "a map"
            raise GuestFailure(
                "bad-argument",
                f"arg {i}: a command takes text and numbers, not {kind}: pass it as JSON in quotes",
            )


def _load(job: Job, cid: CID, t: WitType) -> Any:
    """What a link stands for, for a parameter of type `t`. A file that is larger than the guest's
    memory may be is not read."""
    found = job.content.get(cid)
    if found is None:
        raise GuestFailure(UNRESOLVED, f"{cid} is not here")
    if found.kind == "value":
        return dag_cbor.decode_trusted(found.read())
    if t not in (BYTES, STRING):
        raise Refused(f"a file cannot be a {render(t)}")
    if found.kind == "large" or found.size > job.limits.memory_bytes:
        raise memory_limit(job.limits)
    return found.view()


def _for_result(limits: Limits, result: WitType | None, info: ModuleInfo) -> Limits:
    """The limits while the result is taken: what is no byte string has to fit into one block, so
    that no more than that is ever lifted, converted or encoded."""
    if info.kind == "wasi-command" or unwrapped(result) == BYTES:
        return limits
    return replace(limits, output_bytes=min(limits.output_bytes, BLOCK_BYTES_MAX))


def check_output(value: Any, limits: Limits) -> bytes | None:
    """The DAG-CBOR of a value, None for a byte string. That and a text count by their own length.

    Raises:
        GuestFailure: `output-limit`, also for more than a block of anything but a byte string.
    """
    try:
        encoded = None if isinstance(value, (bytes, Spooled)) else dag_cbor.encode(value)
    except CodecError as error:  # nested deeper than a block may be
        raise GuestFailure("output-limit", f"the result {error}") from error
    if isinstance(value, str):
        size = len(value.encode())
    else:
        size = len(value if encoded is None else encoded)
    if size > limits.output_bytes:
        raise GuestFailure(
            "output-limit",
            f"the result has {size} bytes, more than {limits.output_bytes}",
            limit=limits.output_bytes,
        )
    if encoded is not None and len(encoded) > BLOCK_BYTES_MAX:
        raise _over_a_block()
    return encoded


def _over_a_block() -> GuestFailure:
    return GuestFailure(
        "output-limit",
        f"the result counts more than {BLOCK_BYTES_MAX} bytes (4 MiB, one block), where each value "
        "but bytes and text counts at least 8; only list<u8> results may have more",
        limit=BLOCK_BYTES_MAX,
    )


def _bounded(failure: GuestFailure, limits: Limits, of_result: Limits) -> GuestFailure:
    """The failure as it may stand in a receipt: an `exit` in its documented form, and in bounds."""
    detail = failure.detail
    over = failure.code == "output-limit" and detail.get("limit") == BLOCK_BYTES_MAX
    if over and of_result.output_bytes < limits.output_bytes:
        return _over_a_block()
    if failure.code == "exit":
        detail = {"status": detail["exit_code"]}
        if stdout := failure.detail.get("stdout"):
            detail["stdout"] = stdout
    if any(isinstance(value, Spooled) for value in detail.values()):
        return GuestFailure(failure.code, failure.message, truncated=True)  # as `outputs` does
    for value in detail.values():
        try:
            check_output(value, limits)
        except GuestFailure as too_large:
            return too_large
    return GuestFailure(failure.code, failure.message, **detail)


def _unchanged(value: Any) -> Any:
    return value
