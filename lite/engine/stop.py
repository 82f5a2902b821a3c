"""Ending computations from outside, by whoever lost interest in them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from threading import Condition, Thread, get_ident
from typing import Final

from lite.errors import Interrupted

__all__ = ["ASK_WITHIN_S", "Stop"]

ASK_WITHIN_S: Final = 0.25  # how long who asks waits for all that is called to have returned

Kill = Callable[[], None]


class Stop:
    """Asked for once, by any thread, for all computations that were given it.

    What is to be called then may be anybody's: it is called in a thread of its own, with no lock
    held, so that nothing that it does or raises is felt by who asks.

    Attributes:
        asked: nothing that was given this may begin any more.
        faults: what was raised by what was called, in words.
    """

    def __init__(self) -> None:
        self.asked = False
        self.faults: list[str] = []
        self._changed = Condition()
        self._kills: set[Kill] = set()
        self._called: list[tuple[Kill, int]] = []  # now, by which thread

    def ask(self) -> None:
        """End everything that goes on now. Safe to call twice."""
        with self._changed:
            self.asked = True
            kills = list(self._kills)
        _wait_for([thread for kill in kills if (thread := self._begin(kill)) is not None])

    def check(self) -> None:
        """Raise `Interrupted` once the end was asked for."""
        if self.asked:
            raise Interrupted("the run was asked to stop")

    def enter(self, kill: Kill) -> None:
        """Something goes on now that `kill` ends, at once when `ask` was called before."""
        with self._changed:
            self._kills.add(kill)
            late = self.asked
        if late:
            kill()

    @contextmanager
    def ending(self, kill: Kill) -> Iterator[None]:
        """`enter` and `leave` around what goes on."""
        try:
            self.enter(kill)
            yield
        finally:
            self.leave(kill)

    def leave(self, kill: Kill) -> None:
        """It goes on no more: `kill` is not called from now on. Waits for the end of a call of it
        that is under way, unless that is where this is called."""
        me = get_ident()
        with self._changed:
            self._kills.discard(kill)
            while any(one == kill and thread != me for one, thread in self._called):
                self._changed.wait()

    def _begin(self, kill: Kill) -> Thread | None:
        thread = Thread(target=self._call, args=(kill,), name="ipvm-stop", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # no more threads are to be had
            self._call(kill)
            return None
        return thread

    def _call(self, kill: Kill) -> None:
        mine = (kill, get_ident())
        with self._changed:
            if kill not in self._kills:
                return
            self._called.append(mine)
        try:
            kill()
        except BaseException as fault:  # of whoever gave it: nobody else is to end by it
            self.faults.append(f"{type(fault).__name__}: {fault}")
        finally:
            with self._changed:
                self._called.remove(mine)
                self._changed.notify_all()


def _wait_for(threads: Sequence[Thread]) -> None:
    until = time.monotonic() + ASK_WITHIN_S
    for thread in threads:
        thread.join(max(0.0, until - time.monotonic()))
