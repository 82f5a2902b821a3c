"""The server: the routes behind their door, on a unix socket or on the loopback."""

from __future__ import annotations

import ipaddress
import os
import socket
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Final

from aiohttp import web

from lite.errors import StoreError, UsageError
from lite.frozen import frozen
from lite.http.api import Api
from lite.http.guard import Door, guard
from lite.http.route import Call, Route
from lite.link import UNIX
from sync.noise import counting, readable

__all__ = ["Address", "Server"]

END_WITHIN_S: Final = 1.0  # for requests under way when the daemon stops
_BACKLOG: Final = 64
_HEADER_BYTES_MAX: Final = 16_384


@frozen
class Address:
    """Where the API is: a unix socket by its path, or IP and port of the loopback."""

    path: Path | None = None
    host: str = ""
    port: int = 0

    @staticmethod
    def parse(text: str) -> Address:
        """Read `IP:PORT`.

        Raises:
            UsageError: it is none, or not an address of this machine alone.
        """
        host, colon, port = text.rpartition(":")
        host = host.strip("[]")
        try:
            ip = ipaddress.ip_address(host)
            number = int(port) if colon and port.isascii() and port.isdigit() else -1
        except ValueError:
            ip, number = None, -1
        if ip is None or not 0 <= number < 65_536:
            raise UsageError(
                f"--api {text}: an address and a port are needed",
                hint="For example --api 127.0.0.1:8470, or --api unix.",
            )
        if not ip.is_loopback:
            raise UsageError(
                f"--api {text}: the API is for this machine alone, and that is another address",
                hint="Write 127.0.0.1 or [::1]; other nodes are met with --listen.",
            )
        return Address(host=str(ip), port=number)

    @property
    def text(self) -> str:
        """As in `daemon.json`: `unix:PATH` or `IP:PORT`."""
        if self.path is not None:
            return f"{UNIX}{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def hosts(self) -> frozenset[str]:
        """What a client may call it in `Host`."""
        if self.path is not None:
            return frozenset()
        return frozenset({self.text, f"localhost:{self.port}"})


class Server:
    """One listening API."""

    def __init__(self, api: Api, routes: Iterable[Route], token: str) -> None:
        self.address = Address()
        self._api = api
        self._routes = tuple(routes)
        self._token = token
        self._runner: web.AppRunner | None = None

    async def start(self, address: Address) -> None:
        """Listen. Port 0 picks a free one: `address` then has it.

        Raises:
            StoreError: the address is in use, or may not be used.
        """
        listening = _bind(address)
        if address.path is None:
            address = Address(host=address.host, port=listening.getsockname()[1])
        door = Door(self._token, address.hosts)
        # The guard counts what `readable` refuses as it counts every answer.
        app = web.Application(middlewares=[guard(door, self._api), readable(lambda: None)])
        for route in self._routes:
            handler = partial(_handle, self._api, route)
            for method in (route.method, *(["HEAD"] if route.head else [])):
                app.router.add_route(method, route.path, handler)
        runner = web.AppRunner(
            app,
            access_log=None,
            logger=counting(self._count_garbled),
            handle_signals=False,
            auto_decompress=False,
            shutdown_timeout=END_WITHIN_S,
            max_line_size=_HEADER_BYTES_MAX,
            max_field_size=_HEADER_BYTES_MAX,
        )
        await runner.setup()
        await web.SockSite(runner, listening, backlog=_BACKLOG).start()
        self._runner, self.address = runner, address

    def _count_garbled(self) -> None:
        """A request that could not be read, so that no route and no door saw it."""
        key = ("", 400)
        self._api.requests[key] = self._api.requests.get(key, 0) + 1

    async def stop(self) -> None:
        """End what is under way soon, then close. Safe to call twice."""
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()
            if self.address.path is not None:
                self.address.path.unlink(missing_ok=True)


async def _handle(api: Api, route: Route, request: web.Request) -> web.StreamResponse:
    return await route.handler(Call(api, route, request))


def _bind(address: Address) -> socket.socket:
    """The listening socket. A unix socket that a dead daemon left is replaced: its owner holds the
    lock of the home."""
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    if address.path is not None:
        family = socket.AF_UNIX
        address.path.unlink(missing_ok=True)
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        if address.path is None:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            made.bind((address.host, address.port))
        else:
            before = os.umask(0o177)  # nobody else may open it, not even before a chmod
            try:
                made.bind(os.fspath(address.path))
            finally:
                os.umask(before)
    except OSError as fault:
        made.close()
        raise StoreError(
            f"the API cannot listen on {address.text}: {fault.strerror or fault}",
            hint="Choose another with --api; `--api 127.0.0.1:0` takes a free port.",
        ) from fault
    return made
