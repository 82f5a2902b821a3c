"""Looking for damage in the tokens of a store, and in what stands beside them to look them up."""

from __future__ import annotations

from collections.abc import Iterator

from lite.clock import Clock
from lite.errors import IntegrityError, IpvmError
from lite.store import sql
from lite.store.database import Database, Row
from lite.store.faults import is_sound, key_name
from lite.store.tokens import Tokens, columns, pages
from lite.ucan import envelope
from lite.ucan.delegation import Delegation
from lite.ucan.refusals import Refusal
from lite.ucan.revocation import Revocation, revokers

_COLUMNS = ("audience", "subject", "command", "end", "issuer")


def damaged_tokens(database: Database, clock: Clock, *, repair: bool) -> Iterator[str]:
    """Verify every delegation and revocation again, and compare what stands beside them in the
    tables with what they say; a line about each that is damaged.

    That a delegation is revoked although no revocation here says so is no damage: the revocation
    may have been damaged and dropped.

    Args:
        repair: drop damaged tokens, so that they can be imported again, and set right what stands
            beside the others. What a damaged revocation took back stays revoked.
    """
    check = _TokenCheck(database, clock, repair)
    for row in pages(database, sql.DELEGATIONS_CHECKED):
        yield from check.delegation(row)
    for row in pages(database, sql.REVOCATIONS_CHECKED):
        yield from check.revocation(row)


class _TokenCheck:
    def __init__(self, database: Database, clock: Clock, repair: bool) -> None:
        self._database = database
        self._tokens = Tokens(database, clock)
        self._now = clock.now()
        self._repair = repair

    def delegation(self, row: Row) -> Iterator[str]:
        number, raw, data, *kept = row
        try:
            _check_hash(raw, data)
            delegation = Delegation.parse(data)
            envelope.verify(delegation.token)
        except IpvmError as fault:
            self._mend(sql.DELEGATION_DELETE, (number,))
            yield f"token {key_name(raw)}: {fault}"
            return
        right = columns(delegation)
        wrong = [what for what, a, b in zip(_COLUMNS, kept, right, strict=True) if a != b]
        if wrong:
            self._mend(sql.DELEGATION_MEND, (*right, number))
            yield f"token {delegation.cid}: is filed under another {' and '.join(wrong)}"

    def revocation(self, row: Row) -> Iterator[str]:
        number, raw, data, kept = row
        try:
            _check_hash(raw, data)
            revocation = Revocation.parse(data)
            envelope.verify(revocation.invocation.token)
        except IpvmError as fault:
            self._mend(sql.REVOCATION_DELETE, (number,))
            self._mend(sql.REVOCATION_PROOFS_DELETE, (raw,))
            yield f"token {key_name(raw)}: {fault}"
            return
        revoked = revocation.revoked
        if kept != revoked.raw:
            self._mend(sql.REVOCATION_MEND, (revoked.raw, number))
            yield f"token {revocation.cid}: is filed as revoking something else than {revoked}"
        wanted = {proof.raw for proof in revocation.invocation.proofs}
        if wanted != {proof for (proof,) in self._database.rows(sql.REVOCATION_PROOFS, (raw,))}:
            self._mend(sql.REVOCATION_PROOFS_DELETE, (raw,))
            for proof in sorted(wanted):
                self._mend(sql.REVOCATION_PROOF_ADD, (proof, raw))
            yield f"token {revocation.cid}: is filed under other proofs than it names"
        listed = {name for (name,) in self._database.rows(sql.REVOKERS, (revoked.raw,))}
        for name in sorted(self._names(revocation) - listed):
            self._mend(sql.REVOKER_ADD, (revoked.raw, name))
            yield f"token {revocation.cid}: {revoked} is not listed as revoked by {name}"

    def _names(self, revocation: Revocation) -> frozenset[str]:
        """In whose name it counts, as far as can be told now; its proofs may have expired since."""
        try:
            _, names = revokers(
                revocation.data,
                now=self._now,
                resolve=self._tokens.delegation,
                revoked_by=self._tokens.revoked_by,
            )
        except Refusal:  # not yet valid for this clock; it was when it came in
            return frozenset({revocation.invocation.issuer})
        return names

    def _mend(self, statement: str, values: tuple[object, ...]) -> None:
        if self._repair:
            with self._database.write() as transaction:
                transaction.execute(statement, values)


def _check_hash(raw: bytes, data: bytes) -> None:
    """First of all: what the disk changed says nothing, not even whose signature is wrong."""
    if not is_sound(raw, data):
        raise IntegrityError("its bytes hash to another CID")
