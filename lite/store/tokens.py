"""Authority in the store: delegations, revocations, accepted invocations, the latest known time.

Everything here was verified before it came in; `lite.authority` sees to that. Revocations are kept
also when the delegation that they name is not here: it may come later.

No clock makes a revocation or an accepted invocation be forgotten: a clock that once ran ahead
would do so for good. Revocations stay. Of claims and of delegations those that ended first go when
there are more than `CLAIMS_KEPT` or `DELEGATIONS_KEPT`; an invocation that ended no later than a
forgotten claim is not accepted any more, whatever the clock shows then.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Literal, TypeVar

from lite.clock import Clock, ClockState
from lite.errors import QuotaError, StoreCorrupt
from lite.frozen import frozen
from lite.ipld.cid import CID, DAG_CBOR
from lite.limits import TIME_MAX_S
from lite.model.receipt import Receipt
from lite.nudge import RECORDS, nudge
from lite.store import sql
from lite.store.database import Database, Row, Transaction
from lite.store.faults import changed, is_sound, stored_cid
from lite.store.receipts import stored_receipt
from lite.store.token_revokers import recount, write_names
from lite.ucan import command as commands
from lite.ucan import envelope
from lite.ucan.authorised import CLOCK_BUFFER_S
from lite.ucan.between import PRINCIPALS_MAX
from lite.ucan.chains import LOOKED_AT_MAX
from lite.ucan.delegation import Delegation
from lite.ucan.revocation import Revocation

__all__ = [
    "EXPIRED_KEPT_S",
    "Claimed",
    "Latest",
    "Tokens",
    "columns",
    "evict",
    "pages",
    "write_revocation",
]

EXPIRED_KEPT_S = 30 * 86_400  # delegations, after they have expired, however many there are
CLAIMS_KEPT_S = 3_600
ALL_GIVEN_MAX = 256
DELEGATIONS_KEPT = 10_000
CLAIMS_KEPT = 1_000_000  # about 100 bytes each, a fraction of the receipt that answers it
REVOCATIONS_EARLY_MAX = 100_000  # with so many here, only those of delegations that are here
_PAGE = 256

Listed = TypeVar("Listed", Delegation, Revocation)
Claimed = Literal["new", "open", "answered", "forgotten"]
"""What a claim found: nothing before it; an earlier one without an answer; one with an answer; or
an invocation so old that it is not known any more whether there was one."""


@frozen
class Latest:
    """The latest time at which this node is known to have signed a receipt.

    Attributes:
        signed_at: seconds since 1970, up to a minute less than the truth; 0: never.
        receipt: which one.
    """

    signed_at: int
    receipt: CID | None


@frozen
class Filed:
    """What a delegation is filed under, for when the disk changed its bytes.

    Attributes:
        issuer: "" where that was never read.
        subject: None for a powerline.
    """

    issuer: str
    subject: str | None


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
        What the disk changed of them is mended. Earlier revocations of which a delegation is a
        proof may count in more names from now on.

        Args:
            durable: False when it may be lost with the power, because it can come again.

        Raises:
            QuotaError: too many revocations are here to keep one of an unknown delegation.
        """
        new = [
            one
            for one in delegations
            if self._database.row(sql.DELEGATION_FILED, (_raw(one),)) != (one.data, *columns(one))
        ]
        revocations = list(revocations)
        if not new and not revocations:
            return
        now = self._clock.now()
        with self._database.write(durable=durable) as transaction:
            for delegation in new:
                _write_delegation(transaction, delegation, now)
            for revocation, names in revocations:
                write_revocation(transaction, revocation, names, now)
            recount(
                transaction,
                new,
                now=ClockState.of(now, self.latest().signed_at).sure_now,
                resolve=self.delegation,
                revoked_by=self.revoked_by,
            )
        nudge(self._database.path.parent, RECORDS)

    def forget(self, delegations: Iterable[CID]) -> list[CID]:
        """Drop delegations; those that were here."""
        dropped = []
        with self._database.write() as transaction:
            for cid in dict.fromkeys(delegations):
                if transaction.row(sql.DELEGATION_HERE, (cid.raw,)) is not None:
                    transaction.execute(sql.DELEGATION_FORGET, (cid.raw,))
                    dropped.append(cid)
        return dropped

    def get(self, cid: CID) -> bytes | None:
        """The bytes of a delegation or revocation, or None. Raises HashMismatch."""
        for query, kind in ((sql.DELEGATION, "delegation"), (sql.REVOCATION, "revocation")):
            found = self._database.row(query, (cid.raw,))
            if found is not None:
                data: bytes = found[0]
                if not is_sound(cid.raw, data):
                    raise changed(f"the {kind} {cid}")
                return data
        return None

    def delegation(self, cid: CID) -> bytes | None:
        """The bytes of a delegation; None when it is not here, or the disk changed it."""
        data = self.proof(cid)
        return data if is_sound(cid.raw, data) else None

    def proof(self, cid: CID) -> bytes | None:
        """The bytes in the row of a delegation, or None. The disk may have changed them: only for
        `proofs.check`, which hashes them itself and says so (step 7a)."""
        found = self._database.row(sql.DELEGATION, (cid.raw,))
        if found is None:
            return None
        return found[0] if type(found[0]) is bytes else b""

    def has_delegation(self, cid: CID) -> bool:
        """Whether a delegation was kept here and not forgotten, also when the disk changed it."""
        return self._database.row(sql.DELEGATION_HERE, (cid.raw,)) is not None

    def filed(self, cid: CID) -> Filed | None:
        """By whom and about whom a delegation here is, hashed or not; None when it is not here."""
        found = self._database.row(sql.DELEGATION_PARTIES, (cid.raw,))
        return None if found is None else Filed(*found)

    def has_revocation(self, cid: CID) -> bool:
        """Whether a revocation was kept here, also when the disk changed it."""
        return self._database.row(sql.REVOCATION_HERE, (cid.raw,)) is not None

    def revocation_marks(self) -> tuple[int, int]:
        """Other numbers whenever a revocation came, or counts in more names than before."""
        row = self._database.row(sql.REVOCATION_MARKS)
        return (0, 0) if row is None else (int(row[0]), int(row[1]))

    def counts_for_subject(self, cid: CID) -> bool:
        """Whether a revocation that was kept here was ever found to count in the name of its
        subject."""
        return self._database.row(sql.REVOCATION_FOR_SUBJECT, (cid.raw,)) == (1,)

    def damaged_delegation(self) -> CID | None:
        """The first of the delegations whose bytes the disk changed, or None; it reads all."""
        rows = pages(self._database, sql.DELEGATIONS_AFTER)
        damaged = ((raw, data) for _, raw, data in rows if not is_sound(raw, data))
        found = next(damaged, None)
        return None if found is None else _row_cid(*found)

    def given_to(
        self, audience: str, subject: str, command: str, issuers: Collection[str] | None
    ) -> Iterator[Delegation]:
        """Delegations of a command to an audience by the issuers (None: by anybody), about the
        subject or about any; the subject's own first, then those that last longest, the expired
        ones left out. They are read as they are wanted."""
        own = set[CID]()
        if issuers is None or subject in issuers:  # others cannot put anything in front of these
            for one in self._given_to(audience, subject, command, (subject,)):
                own.add(one.cid)
                yield one
        for one in self._given_to(audience, subject, command, issuers):
            if one.cid not in own:
                yield one

    def _given_to(
        self, audience: str, subject: str, command: str, issuers: Collection[str] | None
    ) -> Iterator[Delegation]:
        wanted = commands.above(command)
        query = sql.DELEGATIONS_GIVEN.format(",".join(["(?)"] * len(wanted)))
        since, told = self._since(ended_too=False), _listed(issuers)
        one = (audience, subject, since, told, told)
        any_ = (audience, since, told, told)
        for start in range(0, LOOKED_AT_MAX, _PAGE):
            rows = self._database.rows(query, (*wanted, *one, *any_, _PAGE, start))
            yield from _sound_delegations(rows)
            if len(rows) < _PAGE:
                return

    def all_given_to(
        self,
        audience: str,
        subject: str | None,
        issuers: Collection[str] | None,
        *,
        ended_too: bool = False,
    ) -> Iterator[Delegation]:
        """The same, of any command, and with subject None about any; those that last longest first,
        at most `ALL_GIVEN_MAX`.

        Args:
            ended_too: also the expired ones.
        """
        since = self._since(ended_too=ended_too)
        values = (audience, subject, since, ALL_GIVEN_MAX, _listed(issuers))
        query = sql.DELEGATIONS_TO_ANY if subject is None else sql.DELEGATIONS_TO
        yield from _sound_delegations(self._database.rows(query, values))

    def takers(self, issuer: str, subject: str | None, *, ended_too: bool = False) -> list[str]:
        """To whom an issuer gave something about the subject (None: whatever about), or a
        powerline, that has not ended, unless `ended_too`."""
        query = sql.DELEGATION_TAKERS_ANY if subject is None else sql.DELEGATION_TAKERS
        return self._others(query, issuer, subject, ended_too)

    def givers(self, audience: str, subject: str | None, *, ended_too: bool = False) -> list[str]:
        """Who gave an audience something about the subject (None: whatever about), or a powerline,
        that has not ended, unless `ended_too`."""
        query = sql.DELEGATION_GIVERS_ANY if subject is None else sql.DELEGATION_GIVERS
        return self._others(query, audience, subject, ended_too)

    def subjects_given_to(self, audience: str) -> list[str]:
        """Whom the delegations of an audience that have not ended are about; of powerlines, who
        issued them."""
        values = (audience, self._since(ended_too=False), PRINCIPALS_MAX)
        return [name for (name,) in self._database.rows(sql.DELEGATION_SUBJECTS, values)]

    def newest_delegation(self) -> int:
        """The number of the delegation that came last, of those that are here; 0: there is none."""
        return self._database.number(sql.DELEGATION_NEWEST)

    def subjects_given_since(self, audience: str, number: int) -> list[str]:
        """As `subjects_given_to`, of the delegations that came after one."""
        values = (number, audience, PRINCIPALS_MAX)
        return [name for (name,) in self._database.rows(sql.DELEGATION_SUBJECTS_SINCE, values)]

    def _others(self, query: str, who: str, subject: str | None, ended_too: bool) -> list[str]:
        values = (who, subject, self._since(ended_too=ended_too), PRINCIPALS_MAX + 1)
        return [name for (name,) in self._database.rows(query, values)]

    def _since(self, *, ended_too: bool) -> int:
        """The earliest end of delegations that count."""
        return -TIME_MAX_S if ended_too else self._clock.now() - CLOCK_BUFFER_S

    def delegations(self) -> Iterator[Delegation]:
        """All delegations, in the order in which they came. Raises HashMismatch."""
        yield from self._sound(Delegation)

    def each(self, kind: type[Listed]) -> Iterator[tuple[CID, Listed | None]]:
        """All delegations or revocations by their CIDs, hashed again; None for one that the disk
        changed."""
        query = sql.DELEGATIONS_AFTER if kind is Delegation else sql.REVOCATIONS_AFTER
        for _, raw, data in pages(self._database, query):
            sound = is_sound(raw, data)
            yield _row_cid(raw, data), kind.parse(data) if sound else None

    def revocations(self) -> Iterator[Revocation]:
        """All revocations, in the order in which they came. Raises HashMismatch."""
        yield from self._sound(Revocation)

    def _sound(self, kind: type[Listed]) -> Iterator[Listed]:
        for cid, one in self.each(kind):
            if one is None:
                raise changed(f"the {kind.__name__.lower()} {cid}")
            yield one

    def rights_ended_at(self, audience: str) -> tuple[int, int] | None:
        """When the last of what was given to an audience ended, and when the newest delegation
        came here (seconds since 1970, by the clock then); None when something has not ended, or
        nothing was given."""
        ends, came = self._database.row(sql.RIGHTS_ENDED, (audience,)) or (None, 0)
        over = ends is not None and ends + CLOCK_BUFFER_S < self._clock.now()
        return (ends, came) if over else None

    def revoked_by(self, delegation: CID, issuers: Sequence[str]) -> str | None:
        """The first of the issuers that revoked the delegation, or None."""
        names = self.revokers(delegation)
        return next((issuer for issuer in issuers if issuer in names), None) if names else None

    def revokers(self, delegation: CID) -> frozenset[str]:
        """In whose names the delegation is revoked."""
        rows = self._database.rows(sql.REVOKERS, (delegation.raw,))
        return frozenset(name for (name,) in rows)

    def any_revoked(self, delegations: Sequence[CID]) -> bool:
        """Whether anybody revoked any of the delegations: one query for a chain."""
        query = sql.ANY_REVOKED.format(",".join("?" * len(delegations)))
        return self._database.row(query, tuple(cid.raw for cid in delegations)) is not None

    # Accepted invocations.

    def claim(self, cid: CID, until: int | None, *, durable: bool = True) -> Claimed:
        """Remember an invocation that can be accepted until a time (None: for ever).

        Of two callers at once, in whatever process, one is told that it is new.

        Args:
            durable: False lets a power cut take it back until something durable follows.
        """
        with self._database.write(durable=durable) as transaction:
            earlier = transaction.row(sql.INVOCATION, (cid.raw,))
            if earlier is not None:
                return "open" if earlier[0] is None else "answered"
            if until is not None and until <= self._database.number(sql.CLAIMS_FORGOTTEN):
                return "forgotten"
            transaction.execute(sql.INVOCATION_CLAIM, (cid.raw, until))
        return "new"

    def release(self, cid: CID) -> None:
        """Take a claim back: the invocation led to nothing. One that was answered stays."""
        with self._database.write() as transaction:
            transaction.execute(sql.INVOCATION_RELEASE, (cid.raw,))

    def receipt_of(self, *names: CID) -> Receipt | None:
        """The receipt that answered an accepted invocation, or None.

        Args:
            names: all that `twins.names` says of it; it was claimed under one of them.

        Raises:
            HashMismatch, StoreCorrupt: as `Receipts.get`.
        """
        for cid in names:
            found = self._database.row(sql.INVOCATION_RECEIPT, (cid.raw,))
            if found:
                return stored_receipt(*found)
        return None

    # Time.

    def latest(self) -> Latest:
        """The latest time at which this node is known to have signed a receipt."""
        at, raw = self._database.row(sql.LATEST) or (0, None)
        return Latest(at, None if raw is None else stored_cid(raw))


