"""What was marked while a step ran: its receipt is judged once more in the transaction that keeps
it.

Whoever marks something writes that first, and then looks through the store for what came of it. So
of the two, one sees the other: that mark is seen here, or the receipt there.
"""

from __future__ import annotations

from collections.abc import Sequence

from lite.ipld.cid import CID
from lite.scheduler.book import Book
from lite.scheduler.ended import Ended
from lite.settled import Reified
from lite.store import Store
from lite.store.database import Transaction
from lite.store.finished import Finished

__all__ = ["mark_late"]


def mark_late(transaction: Transaction, ended: Sequence[Ended], book: Book, store: Store) -> None:
    """Mark what of these is secret by now and was not when it was signed."""
    signed = [(one, one.finished) for one in ended if one.signed and one.finished is not None]
    if not signed or store.secrets.is_empty():
        return
    for one, finished in signed:
        if not finished.secret and _is_secret(finished, one, book, store):
            store.secrets.write_marks(transaction, store.secrets.with_pieces(_all_of(finished)))


def _is_secret(finished: Finished, one: Ended, book: Book, store: Store) -> bool:
    asked = book[one.position].instruction
    told = (book.receipt_of(wait.instruction) for wait in asked.awaits())
    sources = tuple(receipt for receipt in told if receipt is not None)
    reified = Reified(asked, finished.instruction, sources=sources)
    holds = store.secrets.holds_content(finished.receipt.data)
    return holds or reified.is_of_secrets(store)


def _all_of(finished: Finished) -> list[CID]:
    cids = [finished.instruction.cid, finished.receipt.cid, *finished.receipt.output_links()]
    cids += () if finished.kept is None else (finished.kept,)
    return [*cids, *(block.cid for block in finished.blocks)]
