"""The set of capability records: what nodes say that they have, the newest of each.

It is shared with every peer that has a right, and goes on from peer to peer. A record that is newer
than the one of the same node here takes its place, in the index as well. The protocol knows sets
that grow: a peer that still has the older one is offered the newer with everything else that came
since, and lets go of the older itself; until then it asks nobody for it, and nobody asks it.

An expired record stays until a newer one comes, and one from the future until any other one comes,
so that sets are equal whatever clocks say; that they do not count is for whoever reads them
(`known_capabilities`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Final

from lite.clock import Clock
from lite.errors import IpvmError
from lite.ipld.cid import CID
from lite.keys import Key
from lite.needs.capabilities import Capabilities
from lite.needs.record import AHEAD_MAX_S, CapabilityRecord, known
from lite.peering import capability_sql as sql
from lite.peering.names import CAPABILITIES
from lite.peering.records import CID_HEAD
from lite.peering.set_store import SetStore
from lite.store import Store
from lite.store.database import Transaction
from sync.base import RECORDS as LANE_RECORDS
from sync.base import Accepted, Cursor, Entry, Item
from sync.errors import ItemInvalid, ItemUnwanted
from sync.index import marks, parts

__all__ = [
    "CapabilitySet",
    "CapabilityVerifier",
    "capability_records",
    "known_capabilities",
    "publish",
]

NODES_MAX: Final = 1_024  # of whom a record is kept; peers with a right, and this node, besides
DISK_EVERY_S: Final = 3_600  # for a record that says nothing new but how much of the disk is free


def capability_records(store: Store) -> list[CapabilityRecord]:
    """The newest record of each node, by DID, also of those that have expired.

    Raises:
        StoreError: the database cannot be read.
    """
    if store.database.row(sql.TABLE) is None:
        return []  # no peering was ever begun here
    found = [_sound(id, raw) for id, raw in store.database.rows(sql.ALL)]
    return [record for record in found if record is not None]


def known_capabilities(store: Store, now: int) -> dict[str, Capabilities]:
    """What each node says that it has, as far as that counts now, by DID.

    Raises:
        StoreError: the database cannot be read.
    """
    return known(capability_records(store), now)


class CapabilitySet(SetStore):
    """See the module."""

    def __init__(self, store: Store, clock: Clock) -> None:
        super().__init__(store, CAPABILITIES)
        self._clock = clock

    def held(self, ids: Collection[bytes]) -> set[bytes]:
        with self._faults():
            past = [
                id
                for part in parts(ids)
                for (id,) in self._store.database.rows(sql.PAST.format(marks(part)), tuple(part))
            ]
        return super().held(ids).union(past)

    def read(self, ids: Collection[bytes]) -> Mapping[bytes, bytes]:
        found: dict[bytes, bytes] = {}
        with self._faults():
            for part in parts(ids):
                query = sql.RAWS.format(marks(part))
                found.update(self._store.database.rows(query, tuple(part)))
        return found

    def of(self, did: str) -> CapabilityRecord | None:
        """The record of a node that is here; None: there is none."""
        with self._faults():
            row = self._store.database.row(sql.OF, (did,))
            return None if row is None else _sound(*row)

    def count(self) -> int:
        """Of how many nodes there is a record."""
        with self._faults():
            return self._store.database.number(sql.COUNT)

    def is_newer(self, record: CapabilityRecord, now: int) -> bool:
        """Whether a record takes the place of that which is here."""
        other = self.of(record.issuer)
        return other is None or _rank(other, now) < _rank(record, now)

    def keep(self, transaction: Transaction, items: Sequence[Item], source: str) -> None:
        rows = [(_record(item).issuer, item.id, item.raw) for item in items]
        transaction.executemany(sql.PUT, rows)

    def _put(self, items: Sequence[Item], source: str, cursor: Cursor | None) -> None:
        """The newer of them take the place of those that are here; the others are left out."""
        now = self._clock.now()
        with self._writing() as transaction:
            past: dict[bytes, int] = {}
            for item in items:
                record = _record(item)
                before = self.of(record.issuer)
                if not self.is_newer(record, now):
                    past[item.id] = record.expires_at
                    continue
                if before is not None:
                    past[before.cid.digest] = before.expires_at
                self.keep(transaction, [item], source)
                # First in, then out: the last row of the log is not given to another item, so that
                # conversations that are under way offer it, and cursors on it stay true.
                self.index.add([Entry(0, item.id, item.time, len(item.raw), item.lane, source)])
                self.index.remove(past.keys())
            transaction.executemany(sql.PAST_ADD, past.items())
            transaction.execute(sql.PAST_DROP, (now,))
            if cursor is not None:
                self.index.set_cursor(source, cursor)


class CapabilityVerifier:
    """A `Verifier` of `sync.base` for capability records.

    Args:
        wanted: whether a node is somebody here, so that there is always room for its record.
    """

    def __init__(self, records: CapabilitySet, clock: Clock, wanted: Callable[[str], bool]) -> None:
        self._records = records
        self._clock = clock
        self._wanted = wanted

    def verify(self, id: bytes, raw: bytes, peer: str) -> Accepted:
        """Whether it may come in.

        Raises:
            ItemInvalid: no record, or not signed by its node.
            ItemUnwanted: older than the one here, or of one node too many.
        """
        try:
            record = CapabilityRecord.parse(raw)
        except IpvmError as error:
            raise ItemInvalid(str(error)) from error
        if not self._records.is_newer(record, self._clock.now()):
            raise ItemUnwanted("a newer one of the same node is here")
        if not self._has_room_for(record.issuer):
            raise ItemUnwanted(f"records of {NODES_MAX} nodes are here")
        return Accepted(record.issued_at, LANE_RECORDS, record)

    def _has_room_for(self, did: str) -> bool:
        if self._records.count() < NODES_MAX:
            return True
        return self._wanted(did) or self._records.of(did) is not None


def publish(
    records: CapabilitySet, key: Key, clock: Clock, offered: Capabilities | None
) -> CapabilityRecord | None:
    """Sign a record of what this node holds for others, when it is time for one.

    Args:
        offered: None: nothing. Then there is no record, or one without operations when others may
            have one that says more.

    Returns:
        The new record, which is in the set now; None: that which is there will do.
    """
    now, last = clock.now(), records.of(key.did)
    if offered is None:
        if last is None or not last.capabilities.ops or not last.holds(now):
            return None
        offered = Capabilities(key.did, cores=0)
    if last is not None and not _is_due(last, offered, now):
        return None
    if last is not None and now <= last.issued_at <= now + AHEAD_MAX_S:
        now = last.issued_at + 1  # the clock was set back a little: it has to be the newer one
    record = CapabilityRecord.issue(key, offered, now=now)
    item = Item(record.cid.digest, record.data, record.issued_at, LANE_RECORDS, record)
    records.put([item], "", None)
    return record


def _is_due(last: CapabilityRecord, offered: Capabilities, now: int) -> bool:
    """As the record itself says; but free disk alone, which changes all the time, is no news."""
    if not last.is_due(offered, now):
        return False
    said, value = last.capabilities.value(), offered.value()
    if said == value:
        return not now < last.issued_at <= now + AHEAD_MAX_S
    only_disk = said | {"disk": 0} == value | {"disk": 0}
    return not (only_disk and 0 <= now - last.issued_at < DISK_EVERY_S)


def _rank(record: CapabilityRecord, now: int) -> tuple[bool, int, bytes]:
    """Of two records of a node the one with the greater rank is kept. A clock that was wrong once
    does not outlast what its node says later."""
    return record.issued_at <= now + AHEAD_MAX_S, record.issued_at, record.cid.raw


def _sound(id: bytes, raw: bytes) -> CapabilityRecord | None:
    """A stored record; None: the disk changed it, and the next one of its node takes its place."""
    if not CID.from_bytes(CID_HEAD + id).matches(raw):
        return None
    return CapabilityRecord.parse(raw, verify=False)


def _record(item: Item) -> CapabilityRecord:
    if isinstance(item.value, CapabilityRecord):
        return item.value
    return CapabilityRecord.parse(item.raw, verify=False)
