"""The connections: errors in our words, reading beside a writer, migrations as text."""

from __future__ import annotations

import errno
import os
import sqlite3
import threading
from collections import namedtuple
from pathlib import Path

import pytest

from lite.errors import BugError, StoreBusy, StoreCorrupt, StoreError, StoreFull
from lite.store import Store, faults
from lite.store.schema import _statements
from tests.store_support import keep, raw_block

PATH = Path("/nowhere/ipvm.db")


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (sqlite3.OperationalError("database or disk is full"), StoreFull),
        (sqlite3.OperationalError("database is locked"), StoreBusy),
        (sqlite3.OperationalError("locking protocol"), StoreBusy),
        (sqlite3.DatabaseError("file is not a database"), StoreCorrupt),
        (sqlite3.DatabaseError("database disk image is malformed"), StoreCorrupt),
        (sqlite3.OperationalError("no such table: blocks"), StoreCorrupt),
        (sqlite3.DatabaseError("something else"), StoreCorrupt),
        (UnicodeDecodeError("utf-8", b"\xf1", 0, 1, "invalid"), StoreCorrupt),
        (sqlite3.OperationalError("attempt to write a readonly database"), StoreError),
        (sqlite3.OperationalError("unable to open database file"), StoreError),
        (sqlite3.OperationalError("disk I/O error"), StoreError),
        (sqlite3.OperationalError("something else"), StoreError),
        (sqlite3.ProgrammingError("Cannot operate on a closed database."), StoreError),
        (sqlite3.ProgrammingError("Incorrect number of bindings supplied."), BugError),
        (sqlite3.IntegrityError("UNIQUE constraint failed: totals.id"), BugError),
    ],
)
def test_each_fault_of_sqlite_has_its_error(
    fault: sqlite3.Error | UnicodeDecodeError, kind: type[Exception]
) -> None:
    error = faults.from_sqlite(fault, PATH)
    assert type(error) is kind


@pytest.mark.parametrize("text", ["disk I/O error", "unable to open database file"])
@pytest.mark.parametrize("lack", [{"f_bavail": 3}, {"f_favail": 0}])
def test_a_disk_error_without_space_is_a_full_disk(
    monkeypatch: pytest.MonkeyPatch, text: str, lack: dict[str, int]
) -> None:
    sizes = {"f_bavail": 10**6, "f_frsize": 4096, "f_favail": 10**6, "f_files": 10**6, **lack}
    disk = namedtuple("disk", sizes)(**sizes)
    monkeypatch.setattr(os, "statvfs", lambda _: disk)
    assert type(faults.from_sqlite(sqlite3.OperationalError(text), PATH)) is StoreFull


@pytest.mark.parametrize(
    ("number", "kind", "text"),
    [
        (errno.ENOSPC, StoreFull, "full"),
        (errno.EDQUOT, StoreFull, "full"),
        (errno.EROFS, StoreError, "cannot be written"),
        (errno.EACCES, StoreError, "cannot be written"),
        (errno.EIO, StoreError, "Input/output error"),
    ],
)
def test_each_fault_of_the_system_has_its_error(number: int, kind: type, text: str) -> None:
    error = faults.from_os(OSError(number, os.strerror(number)), PATH)
    assert type(error) is kind
    assert text in str(error)


def test_what_is_no_cid_in_a_column_is_damage() -> None:
    for raw in (b"", b"\0", None, 7):
        with pytest.raises(StoreCorrupt, match="for a CID"):
            faults.stored_cid(raw)  # type: ignore[arg-type]


def test_a_thread_reads_while_another_one_writes(home: Path) -> None:
    """It sees what was committed, and does not wait."""
    seen: list[bool] = []

    def read() -> None:
        seen.append(store.blocks.has(raw_block("before").cid))
        seen.append(store.blocks.has(raw_block("during").cid))

    with Store.open(home, durability="normal") as store:
        keep(store, raw_block("before"))
        with store._database.write() as transaction:
            block = raw_block("during")
            transaction.execute(
                "INSERT INTO blocks (cid, added_at, data) VALUES (?, 0, ?)",
                (block.cid.raw, block.data),
            )
            transaction.execute("UPDATE totals SET blocks = 2, bytes = bytes + 6")
            assert store.blocks.has(block.cid)
            thread = threading.Thread(target=read)
            thread.start()
            thread.join()
        assert store.blocks.has(block.cid)
        assert store.check(deep=True) == []
    assert seen == [True, False]
    assert not (home / "ipvm.db-wal").exists()


def test_a_transaction_ends_with_any_exception(home: Path) -> None:
    with Store.open(home) as store:
        for error in (KeyboardInterrupt, ValueError, SystemExit):
            with pytest.raises(error), store._database.write() as transaction:
                transaction.execute("DELETE FROM totals")
                raise error
        assert store.blocks.count() == 0
        assert store._database.row("SELECT blocks FROM totals") == (0,)
        keep(store, raw_block("a"))


def test_a_migration_is_cut_into_its_statements() -> None:
    script = (
        "-- a; comment\nCREATE TABLE a (\n  b TEXT DEFAULT ';' -- c;\n);\n\nSELECT 1;\n-- end\n"
    )
    first, second = (text.strip() for text in _statements(script))
    assert first.endswith("-- c;\n);")
    assert second == "SELECT 1;"
    with pytest.raises(BugError, match="ends inside"):
        list(_statements("SELECT 1;\nSELECT 2"))
