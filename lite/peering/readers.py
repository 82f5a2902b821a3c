"""Who may read records here by a delegation, beside those whom the owner gave the right to.

    cmd "/ipvm/records/read"   sub = this node   aud = the peer

Chains through others count, and so do commands that cover this one. Arguments are none, so that a
delegation with a policy that asks for some allows nothing.
"""

from __future__ import annotations

from typing import Final

from lite.authority import Authority
from lite.clock import Clock
from lite.keys import Key
from lite.store import Store
from lite.ucan.delegation import Delegation

__all__ = ["COMMAND", "Readers", "delegated_readers"]

COMMAND: Final = "/ipvm/records/read"
REMEMBERED: Final = 512  # anybody may ask: more than strangers are kept in the book


class Readers:
    """What the delegations here say of each peer, until they are to be asked again."""

    def __init__(self, store: Store, key: Key, clock: Clock) -> None:
        self._own = key.did
        self._authority = Authority(store, key, clock)
        self._may: dict[str, bool] = {}

    def may_read(self, did: str) -> bool:
        """Whether a delegation lets it. Raises StoreError."""
        if did not in self._may:
            if len(self._may) >= REMEMBERED:
                del self._may[next(iter(self._may))]
            self._may[did] = self._is_delegated(did)
        return self._may[did]

    def forget(self) -> None:
        """Ask the delegations again: something was written, or time went by."""
        self._may.clear()

    def _is_delegated(self, did: str) -> bool:
        chain = self._authority.find_chain(
            subject=self._own, audience=did, command=COMMAND, args={}
        )
        return bool(chain)


def delegated_readers(store: Store, key: Key, clock: Clock) -> list[str]:
    """All whom a delegation that is here lets read now, by their DIDs. Raises StoreError."""
    readers = Readers(store, key, clock)
    given = {one.audience for _, one in store.tokens.each(Delegation) if one is not None}
    return [did for did in sorted(given - {key.did}) if readers.may_read(did)]
