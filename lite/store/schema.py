"""Making and upgrading the schema. One `.sql` file per migration, applied in the order of names.

`PRAGMA user_version` holds the number of migrations that a database has, so that opening one costs
a look at its header; sqlite-utils, which applies them and keeps the record, is imported only when
one is pending.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lite.errors import BugError, IpvmError

if TYPE_CHECKING:
    from sqlite_utils import Database

    from lite.ucan.delegation import Delegation
    from lite.ucan.invocation import Invocation

__all__ = ["APPLICATION_ID", "MIGRATIONS", "migrate"]

APPLICATION_ID = 0x4950564D  # "IPVM", so that `file` and we know a store from other databases
MIGRATIONS: tuple[str, ...] = (
    "0001_store",
    "0002_authority",
    "0003_commands_and_claims",
    "0004_runs",
    "0005_issuers",
    "0006_begun",
    "0007_outbox",
    "0008_jobs",
    "0009_revocation_proofs",
    "0010_entrusted",
    "0011_revocations_for_subjects",
    "0012_job_epoch",
    "0013_job_runs",
)

_FOLDER = Path(__file__).with_name("schema")


def migrate(connection: sqlite3.Connection, names: Sequence[str]) -> None:
    """Bring a database to the schema that `names` describe, each step in its own transaction.

    Raises:
        sqlite3.Error: a step failed; those before it are kept.
    """
    from sqlite_utils import Database
    from sqlite_utils.migrations import Migrations

    migrations = Migrations("ipvm")
    for number, name in enumerate(names, 1):
        migrations(name=name)(_step(number, name))
    connection.create_function("delegated_command", 1, _delegated_command, deterministic=True)
    connection.create_function("delegated_issuer", 1, _delegated_issuer, deterministic=True)
    connection.create_function("invocation_subject", 1, _invocation_subject, deterministic=True)
    connection.create_function("proofs_json", 1, _proofs_json, deterministic=True)
    connection.create_function("used_json", 1, _used_json, deterministic=True)
    connection.create_function("from_hex", 1, bytes.fromhex, deterministic=True)
    migrations.apply(Database(connection, execute_plugins=False))


def _delegated_command(data: bytes) -> str:
    """For migrations: the command of a stored delegation, or "" when it cannot be read."""
    delegation = _delegation(data)
    return "" if delegation is None else delegation.command


def _delegated_issuer(data: bytes) -> str:
    """The same for its issuer."""
    delegation = _delegation(data)
    return "" if delegation is None else delegation.issuer


def _delegation(data: bytes) -> Delegation | None:
    from lite.ucan import envelope
    from lite.ucan.delegation import Delegation

    try:
        return Delegation.of(envelope.parse_trusted(data))
    except IpvmError:
        return None


def _invocation_subject(data: bytes) -> str:
    """For migrations: the subject of a stored revocation, or "" when it cannot be read."""
    invocation = _invocation(data)
    return "" if invocation is None else invocation.subject


def _proofs_json(data: bytes) -> str:
    """The proofs that it names, as hexadecimal digits; none when it cannot be read."""
    import json

    invocation = _invocation(data)
    return json.dumps([cid.raw.hex() for cid in invocation.proofs] if invocation else [])


def _invocation(data: bytes) -> Invocation | None:
    from lite.ucan import envelope
    from lite.ucan.invocation import Invocation

    try:
        return Invocation.of(envelope.parse_trusted(data))
    except IpvmError:
        return None


def _used_json(data: object) -> str:
    """For migrations: what a stored instruction uses."""
    from lite.store.uses import used_json

    return used_json(data)


def _step(number: int, name: str) -> Callable[[Database], None]:
    def apply(database: Database) -> None:
        for statement in _statements((_FOLDER / f"{name}.sql").read_text(encoding="utf-8")):
            database.conn.execute(statement)
        database.conn.execute(f"PRAGMA user_version = {number}")

    return apply


def _statements(script: str) -> Iterator[str]:
    """The statements of a script; `executescript` would commit the transaction around them."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
    if any(line and not line.startswith("--") for line in map(str.strip, statement.splitlines())):
        raise BugError(f"the migration ends inside a statement: {statement.strip()[:80]}")
