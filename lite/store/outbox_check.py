"""Looking for damage in the outbox."""

from __future__ import annotations

from collections.abc import Iterator

from lite.errors import IpvmError
from lite.ipld.cid import CID, DAG_CBOR
from lite.store import sql_outbox
from lite.store.database import Database, Row
from lite.store.outbox_rows import ITEM_STATES, JOB_STATES
from lite.ucan.invocation import Invocation

__all__ = ["damaged_outbox"]

_PAGE = 256


def damaged_outbox(database: Database, *, repair: bool) -> Iterator[str]:
    """A line about each row that cannot be right.

    Args:
        repair: drop items that no step belongs to, and jobs whose invocation the disk changed.
            A step whose item is gone is queued again when its run goes on.
    """
    last = 0
    while rows := database.rows(sql_outbox.CHECKED, (last, _PAGE)):
        last = rows[-1][0]
        for row in rows:
            problem = _item(row)
            if problem:
                _mend(database, sql_outbox.DELETE, (row[0],), repair)
                yield problem
    at = b""
    while rows := database.rows(sql_outbox.JOBS_CHECKED, (at, _PAGE)):
        at = rows[-1][0]
        for raw, token, state in rows:
            problem = _job(raw, token, state)
            if problem:
                _mend(database, sql_outbox.JOB_DELETE, (raw,), repair)
                yield problem


def _item(row: Row) -> str:
    id, run, label, state, has_receipt, is_here, has_step, is_same = row
    name = f"item {id} of the queue (step {label} of run {run})"
    if state not in ITEM_STATES:
        return f"{name} is in the unknown state {state!r}"
    if not has_step:
        return f"{name} belongs to no step"
    if not is_same:
        return f"{name} is about another instruction than its step"
    if state == "done" and not has_receipt:
        return f"{name} is done without a receipt"
    return f"the receipt of {name} is not here" if has_receipt and not is_here else ""


def _job(raw: bytes, token: bytes, state: str) -> str:
    cid = CID.of(token, DAG_CBOR)
    if state not in JOB_STATES:
        return f"the job {cid} is in the unknown state {state!r}"
    try:
        Invocation.parse(token)
    except IpvmError as fault:
        return f"the invocation of the job {cid}: {fault}"
    return "" if cid.raw == raw else f"the invocation of the job {raw.hex()} hashes to {cid}"


def _mend(database: Database, statement: str, values: Row, repair: bool) -> None:
    if repair:
        with database.write() as transaction:
            transaction.execute(statement, values)
