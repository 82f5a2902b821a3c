"""How many connections are let in, and who has to go when there are too many.

Names cost nothing, so a bound for each name bounds nobody. Places are kept apart instead: for those
that have not proved a name yet, for strangers, and for whoever is welcome here. Where a place is
wanted and none is free, the oldest that does nothing loses its own; whoever is welcome never does.
Pure counting; addresses of IPv6 count by their /64, which one owner has.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from ipaddress import IPv6Address, ip_address
from time import monotonic
from typing import Final

from sync.errors import StoreError
from sync.meter import Meter

UNPROVED_PER_ADDRESS: Final = 8
UNPROVED_MAX: Final = 64
STRANGERS_PER_ADDRESS: Final = 16
STRANGERS_MAX: Final = 32
STRANGER_IDLE_S: Final = 60.0  # without a request
RIGHT_LOOK_S: Final = 30.0  # whether who is welcome still has a right
WELCOME_MAX: Final = 160
PER_PEER_MAX: Final = 16
KNOCKS_MAX: Final = 128  # of one address at once: each that is let in costs some milliseconds
KNOCKS_PER_S: Final = 8
WAITING_PER_ADDRESS: Final = 8  # who knocked more often
WAITING_MAX: Final = 64
_ADDRESSES_MAX: Final = 1_024  # whose knocks are remembered


def _nobody_is_welcome(_: str) -> bool:
    return False


class Door:
    """Counts who is inside, and who knocks too often.

    Args:
        welcome: whether a did:key has a right here at this moment; while it raises StoreError
            nobody can tell: who is inside stays what it is.
    """

    def __init__(
        self,
        clock: Callable[[], float] = monotonic,
        welcome: Callable[[str], bool] = _nobody_is_welcome,
    ) -> None:
        self.turned_away = 0
        self._clock = clock
        self._welcome = welcome
        self._inside: dict[Guest, None] = {}  # the oldest first
        self._knocks: dict[str, Meter] = {}

    @property
    def connections(self) -> int:
        return len(self._inside)

    @property
    def unproved(self) -> int:
        """Those that were let in and have not proved a name."""
        return len(self._of("unproved"))

    def enter(self, host: str, cut: Callable[[], None]) -> Guest | None:
        """A new connection from an IP address; None: there is no room for it.

        Args:
            cut: ends the connection, when another gets its place.
        """
        block = _block(host)
        wait_s = self._knock(block)
        waiting = [guest.block for guest in self._of("waiting")]
        full = len(waiting) >= WAITING_MAX or waiting.count(block) >= WAITING_PER_ADDRESS
        if wait_s and full:
            self._knocks[block].add(-1, self._clock())  # it has cost nothing
            self.turned_away += 1
            return None
        guest = Guest(self, block, wait_s, cut)
        self._inside[guest] = None
        return guest

    def review(self) -> None:
        """Rights have changed: who has none any more is a stranger from here on."""
        welcome: dict[str, bool] = {}
        for guest in self._of("welcome"):
            assert guest.did is not None, "only a name can be welcome"
            if guest.did not in welcome:
                welcome[guest.did] = self._has_right(guest.did, unknown=True)
            if not welcome[guest.did]:
                self._demote(guest)

    @contextmanager
    def busy(self, did: str) -> Iterator[None]:
        """A request of a peer is under way: it is not idle, on none of its connections."""
        theirs = [guest for guest in self._inside if guest.did == did]
        for guest in theirs:
            guest.requests += 1
        try:
            yield
        finally:
            welcome = self._has_right(did)  # the request may have made it so
            for guest in theirs:
                guest.requests -= 1
                guest.seen_at = self._clock()
                if welcome and guest.state == "stranger":
                    guest.state = "welcome"

    def cut_unproved(self) -> None:
        """End the connections of all that have not proved a name."""
        for guest in [guest for guest in self._inside if not guest.proved]:
            guest.cut()

    def _knock(self, block: str) -> float:
        """Seconds until one more from there may be let in."""
        if block not in self._knocks and len(self._knocks) >= _ADDRESSES_MAX:
            del self._knocks[next(iter(self._knocks))]
        knocks = self._knocks.setdefault(block, Meter(KNOCKS_MAX, KNOCKS_PER_S))
        now = self._clock()
        knocks.add(1, now)
        return knocks.full_s(now)

    def _of(self, state: str) -> list[Guest]:
        return [guest for guest in self._inside if guest.state == state]

    def _admit(self, guest: Guest) -> None:
        self._make_room(guest.block, "unproved", UNPROVED_PER_ADDRESS, UNPROVED_MAX)
        guest.state, guest.seen_at = "unproved", self._clock()

    def _prove(self, guest: Guest, did: str) -> bool:
        state = "welcome" if self._has_right(did) else "stranger"
        of_peer = sum(other.did == did for other in self._inside)
        if state == "welcome" and len(self._of(state)) >= WELCOME_MAX:
            self.review()
        full = state == "welcome" and len(self._of(state)) >= WELCOME_MAX
        if of_peer >= PER_PEER_MAX or full:
            self.turned_away += 1
            return False
        if state == "stranger":
            self._make_room(guest.block, state, STRANGERS_PER_ADDRESS, STRANGERS_MAX)
        guest.state, guest.did, guest.seen_at = state, did, self._clock()
        return True

    def _make_room(self, block: str, state: str, per_address: int, most: int) -> None:
        """Take a place from somebody in the same block, or else in the fullest one."""
        while True:
            there = self._of(state)
            blocks = Counter(guest.block for guest in there)
            if blocks[block] >= per_address:
                fullest = block
            elif len(there) >= most:
                fullest = blocks.most_common(1)[0][0]
            else:
                return
            self._displace(guest for guest in there if guest.block == fullest)

    def _displace(self, guests: Iterable[Guest]) -> None:
        """The one that has done nothing for longest has to go, unless it is welcome by now."""
        oldest = min(guests, key=lambda guest: (guest.requests > 0, guest.seen_at))
        if oldest.did is not None and self._has_right(oldest.did):
            oldest.state = "welcome"
        else:
            self._turn_out(oldest)

    def _demote(self, guest: Guest) -> None:
        """It has no right any more: its place among strangers is what its last request earns."""
        guest.state = "stranger"
        there = self._of("stranger")
        nearby = [other for other in there if other.block == guest.block]
        if len(nearby) > STRANGERS_PER_ADDRESS:
            self._displace(nearby)
        elif len(there) > STRANGERS_MAX:
            fullest = Counter(other.block for other in there).most_common(1)[0][0]
            self._displace(other for other in there if other.block == fullest)
        guest.seen_at = self._clock()

    def _has_right(self, did: str, *, unknown: bool = False) -> bool:
        try:
            return self._welcome(did)
        except StoreError:
            return unknown

    def _turn_out(self, guest: Guest) -> None:
        self.turned_away += 1
        guest.leave()
        guest.cut()


class Guest:
    """One connection.

    Attributes:
        state: "waiting" for its turn, "unproved", "stranger" or "welcome".
        wait_s: seconds until it may be let in.
        requests: of its peer that are under way.
        seen_at: when it last did something.
    """

    def __init__(self, door: Door, block: str, wait_s: float, cut: Callable[[], None]) -> None:
        self.block = block
        self.cut = cut
        self.did: str | None = None
        self.wait_s = wait_s
        self.state = "waiting"
        self.requests = 0
        self.seen_at = 0.0
        self._door = door
        if not wait_s:
            self.come_in()

    @property
    def proved(self) -> bool:
        return self.did is not None

    @property
    def is_inside(self) -> bool:
        return self in self._door._inside

    def come_in(self) -> None:
        """Its turn has come."""
        self._door._admit(self)

    def prove(self, did: str) -> bool:
        """It proved to be `did`. False: that peer has too many connections, or it was another."""
        if self.did is not None:
            return self.did == did
        return self.is_inside and self._door._prove(self, did)

    def look(self) -> float | None:
        """See whether it still has a right, and turn a stranger out that has done nothing for long.

        Returns:
            Seconds until it is to be looked at again; None: never.
        """
        if self.is_inside and self.state == "welcome" and self.did is not None:
            if self._door._has_right(self.did, unknown=True):
                return RIGHT_LOOK_S
            self._door._demote(self)
        if not self.is_inside or self.state != "stranger":
            return None
        left_s = self.seen_at + STRANGER_IDLE_S - self._door._clock()
        if self.requests or left_s > 0:
            return max(left_s, STRANGER_IDLE_S / 2) if self.requests else left_s
        self._door._displace([self])
        return RIGHT_LOOK_S if self.is_inside else None

    def leave(self) -> None:
        """It is closed; said twice, it counts once."""
        self._door._inside.pop(self, None)


def _block(host: str) -> str:
    address = ip_address(host.partition("%")[0])
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return address.exploded[:19]
    return str(address)
