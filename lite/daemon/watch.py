"""Seeing what any process writes into the home: nudges, and a look every 15 seconds.

The look costs one statement that reads a counter of the database. It also finds that the clock
jumped: this machine slept, or somebody set the clock.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from lite.clock import Clock
from lite.http.waiting import set_within
from lite.model.receipt import Receipt
from lite.nudge import PEERS
from lite.store import faults, sql
from lite.store.database import connect
from lite.store.home import DATABASE
from lite.store.receipts import stored_receipt

__all__ = ["HEARTBEAT_S", "Watch"]

HEARTBEAT_S: Final = 15.0
TOGETHER_S: Final = 0.02  # writes within this time are looked at once
RECEIPTS_MAX: Final = 4_096  # that are told of one by one after one look
_JUMP_S: Final = 2.0
_NUDGE_BYTES: Final = 16
_NUDGES_AT_ONCE: Final = 256
_PAGE: Final = 256
_BUSY_MS: Final = 2_000
_CACHE_KIB: Final = 128  # each row is read once


class Watch:
    """See the module.

    Args:
        path: of the socket for nudges, which this makes.
        on_receipt: told of each receipt that was added. on_change: told once after a look that
            found anything. on_peers: somebody says that peers were changed. on_jump: the clock
            jumped. on_look: told of each look, whatever it found.
    """

    def __init__(
        self,
        home: Path,
        path: Path,
        clock: Clock,
        *,
        on_receipt: Callable[[Receipt], None],
        on_change: Callable[[], None],
        on_peers: Callable[[], None],
        on_jump: Callable[[], None],
        on_look: Callable[[], None] = lambda: None,
    ) -> None:
        self._path = path
        self._database = home / DATABASE
        self._clock = clock
        self._on_receipt = on_receipt
        self._on_change = on_change
        self._on_peers = on_peers
        self._on_jump = on_jump
        self._on_look = on_look
        self._news = asyncio.Event()
        self._peers = False
        self._socket: socket.socket | None = None
        self._connection: sqlite3.Connection | None = None
        self._version = -1
        self._seen = 0
        self._offset = clock.now() - clock.monotonic()

    def open(self) -> None:
        """Begin to listen; what is in the home now counts as seen.

        Raises:
            StoreError: the socket cannot be made, or the database not be read.
        """
        try:
            self._path.unlink(missing_ok=True)
            made = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            made.setblocking(False)
            made.bind(os.fspath(self._path))
            self._path.chmod(0o600)
        except OSError as fault:
            raise faults.from_os(fault, self._path) from fault
        self._socket = made
        asyncio.get_running_loop().add_reader(made, self._nudged)
        self._connection = connect(self._database, "ro", _BUSY_MS)
        self._connection.execute(f"PRAGMA cache_size = {-_CACHE_KIB}")
        self._version = self._data_version()
        newest = self._rows(sql.RECEIPTS_NEWEST, (2**62, 1))
        self._seen = newest[0][0] if newest else 0

    def close(self) -> None:
        """Listen no more. Safe to call twice."""
        made, self._socket = self._socket, None
        if made is not None:
            asyncio.get_running_loop().remove_reader(made)
            made.close()
            self._path.unlink(missing_ok=True)
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def wrote(self, what: bytes) -> None:
        """A nudge of this process itself; on the event loop."""
        self._peers = self._peers or what == PEERS
        self._news.set()

    async def run(self) -> None:
        """Look whenever there is something to be seen, until cancelled.

        Raises:
            StoreError: the database cannot be read.
        """
        while True:
            nudged = await self._wait()
            self._look(nudged)

    async def _wait(self) -> bool:
        if not await set_within(self._news, HEARTBEAT_S):
            return False
        await asyncio.sleep(TOGETHER_S)
        self._news.clear()
        return True

    def _look(self, nudged: bool) -> None:
        offset = self._clock.now() - self._clock.monotonic()
        jumped, self._offset = abs(offset - self._offset) > _JUMP_S, offset
        peers, self._peers = self._peers, False
        version = self._data_version()
        if version != self._version or nudged:
            self._version = version
            for receipt in self._new_receipts():
                self._on_receipt(receipt)
            self._on_change()
        if peers:
            self._on_peers()
        if jumped:
            self._on_jump()
        self._on_look()

    def _nudged(self) -> None:
        assert self._socket is not None, "its reader is removed before it is closed"
        with suppress(BlockingIOError):
            for _ in range(_NUDGES_AT_ONCE):
                self._peers = PEERS in self._socket.recv(_NUDGE_BYTES) or self._peers
        self._news.set()

    def _new_receipts(self) -> Iterator[Receipt]:
        told = 0
        while rows := self._rows(sql.RECEIPTS_AFTER, (self._seen, _PAGE)):
            for self._seen, raw, data in rows:
                told += 1
                if told <= RECEIPTS_MAX:
                    yield stored_receipt(raw, data)

    def _data_version(self) -> int:
        """A number that changes whenever another connection commits."""
        return int(self._rows("PRAGMA data_version", ())[0][0])

    def _rows(self, query: str, values: tuple[int, ...]) -> list[tuple[int, bytes, bytes]]:
        assert self._connection is not None, "it was opened"
        try:
            return self._connection.execute(query, values).fetchall()
        except faults.SQLITE as fault:
            raise faults.from_sqlite(fault, self._database) from fault
