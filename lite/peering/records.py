"""The set of records: receipts and revocations that this node shares with peers that may read.

The runs of this node write receipts and nothing for the set: `catch_up` takes what was stored since
into the index, which is also how receipts of other processes come into it. Secret receipts never
do; one that is made secret later stays in the index as an id, and its bytes are not given any more.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Final

from lite.clock import Clock, ClockState
from lite.ipld.cid import CID
from lite.model.receipt import Receipt
from lite.peering import record_sql as sql
from lite.peering.names import RECORDS
from lite.peering.set_store import SetStore
from lite.store import Store
from lite.store.database import Transaction
from lite.store.receipts import write_receipt
from lite.store.tokens import write_revocation
from lite.ucan.revocation import Revocation, revokers
from sync.base import CONTROL, ITEM_BYTES_MAX, Entry, Item, Summary
from sync.base import RECORDS as LANE_RECORDS
from sync.errors import ItemUnwanted
from sync.index import marks, parts

CID_HEAD: Final = b"\x01\x71\x12\x20"  # of a token's CID: version 1, dag-cbor, sha2-256
CATCH_UP_ROWS: Final = 500
UNWANTED_OF_ONE: Final = 4_096
UNWANTED_MAX: Final = 65_536
_QUESTION_ROWS: Final = 256


def revocation_time(revocation: Revocation) -> int:
    """The signed time of a revocation: when it was issued, else from when it holds, else 0."""
    invocation = revocation.invocation
    return invocation.issued_at or invocation.not_before or 0


class RecordStore(SetStore):
    """See the module.

    Args:
        wanted: DIDs whose receipts belong into the set at this moment.
    """

    def __init__(self, store: Store, clock: Clock, wanted: Collection[str]) -> None:
        super().__init__(store, RECORDS)
        self._clock = clock
        self.wanted = frozenset(wanted)
        self._unwanted: dict[bytes, tuple[str, int, str]] = {}  # to be noted with the next write
        self._noted: dict[str, int] | None = None  # how many of each issuer were noted

    # What a session asks for.

    def summary(self) -> Summary:
        if self._unwanted:
            with self._writing() as transaction:
                self._note_unwanted(transaction)
        return super().summary()

    def held(self, ids: Collection[bytes]) -> set[bytes]:
        return super().held(ids) | self._unwanted.keys() & set(ids)

    def read(self, ids: Collection[bytes]) -> Mapping[bytes, bytes]:
        found: dict[bytes, bytes] = {}
        with self._faults():
            for part in parts(ids):
                query = sql.RECORDS.format(marks(part))
                names = [CID_HEAD + id for id in part]
                for raw, data in self._store.database.rows(query, (*names, *names)):
                    if CID.from_bytes(raw).matches(data):
                        found[raw[len(CID_HEAD) :]] = data
        return found

    def keep(self, transaction: Transaction, items: Sequence[Item], source: str) -> None:
        now = self._clock.now()
        for item in items:
            if item.lane == CONTROL:
                self._keep_revocation(transaction, item.raw, now)
            else:
                receipt = item.value
                if not isinstance(receipt, Receipt):
                    receipt = Receipt.from_store(item.raw, CID.from_bytes(CID_HEAD + item.id))
                write_receipt(transaction, receipt, (), now)
        self._note_unwanted(transaction)

    def answers(self, question: bytes, limit: int) -> Sequence[bytes]:
        """Receipts of the instruction with this sha2-256 digest, also such as are not in the index
        yet: successes first, then the newest."""
        with self._faults():
            rows = self._store.database.rows(sql.ANSWERS, (CID_HEAD + question, _QUESTION_ROWS))
            sound = [one for row in rows if (one := _sound_receipt(*row)) is not None]
            fitting = [one for one in sound if one.issuer in self.wanted]
            fitting.sort(key=lambda one: (not one.out.is_ok, -one.issued_at, one.cid.digest))
            return [one.data for one in fitting[:limit]]

    # What the verifier says.

    def want(self, issuers: Collection[str]) -> None:
        """Whose receipts belong into the set from now on."""
        self.wanted = frozenset(issuers)
        self._noted = None
        self._unwanted = {id: row for id, row in self._unwanted.items() if row[0] not in issuers}

    def refuse(self, id: bytes, issuer: str, time: int, peer: str) -> ItemUnwanted:
        """Note a valid item whose issuer is nobody here: its id goes into the index, within bounds,
        so that nobody sends it again and again. The error to raise."""
        if not self._is_full_of(issuer):
            self._unwanted[id] = (issuer, time, peer)
        return ItemUnwanted(f"its issuer {issuer} is neither a peer nor trusted here")

    def _is_full_of(self, issuer: str) -> bool:
        if self._noted is None:
            with self._faults():
                self._noted = dict(self._store.database.rows(sql.UNWANTED_COUNTS))
        waiting = [who for who, _, _ in self._unwanted.values()]
        return (
            self._noted.get(issuer, 0) + waiting.count(issuer) >= UNWANTED_OF_ONE
            or sum(self._noted.values()) + len(waiting) >= UNWANTED_MAX
        )

    def _note_unwanted(self, transaction: Transaction) -> None:
        noted, self._unwanted, self._noted = self._unwanted, {}, None
        transaction.executemany(sql.UNWANTED_ADD, ((id, row[0]) for id, row in noted.items()))
        self.index.add(
            Entry(0, id, time, 0, LANE_RECORDS, peer) for id, (_, time, peer) in noted.items()
        )

    def _keep_revocation(self, transaction: Transaction, raw: bytes, now: int) -> None:
        tokens = self._store.tokens
        sure_now = ClockState.of(now, tokens.latest().signed_at).sure_now
        revocation, names = revokers(
            raw, now=sure_now, resolve=tokens.delegation, revoked_by=tokens.revoked_by
        )
        write_revocation(transaction, revocation, names, now)

    # What the node's owner causes.

    def catch_up(self, rows: int = CATCH_UP_ROWS) -> int:
        """Take what was stored since the last time into the index, at most so many rows of a kind.

        Returns:
            How many rows were looked at; 0: it is up to date.

        Raises:
            StoreError of `sync`: it cannot be read or written.
        """
        with self._faults():
            database = self._store.database
            news, looked, marks = _News(), 0, []
            for name, query, take in (
                ("receipts", sql.RECEIPTS_AFTER, self._take_receipt),
                ("revocations", sql.REVOCATIONS_AFTER, self._take_revocation),
            ):
                after = database.number(sql.STATE, (name,))
                found = database.rows(query, (after, rows))
                for row in found:
                    take(news, *row)
                if found:
                    marks.append((name, found[-1][0]))
                looked += len(found)
            after = database.number(sql.STATE, ("tombstones",))
            forgotten = self._store.tombstones.after(after, rows)
            news.entries += [
                Entry(0, raw[len(CID_HEAD) :], time, 0, LANE_RECORDS, "")
                for _, raw, time in forgotten
            ]
            if forgotten:
                marks.append(("tombstones", forgotten[-1][0]))
            for (row,) in database.rows(sql.WITHHELD_FREE, (rows,)):
                news.freed.append(row)
                self._take_receipt(news, *database.rows(sql.RECEIPT_ROW, (row,))[0])
            looked += len(forgotten) + len(news.freed)
            if looked:
                self._write(news, marks)
            return looked

    def _write(self, news: _News, marks: Collection[tuple[str, int]]) -> None:
        self.despite_full(lambda: self._write_once(news, marks))

    def _write_once(self, news: _News, marks: Collection[tuple[str, int]]) -> None:
        with self._writing() as transaction:
            transaction.executemany(sql.WITHHELD_ADD, [(row,) for row in news.withheld])
            transaction.executemany(sql.WITHHELD_DELETE, [(row,) for row in news.freed])
            transaction.executemany(sql.STATE_RAISE, marks)
            self.index.add(news.entries)

    def _take_receipt(self, news: _News, row: int, raw: bytes, data: bytes, secret: int) -> None:
        if secret:
            news.withheld.append(row)
            return
        receipt = _sound_receipt(raw, data)
        if receipt is not None and receipt.issuer in self.wanted:
            news.entries.append(
                Entry(0, receipt.cid.digest, receipt.issued_at, len(data), LANE_RECORDS, "")
            )

    def _take_revocation(self, news: _News, _row: int, raw: bytes, data: bytes) -> None:
        if len(data) > ITEM_BYTES_MAX or not raw.startswith(CID_HEAD):
            return
        if not CID.from_bytes(raw).matches(data):
            return  # the disk changed it
        time = revocation_time(Revocation.parse(data))
        news.entries.append(Entry(0, raw[len(CID_HEAD) :], time, len(data), CONTROL, ""))


class _News:
    """What one step of catching up found."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.withheld: list[int] = []
        self.freed: list[int] = []


def _sound_receipt(raw: bytes, data: bytes) -> Receipt | None:
    """A stored receipt that can be shared; None: the disk changed it, or it is too long."""
    if len(data) > ITEM_BYTES_MAX or not raw.startswith(CID_HEAD):
        return None
    cid = CID.from_bytes(raw)
    return Receipt.from_store(data, cid) if cid.matches(data) else None
