"""The program of examples/sync never changes what its user wrote."""

from __future__ import annotations

import os
import socket
import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from sync import codec
from sync.base import TIME_MAX, Item
from sync.errors import ItemInvalid, ItemUnwanted, StoreError
from sync.keys import SeedKey
from tests.notes_support import notes
from tests.sync_net_support import key_of

Open = Callable[[], Any]
BORN_S = 1_700_000_000

LEFT_ALONE: dict[str, bytes] = {
    "long.txt": b"x" * 17_001,
    "just too long.txt": b"x" * 16_384,
    "latin.txt": "gr\xfc\xdfe".encode("latin-1"),
    "half.txt": b"\xf0\x9f",
}
TAKEN: dict[str, bytes] = {
    "windows.txt": b"one\r\ntwo\r\n",
    "mark.txt": b"\xef\xbb\xbfwith a mark",
    "empty.txt": b"",
    "nul.txt": b"a\0b",
    "emoji \U0001f469\u200d\U0001f33e\u3000.txt": b"a name of many signs",
    "n" * 251 + ".txt": b"the longest name",
}


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Open]:
    """A folder that is served, stopped and begun again."""
    made: list[Any] = []

    def begin() -> Any:
        if made:
            made[-1].db.close()
        made.append(notes.Notes(tmp_path / "folder"))
        made[-1].show()
        made[-1].take_in()
        return made[-1]

    (tmp_path / "folder").mkdir()
    yield begin
    made[-1].db.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "folder"


def came(kept: Any, name: str, text: str, at: int = BORN_S, key: SeedKey | None = None) -> None:
    """A note of a peer, as a session stores and tells it."""
    item = notes.written(key or key_of("peer"), name, text, at)
    kept.store.put([item], "did:peer", None)
    kept.show()


def signed(name: str, text: str = "hi", at: int = BORN_S) -> bytes:
    """What a peer can sign, whatever this program would."""
    key = key_of("peer")
    note = {"by": key.did, "name": name, "text": text, "at": at}
    return codec.encode({**note, "sig": key.sign(codec.encode(note))})


def notes_in(kept: Any) -> int:
    count: int = kept.store.summary().count
    return count


@pytest.mark.parametrize("name", LEFT_ALONE)
def test_what_can_be_no_note_stays_as_it_is_and_is_named_once(
    name: str, opened: Open, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / name).write_bytes(LEFT_ALONE[name])
    for _ in range(2):
        kept = opened()
        kept.take_in()
        assert (folder / name).read_bytes() == LEFT_ALONE[name]
        assert notes_in(kept) == 0
        assert capsys.readouterr().out.count(f"left alone '{name}': ") == 1
    came(kept, name, "of a peer")
    assert (folder / name).read_bytes() == LEFT_ALONE[name]
    (folder / name).unlink()
    kept.show()
    assert (folder / name).read_text() == "of a peer"


@pytest.mark.parametrize("name", TAKEN)
def test_a_note_is_taken_to_the_byte_and_never_written_back_otherwise(
    name: str, opened: Open, folder: Path
) -> None:
    path = folder / name
    path.write_bytes(TAKEN[name])
    before = path.stat()
    for _ in range(3):
        kept = opened()
        assert notes_in(kept) == 1
        assert path.read_bytes() == TAKEN[name]
        assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    other = notes.Notes(folder.parent / "other")
    other.store.put(
        [Item(row.id, kept.store.read([row.id])[row.id], row.time)
         for row in kept.store.log_after(0, 9)],
        "did:peer",
        None,
    )  # fmt: skip
    other.show()
    assert (folder.parent / "other" / name).read_bytes() == TAKEN[name]
    other.db.close()


