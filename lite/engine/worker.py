"""The worker process: reads jobs from the node, runs them, answers.

Started as a bare interpreter by `lite.engine.process`; imports nothing but an engine and what a job
needs, because every cold run waits for it. One job at a time, in order, in the main thread.

What it says to the node, each a map with `at`:

| at      | meaning                                            | further fields             |
|---------|----------------------------------------------------|----------------------------|
| ready   | an engine is loaded                                | engine                     |
| none    | no engine can be loaded, or not for this module;   | message, hint, last        |
|         | last: the worker has to be ended                   |                            |
| need    | send the module's bytes                            |                            |
| compile | a compilation begins, bounded by the caps          |                            |
| run     | its input is read, then the guest begins, bounded  | path                       |
|         | by the limits; only said when the module had to be |                            |
|         | sent                                               |                            |
| trace   | what the guest has written meanwhile; in all no    | data                       |
|         | more than `TRACE_BYTES_MAX`                        |                            |
| done    | how the job ended, with the whole trace            | `wire.outcome_message`     |
| types   | a description                                      | info                       |
| failed  | no description: the module is bad                  | code, message, detail      |
| full    | no temporary file can be filled: this says nothing | message, hint              |
|         | of the guest                                       |                            |
| bug     | an exception of ours                               | text                       |
"""

from __future__ import annotations

import _socket  # `socket` itself, with its enumerations, takes 4 ms of every start
import gc
import os
from functools import partial
from pathlib import Path
from typing import Any

from lite.engine import sandbox, select
from lite.engine.base import Engine, EngineBroken, GuestFailure, Outcome
from lite.engine.cache import CodeCache, CompileCache
from lite.engine.death import compile_memory, memory_limit
from lite.engine.execute import Phases, engine_id, run_job
from lite.engine.frames import Channel, Closed
from lite.engine.job import Job, failed
from lite.engine.spoken import Stdout
from lite.engine.spool import Blob
from lite.engine.wire import Blobs, caps_from, job_from, outcome_message
from lite.errors import EngineUnavailable, StoreFull
from lite.frozen import replace
from lite.ipld.cid import CID
from lite.limits import EngineCaps, Limits

FRAME_BYTES_MAX = 2**62  # what the node sends is bounded by the node
LIFELINE_FD = 0
EAGER_S = 0.001
"""How long to look for the next job before sleeping: the node signs and syncs in between, which in
a chain of steps takes up to 0.9 ms."""


def main(argv: list[str]) -> None:
    """Serve jobs until the node closes the connection; never returns.

    Args:
        argv: socket file descriptor, engine name, cache folder, bound on its size in bytes.
    """
    fd, engine_name, cache_folder, cache_bytes = argv
    status = 1
    try:
        sandbox.enter(LIFELINE_FD)
        channel = Channel(_socket.socket(fileno=int(fd)), before_large=sandbox.lift, spools=True)
        engine = _start(channel, engine_name)
        if engine is not None:
            disk = CompileCache(Path(cache_folder), bytes_max=int(cache_bytes))
            _Server(channel, engine, CodeCache(disk)).serve()
    except Closed:
        status = 0
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        os._exit(status)  # no destructors: an engine may abort in them


def _start(channel: Channel, name: str) -> Engine | None:
    try:
        engine = select.choose(name)()
    except EngineUnavailable as why:
        channel.send({"at": "none", "message": str(why), "hint": why.hint, "last": True})
        return None
    gc.freeze()
    gc.enable()
    channel.send({"at": "ready", "engine": engine_id(engine)})
    return engine


