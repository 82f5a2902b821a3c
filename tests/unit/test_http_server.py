"""The server around its handlers: failures of them, parts that are down, the end of requests."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, cast

import pytest
from aiohttp import web

from lite.errors import BugError, QuotaError, StoreFull
from lite.http import about, route
from lite.http.api import Api, PartState
from lite.http.events import Event, EventLog
from lite.http.reply import Unavailable
from lite.http.route import Call, Reply, Route
from lite.http.server import Address, Server
from lite.http.work import Work
from lite.link import Card, Link
from tests.store_support import FakeClock

TOKEN = "ab" * 32


class Parts:
    """The counters of a daemon, of which only its parts are asked for here."""

    def __init__(self, *parts: PartState) -> None:
        self._parts = parts

    def parts(self) -> Sequence[PartState]:
        return self._parts


def failing(error: Exception) -> Route:
    async def handler(_call: Call) -> web.StreamResponse:
        raise error

    return Route("GET", "/fails", "fails", "Fails.", handler, {200: Reply("Never.")})


def ask(path: str, *routes: Route, folder: Path, parts: Sequence[PartState] = ()) -> Any:
    """One request to a server with these routes: status, headers and body."""

    async def story() -> Any:
        events = EventLog("e", FakeClock())
        api = Api(cast(Any, None), Work(), events, cast(Any, Parts(*parts)), lambda _what: None)
        server = Server(api, routes, TOKEN)
        await server.start(Address(path=folder / "api.sock"))
        link = Link(Card(1, 0, server.address.text, TOKEN))

        def request() -> tuple[int, dict[str, str], dict[str, Any]]:
            connection: HTTPConnection = link._connection(10)
            connection.request("GET", path)
            answer = connection.getresponse()
            found = answer.status, dict(answer.headers), json.loads(answer.read())
            connection.close()
            return found

        try:
            return await asyncio.get_running_loop().run_in_executor(None, request)
        finally:
            await server.stop()
            await server.stop()
            api.work.close()

    return asyncio.run(story())


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (StoreFull("full"), 507, "store-full"),
        (QuotaError("used up"), 507, "quota"),
        (Unavailable("busy", hint="later"), 503, "store"),
        (BugError("an invariant"), 500, "bug"),
        (ValueError("surprise \ud800"), 500, "bug"),
        (KeyError("x"), 500, "bug"),
    ],
)
def test_a_handler_that_fails_is_an_error_in_the_projects_form(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], error: Exception, status: int, code: str
) -> None:
    found, headers, body = ask("/fails", failing(error), folder=tmp_path)
    assert (found, body["error"]["code"]) == (status, code)
    assert body["error"].keys() == {"code", "message", "hint"}
    assert ("Retry-After" in headers) == (status == 503)
    assert ("Traceback" in capsys.readouterr().err) == (status == 500)


@pytest.mark.parametrize(
    ("parts", "status", "problems"),
    [
        ([PartState("watch", "running"), PartState("peers", "off")], 200, {}),
        ([PartState("watch", "running", "it failed once", 1)], 200, {}),
        ([PartState("watch", "waiting", "no disk", 3)], 503, {"watch": "no disk"}),
    ],
)
def test_health_is_that_of_the_parts(
    tmp_path: Path, parts: list[PartState], status: int, problems: dict[str, str]
) -> None:
    found, _, body = ask("/healthz", *about.ROUTES, folder=tmp_path, parts=parts)
    assert (found, body["ok"], body["problems"]) == (status, status == 200, problems)


def test_a_text_that_is_no_unicode_ends_no_stream() -> None:
    event = Event("e-1", 1, "run.ended", 7, {"error": {"message": "a\udc80b"}, "run": None})
    head, _, data = about._block(event).decode("ascii").partition("data: ")
    assert head == "id: e-1\nevent: run.ended\n" and data.endswith("}\n\n")
    assert json.loads(data)["error"]["message"] == "a\udc80b"


def test_the_socket_is_gone_when_it_has_ended(tmp_path: Path) -> None:
    ask("/healthz", *about.ROUTES, folder=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_socket_that_a_dead_server_left_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "api.sock").write_bytes(b"")
    assert ask("/healthz", *about.ROUTES, folder=tmp_path)[0] == 200


@pytest.mark.parametrize(
    "body", [b"zz\r\nabc\r\n", b"3\r\nabcXX\r\n0\r\n\r\n", b"3\r\nab", b"", b"f" * 40_000]
)
def test_a_body_that_is_broken_or_never_comes_is_not_waited_for_without_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: bytes
) -> None:
    monkeypatch.setattr(route, "BODY_S_MAX", 0.2)

    async def handler(call: Call) -> web.StreamResponse:
        return call.reply({"bytes": len(await call.body())})

    async def story() -> bytes:
        events = EventLog("e", FakeClock())
        api = Api(cast(Any, None), Work(), events, cast(Any, None), lambda _what: None)
        replies = {200: Reply("Taken.")}
        server = Server(api, [Route("POST", "/take", "take", "Takes.", handler, replies)], TOKEN)
        await server.start(Address(path=tmp_path / "api.sock"))
        try:
            stream, out = await asyncio.open_unix_connection(str(tmp_path / "api.sock"))
            head = f"POST /take HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\n"
            out.write(f"{head}Transfer-Encoding: chunked\r\n\r\n".encode())
            await out.drain()
            out.write(body)
            answer = await asyncio.wait_for(stream.readline(), 5)
            out.close()
            return answer
        finally:
            await server.stop()
            api.work.close()

    answer = asyncio.run(story())
    assert answer.split(b" ")[1] in (b"400", b"408")
