"""An HTTP server and an SMTP sink on real sockets, which write down all that they get.

In a test they run in a thread. As a process of their own, which prints its port and goes on until
its standard input closes:

    python -m tests.ops_support http --log FILE
    python -m tests.ops_support smtp --log FILE

Each request is one JSON line in FILE, written before the reply is sent. Requests with
`x-test: hang-up` are written down and get no reply; the other words are in `HttpServer`.
"""

from __future__ import annotations

import argparse
import gzip
import json
import socket
import socketserver
import ssl
import sys
import threading
import time
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from lite.config import Config
from lite.engine.job import Content
from lite.ipld.cid import CID
from lite.limits import EngineCaps, Limits
from lite.model.instruction import Instruction
from lite.ops.base import Ready


class Log:
    """What came in, in order; also as lines of a file."""

    def __init__(self, path: Path | None = None) -> None:
        self.entries: list[dict[str, Any]] = []
        self._file = None if path is None else path.open("a", buffering=1)
        self._lock = threading.Lock()

    def add(self, **entry: Any) -> None:
        with self._lock:
            self.entries.append(entry)
            if self._file is not None:
                self._file.write(json.dumps(entry) + "\n")

    def close(self) -> None:
        if self._file is not None:
            self._file.close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, format: str, *args: Any) -> None:
        return

    def setup(self) -> None:
        super().setup()
        self.close_connection = True

    def _serve(self) -> None:
        length = int(self.headers.get("content-length", 0))
        body = self.rfile.read(length)
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.log.add(
            method=self.command, path=self.path, headers=headers, body=body.decode("latin-1")
        )
        name, _, query = self.path.partition("?")
        special = self.server.routes.get(name)
        if headers.get("x-test") == "hang-up":
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
        elif special is not None:
            special(self, query)
        else:
            self._store(name, body)

    do_GET = do_PUT = do_POST = do_DELETE = _serve  # noqa: N815

    def _store(self, name: str, body: bytes) -> None:
        """A little store: GET what was PUT; POST counts."""
        kept = self.server.kept
        if self.command == "PUT":
            status = 200 if name in kept else 201
            kept[name] = body
            self.answer(status)
        elif self.command == "DELETE":
            self.answer(204 if kept.pop(name, None) is not None else 404)
        elif self.command == "POST":
            self.server.posts += 1
            self.answer(200, str(self.server.posts).encode())
        elif name in kept:
            self.answer(200, kept[name])
        else:
            self.answer(404, b"there is no such thing")

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        if status != 204:
            self.send_header("content-length", str(len(body)))
        self.send_header("connection", "close")
        self.end_headers()
        self.wfile.write(body)


Route = Callable[[_Handler, str], None]


def _redirect(handler: _Handler, query: str) -> None:
    status, _, location = query.partition(",")
    handler.answer(int(status), b"", location=location)


def _loop(handler: _Handler, query: str) -> None:
    handler.answer(302, b"", location="/loop")


def _chunked(handler: _Handler, query: str) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
    for _ in range(int(query or 3)):
        handler.wfile.write(b"5\r\nhello\r\n")
    handler.wfile.write(b"0\r\n\r\n")


def _zipped(handler: _Handler, query: str) -> None:
    data = gzip.compress(b"z" * int(query), mtime=0)
    handler.answer(200, data, content_encoding="gzip", x_kept="yes")


def _status(handler: _Handler, query: str) -> None:
    handler.answer(int(query), b"words " * 500, retry_after="7")


def _cut(handler: _Handler, query: str) -> None:
    """A body that ends before it should, then the line breaks."""
    handler.wfile.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nonly this")


def _slow(handler: _Handler, query: str) -> None:
    """A byte now and then, which no timeout between bytes would ever end."""
    handler.wfile.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n")
    while not handler.server.closing.wait(0.02):
        handler.wfile.write(b".")


def _silent(handler: _Handler, query: str) -> None:
    handler.server.closing.wait(30)


def _cookies(handler: _Handler, query: str) -> None:
    handler.answer(200, b"", set_cookie="secret=1", X_Many="a")