def evict(database: Database, clock: Clock) -> None:
    """Of more delegations and claims than are kept, forget those that ended first."""
    now = min(clock.now(), database.number(sql.LATEST))
    with database.write(durable=False) as transaction:
        over = database.number(sql.DELEGATIONS_COUNT) - DELEGATIONS_KEPT
        if over > 0:
            transaction.execute(sql.DELEGATIONS_EVICT, (now - EXPIRED_KEPT_S, over))
        over = database.number(sql.CLAIMS_COUNT) - CLAIMS_KEPT
        if over > 0:
            transaction.execute(sql.CLAIMS_FORGET, (now - CLAIMS_KEPT_S, over))
            transaction.execute(sql.CLAIMS_EVICT)


def _write_delegation(transaction: Transaction, delegation: Delegation, now: int) -> None:
    values = (_raw(delegation), *columns(delegation), now, delegation.data)
    transaction.execute(sql.DELEGATION_ADD, values)


def columns(delegation: Delegation) -> tuple[str, str | None, str, int, str]:
    """What stands beside a delegation, to look it up: audience, subject, command, end, issuer."""
    ends = delegation.expires_at
    return (
        delegation.audience,
        delegation.subject,
        delegation.command,
        TIME_MAX_S if ends is None else ends,
        delegation.issuer,
    )


