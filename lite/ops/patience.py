"""Work that does not end when it is asked to: it is left behind, in a thread of its own.

Nobody can end a Python thread. So what cannot be trusted to end is waited for in another thread,
and no longer than it has to be. A thread that was left goes on until it ends by itself, or with the
process; what it says then is heard by nobody.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import Event, Thread
from typing import Final, Generic, TypeVar

from lite.engine.stop import Stop

__all__ = ["GRACE_S", "Ended", "LeftBehind", "Work"]

GRACE_S: Final = 0.5  # for what listens to end by itself, with what it can say of its end

_T = TypeVar("_T")


class LeftBehind(Exception):
    """It was asked to stop and did not: it may go on, and nobody waits for it any more."""


class Ended(Exception):
    """It ended its thread by what is no error: `KeyboardInterrupt` raised by it is not Ctrl-C,
    which comes to the main thread alone."""


class Work(Generic[_T]):
    """One call of a function in a thread of its own.

    Attributes:
        is_left: nobody waits for it any more.
    """

    def __init__(self, function: Callable[[], _T], name: str) -> None:
        self.is_left = False
        self._function = function
        self._name = name
        self._values: list[_T] = []
        self._fault: BaseException | None = None
        self._done = Event()

    def until(self, stop: Stop) -> _T:
        """What the function returns; raises what it raises. `stop` ends the wait.

        Raises:
            Ended: it raised what is no `Exception`, `SystemExit` or `GeneratorExit`.
            LeftBehind: it goes on, `GRACE_S` after the end was asked for.
        """
        woken = Event()
        Thread(target=self._run, args=(woken,), name=self._name, daemon=True).start()
        with stop.ending(woken.set):
            woken.wait()
        if not self._done.wait(GRACE_S if stop.asked else None):
            self.is_left = True
            raise LeftBehind
        fault = self._fault
        if fault is not None:
            if not isinstance(fault, (Exception, SystemExit, GeneratorExit)):
                raise Ended(f"{type(fault).__name__}: {fault}") from fault
            raise fault
        return self._values[0]

    def _run(self, woken: Event) -> None:
        try:
            self._values.append(self._function())
        except BaseException as fault:  # raised again where it is waited for
            self._fault = fault
        finally:
            self._done.set()
            woken.set()
