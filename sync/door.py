"""How many connections are let in: few that have not proved a name, more that have.

Pure counting; addresses of IPv6 count by their /64, which one owner has.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from ipaddress import IPv6Address, ip_address
from time import monotonic
from typing import Final

from sync.meter import Meter

UNPROVED_PER_ADDRESS: Final = 8
UNPROVED_MAX: Final = 64
PER_PEER_MAX: Final = 16
CONNECTIONS_MAX: Final = 256
KNOCKS_MAX: Final = 128  # of one address at once: each that is let in costs some milliseconds
KNOCKS_PER_S: Final = 8
_ADDRESSES_MAX: Final = 1_024  # whose knocks are remembered


class Door:
    """Counts who is inside, and who knocks too often."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self.connections = 0
        self.unproved = 0
        self.turned_away = 0
        self._addresses: Counter[str] = Counter()
        self._peers: Counter[str] = Counter()
        self._clock = clock
        self._knocks: dict[str, Meter] = {}

    def enter(self, host: str) -> Guest | None:
        """A new connection from an IP address; None: there is no room for it."""
        block = _block(host)
        full = self.connections >= CONNECTIONS_MAX or self.unproved >= UNPROVED_MAX
        crowded = full or self._addresses[block] >= UNPROVED_PER_ADDRESS
        if crowded or not self._may_knock(block):
            self.turned_away += 1
            return None
        self.connections += 1
        self.unproved += 1
        self._addresses[block] += 1
        return Guest(self, block)

    def _may_knock(self, block: str) -> bool:
        if len(self._knocks) >= _ADDRESSES_MAX:
            del self._knocks[next(iter(self._knocks))]
        knocks = self._knocks.setdefault(block, Meter(KNOCKS_MAX, KNOCKS_PER_S))
        now = self._clock()
        if knocks.add(1, now):
            return True
        knocks.add(-1, now)  # who is turned away has cost nothing
        return False

    def _proved(self, block: str, did: str) -> bool:
        if self._peers[did] >= PER_PEER_MAX:
            self.turned_away += 1
            return False
        self._peers[did] += 1
        self._forget(block)
        return True

    def _forget(self, block: str) -> None:
        self.unproved -= 1
        _take_one(self._addresses, block)

    def _left(self, block: str, did: str | None) -> None:
        self.connections -= 1
        if did is None:
            self._forget(block)
        else:
            _take_one(self._peers, did)


class Guest:
    """One connection."""

    def __init__(self, door: Door, block: str) -> None:
        self._door = door
        self._block = block
        self._did: str | None = None
        self._inside = True

    @property
    def proved(self) -> bool:
        return self._did is not None

    def prove(self, did: str) -> bool:
        """It proved to be `did`. False: that peer has too many connections, or it was another."""
        if self._did is not None:
            return self._did == did
        if self._inside and self._door._proved(self._block, did):
            self._did = did
            return True
        return False

    def leave(self) -> None:
        """It is closed; said twice, it counts once."""
        if self._inside:
            self._inside = False
            self._door._left(self._block, self._did)


def _take_one(counts: Counter[str], key: str) -> None:
    counts[key] -= 1
    if not counts[key]:
        del counts[key]


def _block(host: str) -> str:
    address = ip_address(host.partition("%")[0])
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return address.exploded[:19]
    return str(address)
