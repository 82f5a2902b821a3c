"""Threads around a `Drive`: the caller's, which waits, and up to `workers` that do the steps.

A thread that has finished a step writes it, then takes the next one: a process that is killed loses
what its threads were at, and nothing else. While there is more to run that is pure, such a write
does not wait for the disk, and one sync a few milliseconds later is for many; when there is not it
is synced at once, so a chain costs one sync a step and no change of thread. The caller's thread
sees to that time, to the deadline, to steps that are tried again, and to those who ask for the end.
"""

from __future__ import annotations

import time
from contextlib import ExitStack, suppress
from threading import Condition, Lock, Thread, current_thread
from typing import Final

from lite.clock import Clock
from lite.engine.stop import Stop
from lite.errors import Interrupted, IpvmError
from lite.limits import BATCH_MAX, BATCH_WAIT_MS, CANCEL_POLL_S
from lite.scheduler.attempt import Ended
from lite.scheduler.drive import Drive
from lite.scheduler.state import Stop as StopState
from lite.store import Store
from lite.store.runs_rows import RunState, StepChange

__all__ = ["Runner"]

_LEAVE_WITHIN_S: Final = 2.0  # how long an interrupted run waits for what cannot be ended
_OTHERS_LEAVE_WITHIN_S: Final = 10.0  # they look once a second whether it was cancelled
_LOOK_S: Final = 0.02
_WAIT_S: Final = BATCH_WAIT_MS / 1000


