"""Keep a folder of notes the same on several machines, with `sync` alone.

    python notes.py FOLDER key                                 print the name of this folder's node
    python notes.py FOLDER serve [--listen IP:PORT] [--peer DID[@HOST:PORT]]... [--local-network]

Every file `*.txt` of the folder is a note. A note is signed by the node that wrote it and is never
changed: a new text under the same name is a new note, and the newest one (then the one with the
greater digest) is what the file shows. Names that begin with a dot are this program's own.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import os
import signal
import sqlite3
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from sync import codec
from sync.base import Accepted, Item
from sync.discovery import Discovery, LocalNetwork
from sync.errors import CodecError, IdentityError, ItemInvalid, ItemUnwanted
from sync.events import Stored, Synced
from sync.health import Notice
from sync.items import SqliteItems
from sync.keys import SEED_BYTES, SeedKey, verified
from sync.peer_rows import SqlitePeers, create
from sync.peers import READ, PeerBook
from sync.runner import Runner, SyncSet
from sync.wall import SystemClock

SET = hashlib.sha256(b"notes example").digest()
NOTE_CHARS_MAX = 4_000
ROWS = 1_000
LOOK_S = 1.0  # the folder is read as often; the network is not


class Notes:
    """The notes of a folder, and the rule who may write one."""

    def __init__(self, folder: Path) -> None:
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
        self._read = 0

    def verify(self, id: bytes, raw: bytes, peer: str) -> Accepted:
        """Take notes of this node and of those it trusts, if they are what was signed."""
        note = read_note(raw)
        if note["by"] != self.key.did and not self.book.may(note["by"], READ):
            raise ItemUnwanted("its author is not trusted here")
        return Accepted(note["at"])

    def begin(self) -> None:
        """Bring the folder up to date with the store, but for what was edited meanwhile."""
        for name in self.learn():
            path = self.folder / name
            if not path.exists() or digest(read_text(path)) in self.texts[name]:
                self.write(name)

    def take_in(self) -> bool:
        """Sign what is new in the folder; whether there was something."""
        new = []
        for path in sorted(self.folder.glob("[!.]*.txt")):
            text = read_text(path)
            at, _, shown = self.shown.get(path.name, (0, b"", None))
            if text != shown:
                new.append(written(self.key, path.name, text, max(self.clock.now(), at + 1)))
        if new:
            self.store.add(new)
            self.learn()
        return bool(new)

    def show(self) -> None:
        """Write what peers wrote into the folder."""
        for name in self.learn():
            self.write(name)

    def write(self, name: str) -> None:
        unfinished = self.folder / f".{name}.new"
        unfinished.write_text(self.shown[name][2], "utf-8")
        unfinished.replace(self.folder / name)

    def learn(self) -> set[str]:
        """Read what came into the store since the last time; the names of what changed."""
        changed = set()
        while rows := self.store.log_after(self._read, ROWS):
            for id, raw in self.store.read([row.id for row in rows]).items():
                note = read_note(raw)
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
    return path.read_text("utf-8", "replace")[:NOTE_CHARS_MAX]


def key_of(folder: Path) -> SeedKey:
    """The folder's key, made when there is none."""
    path = folder / ".key"
    if not path.exists():
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(os.urandom(SEED_BYTES))
    return SeedKey(path.read_bytes())


def written(key: SeedKey, name: str, text: str, at: int) -> Item:
    note = {"by": key.did, "name": name, "text": text, "at": at}
    raw = codec.encode({**note, "sig": key.sign(codec.encode(note))})
    return Item(hashlib.sha256(raw).digest(), raw, at)


def read_note(raw: bytes) -> dict[str, Any]:
    """The fields of a note. Raises ItemInvalid unless it is one, signed by who it names."""
    try:
        note: dict[str, Any] = codec.decode(raw)
        signature = note.pop("sig")
        types = {name: type(value) for name, value in note.items()}
        if types != {"by": str, "name": str, "text": str, "at": int} or note["at"] < 0:
            raise ItemInvalid("it has not the fields of a note")
        if not verified(note["by"], codec.encode(note), signature):
            raise ItemInvalid("the signature does not verify")
    except (CodecError, IdentityError, AttributeError, KeyError, TypeError) as error:
        raise ItemInvalid(f"no note: {error!r}") from error
    name = note["name"]
    if not name.endswith(".txt") or name.startswith(".") or "/" in name or "\\" in name:
        raise ItemInvalid("its name is not one of a file in the folder")
    return note


async def serve(notes: Notes, listen: tuple[str, int], local_network: bool) -> None:
    """Run until a signal says stop."""
    runner: Runner

    def noticed(notice: Notice) -> None:
        if isinstance(notice.event, Stored):
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
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    notes.begin()
    notes.take_in()
    await runner.start()
    host, port = runner.listening[0]
    print(f"listening {host}:{port}", flush=True)
    while not stop.is_set():
        if notes.take_in():
            runner.changed(SET)
        try:
            await asyncio.wait_for(stop.wait(), LOOK_S)
        except asyncio.TimeoutError:
            continue
    await runner.stop()
    print("stopped", flush=True)


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description="Keep a folder of notes the same everywhere.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("what", choices=["key", "serve"])
    parser.add_argument("--listen", default="0.0.0.0:4748", metavar="IP:PORT")
    parser.add_argument("--peer", action="append", default=[], metavar="DID[@HOST:PORT]")
    parser.add_argument("--local-network", action="store_true", help="find peers by multicast DNS")
    given = parser.parse_args(arguments)
    notes = Notes(given.folder)
    if given.what == "key":
        print(notes.key.did)
        return
    for peer in given.peer:
        did, _, address = peer.partition("@")
        notes.book.trust(did, [READ])
        if address:
            notes.book.add_static(did, address)
    host, _, port = given.listen.rpartition(":")
    asyncio.run(serve(notes, (host, int(port)), given.local_network))


if __name__ == "__main__":
    main(sys.argv[1:])
