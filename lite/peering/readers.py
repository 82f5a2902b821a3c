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

__all__ = ["COMMAND", "Readers"]

COMMAND: Final = "/ipvm/records/read"
REMEMBERED: Final = 64  # anybody may ask, and each is looked at again


class Readers:
    """What the delegations here say of each peer, remembered until `look`."""

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

    def look(self) -> bool:
        """Look again, because of what was written or the time that went by; whether anything is
        different now."""
        before, self._may = self._may, {}
        return [did for did, may in before.items() if self.may_read(did) != may] != []

    def _is_delegated(self, did: str) -> bool:
        chain = self._authority.find_chain(
            subject=self._own, audience=did, command=COMMAND, args={}
        )
        return bool(chain)
