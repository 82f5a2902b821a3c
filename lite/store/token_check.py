"""Looking for damage in the tokens of a store."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from lite.errors import CidError, IntegrityError, IpvmError
from lite.ipld.cid import CID
from lite.store import sql
from lite.store.database import Database
from lite.store.tokens import pages
from lite.ucan import envelope
from lite.ucan.delegation import Delegation
from lite.ucan.envelope import Token
from lite.ucan.revocation import Revocation


def damaged_tokens(database: Database, *, repair: bool) -> Iterator[str]:
    """Verify every delegation and revocation again; a line about each that is damaged.

    Args:
        repair: drop them, so that they can be imported again. What a damaged revocation took back
            stays revoked.
    """
    for after, delete, read in (
        (sql.DELEGATIONS_AFTER, sql.DELEGATION_DELETE, _delegation),
        (sql.REVOCATIONS_AFTER, sql.REVOCATION_DELETE, _revocation),
    ):
        for row, raw, data in pages(database, after):
            fault = _fault(raw, data, read)
            if fault is None:
                continue
            if repair:
                with database.write() as transaction:
                    transaction.execute(delete, (row,))
            yield f"token {_name(raw)}: {fault}"


def _fault(raw: bytes, data: bytes, read: Callable[[bytes], Token]) -> str | None:
    try:
        token = read(data)
        envelope.verify(token)
    except IpvmError as error:
        return str(error)
    return None if token.cid.raw == raw else "its bytes hash to another CID"


def _delegation(data: bytes) -> Token:
    return Delegation.parse(data).token


def _revocation(data: bytes) -> Token:
    return Revocation.parse(data).invocation.token


def _name(raw: bytes) -> str:
    try:
        return str(CID.from_bytes(raw))
    except (CidError, IntegrityError):
        return raw.hex()
