"""A thread that calls a function every few milliseconds while something runs."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import TracebackType

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
        with self._lock:
            self._users += 1
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="ipvm-ticker", daemon=True)
                self._thread.start()
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
