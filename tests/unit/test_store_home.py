"""Making, opening and upgrading a home, and refusing what must not be touched."""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from lite.errors import IpvmError, StoreBusy, StoreCorrupt, StoreError, StoreTooNew
from lite.limits import MIB
from lite.store import Store, schema
from lite.store.schema import MIGRATIONS
from tests.store_support import (
    MODULE,
    START,
    FakeClock,
    instruction,
    keep,
    listing,
    raw_block,
    receipt,
)
from tests.ucan_support import LAPTOP, PI, delegation

DATABASE, RESERVE = "ipvm.db", "ipvm.reserve"


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def filled(home: Path) -> Path:
    """A home with something in it; its database file."""
    with Store.open(home, durability="normal") as store:
        keep(store, raw_block("kept"))
        for number in range(30):
            store.commit_run(instruction(number), receipt(instruction(number)), [])
    return home / DATABASE


def set_version(path: Path, version: int) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA user_version = {version}")


def test_a_new_home_is_for_its_owner_only(home: Path) -> None:
    before = os.umask(0)
    try:
        with Store.open(home / "below") as store:
            keep(store, raw_block("a"))
            assert store.created
            assert mode(home / "below") == 0o700
            for file in (home / "below").iterdir():
                assert mode(file) & 0o077 == 0, file
    finally:
        os.umask(before)
    assert sorted(listing(home / "below")) == [DATABASE, RESERVE]


def test_an_empty_folder_becomes_private_and_one_in_use_keeps_its_mode(tmp_path: Path) -> None:
    empty, used = tmp_path / "empty", tmp_path / "used"
    for folder in (empty, used):
        folder.mkdir()
        folder.chmod(0o755)
    (used / "mine").touch()
    for folder in (empty, used):
        Store.open(folder).close()
    assert (mode(empty), mode(used)) == (0o700, 0o755)
    assert mode(used / DATABASE) == 0o600


def test_the_second_open_finds_what_the_first_kept(home: Path) -> None:
    filled(home)
    with Store.open(home) as store:
        assert not store.created
        assert store.blocks.get(raw_block("kept").cid) == b"kept"
        assert store.receipts.count() == 30


def test_opening_reading_and_closing_changes_no_byte(home: Path) -> None:
    path = filled(home)
    before, changed_at = listing(home), path.stat().st_mtime_ns
    with Store.open(home) as store:
        assert store.receipts.by_instruction(instruction(3).cid)
    assert listing(home) == before
    assert path.stat().st_mtime_ns == changed_at


def test_an_existing_home_is_opened_without_sqlite_utils(home: Path) -> None:
    filled(home)
    code = (
        "import sys; from pathlib import Path; from lite.store import Store\n"
        "Store.open(Path(sys.argv[1])).close()\n"
        "print([m for m in sys.modules if m in ('sqlite_utils', 'tarfile', 'lite.store.gc')])"
    )
    told = subprocess.run(
        [sys.executable, "-c", code, home], capture_output=True, text=True, check=True
    )
    assert told.stdout == "[]\n"


def test_the_log_mode_the_sync_and_the_identity_are_as_asked(home: Path) -> None:
    for durability, level in (("full", 2), ("normal", 1)):
        with Store.open(home, durability=durability) as store:  # type: ignore[arg-type]
            number = store._database.number
            assert number("PRAGMA synchronous") == level
            assert store._database.row("PRAGMA journal_mode") == ("wal",)
            assert number("PRAGMA application_id") == schema.APPLICATION_ID
            assert number("PRAGMA user_version") == len(MIGRATIONS)
            assert number("PRAGMA auto_vacuum") == 2


def test_durability_is_waived_only_inside_a_transaction_that_says_so(home: Path) -> None:
    with Store.open(home) as store:
        with store._database.write(durable=False):
            pass
        assert store._database.number("PRAGMA synchronous") == 2
        with pytest.raises(RuntimeError), store._database.write(durable=False):
            raise RuntimeError
        assert store._database.number("PRAGMA synchronous") == 2


