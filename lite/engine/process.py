"""One worker process, seen from the node: start, talk, deadlines, end.

The process is a bare interpreter (`-I -S`: no environment, no site-packages of its own, about 8 ms)
that gets this process's module path. It has its own session, so that Ctrl-C in the terminal is for
the node alone; standard input is the lifeline of `sandbox.enter`, standard output goes nowhere, and
the end of standard error is kept, because an engine that aborts says there why.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lite.engine import death
from lite.engine.base import GuestFailure, Outcome, Usage
from lite.engine.frames import SOCKET_BUFFER_BYTES, Channel, Closed, FrameTooLarge
from lite.engine.heard import Heard
from lite.engine.job import Job, failed
from lite.engine.spoken import Stdout
from lite.engine.spool import Blob
from lite.engine.wire import Blobs, describe_message, job_message, outcome_from
from lite.environment import for_child
from lite.errors import BugError, CodecError, EngineUnavailable, StoreFull
from lite.frozen import frozen, replace
from lite.ipld.cid import CID
from lite.limits import (
    DESCRIPTION_BYTES_MAX,
    KILL_GRACE_MS,
    MIB,
    TRACE_BYTES_MAX,
    EngineCaps,
    Limits,
)

if TYPE_CHECKING:
    import subprocess

START_MS = 60_000
"""An engine library of 30 MB on a slow card takes its time."""

COMPILE_GRACE_MS = KILL_GRACE_MS // 2
"""In real time; the worker's own bound is on processor time."""

LOST_WITHIN_S = 0.1
"""A worker that is killed from outside within this time of being asked was killed while idle."""

EAGER_S = 0.0002
"""How long a node looks for the answer to a job before it sleeps, see `Channel`."""

STDERR_BYTES_MAX = 64 * 1024
MODULES_REMEMBERED_MAX = 256
_NO_RUN = Limits(fuel=0, memory_bytes=0, time_ms=0, output_bytes=DESCRIPTION_BYTES_MAX)


class WorkerLost(Exception):
    """The worker was gone before it began with the job."""


class _Task:
    """The job in progress: how far it is, and until when that may take."""

    __slots__ = ("began", "caps", "deadline", "heard", "limits", "path", "phase")

    def __init__(
        self,
        limits: Limits,
        caps: EngineCaps,
        phase: death.Phase,
        on_trace: Callable[[bytes], None] | None = None,
    ) -> None:
        self.limits = limits
        self.caps = caps
        self.heard = Heard(on_trace)
        self.path = ""
        self.enter(phase)

    def enter(self, phase: death.Phase) -> None:
        self.phase: death.Phase = phase
        if phase == "compile":  # what reading the module took counts, as in `sandbox.loading`
            return
        self.began = time.monotonic()
        if phase == "run":
            allowed_ms = self.limits.time_ms + KILL_GRACE_MS
        else:
            allowed_ms = self.caps.compile_ms + COMPILE_GRACE_MS
        self.deadline = self.began + allowed_ms / 1000


@frozen
class Known:
    """A module that a worker was given: its size, and the path on which it runs."""

    wasm_bytes: int
    path: str = ""


