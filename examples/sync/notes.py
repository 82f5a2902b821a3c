"""Keep a folder of notes the same on several machines, with `sync` alone.

    python notes.py FOLDER key                                 print the name of this folder's node
    python notes.py FOLDER serve [--listen IP:PORT] [--peer DID[@HOST:PORT]]... [--local-network]

Every file `*.txt` of the folder is a note. A note is signed by the node that wrote it and is never
changed: a new text under the same name is a new note, and the newest one (then the one with the
greater digest) is what the file shows. Names that begin with a dot are this program's own.

A file is written to only while it holds the text of some note, byte for byte. Whatever else the
owner keeps under such a name (a folder, a link, a text that is too long or not UTF-8) stays as it
is, and is named in a line.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import os
import signal
import sqlite3
import stat
import sys
import tempfile
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from sync import codec
from sync.base import ITEM_BYTES_MAX, TIME_MAX, Accepted, Item
from sync.discovery import Discovery, LocalNetwork
from sync.errors import CodecError, IdentityError, ItemInvalid, ItemUnwanted, StoreError
from sync.events import Stored, Synced
from sync.health import Notice
from sync.items import SqliteItems
from sync.keys import SEED_BYTES, SeedKey, verified
from sync.peer_rows import SqlitePeers, create
from sync.peers import READ, PeerBook
from sync.runner import Runner, SyncSet
from sync.wall import SystemClock

SET = hashlib.sha256(b"notes example").digest()
NAME_BYTES_MAX = 255  # what file systems take
AHEAD_S_MAX = 100 * 366 * 86_400  # so wrong clocks may be; a note of later is none to be shown
UNFINISHED = ".unfinished"
ROWS = 1_000
LOOK_S = 1.0  # the folder is read as often; the network is not


class NoNote(Exception):
    """Why something in the folder is no note."""


class Unusable(Exception):
    """Why this folder cannot be served."""


class Notes:
    """The notes of a folder, and the rule who may write one.

    Raises:
        Unusable, OSError, sqlite3.Error, StoreError: it is no folder, or its key or its database
            cannot be used.

    Attributes:
        shown: by name, the time, digest and text of the newest note.
        texts: by name, the digests of the texts of all notes.
        left_alone: by name, why something in the folder is not touched.
    """

    def __init__(self, folder: Path) -> None:
        if folder.exists() and not folder.is_dir():
            raise Unusable("it is no folder")
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.key = key_of(folder)
        self.db = sqlite3.connect(folder / ".notes.db", isolation_level=None)
        self.db.execute("PRAGMA journal_mode = WAL")
        create(self.db)
        self.store = SqliteItems(self.db, SET, os.urandom)
        self.clock = SystemClock()
        self.book = PeerBook(SqlitePeers(self.db), self.key.did, self.clock, os.urandom)
        self.shown: dict[str, tuple[int, bytes, str]] = {}
        self.texts: dict[str, set[bytes]] = {}
        self.left_alone: dict[str, str] = {}
        self._read = 0

    def verify(self, id: bytes, raw: bytes, peer: str) -> Accepted:
        """Take notes of this node and of those it trusts, if they are what was signed."""
        note = read_note(raw)
        if note["by"] != self.key.did and not self.book.may(note["by"], READ):
            raise ItemUnwanted("its author is not trusted here")
        if not self.is_in_time(note["at"]):
            raise ItemUnwanted("its time is too far ahead")
        return Accepted(note["at"])

    def is_in_time(self, at: int) -> bool:
        """Whether a note of that time may be taken now; so there is always a later one, or soon."""
        return at <= self.clock.now() + AHEAD_S_MAX

    def take_in(self) -> bool:
        """Sign what is new in the folder; whether there was something."""
        new = []
        for path in sorted(self.folder.glob("[!.]*.txt")):
            try:
                text = read_text(path)
                at, _, shown = self.shown.get(path.name, (0, b"", None))
                if text != shown:
                    item = written(self.key, path.name, text, max(self.clock.now(), at + 1))
                    self.verify(item.id, item.raw, self.key.did)  # as all others do
                    new.append(item)
            except (NoNote, ItemInvalid, ItemUnwanted) as error:
                self.leave_alone(path.name, str(error))
            else:
                self.left_alone.pop(path.name, None)
        if new:
            self.store.add(new)
            self.learn()
        return bool(new)

    def show(self) -> None:
        """Write what came into the store into the folder, but where it holds what is no note."""
        again = self.left_alone.keys() & self.shown.keys()
        for name in again | self.learn():
            path = self.folder / name
            try:
                if not self.may_write(path):
                    continue
                self.write(path)
            except OSError as error:
                self.leave_alone(name, f"it cannot be written: {error.strerror}")
            except NoNote as error:
                self.leave_alone(name, str(error))
            else:
                self.left_alone.pop(name, None)

    def may_write(self, path: Path) -> bool:
        """Whether nothing of the owner's is there: no file, or the text of an older note. What was
        edited meanwhile is not: `take_in` makes it the newest note.

        Raises:
            NoNote: what is there is none.
        """
        if not os.path.lexists(path):
            return True
        text = read_text(path)
        return text != self.shown[path.name][2] and digest(text) in self.texts[path.name]

    def write(self, path: Path) -> None:
        unfinished = self.folder / UNFINISHED
        unfinished.write_bytes(self.shown[path.name][2].encode())
        unfinished.replace(path)

    def leave_alone(self, name: str, why: str) -> None:
        """Say so, once."""
        if self.left_alone.get(name) != why:
            self.left_alone[name] = why
            print(f"left alone {name!a}: {why}", flush=True)

    def learn(self) -> set[str]:
        """Read what came into the store since the last time; the names of what changed."""
        changed = set()
        while rows := self.store.log_after(self._read, ROWS):
            for id, raw in self.store.read([row.id for row in rows]).items():
                try:
                    note = read_note(raw)
                except ItemInvalid:
                    continue  # an earlier version of this program took more
                if not self.is_in_time(note["at"]):
                    continue
                name, rank = note["name"], (note["at"], id, note["text"])
                self.texts.setdefault(name, set()).add(digest(note["text"]))
                if rank > self.shown.get(name, (-1, b"", "")):
                    self.shown[name] = rank
                    changed.add(name)
            self._read = rows[-1].seq
        return changed


def digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def read_text(path: Path) -> str:
    """The text of a file, exactly. Raises NoNote with the reason why it can be no note."""
    try:
        kind = path.lstat()
        if not stat.S_ISREG(kind.st_mode):
            raise NoNote("it is no regular file")
        if kind.st_size > ITEM_BYTES_MAX:
            raise NoNote(f"{kind.st_size} bytes are too many for a note")
        return path.read_bytes().decode()
    except UnicodeDecodeError:
        raise NoNote("its text is not UTF-8") from None
    except OSError as error:
        raise NoNote(f"it cannot be read: {error.strerror}") from None


def key_of(folder: Path) -> SeedKey:
    """The folder's key, made when there is none: whole, or not at all.

    Raises:
        Unusable: what is there is no key. OSError: it cannot be read or written.
    """
    path = folder / ".key"
    if not path.exists():
        handle, made = tempfile.mkstemp(prefix=".key-", dir=folder)  # nobody else may read it
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(os.urandom(SEED_BYTES))
                file.flush()
                os.fsync(file.fileno())
            with suppress(FileExistsError):  # another process was faster: its key counts
                os.link(made, path)
        finally:
            Path(made).unlink()
    seed = path.read_bytes()
    if len(seed) != SEED_BYTES:
        raise Unusable(
            f"{path} has {len(seed)} bytes, and a key has {SEED_BYTES}: put a copy in its place, "
            "or remove it, and the folder gets a new key and with it another name"
        )
    return SeedKey(seed)


def written(key: SeedKey, name: str, text: str, at: int) -> Item:
    """A signed note. Raises NoNote when there can be none of this name or with so much text."""
    if problem := name_problem(name):
        raise NoNote(problem)
    note = {"by": key.did, "name": name, "text": text, "at": at}
    raw = codec.encode({**note, "sig": key.sign(codec.encode(note))})
    if len(raw) > ITEM_BYTES_MAX:
        raise NoNote(f"{len(text.encode())} bytes are too many for a note")
    return Item(hashlib.sha256(raw).digest(), raw, at)


def name_problem(name: str) -> str:
    """Why no note can have a name; empty: it can."""
    if not name.endswith(".txt") or name.startswith(".") or "/" in name or "\\" in name:
        return "its name is not one of a file in the folder"
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        return "its name is not UTF-8"
    if size > NAME_BYTES_MAX or any(unicodedata.category(sign) == "Cc" for sign in name):
        return "its name is too long or has control characters"
    return ""


def read_note(raw: bytes) -> dict[str, Any]:
    """The fields of a note. Raises ItemInvalid unless it is one, signed by who it names."""
    try:
        note: dict[str, Any] = codec.decode(raw)
        signature = note.pop("sig")
        types = {name: type(value) for name, value in note.items()}
        if types != {"by": str, "name": str, "text": str, "at": int}:
            raise ItemInvalid("it has not the fields of a note")
        if not 0 <= note["at"] <= TIME_MAX:
            raise ItemInvalid("its time is none")
        if not verified(note["by"], codec.encode(note), signature):
            raise ItemInvalid("the signature does not verify")
    except (CodecError, IdentityError, AttributeError, KeyError, TypeError) as error:
        raise ItemInvalid(f"no note: {error!r}") from error
    if problem := name_problem(note["name"]):
        raise ItemInvalid(problem)
    return note


async def serve(notes: Notes, listen: tuple[str, int], local_network: bool) -> None:
    """Run until a signal says stop. Raises Unusable when it cannot listen there."""
    runner: Runner

    def noticed(notice: Notice) -> None:
        if isinstance(notice.event, Stored):
            with problems_told():
                notes.show()
        if notice.kind != "event" or isinstance(notice.event, Synced):
            print(notice.kind, notice.text, notice.peer[-8:], flush=True)

    def sets_for(did: str) -> Sequence[SyncSet]:
        return [SyncSet(SET, notes.store, notes)] if notes.book.may(did, READ) else []

    def found_by(port: int) -> Discovery:
        from sync.mdns import MdnsZone, machine_addresses

        return LocalNetwork(
            lambda: MdnsZone(notes.key.did, port),
            machine_addresses,
            notes.clock,
            notes.clock.awake_and_asleep,
        )

    discovery: Callable[[int], Discovery] | None = found_by if local_network else None
    runner = Runner(
        notes.key,
        notes.book,
        sets_for,
        notes.clock,
        listen=[listen],
        discovery=discovery,
        on_notice=noticed,
    )
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, said: tell(said.get("exception") or said["message"]))
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    with problems_told():
        notes.show()
    try:
        await runner.start()
    except OSError as error:
        where = f"{listen[0]}:{listen[1]}"
        raise Unusable(f"cannot listen on {where}: {error.strerror or error}") from error
    host, port = runner.listening[0]
    print(f"listening {host}:{port}", flush=True)
    while not stop.is_set():
        with problems_told():
            if notes.take_in():
                runner.changed(SET)
            notes.show()
        try:
            await asyncio.wait_for(stop.wait(), LOOK_S)
        except asyncio.TimeoutError:
            continue
    await runner.stop()
    print("stopped", flush=True)


@contextmanager
def problems_told() -> Iterator[None]:
    """What cannot be read or written now is tried again at the next look."""
    try:
        yield
    except StoreError as error:
        tell(error)


def tell(problem: object) -> None:
    print("problem", problem, flush=True)


def address(text: str) -> tuple[str, int]:
    """IP and port. Raises ValueError when it is none."""
    host, _, port = text.rpartition(":")
    if not (host and port.isascii() and port.isdigit() and int(port) < 65_536):
        raise ValueError(f"--listen {text}: write IP:PORT, with a port up to 65535")
    return host.strip("[]"), int(port)


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description="Keep a folder of notes the same everywhere.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("what", choices=["key", "serve"])
    parser.add_argument("--listen", default="0.0.0.0:4748", metavar="IP:PORT")
    parser.add_argument("--peer", action="append", default=[], metavar="DID[@HOST:PORT]")
    parser.add_argument("--local-network", action="store_true", help="find peers by multicast DNS")
    given = parser.parse_args(arguments)
    try:
        listen = address(given.listen)
        notes = Notes(given.folder)
        if given.what == "key":
            print(notes.key.did)
            return
        for peer in given.peer:
            did, _, place = peer.partition("@")
            notes.book.trust(did, [READ])
            if place:
                notes.book.add_static(did, place)
        asyncio.run(serve(notes, listen, given.local_network))
    except (IdentityError, ValueError) as error:
        parser.error(str(error))
    except (Unusable, OSError, sqlite3.Error, StoreError) as error:
        why = getattr(error, "strerror", None) or error
        parser.exit(1, f"{parser.prog}: {given.folder}: {why}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
