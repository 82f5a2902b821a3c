"""`ipvm key` where there is no home yet, and where none can be written."""

from __future__ import annotations

import errno
import os
import subprocess
import tarfile
from pathlib import Path

import pytest

from lite import Node
from lite.errors import NotFoundError, StoreError
from lite.keys import Key
from lite.store import Store, faults, restore
from lite.store.backup import _from_os, write_backup
from tests.disk_support import fill
from tests.integration.conftest import Ipvm
from tests.store_support import FakeClock

DISK = "size=4m"


@pytest.fixture
def exported(ipvm: Ipvm, tmp_path: Path) -> Path:
    """A key of another home."""
    path = tmp_path / "key.txt"
    path.write_text(ipvm("--home", tmp_path / "other", "key", "export").text)
    return path


def made(home: Path) -> str:
    return f"ipvm: made a new home in {home}\n"


@pytest.mark.parametrize("verb", ["new", "import"])
def test_the_first_key_makes_the_home_and_says_so_once(
    ipvm: Ipvm, home: Path, exported: Path, verb: str
) -> None:
    ended = ipvm("key", verb, *([exported] if verb == "import" else []))
    assert (ended.status, ended.err) == (0, made(home))
    again = ipvm("id")
    assert (again.text, again.err) == (ended.text, "")


def test_a_key_in_the_place_of_one_that_is_there_makes_no_home(ipvm: Ipvm, home: Path) -> None:
    ipvm("id")
    said = ipvm("key", "new", "--force").err
    assert "made a new home" not in said and "the old key is in" in said
    assert ipvm("id").err == ""


@pytest.mark.parametrize("verb", ["new", "import"])
def test_a_full_disk_is_an_error_of_the_store(
    ipvm: Ipvm, exported: Path, disk: Path, verb: str
) -> None:
    words = ["key", verb, *([exported] if verb == "import" else [])]
    home = disk / "home"
    Store.open(home).close()
    fill(disk)
    for place in (home, disk / "none"):
        ended = ipvm("--home", place, *words, "--json")
        assert (ended.status, ended.json["error"]["code"]) == (6, "store-full"), place
    assert not (home / "key").exists()
    assert [path.name for path in home.glob(".key*")] == []


@pytest.mark.parametrize("verb", ["new", "import"])
def test_a_home_that_cannot_be_written_is_an_error_of_the_store(
    ipvm: Ipvm, exported: Path, disk: Path, verb: str
) -> None:
    words = ["key", verb, *([exported] if verb == "import" else [])]
    Store.open(disk / "home").close()
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    for place in (disk / "home", disk / "none"):
        ended = ipvm("--home", place, *words, "--json")
        assert (ended.status, ended.json["error"]["code"]) == (6, "store"), place


def test_a_home_on_a_read_only_disk_is_backed_up(
    ipvm: Ipvm, disk: Path, tmp_path: Path, exported: Path
) -> None:
    home, target = disk / "home", tmp_path / "made.backup"
    did = ipvm("--home", home, "id").text
    cid = ipvm("--home", home, "add", exported).text.strip()
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    ended = ipvm("--home", home, "backup", target)
    assert ended.status == 0, ended.err
    ipvm("--home", tmp_path / "back", "restore", target)
    assert ipvm("--home", tmp_path / "back", "id").text == did
    assert ipvm("--home", tmp_path / "back", "cat", cid).out == exported.read_bytes()
    refused = ipvm("--home", home, "backup", disk / "made.backup")
    assert (refused.status, f"{disk / 'made.backup'} cannot be written" in refused.err) == (6, True)


def test_a_full_target_is_what_a_backup_blames(ipvm: Ipvm, home: Path, disk: Path) -> None:
    ipvm("id")
    fill(disk, leave=100_000)
    ended = ipvm("backup", disk / "made.backup", "--json")
    assert (ended.status, ended.json["error"]["code"]) == (6, "store-full")
    assert f"the disk that holds {disk / 'made.backup'} is full" in ended.json["error"]["message"]
    assert [path.name for path in disk.iterdir()] == ["ballast"]


def test_a_damaged_database_is_what_a_backup_blames(home: Path, tmp_path: Path) -> None:
    Store.open(home).close()
    (home / "ipvm.db").write_bytes(b"garbage" * 10_000)
    with pytest.raises(StoreError, match=f"{home / 'ipvm.db'} is damaged"):
        write_backup(home, tmp_path / "made.backup", FakeClock())
    assert not (tmp_path / "made.backup").exists()


def test_a_key_that_may_not_be_read_is_what_a_backup_blames(home: Path, tmp_path: Path) -> None:
    target = tmp_path / "made.backup"
    denied = PermissionError(13, os.strerror(13), str(home / "key"))
    assert str(_from_os(denied, home, target)) == str(faults.unreadable(home / "key"))
    elsewhere = PermissionError(13, os.strerror(13), str(tmp_path / ".made.backup.1.part"))
    said = _from_os(elsewhere, home, target)
    assert (str(said), said.hint) == (
        f"{target} cannot be written: Permission denied",
        "Name a file in a folder that you may write.",
    )


def test_a_backup_that_may_not_be_read_is_what_restoring_blames(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(name: Path, *_: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(name))

    backup = tmp_path / "made.backup"
    backup.touch()
    monkeypatch.setattr(tarfile, "open", denied)
    with pytest.raises(StoreError, match=f"{backup} cannot be read: Permission denied"):
        restore(backup, home)


def test_a_key_made_while_the_doctor_looks_is_not_lost(
    ipvm: Ipvm, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process makes the key and uses the home between two looks."""
    home.mkdir()
    load, looks = Key.load, []

    def late(path: Path) -> Key:
        try:
            return load(path)
        except NotFoundError:
            looks.append(path)
            if len(looks) == 1:
                with Node.open(home) as node:
                    node.add(b"something")
            raise

    monkeypatch.setattr(Key, "load", late)
    ended = ipvm("doctor")
    assert looks and ended.status == 0, ended.text
    assert "is gone" not in ended.text


def test_a_folder_that_holds_only_settings_becomes_a_home_for_its_owner_only(
    ipvm: Ipvm, home: Path
) -> None:
    home.mkdir(mode=0o755)
    ipvm("config", "set", "limits.time", "5s")
    ipvm("id")
    assert home.stat().st_mode & 0o777 == 0o700
