"""Who may read records or blocks here by a delegation, beside those whom the owner gave the right.

    cmd "/ipvm/records/read" or "/ipvm/blocks/read"   sub = this node   aud = the peer

Chains through others count, and so do commands that cover this one. Arguments are none, so that a
delegation with a policy that asks for some allows nothing.
"""

from __future__ import annotations

from typing import Final

from lite.authority import Authority
from lite.clock import Clock
from lite.frozen import frozen
from lite.keys import Key
from lite.peering.faults import faults
from lite.store import Store
from lite.ucan.delegation import Delegation

__all__ = ["BLOCKS_COMMAND", "COMMAND", "Delegated", "Readers", "delegated_readers"]

COMMAND: Final = "/ipvm/records/read"
BLOCKS_COMMAND: Final = "/ipvm/blocks/read"
REMEMBERED: Final = 512  # anybody may ask: more than strangers are kept in the book


class Readers:
    """What the delegations here say of each peer, until they are to be asked again."""

    def __init__(self, store: Store, key: Key, clock: Clock) -> None:
        self._own = key.did
        self._path = store.database.path
        self._authority = Authority(store, key, clock)
        self._may: dict[tuple[str, str], bool] = {}

    def may_read(self, did: str, command: str = COMMAND) -> bool:
        """Whether a delegation lets it, as of the last `forget`. Raises as `may_now`."""
        asked = did, command
        if asked not in self._may:
            if len(self._may) >= REMEMBERED:
                del self._may[next(iter(self._may))]
            self._may[asked] = self.may_now(did, command)
        return self._may[asked]

    def may_now(self, did: str, command: str) -> bool:
        """Whether a delegation lets it at this moment. Raises StoreError of `lite.peering.faults`:
        the peers' sessions know it too."""
        with faults(self._path):
            chain = self._authority.find_chain(
                subject=self._own, audience=did, command=command, args={}
            )
        return bool(chain)

    def forget(self) -> None:
        """Ask the delegations again: something was written, or time went by."""
        self._may.clear()


@frozen
class Delegated:
    """The DIDs of those to whom a delegation that is here gives something now."""

    records: tuple[str, ...]
    blocks: tuple[str, ...]


def delegated_readers(store: Store, key: Key, clock: Clock) -> Delegated:
    """All of them. Raises StoreError."""
    readers = Readers(store, key, clock)
    given = {one.audience for _, one in store.tokens.each(Delegation) if one is not None}
    dids = sorted(given - {key.did})
    return Delegated(
        tuple(did for did in dids if readers.may_read(did)),
        tuple(did for did in dids if readers.may_read(did, BLOCKS_COMMAND)),
    )
