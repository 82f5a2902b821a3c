"""Whose turn it is: one job of each customer after the other, whoever came first."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

__all__ = ["Turns"]


class Turns:
    """Jobs that can begin, by party. Not thread-safe."""

    def __init__(self) -> None:
        self._parties: OrderedDict[str, OrderedDict[int, None]] = OrderedDict()

    def __len__(self) -> int:
        return sum(map(len, self._parties.values()))

    def add(self, party: str, job: int, *, first: bool = False) -> None:
        """A job of a party can begin; `first`: before the others of that party."""
        waiting = self._parties.setdefault(party, OrderedDict())
        waiting[job] = None
        if first:
            waiting.move_to_end(job, last=False)

    def take(self, may: Callable[[str], bool] = lambda _: True) -> int | None:
        """The job that is next; its party comes last from now on. None: there is nothing.

        Args:
            may: whether a party may have its turn now; else it keeps its place.
        """
        party = next(filter(may, self._parties), None)
        if party is None:
            return None
        waiting = self._parties[party]
        job, _ = waiting.popitem(last=False)
        if waiting:
            self._parties.move_to_end(party)
        else:
            del self._parties[party]
        return job

    def drop(self, party: str, job: int) -> None:
        """It is not to begin any more."""
        waiting = self._parties.get(party)
        if waiting is None:
            return
        waiting.pop(job, None)
        if not waiting:
            del self._parties[party]

    def ahead(self, party: str) -> int:
        """How many jobs would begin before a new one of a party."""
        own = len(self._parties.get(party, ()))
        others = (len(jobs) for name, jobs in self._parties.items() if name != party)
        return own + sum(min(count, own + 1) for count in others)
