"""Where the contents of small files stand inside other things: inputs, workflows, results.

What is small is written into an instruction itself, without any link to the file it came from. So
the contents are looked for: in every dag-cbor block and every receipt, which takes a moment.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from typing import Any, Final

from lite.errors import IpvmError
from lite.ipld import dag_cbor
from lite.ipld.cid import CID
from lite.store import sql
from lite.store.database import Database, Row
from lite.store.faults import stored_cid

__all__ = ["SHORT_BYTES", "forms_of", "holding", "is_given"]

SHORT_BYTES: Final = 8  # what is shorter may stand anywhere by chance: whole values count
_DAG_CBOR_FROM: Final = b"\x01\x71"
_DAG_CBOR_TO: Final = b"\x01\x72"
_PAGE: Final = 256


def forms_of(data: bytes) -> set[bytes]:
    """How the content of a file can stand in DAG-CBOR: as it is, without white space around it,
    and as the value that it is as JSON. Nothing for what is empty."""
    stripped = data.strip()
    found = {data, stripped} - {b""}
    try:
        value = json.loads(stripped)
        if value is not None and type(value) is not bool:
            found.add(dag_cbor.encode(value))
            found.add(value.encode() if type(value) is str else b"")
    except (ValueError, RecursionError, IpvmError):  # no JSON, or nothing that IPLD has
        return found
    return found - {b""}


def holding(database: Database, forms: Collection[bytes]) -> Iterator[CID]:
    """The dag-cbor blocks and receipts that hold any of the forms: anywhere in them, or when it is
    shorter than `SHORT_BYTES` as a whole value of an instruction's input."""
    long = [form for form in forms if len(form) >= SHORT_BYTES]
    short = {form for form in forms if len(form) < SHORT_BYTES}
    for raw, data in _blocks(database):
        if any(form in data for form in long) or is_given(data, short):
            yield stored_cid(raw)
    for raw, data in _receipts(database):
        if any(form in data for form in long):
            yield stored_cid(raw)


def _blocks(database: Database) -> Iterator[tuple[bytes, bytes]]:
    last = _DAG_CBOR_FROM
    while rows := database.rows(sql.BLOCKS_WITHIN, (last, _DAG_CBOR_TO, _PAGE)):
        yield from rows
        last = rows[-1][0]


def _receipts(database: Database) -> Iterator[Row]:
    last = 0
    while rows := database.rows(sql.RECEIPTS_AFTER, (last, _PAGE)):
        yield from (row[1:] for row in rows)
        last = rows[-1][0]


def is_given(data: bytes, forms: set[bytes]) -> bool:
    """Whether one of the forms is a whole value in the input of the instruction that `data` is."""
    if not any(form in data for form in forms):
        return False
    try:
        value = dag_cbor.decode_trusted(data)
    except IpvmError:  # the disk changed it
        return False
    todo = [value.get("input")] if type(value) is dict else []
    while todo:
        one = todo.pop()
        if type(one) is dict:
            todo.extend(one.values())
        elif type(one) is list:
            todo.extend(one)
        if _as_form(one) in forms:
            return True
    return False


def _as_form(value: Any) -> bytes:
    if type(value) is bytes:
        return value
    return value.encode() if type(value) is str else dag_cbor.encode(value)
