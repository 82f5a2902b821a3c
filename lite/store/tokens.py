"""Authority in the store: delegations, revocations, accepted invocations, the latest known time.

Everything here was verified before it came in; `lite.authority` sees to that. Revocations are kept
also when the delegation that they name is not here: it may come later.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence

from lite.clock import Clock
from lite.frozen import frozen
from lite.ipld.cid import CID
from lite.limits import TIME_MAX_S
from lite.model.receipt import Receipt
from lite.store import sql
from lite.store.database import Database, Transaction
from lite.store.faults import stored_cid
from lite.store.receipts import stored_receipt
from lite.ucan import envelope
from lite.ucan.authorised import CLOCK_BUFFER_S
from lite.ucan.chains import FANOUT_MAX
from lite.ucan.delegation import Delegation
from lite.ucan.revocation import Revocation

__all__ = ["EXPIRED_KEPT_S", "Latest", "Tokens", "evict", "pages", "sure_now"]

EXPIRED_KEPT_S = 30 * 86_400  # delegations with their revocations, after they have expired
CLAIMS_KEPT_S = 3_600
_PAGE = 256


@frozen
class Latest:
    """The latest time at which this node is known to have signed a receipt.

    Attributes:
        signed_at: seconds since 1970, up to a minute less than the truth; 0: never.
        receipt: which one.
    """

    signed_at: int
    receipt: CID | None


class Tokens:
    """The tokens of a store. Looks like `lite.ucan.chains.Delegations` to who searches a chain."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def add(
        self,
        delegations: Iterable[Delegation] = (),
        revocations: Iterable[tuple[Revocation, Collection[str]]] = (),
        *,
        durable: bool = True,
    ) -> None:
        """Keep delegations, and revocations with the DIDs in whose name they count; all or none.

        Args:
            durable: False when it may be lost with the power, because it can come again.
        """
        new = [
            one for one in delegations if self._database.row(sql.DELEGATION, (_raw(one),)) is None
        ]
        revocations = list(revocations)
        if not new and not revocations:
            return
        now = self._clock.now()
        with self._database.write(durable=durable) as transaction:
            for delegation in new:
                _write_delegation(transaction, delegation, now)
            for revocation, names in revocations:
                _write_revocation(transaction, revocation, names, now)

    def get(self, cid: CID) -> bytes | None:
        """The bytes of a delegation or revocation, or None."""
        for query in (sql.DELEGATION, sql.REVOCATION):
            found = self._database.row(query, (cid.raw,))
            if found is not None:
                data: bytes = found[0]
                return data
        return None

    def delegation(self, cid: CID) -> bytes | None:
        """The bytes of a delegation, or None: what `proofs.check` asks for."""
        found = self._database.row(sql.DELEGATION, (cid.raw,))
        return found[0] if found else None

    def given_to(self, audience: str, subject: str) -> Iterator[Delegation]:
        """Delegations to an audience, about the subject or about any; those that last longest
        first, the expired ones left out."""
        since = self._clock.now() - CLOCK_BUFFER_S
        values = (audience, subject, since, audience, since, FANOUT_MAX)
        for raw, data, _ in self._database.rows(sql.DELEGATIONS_GIVEN, values):
            yield _delegation(raw, data)

    def delegations(self) -> Iterator[Delegation]:
        """All delegations, in the order in which they came."""
        for _, raw, data in pages(self._database, sql.DELEGATIONS_AFTER):
            yield _delegation(raw, data)

    def revocations(self) -> Iterator[Revocation]:
        """All revocations, in the order in which they came."""
        for _, _, data in pages(self._database, sql.REVOCATIONS_AFTER):
            yield Revocation.parse(data)

    def revoked_by(self, delegation: CID, issuers: Sequence[str]) -> str | None:
        """The first of the issuers that revoked the delegation, or None."""
        rows = self._database.rows(sql.REVOKERS, (delegation.raw,))
        if not rows:
            return None
        names = {name for (name,) in rows}
        return next((issuer for issuer in issuers if issuer in names), None)

    def any_revoked(self, delegations: Sequence[CID]) -> bool:
        """Whether anybody revoked any of the delegations: one query for a chain."""
        query = sql.ANY_REVOKED.format(",".join("?" * len(delegations)))
        return self._database.row(query, tuple(cid.raw for cid in delegations)) is not None

    # Accepted invocations.

    def claim(self, cid: CID, until: int | None) -> bool:
        """Remember an invocation until a time (None: for ever); whether it was new.

        Of two callers at once, in whatever process, one is told so. Durable when it returns.
        """
        with self._database.write() as transaction:
            transaction.execute(
                sql.INVOCATIONS_EVICT, (sure_now(self._database, self._clock) - CLAIMS_KEPT_S,)
            )
            values = (cid.raw, until)
            return transaction.execute(sql.INVOCATION_CLAIM, values).rowcount > 0

    def release(self, cid: CID) -> None:
        """Take a claim back: the invocation led to nothing. One that was answered stays."""
        with self._database.write() as transaction:
            transaction.execute(sql.INVOCATION_RELEASE, (cid.raw,))

    def receipt_of(self, cid: CID) -> Receipt | None:
        """The receipt that answered an accepted invocation, or None.

        Raises:
            HashMismatch, StoreCorrupt: as `Receipts.get`.
        """
        found = self._database.row(sql.INVOCATION_RECEIPT, (cid.raw,))
        return stored_receipt(*found) if found else None

    # Time.

    def latest(self) -> Latest:
        """The latest time at which this node is known to have signed a receipt."""
        at, raw = self._database.row(sql.LATEST) or (0, None)
        return Latest(at, None if raw is None else stored_cid(raw))


def sure_now(database: Database, clock: Clock) -> int:
    """A time that has passed for sure, so that a clock that runs ahead for an hour makes nobody
    forget what was revoked or accepted."""
    return min(clock.now(), database.number(sql.LATEST))


def evict(database: Database, clock: Clock) -> None:
    """Forget delegations that have long expired, with their revocations, and expired claims."""
    now = sure_now(database, clock)
    with database.write(durable=False) as transaction:
        for statement in sql.AUTHORITY_EVICT:
            transaction.execute(statement, (now - EXPIRED_KEPT_S,))
        transaction.execute(sql.INVOCATIONS_EVICT, (now - CLAIMS_KEPT_S,))


def _write_delegation(transaction: Transaction, delegation: Delegation, now: int) -> None:
    ends = delegation.expires_at
    values = (
        _raw(delegation),
        delegation.audience,
        delegation.subject,
        TIME_MAX_S if ends is None else ends,
        now,
        delegation.data,
    )
    transaction.execute(sql.DELEGATION_ADD, values)


def _write_revocation(
    transaction: Transaction, revocation: Revocation, names: Collection[str], now: int
) -> None:
    revoked = revocation.revoked.raw
    transaction.execute(sql.REVOCATION_ADD, (revocation.cid.raw, revoked, now, revocation.data))
    for name in sorted(names):
        transaction.execute(sql.REVOKER_ADD, (revoked, name))


def pages(database: Database, query: str) -> Iterator[tuple[int, bytes, bytes]]:
    """The rows (row number, CID, token) of a query for those after a row, a page at a time."""
    last = 0
    while rows := database.rows(query, (last, _PAGE)):
        yield from rows
        last = rows[-1][0]


def _delegation(raw: bytes, data: bytes) -> Delegation:
    return Delegation.of(envelope.parse_trusted(data, stored_cid(raw)))


def _raw(delegation: Delegation) -> bytes:
    return delegation.cid.raw