def test_every_table_is_strict(home: Path) -> None:
    with Store.open(home) as store:
        loose = store._database.rows(
            "SELECT name FROM pragma_table_list WHERE schema = 'main' AND NOT strict"
        )
    assert {name for (name,) in loose} == {"_sqlite_migrations", "sqlite_schema", "sqlite_sequence"}


def test_odd_folder_names_work(tmp_path: Path) -> None:
    for name in ("with space", "q?a=1&b#c%20", "größe", os.fsdecode(b"bytes-\xff")):
        with Store.open(tmp_path / name) as store:
            keep(store, raw_block("a"))
        assert (tmp_path / name / DATABASE).is_file()


def test_a_home_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("mine")
    with pytest.raises(StoreError, match="home"):
        Store.open(tmp_path / "home")
    assert (tmp_path / "home").read_text() == "mine"


@pytest.mark.parametrize("version", [len(MIGRATIONS) + 1, 9_999])
def test_a_later_schema_is_refused_and_nothing_is_touched(home: Path, version: int) -> None:
    path = filled(home)
    set_version(path, version)
    before, changed_at = listing(home), path.stat().st_mtime_ns
    with pytest.raises(StoreTooNew, match=f"its schema is {version}") as caught:
        Store.open(home)
    assert "Upgrade" in str(caught.value.hint)
    assert listing(home) == before
    assert path.stat().st_mtime_ns == changed_at


def test_a_later_schema_that_a_crash_left_in_the_log_is_not_moved(
    home: Path, tmp_path: Path
) -> None:
    filled(home)
    crashed = tmp_path / "crashed"
    with Store.open(home) as store:
        store._database.connection.execute("PRAGMA user_version = 77")
        crashed.mkdir()
        for name in (DATABASE, f"{DATABASE}-wal"):
            shutil.copy(home / name, crashed / name)
    before = listing(crashed)
    with pytest.raises(StoreTooNew):
        Store.open(crashed)
    after = listing(crashed)
    assert {name: after[name] for name in before} == before


def test_a_database_of_another_program_is_refused_and_left_alone(home: Path) -> None:
    home.mkdir()
    with closing(sqlite3.connect(home / DATABASE)) as connection:
        connection.execute("CREATE TABLE notes (text)")
    before = listing(home)
    with pytest.raises(StoreCorrupt, match="not a store of this program"):
        Store.open(home)
    assert listing(home) == before


def garbage(path: Path) -> None:
    path.write_bytes(random.Random(1).randbytes(50_000))


def empty(path: Path) -> None:
    path.write_bytes(b"")


