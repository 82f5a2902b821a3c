"""Three operations for ipvm-lite, as an example of how to add your own."""

from __future__ import annotations

from contextlib import nullcontext
from datetime import datetime, timezone
from threading import Event
from urllib.parse import unquote

from lite.engine.base import GuestFailure
from lite.ops.arguments import Arguments, bad
from lite.ops.base import Level, Outcome, Ready, outcome_of


class Reverse:
    """`text/reverse` of `data:,TEXT`, or of the input `text`: the same, backwards."""

    name = "text/reverse"
    level: Level = "pure"  # the same input always gives the same value: it is remembered
    needs: frozenset[str] = frozenset()

    def __init__(self, config: object) -> None:
        """The node's settings; this operation has none."""

    def missing(self, ready: Ready) -> str | None:
        return None  # it can always run

    def run(self, ready: Ready) -> Outcome:
        return outcome_of(lambda: self._reversed(ready))

    def _reversed(self, ready: Ready) -> str:
        given = Arguments(ready, frozenset({"text"}))  # refuses any other key by name
        if "text" in given:
            return given.text("text")[::-1]
        rsc = str(ready.instruction.rsc)
        if not rsc.startswith("data:,"):
            raise bad("text/reverse needs data:,TEXT or the input text")
        return unquote(rsc.removeprefix("data:,"))[::-1]


class Now:
    """`time/now` of `clock:utc`: the time of day on this node."""

    name = "time/now"
    level: Level = "query"  # it reads the world: it may be repeated, and is never remembered
    needs: frozenset[str] = frozenset()

    def __init__(self, config: object) -> None:
        pass

    def missing(self, ready: Ready) -> str | None:
        return None

    def run(self, ready: Ready) -> Outcome:
        return outcome_of(lambda: self._now(ready))

    def _now(self, ready: Ready) -> str:
        Arguments(ready, frozenset())
        return datetime.now(timezone.utc).isoformat(timespec="seconds")


class Wait:
    """`time/wait` of `clock:utc`: the time of day, `ms` milliseconds later. It ends at once when it
    is asked to, as everything should that takes longer than a moment."""

    name = "time/wait"
    level: Level = "query"
    needs: frozenset[str] = frozenset()

    def __init__(self, config: object) -> None:
        pass

    def missing(self, ready: Ready) -> str | None:
        return None

    def run(self, ready: Ready) -> Outcome:
        return outcome_of(lambda: self._waited(ready))

    def _waited(self, ready: Ready) -> str:
        wait_s = (Arguments(ready, frozenset({"ms"})).number("ms", 0, 0, 3_600_000) or 0) / 1000
        left_s = ready.limits.time_ms / 1000  # of a deadline it is told by `stop`
        asked = Event()
        with nullcontext() if ready.stop is None else ready.stop.ending(asked.set):
            asked.wait(min(wait_s, max(0.0, left_s)))
        if ready.stop is not None:
            ready.stop.check()  # raises: there is no outcome
        if wait_s > left_s:
            raise GuestFailure("time-limit", "the time was up before the wait was over")
        return datetime.now(timezone.utc).isoformat(timespec="seconds")
