"""Putting what this node signed into letters, and taking in what came in them; in threads."""

from __future__ import annotations

from collections.abc import Callable, Collection

from lite.authority import Authority
from lite.clock import Clock
from lite.keys import Key
from lite.peering.letters import LetterStore, take_in, unposted
from lite.peering.values import PeerEvent
from lite.store import Store

__all__ = ["Postman"]


class Postman:
    """See the module.

    Args:
        store: gives the handle for threads.
        key: of this node.
    """

    def __init__(self, store: Callable[[], Store], key: Key, clock: Clock) -> None:
        self._store = store
        self._key = key
        self._clock = clock

    def post(self, peers: Collection[str]) -> list[bytes]:
        """Put what this node signed for its peers into the letters to them; the sets that have
        something new."""
        written = []
        store, own = self._store(), self._key.did
        authority = Authority(store, self._key, self._clock)
        for did in unposted(store, own, self._clock.now(), peers):
            letters = LetterStore(store, own, did, self._clock)
            if letters.post(authority):
                written.append(letters.name)
        return written

    def take_in(self) -> list[PeerEvent]:
        """Keep the tokens that came in letters."""
        return take_in(self._store(), self._key, self._clock)