class Runner:
    """Runs one `Drive` to its end, once."""

    def __init__(
        self,
        drive: Drive,
        store: Store,
        clock: Clock,
        stop: Stop,
        *,
        workers: int,
    ) -> None:
        """
        Args:
            stop: ends the guests that run; given to the drive's attempts as well.
            clock: the deadline of the drive's attempts is on its `monotonic`.
            workers: steps at the same time, at most.
        """
        self._drive = drive
        self._store = store
        self._clock = clock
        self._stop = stop
        self._workers = workers
        self._deadline = drive.attempts.deadline
        self._monotonic = clock.monotonic
        self._presence, self._is_here = ExitStack(), False
        self._lock = Lock()
        self._work_came = Condition(self._lock)
        self._caller = Condition(self._lock)
        self._threads: list[Thread] = []
        self._idle = 0
        self._pending: list[Ended] = []
        self._keeping: list[Ended] = []  # what is being written now
        self._unsynced = 0  # finished steps that a power cut would take back
        self._unsynced_since = 0.0
        self._flushing = False
        self._watching: set[int] = set()
        self._blocked: set[Thread] = set()  # wait for a lease, which nothing can interrupt
        self._noted: set[int] = set()
        self._due: float | None = None
        self._polled = 0.0
        self._over = False
        self._end: RunState | None = None
        self._fault: BaseException | None = None

    def go(self) -> RunState:
        """Work until nothing is left to do here; how the run ended.

        Raises:
            StoreError, EngineUnavailable, Interrupted: what stopped it; it can go on later.
            KeyboardInterrupt: passed on once the guests are gone and what was finished is kept.
        """
        with self._presence:
            end = self._drive.plan(now_ms=self._now_ms(), room=1).end
            if end is None:
                self.arrive()
                end = self._work()
        if self._drive.progress.stop == "cancelled":
            self._let_others_leave()
        return self._drive.finish(end)

    def arrive(self) -> None:
        """Be at work on it from now on, for all who look; `go` has to follow."""
        if not self._is_here:
            self._is_here = True
            self._presence.enter_context(self._store.runs.presence(self._drive.run.id))

    def cancel(self) -> None:
        """End the run soon, from any thread."""
        with self._lock:
            self._stop_all("cancelled")

    def interrupt(self) -> None:
        """End this go at it, from any thread, as Ctrl-C does; the run can go on later."""
        with self._lock:
            if not self._over:
                self._fault = self._fault or Interrupted("the run was interrupted; it can go on")
                self._stop.ask()
                self._is_over()

    # The caller's thread.

    def _let_others_leave(self) -> None:
        """Wait, not for ever, until the other processes on a cancelled run have written what became
        of what they were at: who asks how it ended is to be told of a doubt."""
        until = time.monotonic() + _OTHERS_LEAVE_WITHIN_S
        while self._store.runs.is_active(self._drive.run.id) and time.monotonic() < until:
            time.sleep(_LOOK_S)  # the kernel tells nobody that a lock became free

    def _work(self) -> RunState:
        self._lock.acquire()
        try:
            self._polled = self._monotonic()
            self._poll()
            self._heed_deadline()
            self._hire()
            while not self._over:
                self._caller.wait(self._pause_s())
                self._tick()
        except BaseException:
            self._stop.ask()
            raise
        finally:
            self._over = True
            self._stop_threads()
            self._keep_rest()
            self._lock.release()
        if self._fault is not None:
            raise self._fault
        assert self._end is not None, "it is over by a fault or by an end"
        return self._end

    def _tick(self) -> None:
        now = self._monotonic()
        if self._unsynced and not self._flushing and now >= self._unsynced_since + _WAIT_S:
            self._sync()
        if self._due is not None and now >= self._due:
            self._due = None
            self._work_came.notify_all()
        if now - self._polled >= CANCEL_POLL_S:
            self._polled = now
            self._poll()
            self._note_running()
        self._heed_deadline()

    def _heed_deadline(self) -> None:
        left = self._left_s()
        if left is not None and left <= 0:
            self._stop_all("expired")

    def _left_s(self) -> float | None:
        """Until the deadline; None without one."""
        return None if self._deadline is None else self._deadline - self._monotonic()

    def _pause_s(self) -> float:
        """Until something is to be looked at."""
        now = self._monotonic()
        times = [self._polled + CANCEL_POLL_S]
        if self._unsynced and not self._flushing:
            times.append(self._unsynced_since + _WAIT_S)
        if self._due is not None:
            times.append(self._due)
        left = self._left_s()
        if left is not None and self._drive.progress.stop is None:
            times.append(now + max(0.0, left))
        return max(0.0, min(times) - now)

    def _poll(self) -> None:
        """Whether another process asked for the end, or answers came from other nodes."""
        if self._drive.hear():
            self._hire()
            self._work_came.notify_all()
        if self._store.runs.is_cancelled(self._drive.run.id):
            self._stop_all("cancelled")

    def _note_running(self) -> None:
        """Let others see what takes longer."""
        if self._flushing:
            return
        kept = {one.position for one in self._pending} | self._watching | self._noted
        new = [at for at in self._drive.progress.running_here() if at not in kept]
        self._noted.update(new)
        entries = [self._drive.book[at] for at in new]
        rows = [
            (
                entry.row,
                StepChange("running", attempts=entry.attempts, started_at=self._clock.now()),
            )
            for entry in entries
            if entry.level == "pure"
        ]
        self._store.runs.set_steps(self._drive.run.id, rows, durable=False)

    def _stop_all(self, why: StopState) -> None:
        """Start nothing more, and end what can be ended. What others run stays theirs."""
        if self._drive.progress.stop is not None or self._over:
            return
        self._drive.progress.stop = why
        for position in self._watching:
            self._drive.progress.elsewhere(position)
        self._watching.clear()
        self._stop.ask()
        self._hire()
        self._work_came.notify_all()

    def _keep_rest(self) -> None:
        """What was finished when the run was interrupted or broke. It can go on later."""
        batch, self._pending = self._pending, []
        with suppress(IpvmError):  # the first error counts
            if batch:
                self._drive.keep(batch)
            if self._unsynced:
                self._store.runs.sync(self._drive.run.id)

    def _stop_threads(self) -> None:
        """Wait for the threads; one that waits for another process is left to itself."""
        self._work_came.notify_all()
        threads = [thread for thread in self._threads if thread not in self._blocked]
        until = time.monotonic() + _LEAVE_WITHIN_S
        self._lock.release()
        try:
            for thread in threads:
                thread.join(max(0.0, until - time.monotonic()))
        finally:
            self._lock.acquire()

    # The threads that do the steps. All of it with the lock held, but for the steps themselves.

    def _hire(self) -> None:
        """One more thread, if that is allowed and none is idle."""
        if self._idle == 0 and len(self._threads) < self._workers and not self._over:
            name = f"ipvm-run-{len(self._threads)}"
            thread = Thread(target=self._serve, name=name, daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self) -> None:
        with self._lock:
            try:
                while (work := self._next()) is not None:
                    self._do(*work)
            except BaseException as fault:
                self._fault = self._fault or fault
                self._stop.ask()
                self._is_over()

    def _do(self, position: int, block: bool) -> None:
        thread = current_thread()
        if block:
            self._blocked.add(thread)
        self._lock.release()
        try:
            ended = self._drive.attempts.whole(position, block=block)
        finally:
            self._lock.acquire()
            self._blocked.discard(thread)
        if block and position not in self._watching:
            ended.release()  # the run ended meanwhile
            return
        self._watching.discard(position)
        self._collect(ended)

    def _next(self) -> tuple[int, bool] | None:
        """The next step, and whether to wait for its lease; None at the end."""
        while not self._over:
            self._heed_deadline()
            if self._pending and not self._drive.progress.has_ready:
                self._flush()  # first, for what is next may need it
                continue
            plan = self._drive.plan(now_ms=self._now_ms(), room=1)
            if plan.start:
                self._drive.started(plan.start[0])
                if self._drive.progress.has_ready:
                    self._hire()
                return plan.start[0], False
            if self._pending:
                self._flush()
                continue
            if plan.watch:
                self._drive.started(plan.watch[0])
                self._watching.add(plan.watch[0])
                return plan.watch[0], True
            if plan.end is not None:
                self._end = plan.end
                self._is_over()
                return None
            if plan.wait_ms is not None:
                self._due = self._monotonic() + plan.wait_ms / 1000
                self._caller.notify()
            self._idle += 1
            self._work_came.wait()
            self._idle -= 1
        return None

    def _collect(self, ended: Ended) -> None:
        """What came of a step is kept, before its thread takes the next one."""
        if self._over:
            self._pending.append(ended)
            return
        if ended.kind == "elsewhere" or ended.written:
            ended.release()
            self._apply([ended])
            return
        self._pending.append(ended)
        while (ended in self._pending or ended in self._keeping) and not self._over:
            self._flush()

    def _flush(self) -> None:
        """Keep what is finished. One thread at a time; another one waits for it."""
        if self._flushing:
            self._idle += 1
            self._work_came.wait()
            self._idle -= 1
            return
        batch, self._pending = self._pending, []
        self._keeping = batch
        durable = self._must_sync(batch)
        self._flushing = True
        self._lock.release()
        try:
            self._drive.keep(batch, durable=durable)
            if durable and self._unsynced and not any(one.finished for one in batch):
                self._store.runs.sync(self._drive.run.id)  # for rows alone nothing is synced
        finally:
            self._lock.acquire()
            self._flushing, self._keeping = False, []
        self._note_unsynced(0 if durable else len(batch))
        self._apply(batch)
        if not self._drive.progress.has_ready and self._unsynced:
            self._caller.notify()

    def _must_sync(self, batch: list[Ended]) -> bool:
        """Whether what is kept has to be on the disk at once."""
        late = self._monotonic() - self._unsynced_since >= _WAIT_S
        return (
            not self._drive.progress.has_ready
            or any(self._drive.book[one.position].level != "pure" for one in batch)
            or self._unsynced + len(batch) >= BATCH_MAX
            or bool(self._unsynced and late)
        )

    def _note_unsynced(self, more: int) -> None:
        """`more` 0: all is on the disk."""
        if more and not self._unsynced:
            self._unsynced_since = self._monotonic()
            self._caller.notify()
        self._unsynced = self._unsynced + more if more else 0

    def _sync(self) -> None:
        """Put on the disk what was kept without waiting for it."""
        self._flushing = True
        self._lock.release()
        try:
            self._store.runs.sync(self._drive.run.id)
        finally:
            self._lock.acquire()
            self._flushing = False
        self._note_unsynced(0)
        self._work_came.notify_all()

    def _apply(self, batch: list[Ended]) -> None:
        self._drive.apply(batch, now_ms=self._now_ms())
        if self._idle:
            self._work_came.notify_all()
        if self._drive.progress.stop is not None:
            self._caller.notify()

    def _is_over(self) -> None:
        self._over = True
        self._work_came.notify_all()
        self._caller.notify()

    def _now_ms(self) -> int:
        return int(self._monotonic() * 1000)
