"""The outbox in a collection: what waits keeps what it needs; what is left of old runs goes."""

from __future__ import annotations

from lite.ipld import dag_cbor
from lite.ipld.cid import CID
from lite.model.instruction import Instruction
from lite.store import sql, sql_outbox
from lite.store.database import Database
from lite.store.faults import changed, stored_cid
from lite.store.reach import Reach

__all__ = ["evict_outbox", "mark_outbox"]


def mark_outbox(database: Database, reach: Reach) -> None:
    """Mark from what waits, its code among it, and from answers that no step has taken yet."""
    for row in database.rows(sql_outbox.ROOTS):
        for raw in row:
            cid = stored_cid(raw)
            reach.walk([cid, *_module(database, cid)])
    for raw, data in database.rows(sql_outbox.ANSWER_RECEIPTS):
        cid = stored_cid(raw)
        if not cid.matches(data):
            raise changed(f"the receipt {cid}")
        reach.walk(dag_cbor.links(dag_cbor.decode_trusted(data)))


def _module(database: Database, instruction: CID) -> list[CID]:
    """The code of an instruction: a URI in its block, and so not a link."""
    found = database.row(sql.BLOCK, (instruction.raw,))
    if found is None or not instruction.matches(found[0]):
        return []  # the walk has said so
    module = Instruction.parse(found[0]).module
    return [] if module is None else [module]


def evict_outbox(database: Database) -> None:
    """Forget the items of runs that are not here any more, with their jobs that are over, and what
    let receipts count that are gone."""
    with database.write(durable=False) as transaction:
        for statement in (sql_outbox.EVICT, sql_outbox.EVICT_JOBS, sql_outbox.EVICT_ACCEPTED):
            transaction.execute(statement)
