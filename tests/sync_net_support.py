"""Runners on loopback, for the tests of the parts of `sync` that meet the world."""

from __future__ import annotations

import asyncio
import gc
import hashlib
import sqlite3
import sys
import warnings
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any

from sync.base import Item
from sync.health import Notice, PeerHealth
from sync.items import SqliteItems
from sync.keys import SeedKey
from sync.peers import BLOCKS, READ, MemoryPeerStore, PeerBook
from sync.runner import Runner, SyncSet
from sync.wall import SystemClock
from tests.memory_database import Closing
from tests.sync_support import SET, SealVerifier, make_item
from tests.waiting_support import Watched


class HandClock:
    """Both clocks, moved by hand."""

    def __init__(self) -> None:
        self.seconds = 1_000.0
        self.date = 1_800_000_000

    def now(self) -> int:
        return self.date

    def monotonic(self) -> float:
        return self.seconds

    def go(self, seconds: float) -> None:
        self.seconds += seconds
        self.date += int(seconds)


def key_of(name: str) -> SeedKey:
    """The same key for the same name, in every process."""
    return SeedKey(hashlib.sha256(name.encode()).digest())


def notes(author: str, count: int, start: int = 0) -> list[Item]:
    return [
        make_item(author, 1_767_225_600 + number, f"{author} {number}".encode())
        for number in range(start, start + count)
    ]


class NetNode(Watched):
    """A runner with a set of items, on a free port of 127.0.0.1."""

    def __init__(self, name: str, path: Path | None = None, **options: Any) -> None:
        super().__init__()
        self.key = key_of(name)
        db = sqlite3.connect(path or ":memory:", isolation_level=None, factory=Closing)
        self.store = SqliteItems(db, SET, Random(name).randbytes)
        self.book = PeerBook(MemoryPeerStore(), self.key.did, SystemClock(), Random(name).randbytes)
        self.verifier = SealVerifier()
        self.notices: list[Notice] = []
        self.runner = Runner(
            self.key,
            self.book,
            self.sets_for,
            SystemClock(),
            **{"listen": [("127.0.0.1", 0)], "on_notice": self._note, **options},
        )

    def sets_for(self, did: str) -> Sequence[SyncSet]:
        shared = SyncSet(SET, self.store, self.verifier)
        return [shared] if self.book.may(did, READ) else []

    def _note(self, notice: Notice) -> None:
        self.notices.append(notice)
        self.happened()

    @property
    def address(self) -> str:
        host, port = self.runner.listening[0]
        return f"{host}:{port}"

    def knows(self, other: NetNode, *, address: bool = True) -> None:
        self.book.trust(other.key.did, [READ, BLOCKS])
        if address:
            self.book.add_static(other.key.did, other.address)
        self.runner.poke()

    def add(self, items: Sequence[Item]) -> None:
        self.store.add(items)
        self.runner.changed(SET)

    def count(self) -> int:
        return self.store.summary().count

    def kinds(self) -> list[str]:
        return [notice.kind for notice in self.notices]

    def seen(self) -> object:
        return self.notices[-12:]

    def peer(self, other: NetNode) -> PeerHealth:
        peers = self.runner.health().peers
        return next(one for one in peers if one.peer.did == other.key.did)


async def started(*nodes: NetNode) -> None:
    for node in nodes:
        await node.runner.start()


async def stopped(*nodes: NetNode) -> None:
    await asyncio.gather(*(node.runner.stop() for node in nodes))


def run(work: Callable[[], Awaitable[None]]) -> None:
    """Run a test on an event loop of its own; a task that fails unseen fails the test."""

    async def watched() -> None:
        failures: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, seen: failures.append(seen))
        await asyncio.wait_for(work(), 60)
        assert failures == []

    with warnings.catch_warnings():
        if sys.version_info < (3, 11):  # its TLS forgets to close what failed in a handshake
            unclosed = "unclosed transport <asyncio.sslproto"
            warnings.filterwarnings("ignore", unclosed, ResourceWarning)
        asyncio.run(watched())
        if sys.version_info < (3, 11):
            gc.collect()
