"""The client of a daemon that runs on the same home, over its local API.

link = Link.of(home)                            # None: no daemon runs there
link.get("/v1/status")
link.post("/v1/ask", {"instructions": [...], "within_ms": 300})

Values are IPLD and travel as DAG-JSON. Errors of the daemon come as the errors of `lite.errors`
that they are there.
"""

from __future__ import annotations

import json
import os
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from lite.errors import IpvmError, StoreError
from lite.frozen import frozen
from lite.ipld.cid import CID
from lite.neighbours import NOBODY
from lite.toml_files import read_text

if TYPE_CHECKING:
    from http.client import HTTPConnection, HTTPResponse

__all__ = ["CARD", "SPARE_S", "Card", "DaemonNeighbours", "Heard", "Link"]

CARD: Final = "daemon.json"  # in the home
UNIX: Final = "unix:"
SPARE_S: Final = 10.0  # beyond the time that a request may take by itself
_CONNECT_S: Final = 2.0
_ASK_SPARE_S: Final = 1.0  # a run waits for it
_ERROR_BYTES_MAX: Final = 64 * 1024


@frozen
class Card:
    """What a daemon says about itself in `daemon.json`, which only its owner may read.

    Attributes:
        pid: its process. started_at: seconds since 1970.
        api: `unix:PATH`, or `IP:PORT` on the loopback.
        token: 64 hexadecimal digits; whoever shows it may use the API.
        listens: IP:PORT of every address at which other nodes reach it.
    """

    pid: int
    started_at: int
    api: str
    token: str
    listens: tuple[str, ...] = ()
    jobs: str = ""  # the URL where jobs come by plain HTTP

    @staticmethod
    def read(home: Path) -> Card | None:
        """The card of a home; None when there is none, or when it is none."""
        try:
            told = json.loads(read_text(home / CARD))
            return Card(
                int(told["pid"]),
                int(told["started_at"]),
                str(told["api"]),
                str(told["token"]),
                tuple(map(str, told["peers_listen"])),
                str(told.get("jobs_listen", "")),
            )
        except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError):
            return None

    def write(self, home: Path) -> None:
        """Put it into the home, at once or not at all. Raises `OSError`."""
        fields = {
            "v": 1,
            "pid": self.pid,
            "started_at": self.started_at,
            "api": self.api,
            "token": self.token,
            "peers_listen": list(self.listens),
            **({"jobs_listen": self.jobs} if self.jobs else {}),
        }
        fresh = home / f".{CARD}.new"
        fresh.unlink(missing_ok=True)
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(json.dumps(fields, sort_keys=True).encode() + b"\n")
            fresh.replace(home / CARD)
        except BaseException:
            fresh.unlink(missing_ok=True)
            raise


@frozen
class Heard:
    """One event of a daemon: its id (`EPOCH-NUMBER`), its kind and its fields."""

    id: str
    kind: str
    data: dict[str, Any]


