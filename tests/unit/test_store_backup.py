"""Backup and restore: one file, everything in it, checked before anything is touched."""

from __future__ import annotations

import hashlib
import io
import json
import os
import random
import stat
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from lite.errors import (
    IntegrityError,
    NotFoundError,
    StoreBusy,
    StoreCorrupt,
    StoreError,
    StoreTooNew,
)
from lite.keys import Key
from lite.store import Store, restore
from lite.store.home import DATABASE
from tests.store_support import (
    FakeClock,
    bulk,
    instruction,
    keep,
    listing,
    raw_block,
    receipt,
)

SECRET = Key.from_seed(bytes(32)).export_text()


@pytest.fixture
def filled(home: Path) -> Path:
    """A home with blocks, receipts, a key and a configuration."""
    with Store.open(home, durability="normal") as store:
        keep(store, raw_block("kept"), bulk(1, 300_000))
        store.names.set("kept", raw_block("kept").cid)
        for number in range(5):
            store.commit_run(instruction(number), receipt(instruction(number)), [])
    (home / "key").write_text(SECRET)
    (home / "config.toml").write_text("[store]\n")
    (home / "cache").mkdir()
    return home


@pytest.fixture
def backup(filled: Path, tmp_path: Path) -> Path:
    """A backup of that home."""
    target = tmp_path / "made.backup"
    with Store.open(filled) as store:
        store.backup(target)
    return target


def test_a_backup_is_one_private_file_of_the_size_it_says(filled: Path, tmp_path: Path) -> None:
    target = tmp_path / "new" / "folder" / "made.backup"
    with Store.open(filled) as store:
        size = store.backup(target)
    assert target.stat().st_size == size
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert [path.name for path in target.parent.iterdir()] == ["made.backup"]
    with tarfile.open(target) as archive:
        assert archive.getnames() == ["backup.json", "ipvm.db", "key", "config.toml"]
        assert {member.mode for member in archive.getmembers()} == {0o600}


