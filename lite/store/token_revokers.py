"""In whose names stored revocations count, once more when proofs of theirs arrive.

Who revokes with a right that the subject delegated shows proofs. They may come later than the
revocation, which then starts to count in the name of the subject.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from lite.store import sql
from lite.store.database import Transaction, among
from lite.store.faults import is_sound
from lite.ucan import command as commands
from lite.ucan.authorised import RevokedBy
from lite.ucan.delegation import Delegation
from lite.ucan.proofs import Resolve
from lite.ucan.refusals import Refusal
from lite.ucan.revocation import COMMAND, Revocation, revokers


def recount(
    transaction: Transaction,
    arrived: Iterable[Delegation],
    *,
    now: int,
    resolve: Resolve,
    revoked_by: RevokedBy,
) -> None:
    """Judge again the revocations that name one of the delegations as a proof."""
    proofs = [one.cid.raw for one in arrived if commands.covers(one.command, COMMAND)]
    for raw, data in set(among(transaction, sql.REVOCATIONS_PROVED, proofs)):
        if not is_sound(raw, data):
            continue  # a deep check names it; it counts as far as it was found to when it came
        try:
            revocation, names = revokers(data, now=now, resolve=resolve, revoked_by=revoked_by)
        except Refusal:  # not yet valid for this clock; it was when it came in
            continue
        write_names(transaction, revocation, names)


def write_names(transaction: Transaction, revocation: Revocation, names: Collection[str]) -> None:
    """File a revocation that is kept under the DIDs in whose name it counts."""
    for name in sorted(names):
        transaction.execute(sql.REVOKER_ADD, (revocation.revoked.raw, name))
    if revocation.invocation.subject in names:
        transaction.execute(sql.REVOCATION_COUNTS_FOR_SUBJECT, (revocation.cid.raw,))