def _raw(handler: _Handler, query: str) -> None:
    handler.wfile.write(b"this is no HTTP\r\n\r\n")


ROUTES: Mapping[str, Route] = {
    "/redirect": _redirect,
    "/loop": _loop,
    "/chunked": _chunked,
    "/gzip": _zipped,
    "/status": _status,
    "/cut": _cut,
    "/slow": _slow,
    "/silent": _silent,
    "/cookies": _cookies,
    "/raw": _raw,
}


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    log: Log
    routes: Mapping[str, Route]
    kept: dict[str, bytes]
    posts: int
    closing: threading.Event

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that leave are what is tested."""


class _ServerV6(_Server):
    address_family = socket.AF_INET6


class HttpServer:
    """A context manager: serves from when it is made until it is closed.

    Attributes:
        kept: what was PUT, by path. posts: how many POSTs were answered.
        url: without a slash at the end.
    """

    def __init__(
        self, log: Log | None = None, *, ipv6: bool = False, tls: ssl.SSLContext | None = None
    ) -> None:
        self.log = log or Log()
        host = "::1" if ipv6 else "127.0.0.1"
        self._server = (_ServerV6 if ipv6 else _Server)((host, 0), _Handler)
        self._server.log = self.log
        self._server.routes, self._server.kept, self._server.posts = ROUTES, {}, 0
        self._server.closing = threading.Event()
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self.port = int(self._server.server_address[1])
        shown = "[::1]" if ipv6 else "localhost" if tls else host
        self.url = f"http{'s' if tls else ''}://{shown}:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    @property
    def last(self) -> dict[str, Any]:
        """The newest request."""
        return self.log.entries[-1]

    @property
    def kept(self) -> dict[str, bytes]:
        return self._server.kept

    @property
    def posts(self) -> int:
        return self._server.posts

    def count(self, method: str) -> int:
        return sum(entry["method"] == method for entry in self.log.entries)

    def close(self) -> None:
        self._server.closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> HttpServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Smtp(socketserver.StreamRequestHandler):
    """Enough of RFC 5321 to take a mail, and to fail at a chosen point."""

    server: _SmtpServer

    def say(self, line: str) -> None:
        self.wfile.write(f"{line}\r\n".encode())

    def handle(self) -> None:
        sink = self.server.sink
        if sink.fail == "greet":
            return self.say("421 not today")
        if sink.tls is not None and not sink.starttls:
            self.encrypt(sink.tls)
        self.say("220 sink")
        sender, to = "", list[str]()
        while line := self.rfile.readline().decode().strip():
            verb, _, rest = line.partition(" ")
            fail = sink.fail if sink.fail.startswith(verb.lower()) else ""
            if fail.endswith("-hang-up"):
                return None
            if fail:
                self.say(fail.rpartition("-")[2] + " as the test wants")
                continue
            match verb.lower():
                case "ehlo":
                    self.say("250-sink")
                    if sink.starttls and not isinstance(self.connection, ssl.SSLSocket):
                        self.say("250-STARTTLS")
                    self.say("250 AUTH PLAIN")
                case "starttls" if sink.tls is not None:
                    self.say("220 go on")
                    self.encrypt(sink.tls)
                case "auth":
                    self.say("235 good" if rest == sink.auth else "535 who are you")
                case "mail":
                    sender = rest
                    self.say("250 ok")
                case "rcpt":
                    to.append(rest)
                    self.say("550 unknown" if "nobody@" in rest else "250 ok")
                case "data":
                    self.say("354 go on")
                    if not self.take(sender, to):
                        return None
                case "quit":
                    return self.say("221 bye")
                case _:
                    self.say("502 no")
        return None

    def encrypt(self, context: ssl.SSLContext) -> None:
        wrapped = context.wrap_socket(
            self.connection, server_side=True, do_handshake_on_connect=False
        )
        self.connection = wrapped
        wrapped.do_handshake()
        self.rfile = wrapped.makefile("rb")
        self.wfile = wrapped.makefile("wb", buffering=0)  # type: ignore[assignment]

    def finish(self) -> None:
        super().finish()
        self.connection.close()

    def take(self, sender: str, to: list[str]) -> bool:
        sink = self.server.sink
        if sink.fail == "body-hang-up":
            return False
        lines: list[bytes] = []
        while (line := self.rfile.readline()) not in (b".\r\n", b""):
            lines.append(line[1:] if line.startswith(b".") else line)
        encrypted = isinstance(self.connection, ssl.SSLSocket)
        data = b"".join(lines).decode("latin-1")
        sink.log.add(sender=sender, to=to, data=data, encrypted=encrypted)
        if sink.fail == "end-hang-up":
            return False
        self.say({"end-554": "554 spam", "end-451": "451 later"}.get(sink.fail, "250 taken"))
        return True


class _SmtpServer(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    sink: SmtpSink

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that leave are what is tested."""