@pytest.mark.parametrize("at", range(5))
def test_a_second_interrupt_leaves_nothing_beside_the_file_either(
    filled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    """The first ends the writing of the archive, the second the removal of one of the files."""
    unlink, asked = Path.unlink, []

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    def interrupted_once(path: Path, missing_ok: bool = False) -> None:
        asked.append(path)
        if len(asked) == at + 1:
            raise KeyboardInterrupt
        unlink(path, missing_ok)

    folder = tmp_path / "folder"
    with Store.open(filled) as store, monkeypatch.context() as patch:
        patch.setattr(tarfile, "open", interrupted)
        patch.setattr(Path, "unlink", interrupted_once)
        with pytest.raises(KeyboardInterrupt):
            store.backup(folder / "made.backup")
    assert len(asked) == 5 + at + 1
    assert list(folder.iterdir()) == []


def test_a_damaged_database_is_not_backed_up_over_a_good_one(filled: Path, backup: Path) -> None:
    before = backup.read_bytes()
    with Store.open(filled) as store:
        (page,) = store._database.row("SELECT rootpage FROM sqlite_schema WHERE name = 'names'")
    with (filled / DATABASE).open("r+b") as file:
        file.seek((page - 1) * 4096)
        file.write(bytes(4096))
    with Store.open(filled) as store, pytest.raises(StoreCorrupt, match="nothing was backed up"):
        store.backup(backup)
    assert backup.read_bytes() == before
    assert [path.name for path in backup.parent.glob(".*")] == []


@pytest.mark.parametrize(
    "manifest",
    [
        '{"ipvm-backup":1,"files":["ipvm.db"]}',
        '{"ipvm-backup":1,"files":"ipvm.db"}',
        "[]",
        "[" * 60_000,
        None,
    ],
    ids=lambda text: str(text)[:40],
)
def test_an_archive_of_another_shape_is_no_backup(tmp_path: Path, manifest: str | None) -> None:
    with tarfile.open(tmp_path / "made", "w") as archive:
        entry = tarfile.TarInfo("backup.json")
        if manifest is None:  # a link to itself
            entry.type, entry.linkname = tarfile.SYMTYPE, "backup.json"
        entry.size = len(manifest or "")
        archive.addfile(entry, io.BytesIO((manifest or "").encode()))
    with pytest.raises(IntegrityError, match="nothing was restored"):
        restore(tmp_path / "made", tmp_path / "home")
    assert not (tmp_path / "home" / DATABASE).exists()


def test_a_backup_restores_everything_in_a_new_home(backup: Path, tmp_path: Path) -> None:
    home = tmp_path / "elsewhere" / "home"
    done = restore(backup, home)
    assert done.files == ("ipvm.db", "key", "config.toml")
    assert done.kept == ()
    assert sorted(listing(home)) == ["config.toml", "ipvm.db", "key"]
    assert (home / "key").read_text() == SECRET
    assert {stat.S_IMODE(path.stat().st_mode) for path in home.iterdir()} == {0o600}
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    with Store.open(home) as store:
        assert store.check(deep=True) == []
        assert store.names.get("kept") == raw_block("kept").cid
        assert store.receipts.count() == 5
        assert store.blocks.get(bulk(1, 300_000).cid) == bulk(1, 300_000).data


def test_a_backup_holds_what_is_still_in_the_log_and_nothing_later(
    filled: Path, tmp_path: Path
) -> None:
    with Store.open(filled) as store:
        keep(store, raw_block("in the log"))
        store.backup(tmp_path / "b")
        keep(store, raw_block("later"))
    restore(tmp_path / "b", tmp_path / "other")
    with Store.open(tmp_path / "other") as store:
        assert store.blocks.has(raw_block("in the log").cid)
        assert not store.blocks.has(raw_block("later").cid)


def test_a_backup_replaces_an_older_one_at_once(filled: Path, tmp_path: Path) -> None:
    target = tmp_path / "b"
    target.write_text("older")
    with Store.open(filled) as store:
        store.backup(target)
    with tarfile.open(target) as archive:
        assert len(archive.getnames()) == 4


def test_a_backup_that_cannot_be_written_leaves_the_older_one(
    filled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "b"
    target.write_text("older")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with Store.open(filled) as store, pytest.raises(StoreError, match="full"):
        store.backup(target)
    assert [path.name for path in tmp_path.iterdir() if path != filled] == ["b"]
    assert target.read_text() == "older"


def test_a_backup_does_not_take_the_place_of_a_folder(filled: Path, tmp_path: Path) -> None:
    with Store.open(filled) as store, pytest.raises(StoreError, match="is a folder"):
        store.backup(tmp_path)


def test_a_restore_keeps_the_files_that_were_there(filled: Path, backup: Path) -> None:
    with Store.open(filled) as store:
        keep(store, raw_block("since"))
    (filled / "key").write_text("another")
    done = restore(backup, filled, clock=FakeClock())
    suffix = ".before-restore-20270115T080000Z"
    names = ["ipvm.db", "key", "config.toml"]
    assert [path.name for path in done.kept] == [name + suffix for name in names]
    assert (filled / f"key{suffix}").read_text() == "another"
    assert (filled / "key").read_text() == SECRET
    with Store.open(filled) as store:
        assert not store.blocks.has(raw_block("since").cid)
    (filled / f"ipvm.db{suffix}").replace(filled / "ipvm.db")
    with Store.open(filled) as store:
        assert store.blocks.has(raw_block("since").cid)


def test_what_a_crash_left_in_the_log_is_kept_with_the_old_database(
    filled: Path, backup: Path, tmp_path: Path
) -> None:
    with Store.open(filled) as store:
        keep(store, raw_block("since"))
        log = (filled / "ipvm.db-wal").read_bytes()
        data = (filled / "ipvm.db").read_bytes()
    (filled / "ipvm.db").write_bytes(data)
    (filled / "ipvm.db-wal").write_bytes(log)
    done = restore(backup, filled, clock=FakeClock())
    for path in done.kept:
        path.replace(filled / path.name.replace(".before-restore-20270115T080000Z", ""))
    with Store.open(filled) as store:
        assert store.blocks.has(raw_block("since").cid)


def test_a_restore_that_is_killed_while_it_swaps_leaves_every_commit_in_the_home(
    filled: Path, backup: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Store.open(filled) as store:
        keep(store, raw_block("since"))
        files = {name: (filled / name).read_bytes() for name in ("ipvm.db", "ipvm.db-wal")}
    for name, data in files.items():
        (filled / name).write_bytes(data)
    assert len(files["ipvm.db-wal"]) > 0

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        restore(backup, filled)
    assert not (filled / "ipvm.db-wal").exists()
    with Store.open(filled) as store:
        assert store.blocks.has(raw_block("since").cid)


def test_two_restores_in_one_second_keep_both(filled: Path, backup: Path) -> None:
    kept = [path for _ in range(3) for path in restore(backup, filled, clock=FakeClock()).kept]
    assert len(set(kept)) == 9
    assert all(path.exists() for path in kept)


def test_a_restore_works_without_hard_links(
    filled: Path, backup: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", fail)
    assert len(restore(backup, filled).kept) == 3
    with Store.open(filled) as store:
        assert store.receipts.count() == 5


def test_a_restore_over_a_damaged_database_and_its_log_keeps_both(
    filled: Path, backup: Path
) -> None:
    (filled / "ipvm.db").write_bytes(b"garbage")
    (filled / "ipvm.db-wal").write_bytes(b"log")
    done = restore(backup, filled, clock=FakeClock())
    assert {path.name.partition(".before")[0] for path in done.kept} == {
        "ipvm.db",
        "key",
        "config.toml",
    }
    assert {path.read_bytes() for path in done.kept} >= {b"garbage", b"log"}
    with Store.open(filled) as store:
        assert store.check(deep=True) == []
        assert store.receipts.count() == 5


def test_a_backup_without_a_key_leaves_the_key_alone(filled: Path, tmp_path: Path) -> None:
    (filled / "key").unlink()
    with Store.open(filled) as store:
        store.backup(tmp_path / "b")
    (filled / "key").write_text("mine")
    assert restore(tmp_path / "b", filled).files == ("ipvm.db", "config.toml")
    assert (filled / "key").read_text() == "mine"


def test_no_restore_under_an_open_store(filled: Path, backup: Path) -> None:
    with Store.open(filled), pytest.raises(StoreBusy, match=r"has the home .* open"):
        restore(backup, filled, busy_timeout_ms=20)
    restore(backup, filled, busy_timeout_ms=0)


def test_an_absent_backup_is_not_found(tmp_path: Path, home: Path) -> None:
    with pytest.raises(NotFoundError):
        restore(tmp_path / "absent", home)
    assert not home.exists()


def rewritten(backup: Path, change: Callable[[str, bytes], tuple[str, bytes] | None]) -> None:
    """Write the archive again with each member changed (or left out, for None)."""
    with tarfile.open(backup) as archive:
        members = [(m.name, archive.extractfile(m).read()) for m in archive.getmembers()]  # type: ignore[union-attr]
    with tarfile.open(backup, "w") as archive:
        for name, data in members:
            changed = change(name, data)
            if changed is not None:
                entry = tarfile.TarInfo(changed[0])
                entry.size = len(changed[1])
                archive.addfile(entry, io.BytesIO(changed[1]))


def manifest_with(**fields: object) -> Callable[[str, bytes], tuple[str, bytes]]:
    def change(name: str, data: bytes) -> tuple[str, bytes]:
        if name != "backup.json":
            return name, data
        return name, json.dumps({**json.loads(data), **fields}).encode()

    return change


@pytest.mark.parametrize(
    "change",
    [
        lambda name, data: (name, data[:-1] + b"?") if name == "key" else (name, data),
        lambda name, data: (name, data[:5_000]) if name == "ipvm.db" else (name, data),
        lambda name, data: None if name == "key" else (name, data),
        lambda name, data: None if name == "backup.json" else (name, data),
        lambda name, data: (name, b"no json") if name == "backup.json" else (name, data),
        lambda name, data: (name, b"[]") if name == "backup.json" else (name, data),
        manifest_with(files={}),
        manifest_with(files={"../outside": {"bytes": 1, "sha256": ""}, "ipvm.db": {}}),
        manifest_with(**{"ipvm-backup": 99}),
    ],
)
def test_an_unsound_backup_is_refused_and_the_home_stays(
    filled: Path, backup: Path, change: Callable[[str, bytes], tuple[str, bytes] | None]
) -> None:
    rewritten(backup, change)
    before = listing(filled)
    with pytest.raises(IntegrityError, match="not a sound backup") as caught:
        restore(backup, filled)
    assert caught.value.hint
    assert listing(filled) == before
    assert not (filled / ".restoring").exists()


@pytest.mark.parametrize(
    ("name", "data", "why"),
    [
        ("key", b"garbage", "its key cannot be used: this is not a private key"),
        ("key", b"", "its key cannot be used: "),
        ("key", b"\xff" * 9, "its key cannot be used: it is not text"),
        ("config.toml", b"garbage", "its config.toml cannot be read: "),
        ("config.toml", b"\xff", "its config.toml cannot be read: it is not UTF-8"),
        ("config.toml", b"#" * 2_000_000, "its config.toml cannot be read: it has more than"),
    ],
)
def test_a_key_that_is_none_and_settings_that_nobody_can_read_are_not_restored(
    filled: Path, backup: Path, name: str, data: bytes, why: str
) -> None:
    """Although the manifest has their lengths and hashes."""

    def change(member: str, was: bytes) -> tuple[str, bytes]:
        if member != "backup.json":
            return member, data if member == name else was
        manifest = json.loads(was)
        told = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        manifest["files"][name] = told
        return member, json.dumps(manifest).encode()

    rewritten(backup, change)
    before = listing(filled)
    with pytest.raises(IntegrityError, match="nothing was restored") as caught:
        restore(backup, filled)
    assert why in str(caught.value)
    assert listing(filled) == before


def test_a_changed_or_cut_backup_is_refused(
    filled: Path, backup: Path, scaled: Callable[[int, int], int]
) -> None:
    sound, before, seeded = backup.read_bytes(), listing(filled), random.Random(3)
    end = len(sound.rstrip(b"\0"))
    for _ in range(scaled(25, 400)):
        data = bytearray(sound)
        if seeded.random() < 0.3:
            del data[seeded.randrange(end) :]
        else:
            data[seeded.randrange(1536, end)] ^= 1 << seeded.randrange(8)
        backup.write_bytes(data)
        try:
            restore(backup, filled)
        except IntegrityError:
            assert listing(filled) == before
        else:
            # Only the archive's own fields (a member's time, its padding) may change unseen.
            for path in filled.glob("*.before-restore-*"):
                path.unlink()
            assert {name: listing(filled)[name] for name in ("key", "config.toml")} == {
                name: before[name] for name in ("key", "config.toml")
            }
            before = listing(filled)


def test_a_backup_of_a_later_version_is_refused(filled: Path, tmp_path: Path) -> None:
    with Store.open(filled) as store:
        store._database.connection.execute("PRAGMA user_version = 55")
        store.backup(tmp_path / "b")
        store._database.connection.execute("PRAGMA user_version = 1")
    before = listing(filled)
    with pytest.raises(StoreTooNew, match="its schema is 55"):
        restore(tmp_path / "b", filled)
    assert listing(filled) == before
