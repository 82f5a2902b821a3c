"""What a node can spend on meeting others: space on its disk, its network, its battery."""

from __future__ import annotations

from typing import Final

from lite.clock import Clock
from lite.config import Config
from lite.peering.keeping import Keeper
from lite.peering.storing import ROOM_BYTES
from lite.power import Power
from lite.store.faults import free_bytes
from lite.store.home import DATABASE
from lite.store.reserve import RECEIPTS, Reserve
from lite.store.room import LARGE_BYTES

__all__ = ["Means"]

_FULL: Final = "the disk is full: blocks of peers are refused, receipts have what is kept back"
_NONE_KEPT: Final = "the disk is full: nothing is kept back for receipts of peers"
_NO_BLOCKS: Final = ", and blocks of theirs are refused"


class Means:
    """See the module. `keep` and `why_spare` may wait, for the disk or another program.

    Args:
        metered: the network costs by the byte.
    """

    def __init__(self, config: Config, clock: Clock, *, metered: bool) -> None:
        self._metered = metered
        self._home = config.home
        self._power = Power(config["peers.battery_min"], clock)
        self._reserves = (
            Reserve(config.home),
            Reserve(config.home, RECEIPTS, config["peers.reserve"]),
        )

    @property
    def full(self) -> str:
        """Why nothing can be kept: there is no space, or no home; empty: it can."""
        free, is_kept = free_bytes(self._home / DATABASE), self._reserves[-1].is_kept
        if is_kept and (free is None or free >= LARGE_BYTES):
            return ""
        if not self._home.is_dir():
            return f"the home {self._home} is not there any more"
        if is_kept:
            return _FULL
        return _NONE_KEPT + (_NO_BLOCKS if free is not None and free < ROOM_BYTES else "")

    def problems(self) -> list[str]:
        """What is short, a line each."""
        return [text for text in (self.full, self._power.problem) if text]

    def may_be_better(self, keeper: Keeper | None) -> bool:
        """Whether it is time to look again at space, or at what `keeper` could not fetch."""
        if not all(reserve.is_kept for reserve in self._reserves):
            return True
        if keeper is None or not keeper.problem():
            return False
        return keeper.is_left or self._power.is_due

    def keep(self) -> None:
        """Keep space back again, where as much again stays free."""
        for reserve in self._reserves:
            reserve.keep_with_room()

    def why_spare(self) -> str:
        """Why nothing is taken now that nobody asked for by name; empty: it is."""
        if self._metered:
            return "the network is metered"
        return "the battery is low" if self._power.is_low() else ""