class SmtpSink:
    """Takes mails and keeps them.

    Attributes:
        fail: "", or where it fails: `rcpt-550`, `mail-451`, `data-hang-up`, `body-hang-up` (it had
            asked for the mail), `end-hang-up` (it had taken the mail), `end-554`, `greet`…
        auth: the argument of AUTH that it takes.
        tls: speaks TLS from the start, or with `starttls` when it is asked to.
    """

    def __init__(
        self,
        log: Log | None = None,
        fail: str = "",
        auth: str = "",
        tls: ssl.SSLContext | None = None,
        starttls: bool = False,
    ) -> None:
        self.log = log or Log()
        self.tls = tls
        self.starttls = starttls
        self.fail = fail
        self.auth = auth
        self._server = _SmtpServer(("127.0.0.1", 0), _Smtp)
        self._server.sink = self
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    @property
    def mails(self) -> list[dict[str, Any]]:
        return self.log.entries

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> SmtpSink:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def free_port() -> int:
    """A port on which nobody listens."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def has_ipv6() -> bool:
    """Whether this machine has an IPv6 address of its own."""
    try:
        with socket.socket(socket.AF_INET6) as sock:
            sock.bind(("::1", 0))
    except OSError:
        return False
    return True


class NoFiles:
    """A store with nothing in it; content comes with the instruction."""

    def resolve(self, cid: CID, path: str) -> CID:
        raise AssertionError("no operation but wasm/run reads modules")

    def size(self, cid: CID) -> int:
        raise AssertionError("no operation but wasm/run reads modules")

    def read(self, cid: CID) -> bytes:
        raise AssertionError("no operation but wasm/run reads modules")

    def gather(self, cid: CID) -> bytes:
        raise AssertionError("no operation but wasm/run reads modules")


def ready(
    rsc: str,
    op: str,
    given: dict[str, Any] | None = None,
    *,
    nnc: str | bytes = "",
    content: Mapping[CID, Content] | None = None,
    limits: Limits | None = None,
    **more: Any,
) -> Ready:
    """An instruction that is ready to run, with content at hand."""
    instruction = Instruction(rsc, op, given or {}, nnc)
    limits = limits or Limits(time_ms=10_000)
    return Ready(instruction, content or {}, NoFiles(), limits, EngineCaps(), **more)


def config(folder: Path, **settings: str) -> Config:
    """A configuration with some of the `ops.` settings."""
    named = {f"ops.{name}": text for name, text in settings.items()}
    return Config.load(folder, named, env={})


def took(work: Callable[[], Any]) -> tuple[Any, float]:
    """What `work` returns, and how many seconds it took."""
    started = time.monotonic()
    value = work()
    return value, time.monotonic() - started


def main() -> None:
    parser = argparse.ArgumentParser(prog="tests.ops_support")
    parser.add_argument("kind", choices=["http", "smtp"])
    parser.add_argument("--log", type=Path, required=True)
    told = parser.parse_args()
    log = Log(told.log)
    with HttpServer(log) if told.kind == "http" else SmtpSink(log) as server:
        sys.stdout.write(f"{server.port}\n")
        sys.stdout.flush()
        sys.stdin.read()
    log.close()


if __name__ == "__main__":
    main()
