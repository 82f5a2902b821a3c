"""Finding peers on the local network, and noticing that this machine slept or moved.

What is found is a hint: an address to dial, which proves nothing and says nothing about who is
alive. Multicast loses packets and forgets to ask again, so a watch asks anew: at once after sleep
and after a change of addresses, every 15 s for two minutes then, and every 90 s later. A zone that
does not hear on all networks of this machine is replaced, again and again, ever less often.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from sync.base import Clock
from sync.errors import DiscoveryError

CHECK_S: Final = 5.0  # between looks at the clocks and the addresses
SETTLE_S: Final = 3.0  # addresses have to stay the same for as long
WATCH_SOON_S: Final = 15.0
WATCH_LATE_S: Final = 90.0
SOON_FOR_S: Final = 120.0
REPEAT_S: Final = 10.0  # the same sighting is passed on as often
PEERS_MAX: Final = 1_024
MEND_MAX_S: Final = 300.0  # a network that stays deaf is tried again as often, at least
NAMED_MAX: Final = 4  # addresses in the line about deaf networks
_SLEPT_S: Final = 2.0


@dataclass(frozen=True, slots=True)
class Sighting:
    """Somebody claims that a peer is at these addresses (`host:port`)."""

    did: str
    addresses: tuple[str, ...]


OnSighting = Callable[[Sighting], None]


class Zone(Protocol):
    """One attachment to the local network, for as long as its addresses stay the same."""

    async def open(self, addresses: Sequence[str], found: OnSighting) -> None:
        """Announce this node and listen for others. Raises DiscoveryError."""

    async def ask_again(self) -> None:
        """Ask who is there, and announce this node once more. Raises DiscoveryError."""

    def unheard(self) -> Sequence[str]:
        """The usable addresses of this machine on whose networks this zone hears nothing.

        It may block, and is called in a thread. Raises OSError when the system cannot say it.
        """

    async def close(self) -> None:
        """Say goodbye."""


class Discovery(Protocol):
    """What a runner needs of a way to find peers."""

    async def start(self, found: OnSighting, moved: Callable[[str], None]) -> None:
        """Begin. `moved` is called with "slept" or "addresses" when everything has to be tried."""

    async def stop(self) -> None: ...

    @property
    def problem(self) -> str:
        """Why nothing is found, in one line; empty: it works as far as one can know."""


class LocalNetwork:
    """A `Discovery` that keeps a zone open through sleep and changes of network.

    Args:
        make_zone: a new, closed zone.
        addresses: the IP addresses that this machine can use at this moment; it may block.
        sleeping: seconds that also count while the machine sleeps.
        rest: waits for so many seconds; tests pass their own.
    """

    def __init__(
        self,
        make_zone: Callable[[], Zone],
        addresses: Callable[[], Sequence[str]],
        clock: Clock,
        sleeping: Callable[[], float],
        *,
        check_s: float = CHECK_S,
        rest: Callable[[float], Awaitable[Any]] = asyncio.sleep,
    ) -> None:
        self._make_zone = make_zone
        self._addresses = addresses
        self._clock = clock
        self._slept = SleepWatch(clock, sleeping)
        self._check_s = check_s
        self._rest = rest
        self._zone: Zone | None = None
        self._bound: tuple[str, ...] = ()
        self._seen: dict[str, tuple[Sighting, float]] = {}
        self._task: asyncio.Task[None] | None = None
        self._found: OnSighting = _ignore
        self._moved: Callable[[str], None] = _ignore
        self._changed_at = self._asked_at = clock.monotonic()
        self._trouble = ""
        self._deaf: tuple[str, ...] = ()  # what a new zone did not hear either
        self._mend_s = self._mend_at = 0.0  # the wait before the next new zone; when it ends
        self.checks = 0

    @property
    def problem(self) -> str:
        if self._trouble or not self._deaf:
            return self._trouble
        named, more = ", ".join(self._deaf[:NAMED_MAX]), len(self._deaf) - NAMED_MAX
        where = f"{named} and {more} more" if more > 0 else named
        return f"nothing can be heard on the network of {where}: it is tried again"

    async def start(self, found: OnSighting, moved: Callable[[str], None]) -> None:
        self._found, self._moved = found, moved
        self._task = asyncio.get_running_loop().create_task(self._run())
        self._task.add_done_callback(self._over)

    def _over(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._trouble = f"discovery ended: {error!r}"
            told = {"message": "discovery failed", "exception": error, "task": task}
            task.get_loop().call_exception_handler(told)

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._leave()

    async def _run(self) -> None:
        now, _ = await self._look()
        await self._attach(now)
        while True:
            await self._rest(self._check_s)
            await self.check()

    async def check(self) -> None:
        """One look at the clocks and the addresses, and what follows from it."""
        self.checks += 1
        slept = self._slept.slept()
        now, unheard = await self._look()
        moved = False
        if now != self._bound:
            # An address that was away took its membership of the group along, perhaps.
            moved = not set(self._bound) <= set(now)
            await self._rest(SETTLE_S)
            now, unheard = await self._look()
            moved = moved or now != self._bound
        if moved:
            await self._leave()
            await self._attach(now)
        else:
            await self._mend(unheard)
        if slept:
            self._changed_at = self._clock.monotonic()
        if slept or moved:
            self._moved("slept" if slept else "addresses")
        if (slept and not moved) or self._is_time():
            await self._ask()

    def _is_time(self) -> bool:
        now = self._clock.monotonic()
        soon = now - self._changed_at < SOON_FOR_S
        return now - self._asked_at >= (WATCH_SOON_S if soon else WATCH_LATE_S)

    async def _look(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The addresses of this machine, and those on whose networks the zone hears nothing."""
        zone = self._zone

        def look() -> tuple[tuple[str, ...], tuple[str, ...]]:
            unheard = () if zone is None else zone.unheard()
            return tuple(sorted(self._addresses())), tuple(sorted(unheard))

        try:
            return await asyncio.get_running_loop().run_in_executor(None, look)
        except OSError as error:  # the system cannot say it at this moment
            self._trouble = f"the addresses of this machine cannot be read: {error}"
            return self._bound, self._deaf

    async def _attach(self, addresses: tuple[str, ...]) -> None:
        self._bound = addresses
        self._changed_at = self._clock.monotonic()
        self._deaf, self._mend_s = (), 0.0
        await self._open()

    async def _open(self) -> None:
        self._asked_at = self._clock.monotonic()
        if not self._bound:
            self._trouble = "this machine has no address that can be used now"
            return
        self._trouble = ""
        self._zone = self._make_zone()
        try:
            await self._zone.open(self._bound, self._sighted)
        except DiscoveryError as error:
            self._trouble = str(error)
            await self._leave()

    async def _mend(self, unheard: tuple[str, ...]) -> None:
        """Replace a zone that does not hear everywhere: what it could not bind may be ready now."""
        now = self._clock.monotonic()
        self._deaf = unheard if self._mend_s else ()
        if not unheard:
            if self._mend_s:
                self._changed_at = now
            self._mend_s = 0.0
        elif not self._mend_s or now >= self._mend_at:
            self._mend_s = min(max(self._check_s, 2 * self._mend_s), MEND_MAX_S)
            await self._leave()
            await self._open()
            self._mend_at = self._clock.monotonic() + self._mend_s

    async def _ask(self) -> None:
        self._asked_at = self._clock.monotonic()
        if self._zone is None:
            await self._attach(self._bound)
            return
        try:
            await self._zone.ask_again()
            self._trouble = ""
        except DiscoveryError as error:  # the next time begins with a new zone
            self._trouble = str(error)
            await self._leave()

    async def _leave(self) -> None:
        zone, self._zone = self._zone, None
        if zone is not None:
            await zone.close()

    def _sighted(self, sighting: Sighting) -> None:
        now = self._clock.monotonic()
        before = self._seen.get(sighting.did)
        if before is not None and before[0] == sighting and now - before[1] < REPEAT_S:
            return
        self._seen.pop(sighting.did, None)
        if len(self._seen) >= PEERS_MAX:
            del self._seen[next(iter(self._seen))]
        self._seen[sighting.did] = (sighting, now)
        self._found(sighting)


class SleepWatch:
    """Tells whether the machine slept since the last question.

    The two clocks differ by the time asleep; a clock that was set looks the same, which costs only
    a few dials.
    """

    def __init__(self, clock: Clock, sleeping: Callable[[], float]) -> None:
        self._clock = clock
        self._sleeping = sleeping
        self._apart = sleeping() - clock.monotonic()

    def slept(self) -> bool:
        apart = self._sleeping() - self._clock.monotonic()
        before, self._apart = self._apart, apart
        return abs(apart - before) > _SLEPT_S


def _ignore(_: object) -> None:
    """Nobody asked yet."""