class Worker:
    """A started worker. Not thread-safe, except `kill`.

    Attributes:
        engine: name and version, e.g. "wasmtime 50.0.1".
        modules: the modules that it was given so far.
        jobs: how many jobs it has taken.
        note: why it keeps no compiled code, or None.
        pid: its process id.
    """

    def __init__(self, engine: str, cache_dir: Path, cache_bytes: int) -> None:
        """Start the process and wait until its engine is loaded.

        Raises:
            EngineUnavailable: no process could be started, or no engine loads in it.
        """
        self.modules: dict[CID, Known] = {}
        self.jobs = 0
        self.note: str | None = None
        self._channel: Channel
        self._lifeline = self._stderr = -1
        self._kernel_kills = death.kernel_kills()
        self._spawn([engine, str(cache_dir.absolute()), str(cache_bytes)])
        try:
            self.engine = self._wait_ready()
        except BaseException:
            self.close()
            raise

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def ended(self) -> bool:
        """Whether `close` was called, here or because of how a job ended."""
        return self._lifeline < 0

    def run(
        self,
        job: Job,
        wasm: Blob | None,
        load_wasm: Callable[[], Blob],
        *,
        eager: bool = False,
        on_trace: Callable[[bytes], None] | None = None,
    ) -> Outcome:
        """Run a job. Whatever the guest does to the worker, the answer is an outcome.

        Args:
            wasm: the module, or None when the worker should still have it.
            load_wasm: called when it has not.
            eager: both ends may give a processor to waiting for each other, see `Channel`.
            on_trace: gets the trace while the guest runs. Where the engine dies, what was heard
                until then is the trace of the outcome.

        Raises:
            WorkerLost: nothing happened yet; try another worker.
        """
        known = None if wasm is not None else self.modules.get(job.module)
        task = _Task(job.limits, job.caps, "load" if known is None else "run", on_trace)
        task.path = "" if known is None else known.path
        blobs = Blobs()
        self._channel.eager_s = EAGER_S if eager else 0.0
        try:
            message = _message(job, blobs)
            message["eager"] = eager
            reply, parts = self._ask(task, message, blobs, job.module, wasm, load_wasm)
        except GuestFailure as failure:
            run_ms = (time.monotonic() - task.began) * 1000 if task.phase == "run" else 0.0
            usage, heard = Usage(time_ms=run_ms), bytes(task.heard)
            ended = failed(failure, usage, trace=heard, path=task.path, engine=self.engine)
            return replace(ended, trace_stdout=task.heard.stdout)
        self.note = reply["note"]
        return task.heard.end(outcome_from(reply, parts))

    def describe(self, module: CID, wasm: Blob, caps: EngineCaps) -> Any:
        """The description of a module as the engine sees it, as `ModuleInfo.to_data` gives it.

        Raises:
            GuestFailure: it does not compile within the caps.
            WorkerLost
        """
        message = describe_message(module, caps)
        task = _Task(_NO_RUN, caps, "load")
        reply, _ = self._ask(task, message, Blobs(), module, wasm, lambda: wasm)
        if reply["at"] == "failed":
            raise GuestFailure(reply["code"], reply["message"], **reply["detail"])
        return reply["info"]

    def kill(self) -> None:
        """End the process now. May be called from another thread than the one that uses it."""
        self._process.kill()

    def close(self) -> int:
        """End the process if it still runs, reap it, and give its exit status. Safe to repeat."""
        self._process.kill()
        status = self._process.wait()
        self._channel.close()
        for fd in (self._lifeline, self._stderr):
            if fd >= 0:
                os.close(fd)
        self._lifeline = self._stderr = -1
        return status

    def _ask(
        self,
        task: _Task,
        message: dict[str, Any],
        blobs: Blobs,
        module: CID,
        wasm: Blob | None,
        load_wasm: Callable[[], Blob],
    ) -> tuple[dict[str, Any], Blobs]:
        """Send a request and follow it to its last message; `GuestFailure` if there is none."""
        if self._process.poll() is not None:
            raise WorkerLost
        self._take_stderr()
        self.jobs += 1
        if wasm is not None:
            self._remember(module, wasm)
            message["wasm"] = blobs.put(wasm)
        try:
            self._channel.send(message, blobs, deadline=task.deadline)
            return self._follow(task, module, load_wasm)
        except TimeoutError:
            self.close()
            raise death.overdue(task.phase, task.limits, task.caps) from None
        except FrameTooLarge as error:
            self.close()
            said = f"the engine process answered with {error}"
            raise GuestFailure("engine-crash", said) from None
        except Closed:
            said = self._take_stderr()
            status = self.close()
            if self.jobs > 1 and _was_lost(task, status):
                raise WorkerLost from None
            raise death.died(
                task.phase,
                status,
                said,
                task.limits,
                task.caps,
                kernel_killed=death.kernel_kills() > self._kernel_kills,
            ) from None

    def _follow(
        self, task: _Task, module: CID, load_wasm: Callable[[], Blob]
    ) -> tuple[dict[str, Any], Blobs]:
        bytes_max = task.limits.output_bytes + TRACE_BYTES_MAX + MIB
        while True:
            reply, parts = self._channel.receive(bytes_max=bytes_max, deadline=task.deadline)
            match reply["at"]:
                case "compile":
                    task.enter("compile")
                case "run":
                    task.enter("run")
                    task.path = reply["path"]
                    self.modules[module] = Known(self.modules[module].wasm_bytes, task.path)
                case "trace":
                    data = reply["data"]
                    task.heard.take(Stdout(data) if reply.get("stdout") else data)
                case "need":
                    wasm = load_wasm()
                    self._remember(module, wasm)
                    task.enter("load")
                    self._channel.send({}, [wasm], deadline=task.deadline)
                case "none":
                    if reply["last"]:
                        self.close()
                    raise EngineUnavailable(reply["message"], hint=reply["hint"])
                case "full":
                    raise StoreFull(reply["message"], hint=reply["hint"])
                case "bug":
                    raise BugError(f"in the worker process:\n{reply['text']}")
                case _:
                    return reply, Blobs(parts)

    def _remember(self, module: CID, wasm: Blob) -> None:
        if len(self.modules) >= MODULES_REMEMBERED_MAX:
            self.modules.clear()
        self.modules[module] = Known(len(wasm))

    def _spawn(self, args: list[str]) -> None:
        import subprocess

        if not sys.executable:
            raise EngineUnavailable(
                "no worker process can be started: this interpreter does not know its executable",
                hint="Run trusted guests inside this process with in_process.",
            )
        with ExitStack() as ours, ExitStack() as theirs:
            try:
                # An engine without memory for the backtrace of its end would wait for itself.
                variables = for_child(RUST_BACKTRACE="0")
                self._channel, far_end = _connect(ours, theirs)
                stdin, self._lifeline = _pipe(reader=theirs, writer=ours)
                self._stderr, stderr = _pipe(reader=ours, writer=theirs)
                for fd in (self._stderr, stderr):  # a full pipe must not stop the worker
                    os.set_blocking(fd, False)
                self._process: subprocess.Popen[bytes] = subprocess.Popen(
                    [sys.executable, "-I", "-S", "-c", _boot([str(far_end), *args])],
                    stdin=stdin,
                    stdout=subprocess.DEVNULL,
                    stderr=stderr,
                    pass_fds=(far_end,),
                    start_new_session=True,
                    cwd="/",
                    env=variables,
                )
            except OSError as error:
                raise EngineUnavailable(f"no worker process can be started: {error}") from error
            ours.pop_all()

    def _wait_ready(self) -> str:
        try:
            hello, _ = self._channel.receive(
                bytes_max=MIB, deadline=time.monotonic() + START_MS / 1000
            )
        except TimeoutError:
            raise EngineUnavailable(
                f"the worker process was not ready within {START_MS // 1000} s"
            ) from None
        except Closed:
            said = self._take_stderr().strip()
            raise EngineUnavailable(f"the worker process ended while starting: {said}") from None
        if hello["at"] == "none":
            raise EngineUnavailable(hello["message"], hint=hello["hint"])
        return str(hello["engine"])

    def _take_stderr(self) -> str:
        """What the worker wrote to standard error since the last look."""
        try:
            return os.read(self._stderr, STDERR_BYTES_MAX).decode(errors="replace")
        except BlockingIOError:
            return ""