class _Server:
    """One engine, its compiled code, one connection."""

    def __init__(self, channel: Channel, engine: Engine, codes: CodeCache) -> None:
        self._channel = channel
        self._engine = engine
        self._codes = codes

    def serve(self) -> None:
        """Answer one message after the other. Raises `Closed` when the node is gone."""
        while True:
            try:
                message, parts = self._channel.receive(bytes_max=FRAME_BYTES_MAX)
                blobs = Blobs(parts)
                if message["do"] == "run":
                    self._run(message, blobs)
                else:
                    self._describe(message, blobs)
            except Closed:
                raise
            except EngineUnavailable as why:
                said = {"message": str(why), "hint": why.hint}
                self._channel.send({"at": "none", **said, "last": isinstance(why, EngineBroken)})
            except StoreFull as why:
                sandbox.lift()
                self._channel.send({"at": "full", "message": str(why), "hint": why.hint})
            except Exception:
                import traceback

                self._channel.send({"at": "bug", "text": traceback.format_exc()})

    def _run(self, message: dict[str, Any], blobs: Blobs) -> None:
        self._channel.eager_s = EAGER_S if message["eager"] else 0.0
        job = job_from(message, blobs, self._tell)
        phases = _Announced(
            self._channel,
            job.caps,
            self._engine.name,
            _input_bytes(job, blobs, message.get("wasm")),
        )
        load_wasm = partial(self._wasm, message, blobs, phases)
        try:
            outcome, ok = run_job(self._engine, self._codes, job, load_wasm, phases)
        except MemoryError:  # not even room to say so: what was made still hangs on the stack
            sandbox.lift()
            outcome, ok = failed(memory_limit(job.limits), engine=engine_id(self._engine)), None
        try:
            self._answer(outcome, ok)
        except MemoryError:
            sandbox.lift()
            error = failed(memory_limit(job.limits)).error
            self._answer(replace(outcome, ok=None, error=error), None)

    def _tell(self, data: bytes) -> None:
        message = {"at": "trace", "data": bytes(data)}
        self._channel.send({**message, "stdout": True} if isinstance(data, Stdout) else message)

    def _answer(self, outcome: Outcome, ok: bytes | None) -> None:
        parts = Blobs()
        answer = outcome_message(outcome, ok, parts)
        answer["note"] = self._codes.note
        self._channel.send(answer, parts)

    def _describe(self, message: dict[str, Any], blobs: Blobs) -> None:
        caps, module = caps_from(message["caps"]), CID.from_bytes(message["module"])
        phases = _Announced(self._channel, caps, self._engine.name)
        load_wasm = partial(self._wasm, message, blobs, phases)
        try:
            loaded = self._codes.get(self._engine, module, load_wasm, caps, phases.compiling)
        except (GuestFailure, MemoryError) as error:
            failure = error if isinstance(error, GuestFailure) else compile_memory(caps)
            answer = {"code": failure.code, "message": failure.message, "detail": failure.detail}
            self._channel.send({"at": "failed", **answer})
        else:
            self._channel.send({"at": "types", "info": loaded.info.to_data()})

    def _wasm(self, message: dict[str, Any], blobs: Blobs, phases: _Announced) -> Blob:
        placed = message.get("wasm")
        if placed is None:
            self._channel.send({"at": "need"})
            _, parts = self._channel.receive(bytes_max=FRAME_BYTES_MAX)
            wasm = parts[0]
        else:
            wasm = blobs.given(placed)
        phases.loading()
        return wasm


def _input_bytes(job: Job, blobs: Blobs, module: bytes | int | None = None) -> int:
    """What the job brings along, and what of its links waits in files to be read; not standard
    input, which the guest reads bit by bit, nor the module, of which nothing is made any more."""
    files = [c for c in job.content.values() if isinstance(c.data, Path)]
    brought = sum(len(blob) for at, blob in enumerate(blobs) if at != module)
    return brought + sum(c.size for c in files if c.data != job.host.stdin)


class _Announced(Phases):
    """Tells the node how far a job is, and puts the bounds of the phase on this process.

    The node takes a job for running from the start when it did not have to send the module.
    """

    def __init__(
        self,
        channel: Channel,
        caps: EngineCaps,
        engine: str,
        input_bytes: int = 0,
    ) -> None:
        self._channel = channel
        self._caps = caps
        self._engine = engine
        self._input_bytes = input_bytes
        self._loaded = False

    def loading(self) -> None:
        sandbox.loading(self._caps)
        self._loaded = True

    def compiling(self) -> None:
        self._channel.send({"at": "compile"})

    def running(self, path: str, limits: Limits) -> None:
        sandbox.running(limits, self._input_bytes, path, self._engine)
        if self._loaded:
            self._channel.send({"at": "run", "path": path})