def write_revocation(
    transaction: Transaction, revocation: Revocation, names: Collection[str], now: int
) -> None:
    """Keep a revocation with the DIDs in whose name it counts; one that the disk changed is mended.
    Raises QuotaError as `add` does."""
    revoked = revocation.revoked.raw
    if transaction.row(sql.REVOCATION_HERE, (revocation.cid.raw,)) is None:
        _check_room(transaction, revocation)
    transaction.execute(sql.REVOCATION_ADD, (revocation.cid.raw, revoked, now, revocation.data))
    for proof in revocation.invocation.proofs:
        transaction.execute(sql.REVOCATION_PROOF_ADD, (proof.raw, revocation.cid.raw))
    write_names(transaction, revocation, names)


def _check_room(transaction: Transaction, revocation: Revocation) -> None:
    if transaction.row(sql.DELEGATION_HERE, (revocation.revoked.raw,)) is not None:
        return
    counted = transaction.row(sql.REVOCATIONS_COUNT)
    if counted is not None and counted[0] >= REVOCATIONS_EARLY_MAX:
        raise QuotaError(
            f"{counted[0]} revocations are here, too many to keep one of a delegation that is not",
            hint=f"import the delegation first: {revocation.revoked}",
        )


def pages(database: Database, query: str) -> Iterator[Row]:
    """The rows (row number, CID, token…) of a query for those after a row, a page at a time."""
    last = 0
    while rows := database.rows(query, (last, _PAGE)):
        yield from rows
        last = rows[-1][0]


def _sound_delegations(rows: Iterable[Row]) -> Iterator[Delegation]:
    """The delegations in rows of CID, bytes and more; one that the disk changed gives no right, and
    `each` names it."""
    for raw, data, *_ in rows:
        if is_sound(raw, data):
            yield Delegation.of(envelope.parse_trusted(data, stored_cid(raw)))


def _row_cid(raw: object, data: object) -> CID:
    """The CID of a token in a row; where the disk changed that, the one of its bytes."""
    try:
        return stored_cid(raw)
    except StoreCorrupt:
        return CID.of(data if type(data) is bytes else b"", DAG_CBOR)


def _listed(names: Collection[str] | None) -> str | None:
    """Names as SQL reads a list of them."""
    return None if names is None else json.dumps(list(names))


def _raw(delegation: Delegation) -> bytes:
    return delegation.cid.raw
