"""Which sets this node shares with a peer.

Letters and capability records with each that has a right, records if it may read, by that right or
by a delegation; the small and urgent sets first. Whom a delegation lets read has a right too.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from lite.clock import Clock
from lite.keys import Key
from lite.peering.capability_set import CapabilitySet, CapabilityVerifier
from lite.peering.letters import LetterStore, LetterVerifier
from lite.peering.names import CAPABILITIES, RECORDS, RECORDS_WANTED
from lite.peering.readers import BLOCKS_COMMAND, Readers
from lite.peering.record_verifier import RecordVerifier
from lite.peering.records import RecordStore
from lite.peering.shelf import PeerBlocks, Shelf
from lite.store import Store
from sync.peers import BLOCKS, READ, PeerBook
from sync.runner import SyncSet

__all__ = ["SharedSets"]


class SharedSets:
    """See the module.

    Args:
        key: of this node.
        records, verifier: of the set of records.
    """

    def __init__(
        self,
        store: Store,
        key: Key,
        book: PeerBook,
        clock: Clock,
        records: RecordStore,
        verifier: RecordVerifier,
    ) -> None:
        self._store = store
        self._own = key.did
        self._book = book
        self._clock = clock
        blocks = self._blocks = PeerBlocks(Shelf(store), self._may_have_small)
        self._readers = Readers(store, key, clock)
        self._own_records = records
        self._letters: dict[str, SyncSet] = {}
        self._delegated: frozenset[str] = frozenset()  # of those with rights, as last seen
        self._records = SyncSet(RECORDS, records, verifier, blocks)
        capabilities = CapabilitySet(store, clock)
        judge = CapabilityVerifier(capabilities, clock, self._is_somebody)
        self._capabilities = SyncSet(CAPABILITIES, capabilities, judge, blocks)

    def shared_with(self, did: str) -> Sequence[SyncSet]:
        """What is shared with a peer now; nothing with whoever has no right or is banned."""
        if self._book.banned_s(did):
            return []
        peer, reads = self._book.peer(did), self.may_read(did)
        if not reads and not (peer is not None and peer.rights) and not self._may_have_small(did):
            return []
        if did not in self._letters:
            letters = LetterStore(self._store, self._own, did, self._clock)
            verifier = LetterVerifier(letters, self._own, did)
            self._letters[did] = SyncSet(letters.name, letters, verifier, self._blocks)
        shared = [self._letters[did], self._capabilities]
        if not reads:
            return shared
        told = [replace(one, features=(RECORDS_WANTED,)) for one in shared]
        return [*told, self._records]

    def may_read(self, did: str) -> bool:
        """Whether a peer may read records here, by that right or by a delegation."""
        peer = self._book.peer(did)
        return (peer is not None and READ in peer.rights) or self._readers.may_read(did)

    def may_have_blocks(self, did: str) -> bool | None:
        """Whether a peer may have blocks at this moment, by that right or by a delegation; None: it
        is banned, and may have none whatever it was given."""
        if self._book.banned_s(did):
            return None
        return self._book.may(did, BLOCKS) or self._readers.may_now(did, BLOCKS_COMMAND)

    def look(self, live: Collection[str]) -> bool:
        """Let go of what comparisons have read, and of what was known of who may read: the next to
        ask gets what the delegations say now.

        Args:
            live: peers with a session; nothing is kept of others without rights.

        Returns:
            Whether a peer that has other rights gained or lost this one, so that it may have to be
            dialled. Raises StoreError.
        """
        self._own_records.relax()
        self._readers.forget()
        known = [peer for peer in self._book.peers() if peer.rights]
        kept = {peer.did for peer in known}.union(live)
        self._letters = {did: one for did, one in self._letters.items() if did in kept}
        before, self._delegated = (
            self._delegated,
            frozenset(
                peer.did
                for peer in known
                if READ not in peer.rights and self._readers.may_read(peer.did)
            ),
        )
        return before != self._delegated

    def _may_have_small(self, did: str) -> bool:
        """The same over a session, which the next look ends when what allowed it is over."""
        if self._book.banned_s(did):
            return False
        return self._book.may(did, BLOCKS) or self._readers.may_read(did, BLOCKS_COMMAND)

    def _is_somebody(self, did: str) -> bool:
        peer = self._book.peer(did)
        return did == self._own or (peer is not None and bool(peer.rights))
