"""The connections of a listener that anybody may call, so that no caller takes all there are.

Each needs a file of this process, which has few, and the node needs them for its store. So there
are `CALLERS_MAX` places. Where one is wanted and none is free the oldest connection without a
request loses its own, and one that asks for nothing for `IDLE_S_MAX` ends.
"""

from __future__ import annotations

import asyncio
import errno
import gc
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Final

from aiohttp.web_protocol import RequestHandler

from sync.dial import shut
from sync.noise import brief

__all__ = ["CALLERS_MAX", "IDLE_S_MAX", "Callers"]

CALLERS_MAX: Final = 192
IDLE_S_MAX: Final = 60.0
HANDSHAKE_S_MAX: Final = 10.0
BACKLOG: Final = 128
FRUITLESS_MAX: Final = 32  # connections without TLS after which memory is looked through
_NO_SOCKETS_LEFT: Final = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
_NO_SOCKETS_WAIT_S: Final = 1.0


class _Caller:
    """One connection; `seen_at`: when it came, or its last request ended."""

    def __init__(self, cut: Callable[[], None], seen_at: float) -> None:
        self.cut = cut
        self.seen_at = seen_at
        self.requests = 0


class Callers:
    """See the module. On one event loop.

    Args:
        serve: makes the HTTP protocol of a connection.
        tls: None: none.
        most: places. idle_s: for which one that asks for nothing keeps its own.

    Attributes:
        turned_away: connections for which there was no place.
    """

    def __init__(
        self,
        serve: Callable[[], RequestHandler],
        tls: ssl.SSLContext | None,
        *,
        most: int = CALLERS_MAX,
        idle_s: float = IDLE_S_MAX,
    ) -> None:
        self.turned_away = 0
        self._serve = serve
        self._tls = tls
        self._most = most
        self._idle_s = idle_s
        self._listening: socket.socket | None = None
        self._callers: dict[_Caller, None] = {}  # the oldest first
        self._of: dict[asyncio.BaseTransport, _Caller] = {}
        self._greeting: set[asyncio.Task[None]] = set()
        self._fruitless = 0

    def listen(self, host: str, port: int) -> tuple[str, int]:
        """Listen at an IP address; port 0 picks a free one. What it became.

        Raises:
            OSError: the address is in use or not of this machine. OverflowError: that is no port.
        """
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._listening = socket.create_server((host, port), family=family, backlog=BACKLOG)
        self._listening.setblocking(False)
        self._await_one(self._listening)
        found = self._listening.getsockname()
        return str(found[0]), int(found[1])

    async def close(self) -> None:
        """Let nobody in any more, and end whoever asks for nothing. Safe to call twice."""
        listening, self._listening = self._listening, None
        if listening is not None:
            asyncio.get_running_loop().remove_reader(listening)
            listening.close()
        for caller in [one for one in self._callers if not one.requests]:
            self._cut(caller)
        await asyncio.gather(*self._greeting, return_exceptions=True)

    @contextmanager
    def busy(self, transport: asyncio.BaseTransport | None) -> Iterator[None]:
        """A request is under way."""
        caller = None if transport is None else self._of.get(transport)
        if caller is None:  # it is gone
            yield
            return
        caller.requests += 1
        try:
            yield
        finally:
            caller.requests -= 1
            caller.seen_at = asyncio.get_running_loop().time()

    def __len__(self) -> int:
        """How many are connected."""
        return len(self._callers)

    def _await_one(self, listening: socket.socket) -> None:
        if self._listening is listening:
            asyncio.get_running_loop().add_reader(listening, self._accept, listening)

    def _accept(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        try:
            connection, _ = listening.accept()
        except OSError as error:
            if error.errno in _NO_SOCKETS_LEFT:  # others have to close theirs first
                loop.remove_reader(listening)
                loop.call_later(_NO_SOCKETS_WAIT_S, self._await_one, listening)
            return  # else it was the one connection that broke while it was accepted
        if len(self._callers) >= self._most:
            oldest = next((one for one in self._callers if not one.requests), None)
            if oldest is None:
                self.turned_away += 1
                connection.close()
                return
            self._cut(oldest)
        connection.setblocking(False)
        caller = _Caller(partial(shut, connection), loop.time())
        self._callers[caller] = None
        task = loop.create_task(self._greet(connection, caller))
        self._greeting.add(task)
        task.add_done_callback(self._greeting.discard)

    async def _greet(self, connection: socket.socket, caller: _Caller) -> None:
        """TLS, then the HTTP server."""
        protocol = _Told(brief(self._serve()), partial(self._came, caller), self._left)
        loop = asyncio.get_running_loop()
        try:
            await loop.connect_accepted_socket(
                lambda: protocol,
                connection,
                ssl=self._tls,
                ssl_handshake_timeout=None if self._tls is None else HANDSHAKE_S_MAX,
            )
        except OSError:  # no TLS, not in time, or gone
            connection.close()
            self._callers.pop(caller, None)
            self._count_fruitless()
        else:
            loop.call_later(self._idle_s, self._look, caller)

    def _count_fruitless(self) -> None:
        """asyncio leaves such a connection in a cycle with its buffers, as in `sync.transport`."""
        self._fruitless += 1
        if self._fruitless % FRUITLESS_MAX == 0:
            gc.collect()

    def _came(self, caller: _Caller, transport: asyncio.BaseTransport) -> None:
        self._of[transport] = caller

    def _left(self, transport: asyncio.BaseTransport) -> None:
        self._callers.pop(self._of.pop(transport), None)

    def _look(self, caller: _Caller) -> None:
        """End a connection that asks for nothing."""
        if caller not in self._callers:
            return
        loop = asyncio.get_running_loop()
        left = self._idle_s if caller.requests else caller.seen_at + self._idle_s - loop.time()
        if left > 0:
            loop.call_later(left, self._look, caller)
        else:
            self._cut(caller)

    def _cut(self, caller: _Caller) -> None:
        self._callers.pop(caller, None)
        caller.cut()


class _Told(asyncio.Protocol):
    """The HTTP protocol of one connection, of whose beginning and end others are told."""

    def __init__(
        self,
        inner: asyncio.Protocol,
        came: Callable[[asyncio.BaseTransport], None],
        left: Callable[[asyncio.BaseTransport], None],
    ) -> None:
        self._inner = inner
        self._came = came
        self._left = left
        self._transport: asyncio.BaseTransport | None = None
        self.data_received = inner.data_received  # type: ignore[method-assign]
        self.eof_received = inner.eof_received  # type: ignore[method-assign]
        self.pause_writing = inner.pause_writing  # type: ignore[method-assign]
        self.resume_writing = inner.resume_writing  # type: ignore[method-assign]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._came(transport)
        self._inner.connection_made(transport)

    def connection_lost(self, error: Exception | None) -> None:
        if self._transport is not None:
            self._left(self._transport)
        self._inner.connection_lost(error)
