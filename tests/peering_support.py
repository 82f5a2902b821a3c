"""Nodes with peers on loopback, in one process."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from lite.config import Config
from lite.identity import KEY_FILE
from lite.ipld.cid import CID
from lite.keys import Key
from lite.model.instruction import Instruction
from lite.model.receipt import Receipt
from lite.model.result import Result
from lite.needs.capabilities import Capabilities
from lite.peering.peering import Peering
from lite.peering.values import PeerEvent
from lite.store import Store
from sync.health import PeerHealth
from sync.peers import ANSWERS, BLOCKS, READ
from sync.wall import SystemClock
from tests.store_support import instruction
from tests.sync_net_support import run
from tests.waiting_support import Watched

FRIEND = (READ, BLOCKS, ANSWERS)


def key_of(name: str) -> Key:
    """The same key for the same name."""
    return Key.from_seed(hashlib.sha256(name.encode()).digest())


def signed(
    key: Key, asked: Instruction, value: object = 42, *, at: int = 1_800_000_000, **more: Any
) -> Receipt:
    """A receipt by a key; the same each time."""
    meta = {"memory_refused": False}
    return Receipt.issue(
        key, asked, Result.of_ok(value), now=at, nonce=bytes(12), meta=meta, **more
    )


def receipts(key: Key, count: int, start: int = 0) -> list[Receipt]:
    """Receipts of as many instructions."""
    return [
        signed(key, instruction(number), number, at=1_800_000_000 + number)
        for number in range(start, start + count)
    ]


class PeerNode(Watched):
    """A node with its peering, on a free port of 127.0.0.1.

    `store` is a handle of its own, as another process would have.
    """

    def __init__(self, folder: Path, name: str, **options: Any) -> None:
        super().__init__()
        self.home = folder / name
        self.key = key_of(name)
        self.did = self.key.did
        self.store = Store.open(self.home, durability="normal")
        if not (self.home / KEY_FILE).exists():
            self.key.save(self.home / KEY_FILE)
        self.config = Config.defaults(self.home)
        self.options = {"listen": [("127.0.0.1", 0)], "mdns": False, "metered": False, **options}
        self.events: list[PeerEvent] = []
        self.offer: Capabilities | None = None
        self._own = Store.open(self.home, durability="normal")
        self.peering = self._made()

    def _made(self) -> Peering:
        options = {"offered": lambda: self.offer, "on_event": self._note, **self.options}
        return Peering(self.config, self.key, self._own, SystemClock(), **options)

    def _note(self, event: PeerEvent) -> None:
        self.events.append(event)
        self.happened()

    @property
    def address(self) -> str:
        host, port = self.peering.listening[0]
        return f"{host}:{port}"

    def trusts(self, other: PeerNode, rights: Iterable[str] = FRIEND, *, dial: bool = True) -> None:
        self.peering.book.trust(other.did, rights, other.home.name)
        if dial and other.peering.listening:
            self.peering.book.add_static(other.did, other.address)
        self.peering.poke()

    def keep(self, some: Sequence[Receipt]) -> None:
        """Store receipts, as runs of another process do."""
        for one in some:
            self.store.receipts.add(one)
        self.peering.changed()

    def has(self, some: Iterable[Receipt]) -> bool:
        return all(self.store.receipts.has(one.cid) for one in some)

    def kinds(self) -> list[str]:
        return [event.kind for event in self.events]

    def seen(self) -> object:
        return [(event.kind, event.peer, event.data) for event in self.events[-12:]]

    def health(self, other: PeerNode) -> PeerHealth:
        return next(one for one in self.peering.health().peers if one.peer.did == other.did)

    async def in_sync_with(self, other: PeerNode) -> None:
        await self.until(lambda: self.health(other).in_sync and other.health(self).in_sync)

    async def again(self) -> None:
        """Stop, and start with a new handle on the home, as after a crash of the process."""
        await self.peering.stop()
        self._own.close()
        self._own = Store.open(self.home, durability="normal")
        self.peering = self._made()
        await self.peering.start()

    def close(self) -> None:
        self._own.close()
        self.store.close()


def meeting(
    story: Callable[..., Awaitable[None]], folder: Path, *names: str, **options: Any
) -> None:
    """Run a story with as many started nodes; they are stopped afterwards, whatever happens."""

    async def whole() -> None:
        nodes = [PeerNode(folder, name, **options) for name in names]
        async with started(*nodes):
            await story(*nodes)

    run(whole)


@asynccontextmanager
async def started(*nodes: PeerNode) -> AsyncIterator[None]:
    """Nodes that are stopped afterwards, whatever happens."""
    try:
        for node in nodes:
            await node.peering.start()
        yield
    finally:
        for node in nodes:
            await node.peering.stop()
            node.close()


def befriend(*nodes: PeerNode, rights: Iterable[str] = FRIEND) -> None:
    """Everybody trusts everybody else with the rights."""
    for node in nodes:
        for other in nodes:
            if other is not node:
                node.trusts(other, rights)


def cids(some: Iterable[Receipt]) -> set[CID]:
    return {one.cid for one in some}