def test_a_note_that_grew_too_long_is_kept_from_newer_ones_of_peers(
    opened: Open, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = folder / "a.txt"
    path.write_text("short")
    kept = opened()
    path.write_text("long" * 5_000)
    kept.take_in()
    came(kept, "a.txt", "of a peer", kept.clock.now() + 5)
    assert path.read_text() == "long" * 5_000
    kept = opened()
    assert path.read_text() == "long" * 5_000
    assert "left alone 'a.txt': 20000 bytes are too many" in capsys.readouterr().out
    path.write_text("short again")
    assert kept.take_in()
    assert kept.shown["a.txt"][2] == "short again"


def test_what_was_edited_a_moment_ago_is_not_written_over_by_what_comes(
    opened: Open, folder: Path
) -> None:
    path = folder / "a.txt"
    path.write_text("first")
    kept = opened()
    path.write_text("edited")
    came(kept, "a.txt", "of a peer", kept.clock.now() + 5)
    assert path.read_text() == "edited"
    assert kept.take_in()
    assert kept.shown["a.txt"][2] == "edited"
    came(kept, "a.txt", "of a peer again", kept.shown["a.txt"][0] + 1)
    assert path.read_text() == "of a peer again"


def test_other_things_under_a_name_of_a_note_end_nothing(
    opened: Open, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "folder.txt").mkdir()
    (folder / "link.txt").symlink_to("nowhere")
    os.mkfifo(folder / "pipe.txt")
    (folder / "true.txt").write_text("a note")
    for _ in range(2):
        kept = opened()
        for name in ("folder.txt", "link.txt", "pipe.txt"):
            came(kept, name, "of a peer")
    assert (folder / "folder.txt").is_dir()
    assert (folder / "link.txt").readlink() == Path("nowhere")
    assert notes_in(kept) == 4
    assert capsys.readouterr().out.count("it is no regular file") == 6
    (folder / "folder.txt").rmdir()
    kept.show()
    assert (folder / "folder.txt").read_text() == "of a peer"


@pytest.mark.skipif(sys.platform != "linux", reason="names are UTF-8 there")
def test_a_name_that_is_no_utf_8_ends_nothing(
    opened: Open, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = folder / os.fsdecode(b"gr\xfc.txt")
    path.write_bytes(b"text")
    assert notes_in(opened()) == 0
    assert "left alone 'gr\\udcfc.txt': its name is not UTF-8" in capsys.readouterr().out
    assert path.read_bytes() == b"text"


@pytest.mark.parametrize(
    ("name", "at"),
    [("n" * 300 + ".txt", BORN_S), ("\u00e9" * 126 + ".txt", BORN_S), ("a\0b.txt", BORN_S),
     ("a\nb.txt", BORN_S), ("../a.txt", BORN_S), (".a.txt", BORN_S), ("a", BORN_S),
     ("a.txt", 2**53), ("a.txt", -1)],
)  # fmt: skip
def test_a_note_that_could_not_be_a_file_is_refused_and_does_no_harm_where_it_was_kept(
    name: str, at: int, opened: Open, folder: Path
) -> None:
    raw = signed(name, at=at)
    with pytest.raises(ItemInvalid):
        notes.read_note(raw)
    kept = opened()
    kept.store.add([Item(notes.hashlib.sha256(raw).digest(), raw, BORN_S)])
    kept.show()
    kept = opened()
    came(kept, "good.txt", "a note")
    assert [path.name for path in folder.glob("[!.]*")] == ["good.txt"]


class Clock:
    """Shows what it is told."""

    def __init__(self, now: int = BORN_S) -> None:
        self.at = now

    def now(self) -> int:
        return self.at


@pytest.mark.parametrize("at", [2**52, 2**52 + 1, TIME_MAX, BORN_S + notes.AHEAD_S_MAX + 1])
def test_a_note_so_late_that_none_could_be_later_is_not_taken_and_nobody_to_blame(
    at: int, opened: Open, folder: Path
) -> None:
    kept = opened()
    kept.clock = Clock()
    kept.book.trust(key_of("peer").did, ["read"])
    raw = signed("a.txt", at=at)
    with pytest.raises(ItemUnwanted):
        kept.verify(notes.hashlib.sha256(raw).digest(), raw, "did:peer")
    came(kept, "a.txt", "kept by an earlier version", at)
    assert not (folder / "a.txt").exists()
    (folder / "a.txt").write_text("my own")
    assert kept.take_in()
    assert (kept.shown["a.txt"][0], kept.shown["a.txt"][2]) == (BORN_S, "my own")


def test_each_note_that_is_taken_can_be_edited_and_what_is_written_is_taken_by_others(
    opened: Open, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept, other = opened(), notes.Notes(folder.parent / "other")
    kept.clock = other.clock = Clock()
    other.book.trust(kept.key.did, ["read"])
    latest = BORN_S + notes.AHEAD_S_MAX
    came(kept, "a.txt", "of a peer", latest)
    assert (folder / "a.txt").read_text() == "of a peer"
    for number in range(3):
        (folder / "a.txt").write_text(f"edit {number}")
        assert not kept.take_in() and not kept.take_in()
        assert (folder / "a.txt").read_text() == f"edit {number}"
        assert capsys.readouterr().out.count("its time is too far ahead") == 1
        kept.clock.at += 1
        assert kept.take_in()
    rows = kept.store.log_after(0, 9)
    assert len(rows) == 4
    for id, raw in kept.store.read([row.id for row in rows[1:]]).items():
        other.verify(id, raw, kept.key.did)
    other.db.close()


def test_a_machine_whose_clock_was_never_set_takes_the_notes_of_others(opened: Open) -> None:
    kept = opened()
    kept.clock = Clock(0)
    kept.book.trust(key_of("peer").did, ["read"])
    raw = signed("a.txt", at=BORN_S + 10**9)
    kept.verify(notes.hashlib.sha256(raw).digest(), raw, "did:peer")


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    """Run the program to an end that is no success: its exit status and its last line."""

    def call(*arguments: object) -> tuple[int, str]:
        with pytest.raises(SystemExit) as ended:
            notes.main([str(one) for one in arguments])
        assert isinstance(ended.value.code, int)
        return ended.value.code, capsys.readouterr().err.splitlines()[-1]

    return call


def test_where_it_cannot_listen_is_told_in_a_line(
    folder: Path, said: Callable[..., tuple[int, str]]
) -> None:
    for wrong in ("127.0.0.1:99999", ":1", "127.0.0.1", "127.0.0.1:-1"):
        status, line = said(folder, "serve", f"--listen={wrong}")
        assert (status, wrong in line) == (2, True)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        where = f"127.0.0.1:{taken.getsockname()[1]}"
        status, line = said(folder, "serve", "--listen", where)
        assert status == 1 and f"cannot listen on {where}" in line and "in use" in line


def test_what_is_no_folder_is_told_in_a_line(
    tmp_path: Path, said: Callable[..., tuple[int, str]]
) -> None:
    file = tmp_path / "file"
    file.touch()
    assert said(file, "key") == (1, f"{Path(sys.argv[0]).name}: {file}: it is no folder")
    assert "Not a directory" in said(file / "below", "key")[1]


def test_a_database_that_is_locked_or_none_is_told_in_a_line(
    folder: Path, said: Callable[..., tuple[int, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.mkdir()
    connect = sqlite3.connect
    with closing(connect(folder / ".notes.db", isolation_level=None)) as other:
        other.execute("PRAGMA journal_mode = WAL")
        other.execute("BEGIN IMMEDIATE")
        impatient = partial(connect, timeout=0.02)
        monkeypatch.setattr(notes.sqlite3, "connect", impatient)
        status, line = said(folder, "key")
        assert status == 1 and "locked" in line
    (folder / ".notes.db").write_bytes(b"no database" * 1_000)
    assert "not a database" in said(folder, "key")[1]


def test_a_key_is_written_whole_or_not_at_all_and_half_a_key_is_said_to_be_none(
    folder: Path, said: Callable[..., tuple[int, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.mkdir()

    def killed(_: int) -> bytes:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(notes.os, "fsync", killed)
        notes.key_of(folder)
    assert list(folder.iterdir()) == []
    first = notes.key_of(folder)
    assert notes.key_of(folder).did == first.did
    assert [path.name for path in folder.iterdir()] == [".key"]
    assert (folder / ".key").stat().st_mode & 0o777 == 0o600
    (folder / ".key").write_bytes(b"")
    status, line = said(folder, "key")
    assert status == 1 and "has 0 bytes, and a key has 32" in line


def test_a_database_that_is_locked_for_a_while_ends_nothing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with notes.problems_told():
        raise StoreError("locked")
    assert capsys.readouterr().out == "problem locked\n"
