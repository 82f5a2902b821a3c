"""A thread that calls a function every few milliseconds while something runs."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import TracebackType

from lite.errors import EngineUnavailable

TICK_S = 0.01
LINGER_TICKS = 20  # a thread costs about 60 µs to start, so it outlives short gaps between calls


class Ticker:
    """Use as a context manager around the work; several may be inside at once.

    The thread exists only while somebody is inside, and a moment (`LINGER_TICKS`) longer.
    """

    def __init__(self, tick: Callable[[], None]) -> None:
        self._tick = tick
        self._lock = threading.Lock()
        self._never = threading.Event()
        self._users = 0
        self._thread: threading.Thread | None = None

    @property
    def alive(self) -> bool:
        return self._thread is not None

    def __enter__(self) -> Ticker:
        """Raises `EngineUnavailable` when the system gives no thread: nothing would end a guest."""
        with self._lock:
            if self._thread is None:
                thread = threading.Thread(target=self._run, name="ipvm-ticker", daemon=True)
                try:
                    thread.start()
                except RuntimeError as error:
                    raise EngineUnavailable(
                        f"no thread can be started to watch over the guest: {error}",
                        hint="A limit of the system (`ulimit -v`, `ulimit -u`) is too low for it.",
                    ) from None
                self._thread = thread
            self._users += 1
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with self._lock:
            self._users -= 1

    def _run(self) -> None:
        idle = 0
        while True:
            self._never.wait(TICK_S)
            with self._lock:
                idle = 0 if self._users else idle + 1
                if idle > LINGER_TICKS:
                    self._thread = None
                    return
            self._tick()