def half(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2 // 4096 * 4096)


def a_little(path: Path) -> None:
    os.truncate(path, 700)


@pytest.mark.parametrize("damage", [garbage, empty, half, a_little])
def test_a_damaged_file_is_called_damaged_and_left_alone(
    home: Path, damage: Callable[[Path], None]
) -> None:
    path = filled(home)
    damage(path)
    before = listing(home)
    with pytest.raises(StoreCorrupt, match=r"ipvm\.db is damaged") as caught, Store.open(home) as s:
        s.receipts.list()
    assert "ipvm restore" in str(caught.value.hint)
    assert listing(home) == before


def test_flipped_bytes_in_the_header_never_end_in_anything_but_our_errors(
    home: Path, full: bool
) -> None:
    path = filled(home)
    sound = path.read_bytes()
    for at in range(100):
        for flip in (1, 2, 4, 8, 16, 32, 64, 128) if full else (0x41, 0xFF):
            data = bytearray(sound)
            data[at] ^= flip
            path.write_bytes(data)
            try:
                with Store.open(home, busy_timeout_ms=0) as store:
                    store.receipts.list()
                    store.blocks.put(raw_block("new"))
            except StoreError as error:
                assert error.hint, error
            for side in ("-wal", "-shm", "-journal"):
                (home / f"{DATABASE}{side}").unlink(missing_ok=True)


def test_damage_inside_the_file_never_ends_in_anything_but_our_errors(
    home: Path, scaled: Callable[[int, int], int]
) -> None:
    path = filled(home)
    sound = path.read_bytes()
    seeded = random.Random(7)
    for _ in range(scaled(60, 1_000)):
        data = bytearray(sound)
        for _ in range(seeded.choice((1, 5, 400))):
            data[seeded.randrange(100, len(data))] = seeded.randrange(256)
        path.write_bytes(data)
        try:
            with Store.open(home, busy_timeout_ms=0) as store:
                for number in range(30):
                    store.receipts.by_instruction(instruction(number).cid)
                store.commit_run(instruction(99), receipt(instruction(99)), [raw_block("new")])
                store.gc(grace_s=0)
                store.check(deep=True)
        except IpvmError:
            pass
        for side in ("-wal", "-shm", "-journal"):
            (home / f"{DATABASE}{side}").unlink(missing_ok=True)


def test_a_home_that_cannot_be_written_is_read_and_refuses_writes(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(home)
    monkeypatch.setattr(os, "access", lambda _, kind: not kind & os.W_OK)
    with Store.open(home) as store:
        assert store.read_only
        assert store.blocks.get(raw_block("kept").cid) == b"kept"
        with pytest.raises(StoreError, match="cannot be written") as caught:
            keep(store, raw_block("new"))
    assert "IPVM_HOME" in str(caught.value.hint)


def test_an_older_home_that_cannot_be_written_says_how_to_upgrade_it(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_version(filled(home), len(MIGRATIONS) - 1)
    monkeypatch.setattr(os, "access", lambda _, kind: not kind & os.W_OK)
    with pytest.raises(StoreError, match="cannot be upgraded") as caught:
        Store.open(home)
    assert "copy it" in str(caught.value.hint)


@pytest.fixture
def read_only(tmp_path: Path) -> Iterator[Path]:
    """A folder on a read-only file system that holds a filled home and an empty folder."""
    folder = tmp_path / "disk"
    folder.mkdir()
    filled(folder / "home")
    (folder / "empty").mkdir()
    try:
        for options in (["--bind", folder], ["-o", "remount,ro,bind"]):
            subprocess.run(["mount", *options, folder], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as fault:
        pytest.skip(f"needs the right to mount: {fault}")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_home_on_a_read_only_file_system_is_read_and_none_is_made_there(read_only: Path) -> None:
    with Store.open(read_only / "home") as store:
        assert store.blocks.get(raw_block("kept").cid) == b"kept"
        assert len(store.receipts.list()) == 30
    for name in ("empty", "absent"):
        with pytest.raises(StoreError, match="cannot be written"):
            Store.open(read_only / name)


def test_a_second_open_waits_for_a_writer_only_when_it_writes(home: Path) -> None:
    with Store.open(home) as one, Store.open(home, busy_timeout_ms=20) as two:
        keep(one, raw_block("a"))
        with one._database.write() as transaction:
            transaction.execute("DELETE FROM pins")
            assert two.blocks.get(raw_block("a").cid) == b"a"
            with pytest.raises(StoreBusy, match="locked for too long"):
                keep(two, raw_block("b"))
        keep(two, raw_block("b"))


@pytest.fixture
def next_schema(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """This program with one more migration."""
    folder = tmp_path / "schema"
    shutil.copytree(schema._FOLDER, folder)
    (folder / "9000_next.sql").write_text(
        "-- Two statements; the first; has a comment.\n"
        "CREATE TABLE next (a INTEGER) STRICT;\nINSERT INTO next VALUES (7);\n"
    )
    monkeypatch.setattr(schema, "_FOLDER", folder)
    monkeypatch.setattr(schema, "MIGRATIONS", (*MIGRATIONS, "9000_next"))


def test_an_older_schema_is_upgraded_after_a_backup(
    home: Path, request: pytest.FixtureRequest
) -> None:
    filled(home)
    request.getfixturevalue("next_schema")
    with Store.open(home, clock=FakeClock()) as store:
        assert store._database.rows("SELECT a FROM next") == [(7,)]
        assert store.receipts.count() == 30
        assert not store.created
    (backup,) = (home / "backups").iterdir()
    assert mode(backup) == 0o600
    assert mode(home / "backups") == 0o700
    Store.open(home).close()
    assert len(list((home / "backups").iterdir())) == 1


def test_the_backup_before_an_upgrade_restores_the_older_schema(
    home: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lite.store import restore

    filled(home)
    request.getfixturevalue("next_schema")
    Store.open(home).close()
    monkeypatch.undo()
    with pytest.raises(StoreTooNew):
        Store.open(home)
    (backup,) = (home / "backups").iterdir()
    restore(backup, home)
    with Store.open(home) as store:
        assert store.receipts.count() == 30


def test_an_upgrade_that_fails_changes_nothing(home: Path, request: pytest.FixtureRequest) -> None:
    path = filled(home)
    request.getfixturevalue("next_schema")
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE next (mine)")
    with pytest.raises(StoreError, match="already exists"):
        Store.open(home)
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS),)
        assert connection.execute("SELECT count(*) FROM receipts").fetchone() == (30,)


def test_no_upgrade_under_a_process_that_uses_the_older_schema(
    home: Path, request: pytest.FixtureRequest
) -> None:
    with Store.open(home):
        request.getfixturevalue("next_schema")
        with pytest.raises(StoreBusy, match=r"has the home .* open"):
            Store.open(home, busy_timeout_ms=20)
    Store.open(home).close()


def test_every_migration_is_a_file_and_every_file_a_migration() -> None:
    files = sorted(path.stem for path in schema._FOLDER.iterdir())
    assert tuple(files) == MIGRATIONS == tuple(sorted(MIGRATIONS))


def test_a_database_that_cannot_be_made_leaves_nothing_behind(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(schema, "migrate", fail)
    with pytest.raises(StoreError, match="full"):
        Store.open(home)
    assert list(home.iterdir()) == []
    monkeypatch.undo()
    with Store.open(home) as store:
        assert store.created


def test_what_a_crash_left_of_a_new_database_is_replaced(home: Path) -> None:
    home.mkdir()
    (home / "ipvm.db.new").write_bytes(b"half")
    (home / "ipvm.db.new-journal").write_bytes(b"half")
    with Store.open(home) as store:
        assert store.created
    assert sorted(listing(home)) == [DATABASE, RESERVE]


def test_the_log_does_not_keep_its_largest_size(home: Path) -> None:
    with Store.open(home) as store:
        limit = store._database.number("PRAGMA journal_size_limit")
    assert 0 < limit <= 64 * MIB


def test_a_store_knows_whether_it_was_ever_used(home: Path) -> None:
    """Also when nothing is left of what was in it."""
    asked = instruction(1)
    with Store.open(home) as store:
        assert not store.was_used()
        store.receipts.add(receipt(asked))
        assert store.was_used()
        store.receipts.forget(receipt(asked).cid)
        assert store.receipts.count() == 0
        assert store.was_used()


@pytest.mark.parametrize(
    "use",
    [
        lambda store: keep(store, raw_block("a")),
        lambda store: store.names.set("n", MODULE),
        lambda store: store.pins.add(MODULE),
        lambda store: store.modules.put(MODULE, b""),
        lambda store: store.tokens.add([delegation(PI, LAPTOP)]),
        lambda store: store.tokens.claim(MODULE, None),
        lambda store: store.tokens.claim(MODULE, START + 60),
    ],
)
def test_any_row_says_that_a_store_was_used(home: Path, use: Callable[[Store], object]) -> None:
    with Store.open(home, clock=FakeClock()) as store:
        assert not store.was_used()
        use(store)
        assert store.was_used()


@pytest.mark.parametrize(
    "name", ["key-abcdefgh.old", "ipvm.db.before-restore-20270115T080000Z", "backups/x", "cache/x"]
)
def test_files_beside_it_say_that_a_home_was_used(home: Path, name: str) -> None:
    with Store.open(home) as store:
        (home / "config.toml").touch()
        assert not store.was_used()
        (home / name).parent.mkdir(exist_ok=True)
        (home / name).touch()
        assert store.was_used()


def test_what_was_in_a_folder_before_its_database_is_known_and_nothing_later(home: Path) -> None:
    """Others that began at the same time may have made a key by now: nothing was lost."""
    with Store.open(home) as store:
        (home / "key").write_bytes(b"made by another process")
        assert store.created and "key" not in store.found
    with Store.open(home) as again:
        assert not again.created and again.found == frozenset()
    for file in home.glob("ipvm.db*"):
        file.unlink()
    with Store.open(home) as anew:
        assert "key" in anew.found
