"""Ending computations from outside, by whoever lost interest in them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock

from lite.errors import Interrupted

__all__ = ["Stop"]


class Stop:
    """Asked for once, by any thread, for all computations that were given it.

    Attributes:
        asked: nothing that was given this may begin any more.
    """

    def __init__(self) -> None:
        self.asked = False
        self._lock = Lock()
        self._kills: set[Callable[[], None]] = set()

    def ask(self) -> None:
        """End everything that goes on now. Safe to call twice."""
        with self._lock:
            self.asked = True
            for kill in self._kills:
                kill()

    def check(self) -> None:
        """Raise `Interrupted` once the end was asked for."""
        if self.asked:
            raise Interrupted("the run was asked to stop")

    def enter(self, kill: Callable[[], None]) -> None:
        """Something goes on now that `kill` ends, at once when `ask` was called before."""
        with self._lock:
            self._kills.add(kill)
            if self.asked:
                kill()

    @contextmanager
    def ending(self, kill: Callable[[], None]) -> Iterator[None]:
        """`enter` and `leave` around what goes on."""
        self.enter(kill)
        try:
            yield
        finally:
            self.leave(kill)

    def leave(self, kill: Callable[[], None]) -> None:
        """It goes on no more."""
        with self._lock:
            self._kills.discard(kill)
