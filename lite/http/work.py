"""Threads for what the event loop must not do itself: the store, guests, runs of workflows.

The loop never waits for a disk or a guest. Short questions have threads of their own, so that long
runs do not hold them up.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

from lite.errors import IpvmError
from lite.http.reply import Unavailable
from lite.http.waiting import set_within

if TYPE_CHECKING:
    from lite.workflow_run import Run

__all__ = ["Work"]

T = TypeVar("T")

SHORT_THREADS: Final = 4
CALL_THREADS: Final = 8
CALLS_MAX: Final = 64  # single instructions that run or wait for a thread
RUNS_MAX: Final = 32  # workflows at the same time
END_WITHIN_S: Final = 8.0  # for runs that were interrupted

Ended = Callable[["Run", "BaseException | None"], None]


class Work:
    """What is under way. Everything is called on the event loop.

    Attributes:
        pool: the threads for short questions.
        calling: single instructions that are under way.
    """

    def __init__(self) -> None:
        self.pool = ThreadPoolExecutor(SHORT_THREADS, "ipvm-short")
        self._calls = ThreadPoolExecutor(CALL_THREADS, "ipvm-call")
        self._runs: dict[Run, threading.Thread] = {}
        self._idle = asyncio.Event()
        self._idle.set()
        self.calling = 0
        self.stopping = False

    @property
    def running(self) -> int:
        """Runs of workflows that this process works on."""
        return len(self._runs)

    async def short(self, ask: Callable[..., T], /, *args: Any, **options: Any) -> T:
        """A question to the store, or a small change of it."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self.pool, partial(ask, *args, **options))

    async def call(self, ask: Callable[..., T], /, *args: Any, **options: Any) -> T:
        """Something that may take as long as a guest runs.

        Raises:
            Unavailable: too much is under way, or the daemon stops.
        """
        if self.stopping or self.calling >= CALLS_MAX:
            raise _busy(self.stopping)
        self.calling += 1
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._calls, partial(ask, *args, **options))
        finally:
            self.calling -= 1

    def check_room(self) -> None:
        """Whether one more run may begin. Raises `Unavailable`."""
        if self.stopping or len(self._runs) >= RUNS_MAX:
            raise _busy(self.stopping)

    def start(self, run: Run, ended: Ended) -> None:
        """Work on a run in a thread of its own; `ended` is told on the loop how that ended."""
        loop = asyncio.get_running_loop()
        run.arrive()

        def go() -> None:
            fault: BaseException | None = None
            try:
                run.go()
            except BaseException as error:
                fault = error
            with suppress(RuntimeError):  # the loop has ended: nobody waits any more
                loop.call_soon_threadsafe(done, fault)

        def done(fault: BaseException | None) -> None:
            self._runs.pop(run, None)
            if not self._runs:
                self._idle.set()
            ended(run, fault)

        thread = threading.Thread(target=go, name=f"ipvm-{run.id[:8]}", daemon=True)
        self._runs[run] = thread
        self._idle.clear()
        thread.start()

    def cancel(self, run: str) -> None:
        """End a run at once if it is one of this process."""
        for one in self._runs:
            if one.id == run:
                one.cancel()

    async def stop(self) -> None:
        """Begin nothing more, and interrupt the runs: they can go on later."""
        self.stopping = True
        for run in list(self._runs):
            run.interrupt()
        # What cannot be ended ends with the process.
        await set_within(self._idle, END_WITHIN_S)

    def close(self) -> None:
        """Let the threads go; those that are at work end with the process."""
        self.pool.shutdown(wait=False, cancel_futures=True)
        self._calls.shutdown(wait=False, cancel_futures=True)


def _busy(stopping: bool) -> IpvmError:
    if stopping:
        return Unavailable("the daemon is stopping", hint="Try again when it runs again.")
    return Unavailable(
        "the daemon has as much to do as it takes on at once", hint="Try again in a moment."
    )
