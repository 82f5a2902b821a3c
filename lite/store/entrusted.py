"""Secrets of customers: what came or was made with a job that its customer calls secret."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from lite.store import sql_runs
from lite.store.database import Transaction

__all__ = ["write_entrusted"]


def write_entrusted(
    transaction: Transaction, pairs: Iterable[tuple[bytes, str]], new: Collection[bytes]
) -> None:
    """Mark what came for customers, in the transaction that stores it.

    Nobody makes a secret of what this node had before: that would take it from all others. What
    another customer had brought, and this one made or brought as well, is a secret of both.

    Args:
        pairs: CIDs in binary form, each with the DID of a customer. new: those that were not here.
    """
    for raw, customer in dict.fromkeys(pairs):
        if raw in new:
            transaction.execute(sql_runs.SECRET_ADD, (raw,))
        elif transaction.row(sql_runs.ENTRUSTED, (raw,)) is None:
            continue
        transaction.execute(sql_runs.ENTRUSTED_ADD, (raw, customer))