class Link:
    """Talks to a running daemon. Safe to share between threads: each request has its own
    connection."""

    def __init__(self, card: Card) -> None:
        self.card = card

    @staticmethod
    def of(home: Path) -> Link | None:
        """The daemon that runs on a home; None when none does, also when one died there."""
        card = Card.read(home)
        if card is None:
            return None
        link = Link(card)
        try:
            with closing(link._connection(_CONNECT_S)) as connection:
                connection.connect()
        except OSError:  # what is left of one that was killed
            return None
        return link

    def get(self, path: str, *, timeout_s: float = SPARE_S) -> dict[str, Any]:
        """The JSON object at a path, such as `/v1/status`.

        Raises:
            IpvmError: what the daemon says; StoreError: it does not answer.
        """
        return self._value("GET", path, None, timeout_s)

    def post(self, path: str, value: object, *, timeout_s: float = SPARE_S) -> dict[str, Any]:
        """Send an IPLD value; the JSON object of the answer. Raises as `get`."""
        from lite.ipld import dag_json

        return self._value("POST", path, dag_json.encode(value), timeout_s)

    def events(
        self, after: str | None = None, *, follow: bool = True
    ) -> Generator[Heard, None, None]:
        """What happens at the daemon, until it stops.

        Args:
            after: the id of the last event that is known; what came since is told first, or an
                event `gap` when that is not kept any more. "oldest" tells all that is kept; None
                begins with what comes.
            follow: False ends with what has happened.

        Raises:
            StoreError: the daemon does not answer, or was killed.
        """
        path = f"/v1/events?follow={'true' if follow else 'false'}"
        if after is not None:
            path += f"&after={quote(after, safe='')}"
        with closing(self._connection(SPARE_S)) as connection:
            try:
                connection.connect()
            except OSError as fault:
                raise _unanswered(fault) from fault
            wire = connection.sock
            response = self._send(connection, "GET", path, None)
            if follow:  # from now on silence says only that nothing happens
                wire.settimeout(None)
            yield from _heard(response)

    def _value(
        self, method: str, path: str, body: bytes | None, timeout_s: float
    ) -> dict[str, Any]:
        from lite.ipld import dag_json

        with closing(self._connection(timeout_s)) as connection:
            response = self._send(connection, method, path, body)
            try:
                told: dict[str, Any] = dag_json.decode(response.read())
                return told
            except OSError as fault:
                raise _unanswered(fault) from fault

    def _send(
        self, connection: HTTPConnection, method: str, path: str, body: bytes | None
    ) -> HTTPResponse:
        """The response, its body unread; an error of the daemon is raised."""
        from http.client import HTTPException

        headers = {"Authorization": f"Bearer {self.card.token}"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        try:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            if response.status < 400:
                return response
            raise _told(response.read(_ERROR_BYTES_MAX), response.status)
        except (OSError, HTTPException) as fault:
            raise _unanswered(fault) from fault

    def _connection(self, timeout_s: float | None) -> HTTPConnection:
        from http.client import HTTPConnection

        if not self.card.api.startswith(UNIX):
            host, _, port = self.card.api.rpartition(":")
            return HTTPConnection(host.strip("[]"), int(port), timeout=timeout_s)
        path = self.card.api.removeprefix(UNIX)

        class UnixConnection(HTTPConnection):
            def connect(self) -> None:
                import socket

                self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
                self.sock.settimeout(timeout_s)
                self.sock.connect(path)

        return UnixConnection("localhost", timeout=timeout_s)


class DaemonNeighbours:
    """The peers of a running daemon as the neighbours of this process (`lite.neighbours`)."""

    def __init__(self, link: Link) -> None:
        self._link = link

    def ask(self, instructions: Sequence[CID], within_ms: int) -> bool:
        """Whether receipts of these instructions came and were stored, in at most so long."""
        if not instructions or within_ms <= 0:
            return False
        asked = {"instructions": [str(cid) for cid in instructions], "within_ms": within_ms}
        return bool(self._post("/v1/ask", asked, within_ms).get("receipts"))

    def fetch(self, cids: Sequence[CID], within_ms: int) -> str:
        """Why not all of these blocks, with all that they link to, are here now; empty: they
        are."""
        if not cids or within_ms <= 0:
            return NOBODY
        asked = {"cids": [str(cid) for cid in cids], "within_ms": within_ms, "by_name": False}
        told = self._post("/v1/fetch", asked, within_ms)
        if not told:
            return "the daemon does not answer"
        return str(told.get("why") or NOBODY) if told.get("absent") else ""

    def _post(self, path: str, asked: dict[str, Any], within_ms: int) -> dict[str, Any]:
        """Nothing when the daemon fails or is gone: its peers are a help, never a condition."""
        try:
            return self._link.post(path, asked, timeout_s=within_ms / 1000 + _ASK_SPARE_S)
        except IpvmError:
            return {}


def _heard(response: HTTPResponse) -> Iterator[Heard]:
    """The events in a stream of `text/event-stream`, until it ends."""
    from http.client import HTTPException

    fields: dict[str, str] = {}
    try:
        for line in _lines(response):
            text = line.decode("utf-8", "replace").rstrip("\r")
            if text and not text.startswith(":"):
                name, _, value = text.partition(":")
                fields[name] = value.removeprefix(" ")
            elif not text and "data" in fields:
                yield Heard(
                    fields.get("id", ""), fields.get("event", ""), json.loads(fields["data"])
                )
                fields = {}
    except (OSError, HTTPException) as fault:
        raise _unanswered(fault) from fault


def _lines(response: HTTPResponse) -> Iterator[bytes]:
    """The lines of a body, without their ends. Unlike the response's own they do not end in silence
    where the connection was cut: that raises."""
    begun = b""
    while part := response.read1():
        *whole, begun = (begun + part).split(b"\n")
        yield from whole


def _unanswered(fault: Exception) -> StoreError:
    return StoreError(
        f"the daemon of this home does not answer: {fault or type(fault).__name__}",
        hint="`ipvm status` says whether it runs; what it did is in its own messages.",
    )


def _told(body: bytes, status: int) -> IpvmError:
    """The error that a daemon answered with."""
    try:
        error = json.loads(body)["error"]
        kind = _KINDS.get(error["code"], StoreError)
        return kind(str(error["message"]), hint=error.get("hint"))
    except (ValueError, KeyError, TypeError):
        return StoreError(f"the daemon of this home answered with the HTTP status {status}")


def _below(kind: type[IpvmError]) -> Iterator[tuple[str, type[IpvmError]]]:
    yield kind.code, kind
    for child in kind.__subclasses__():
        if child.__module__ == IpvmError.__module__:
            yield from _below(child)


_KINDS: Final = dict(_below(IpvmError))