def _was_lost(task: _Task, status: int) -> bool:
    """Whether a worker that served before seems to have been gone before it began with this job.

    A guest has no effects, so that a wrong guess costs no more than a second run.
    """
    if task.phase == "load":
        return True
    if task.heard:
        return False
    at_once = time.monotonic() - task.began < LOST_WITHIN_S
    return task.phase == "run" and status == -signal.SIGKILL and at_once


def _message(job: Job, blobs: Blobs) -> dict[str, Any]:
    try:
        return job_message(job, blobs)
    except CodecError as error:
        raise GuestFailure("bad-argument", f"an argument {error}") from None


def _connect(ours: ExitStack, theirs: ExitStack) -> tuple[Channel, int]:
    """A connection: this end, and the file descriptor of the other. Each stack closes its end."""
    import socket

    near, far = socket.socketpair()
    ours.callback(near.close)
    theirs.callback(far.close)
    for end in (near, far):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SOCKET_BUFFER_BYTES)
    return Channel(near, spools=True), far.fileno()


def _pipe(*, reader: ExitStack, writer: ExitStack) -> tuple[int, int]:
    """A pipe's two ends, which the stacks close."""
    read, write = os.pipe()
    reader.callback(os.close, read)
    writer.callback(os.close, write)
    return read, write


def _boot(args: list[str]) -> str:
    """The program of the new interpreter: this one's module path behind its own, then `main`."""
    package_parent = Path(__file__).absolute().parents[2]
    paths = [str(package_parent), *(path for path in sys.path if os.path.isabs(path))]  # noqa: PTH117
    return (
        "import gc, sys\n"
        "gc.disable()\n"
        f"sys.path += [p for p in {paths!r} if p not in sys.path]\n"
        "from lite.engine.worker import main\n"
        f"main({args!r})"
    )
