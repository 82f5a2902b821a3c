"""One program with bounds: a session of its own, all of which ends with it.

Between the node and the program stands `exec_start`. When the program ends, or is told to because
time or output run out, it kills whatever the program started and only then ends itself.
"""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal

from lite.engine.stop import Stop
from lite.frozen import frozen
from lite.limits import TRACE_BYTES_MAX
from lite.ops.arguments import Bytes
from lite.ops.exec_start import kill_below
from lite.ops.scratch import scratch_folder

START = Path(__file__).with_name("exec_start.py")
DRAIN_S_MAX: Final = 2.0  # for what is left in the pipes when everything was killed
END_S_MAX: Final = 5.0  # for killing what the program started
_CHUNK_BYTES: Final = 1 << 16


@frozen
class Ended:
    """How it ended.

    Attributes:
        status: of the process; negative: the signal that ended it.
        stderr: the first `TRACE_BYTES_MAX` bytes.
        stopped: why it was stopped here, or "".
    """

    status: int
    stdout: bytes
    stderr: bytes
    stopped: Literal["", "time", "output"]


def run_child(
    argv: Sequence[str],
    *,
    env: Mapping[str, str],
    stdin: Bytes,
    folder: Path | None,
    ends_at: float,
    memory_bytes: int,
    stdout_bytes_max: int,
    on_trace: Callable[[bytes], None] | None = None,
    stop: Stop | None = None,
) -> Ended:
    """Run a program to its end.

    Args:
        argv: an absolute path and arguments; no shell reads them.
        folder: where it runs; None: an empty one that goes afterwards.
        ends_at: on `time.monotonic`; then it is killed.
        on_trace: gets standard error as it comes.
        stop: kills it, and all that it started.

    Returns:
        When nothing of it runs any more: on Linux none of its processes, elsewhere none of its
        process group.
    """
    cpu_s = max(1, int(ends_at - time.monotonic()) + 2)
    bounds = f"{cpu_s},{memory_bytes},{os.getpid()}"
    with scratch_folder("ipvm-exec-") as empty:
        child = subprocess.Popen(
            [sys.executable, "-I", "-S", str(START), bounds, *argv],
            cwd=folder or empty,
            env={**env, "HOME": empty, "TMPDIR": empty},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            bufsize=0,
        )
        with child:
            talk = _Talk(child, stdin, stdout_bytes_max, on_trace)
            try:
                end = partial(_ask_to_end, child.pid)
                with nullcontext() if stop is None else stop.ending(end):
                    stopped = talk.until(ends_at)
            finally:
                status = _end(child)
                talk.drain()
    return Ended(status, bytes(talk.stdout), bytes(talk.stderr), stopped)


def _ask_to_end(starter: int) -> None:
    """Have a starter kill its program. It is not yet waited for, so its number is still its own."""
    with suppress(ProcessLookupError):
        os.kill(starter, signal.SIGTERM)
        os.kill(starter, signal.SIGCONT)  # a program can stop it


def _end(child: subprocess.Popen[bytes]) -> int:
    """The status of a starter, which is told to end unless it has. One that does not, or whose
    program killed it, is no help any more: then what is below it is killed from here."""
    _ask_to_end(child.pid)
    try:
        return child.wait(END_S_MAX)
    except subprocess.TimeoutExpired:
        kill_below(child.pid)
        child.kill()
        return child.wait()


class _Talk:
    """Feeds and reads the three pipes of a child."""

    def __init__(
        self,
        child: subprocess.Popen[bytes],
        stdin: Bytes,
        stdout_bytes_max: int,
        on_trace: Callable[[bytes], None] | None,
    ) -> None:
        self.stdout = bytearray()
        self.stderr = bytearray()
        self._child = child
        self._bound = stdout_bytes_max
        self._on_trace = on_trace
        self._chunks = stdin.chunks()
        self._unsent = memoryview(b"")
        self._selector = selectors.DefaultSelector()
        for pipe, events in (
            (child.stdin, selectors.EVENT_WRITE),
            (child.stdout, selectors.EVENT_READ),
            (child.stderr, selectors.EVENT_READ),
        ):
            assert pipe is not None
            os.set_blocking(pipe.fileno(), False)
            self._selector.register(pipe, events)

    def until(self, ends_at: float) -> Literal["", "time", "output"]:
        """Until the program itself has ended, its output is closed, or a bound is reached."""
        with _exit_of(self._child) as ended:
            if ended is not None:
                self._selector.register(ended, selectors.EVENT_READ, "ended")
            while self._reading():
                left = ends_at - time.monotonic()
                if left <= 0:
                    return "time"
                for key, _ in self._selector.select(left):
                    if key.data == "ended":
                        self._selector.unregister(key.fileobj)
                        return ""
                    self._serve(key.fileobj)
                if len(self.stdout) > self._bound:
                    return "output"
        try:
            self._child.wait(max(0.0, ends_at - time.monotonic()))
        except subprocess.TimeoutExpired:
            return "time"
        return ""

    def drain(self) -> None:
        """What is left in the pipes; whoever else holds them has no time to add to it."""
        ends_at = time.monotonic() + DRAIN_S_MAX
        try:
            while self._reading() and len(self.stdout) <= self._bound:
                ready = self._selector.select(max(0.0, ends_at - time.monotonic()))
                for key, _ in ready:
                    self._serve(key.fileobj)
                if not ready or time.monotonic() > ends_at:
                    return
        finally:
            self._selector.close()

    def _reading(self) -> bool:
        """Whether a pipe that is read from is still open."""
        pipes = (self._child.stdout, self._child.stderr)
        return any(key.fileobj in pipes for key in self._selector.get_map().values())

    def _serve(self, pipe: Any) -> None:
        if pipe is self._child.stdin:
            self._feed(pipe)
            return
        data = os.read(pipe.fileno(), _CHUNK_BYTES)
        if not data:
            self._selector.unregister(pipe)
        elif pipe is self._child.stdout:
            self.stdout += data
        else:
            data = data[: TRACE_BYTES_MAX - len(self.stderr)]
            self.stderr += data
            if data and self._on_trace is not None:
                self._on_trace(data)

    def _feed(self, pipe: Any) -> None:
        try:
            if not self._unsent:
                self._unsent = memoryview(next(self._chunks, b""))
            if self._unsent:
                self._unsent = self._unsent[os.write(pipe.fileno(), self._unsent) :]
                return
        except BlockingIOError:
            return
        except BrokenPipeError:  # it does not read on, which is its right
            pass
        self._selector.unregister(pipe)
        pipe.close()


@contextmanager
def _exit_of(child: subprocess.Popen[bytes]) -> Iterator[int | None]:
    """A file that is readable when a child has ended (Linux), else None: then the end of its
    output is what is waited for."""
    handle: int | None = None
    if hasattr(os, "pidfd_open"):
        with suppress(OSError):
            handle = os.pidfd_open(child.pid)
    try:
        yield handle
    finally:
        if handle is not None:
            os.close(handle)
