"""The node's way to run guests: a few worker processes, or this process for trusted guests.

A worker compiles and runs untrusted code; nothing that a guest does there reaches the node except
as an `Outcome`. Workers start when first needed, keep what they compiled, and go after a while
without work.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from lite.engine.base import GuestFailure, Outcome
from lite.engine.job import Content, Job, failed
from lite.engine.spool import Blob, mapped
from lite.engine.stop import Stop
from lite.errors import BugError, EngineUnavailable, Interrupted
from lite.frozen import replace
from lite.ipld.cid import CID
from lite.limits import CACHE_BYTES, GIB, WORKER_IDLE_S, EngineCaps, ram_bytes

if TYPE_CHECKING:
    from lite.engine.inside import Inside
    from lite.engine.module import ModuleInfo
    from lite.engine.process import Worker

SIZE_MAX = 4
LoadWasm = Callable[[], Blob]
T = TypeVar("T")


def default_size() -> int:
    """One worker a processor up to four; one on a small board, where two would swap."""
    return 1 if ram_bytes(unknown=2 * GIB) < 2 * GIB else min(os.cpu_count() or 1, SIZE_MAX)


def _processors() -> int:
    """How many this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS
        return os.cpu_count() or 1


class Workers:
    """Runs jobs, at most `size` at the same time; further callers wait. Thread-safe.

    Attributes:
        started: worker processes started so far.
        note: why compiled code is not kept on disk, or None.
    """

    def __init__(
        self,
        *,
        cache_dir: Path,
        engine: str = "auto",
        in_process: bool = False,
        idle_s: float = WORKER_IDLE_S,
        size: int | None = None,
        cache_bytes: int = CACHE_BYTES,
    ) -> None:
        """Starts nothing yet.

        Args:
            cache_dir: folder for compiled code; made when first needed.
            engine: "auto", "wasmtime" or "wasmer".
            in_process: run guests in this process, one at a time: faster to start, but a guest that
                breaks the engine takes the node with it, and compiling cannot be bounded.
            idle_s: how long a worker without work stays, in seconds.
            cache_bytes: bound on the compiled code on disk.
        """
        self._engine = engine
        self._cache_dir = cache_dir
        self._cache_bytes = cache_bytes
        self._idle_s = idle_s
        self._size = size or default_size()
        lock = threading.Lock()
        self._slot_freed = threading.Condition(lock)
        self._idle_came = threading.Condition(lock)  # only the reaper waits for it
        self._busy = 0  # jobs in progress, including those whose worker is still starting
        self._working: set[Worker] = set()
        self._idle: list[tuple[Worker, float]] = []  # with the time of the last use, oldest first
        self._reaper: threading.Thread | None = None
        self._reaper_rests = False  # it sleeps until it is told of an idle worker
        self._closed = False
        self._inside: Inside | None = None
        self._in_process = in_process
        self._spare = _processors() > 1  # so that waiting eagerly takes none from the worker
        self.started = 0
        self.note: str | None = None

    @property
    def pids(self) -> list[int]:
        """Process ids of the workers that exist now."""
        with self._slot_freed:
            return [worker.pid for worker, _ in self._idle] + [w.pid for w in self._working]

    def has(self, module: CID) -> bool:
        """Whether a module was given before and is still in memory, as far as can be told."""
        if self._inside is not None:
            return self._inside.has(module)
        with self._slot_freed:
            return any(module in worker.modules for worker, _ in self._idle)

    def run(
        self,
        job: Job,
        load_wasm: LoadWasm,
        stop: Stop | None = None,
        on_trace: Callable[[bytes], None] | None = None,
    ) -> Outcome:
        """Run one job within its limits.

        Args:
            on_trace: gets the trace of the outcome while the guest runs, in pieces, from this
                thread. What it raises ends the guest and is passed on.
            stop: ends it, also while it waits for its turn.
            load_wasm: gives the module, a large one in a file; not called when a worker still has
                it. What it raises is passed on.

        Returns:
            What came out: traps, limits, bad arguments and a dying engine are errors in it.

        Raises:
            EngineUnavailable: no engine can be used on this machine.
            Interrupted: `close` was called meanwhile, or `stop` asked for the end.
        """
        if job.content:
            job = replace(job, content={cid: _absolute(c) for cid, c in job.content.items()})
        if isinstance(job.host.stdin, Path):
            job = replace(job, host=replace(job.host, stdin=job.host.stdin.absolute()))

        def ask(worker: Worker, wasm: Blob | None) -> Outcome:
            eager = self._spare and self._busy == 1
            return worker.run(job, wasm, load_wasm, eager=eager, on_trace=on_trace)

        try:
            if self._in_process:
                inside = self._this_process()
                outcome = inside.run(job, load_wasm, on_trace, stop)
                self.note = inside.note
                return outcome
            return self._with_worker(job.module, job.caps, load_wasm, ask, stop)
        except GuestFailure as failure:
            return failed(failure)

    def describe(
        self, module: CID, load_wasm: LoadWasm, caps: EngineCaps | None = None
    ) -> ModuleInfo:
        """What a module is and offers. Starts a worker only when its types need an engine.

        Raises:
            GuestFailure: it is no module, or does not compile within the caps.
            EngineUnavailable, Interrupted: as `run`.
        """
        from lite.engine.cache import check_size
        from lite.engine.module import ModuleInfo, describe

        caps = caps or EngineCaps()
        wasm = load_wasm()
        check_size(len(wasm), caps)
        info = describe(mapped(wasm))
        if info.typed:
            return info
        if self._in_process:
            return self._this_process().describe(module, wasm, caps)
        data = self._with_worker(
            module, caps, lambda: wasm, lambda worker, _: worker.describe(module, wasm, caps)
        )
        return ModuleInfo.from_data(data)

    def close(self) -> None:
        """Kill and reap every worker. Calls in progress end with `Interrupted`. Safe to repeat."""
        with self._slot_freed:
            self._closed = True
            idle, self._idle = self._idle, []
            for worker in self._working:
                worker.kill()
            self._slot_freed.notify_all()
            self._idle_came.notify_all()
        for worker, _ in idle:
            worker.close()
        if self._reaper is not None:
            self._reaper.join()

    def _with_worker(
        self,
        module: CID,
        caps: EngineCaps,
        load_wasm: LoadWasm,
        ask: Callable[[Worker, Blob | None], T],
        stop: Stop | None = None,
    ) -> T:
        """Let a worker answer; once more with a fresh one when an old one turns out to be gone."""
        from lite.engine.cache import check_size
        from lite.engine.process import WorkerLost

        wasm: Blob | None = None
        while True:
            worker = self._take(module, stop)
            lost = True
            try:
                _check_wanted(stop)
                if worker is not None and module in worker.modules:
                    check_size(worker.modules[module].wasm_bytes, caps)
                else:
                    wasm = load_wasm() if wasm is None else wasm
                    check_size(len(wasm), caps)
                worker = worker or self._start()
                known = module in worker.modules
                if stop is not None:
                    stop.enter(worker.kill)
                answer = ask(worker, None if known else wasm)
                self._check_open(worker)
                if worker.ended:  # what a killed one has to say means nothing
                    _check_wanted(stop)
                lost = stop is not None and stop.asked
            except (GuestFailure, EngineUnavailable):
                lost = False
                self._check_open(worker)
                _check_wanted(stop)
                raise
            except WorkerLost:
                continue
            finally:
                if stop is not None and worker is not None:
                    stop.leave(worker.kill)
                self._give_back(worker, lost=lost)
            self.note = worker.note
            return answer

    def _check_open(self, worker: Worker | None) -> None:
        """What a worker that `close` killed has to say about its job means nothing."""
        if self._closed and worker is not None and worker.ended:
            raise Interrupted("the workers were closed while a task ran")

    def _take(self, module: CID, stop: Stop | None) -> Worker | None:
        """A free worker, preferably one that has the module, or None for leave to start one."""
        if stop is None:
            return self._take_free(module, stop)
        with stop.ending(partial(self._wake)):  # one of its own for each who waits
            return self._take_free(module, stop)

    def _wake(self) -> None:
        """Let those who wait for a turn look whether they still want it."""
        with self._slot_freed:
            self._slot_freed.notify_all()

    def _take_free(self, module: CID, stop: Stop | None) -> Worker | None:
        with self._slot_freed:
            while self._busy >= self._size and not self._closed:
                _check_wanted(stop)
                self._slot_freed.wait()
            if self._closed:
                raise BugError("the workers were closed before this call")
            self._busy += 1
            if not self._idle:
                return None
            having = (i for i, (known, _) in enumerate(self._idle) if module in known.modules)
            at = next(having, len(self._idle) - 1)
            worker, _ = self._idle.pop(at)
            self._working.add(worker)
            return worker

    def _start(self) -> Worker:
        from lite.engine.process import Worker

        worker = Worker(self._engine, self._cache_dir, self._cache_bytes)
        with self._slot_freed:
            self.started += 1
            self._working.add(worker)
            if self._closed:
                worker.kill()
            elif self._reaper is None:
                self._reaper = threading.Thread(target=self._reap, name="ipvm-reaper", daemon=True)
                self._reaper.start()
        return worker

    def _give_back(self, worker: Worker | None, *, lost: bool) -> None:
        """Free the slot; keep the worker unless it ended or its state is unknown."""
        with self._slot_freed:
            self._busy -= 1
            self._slot_freed.notify()
            if worker is None:
                return
            self._working.discard(worker)
            if not (lost or self._closed or worker.ended):
                self._idle.append((worker, time.monotonic()))
                if self._reaper_rests:
                    self._reaper_rests = False
                    self._idle_came.notify()
                return
        worker.close()

    def _reap(self) -> None:
        """End workers that were idle for too long. Sleeps until the next one is due."""
        while True:
            with self._idle_came:
                while not self._closed and not self._due():
                    # With a time to wake up it finds newer workers by itself: to wake it after
                    # every job would cost a change of threads there and back.
                    due_s = self._next_due_s()
                    self._reaper_rests = due_s is None
                    self._idle_came.wait(due_s)
                if self._closed:
                    return
                worker, _ = self._idle.pop(0)
            worker.close()

    def _next_due_s(self) -> float | None:
        """Until a worker may be due; None: not before one is started."""
        if self._idle:
            return max(0.0, self._idle[0][1] + self._idle_s - time.monotonic())
        return self._idle_s if self._working else None

    def _due(self) -> bool:
        return bool(self._idle) and self._next_due_s() == 0.0

    def _this_process(self) -> Inside:
        with self._slot_freed:
            if self._inside is None:
                from lite.engine.inside import Inside

                self._inside = Inside(self._engine, self._cache_dir, self._cache_bytes)
            return self._inside


def _check_wanted(stop: Stop | None) -> None:
    """What a worker that was killed on demand has to say about its job means nothing."""
    if stop is not None:
        stop.check()


def _absolute(content: Content) -> Content:
    if isinstance(content.data, Path) and not content.data.is_absolute():
        return Content(content.kind, content.data.absolute())
    return content
