"""One HTTP/1.1 request and its reply, within a deadline and a bound on bytes.

Uses the standard library's `http.client` for the protocol. No cookies, no proxy, no connection is
kept: what a request does follows from the instruction and this node's settings alone.
"""

from __future__ import annotations

import http.client
from typing import Final, Literal

from lite.engine.stop import Stop
from lite.frozen import frozen
from lite.ops.dial import Deadline, TimedSocket, dial, ended_by, tls
from lite.ops.http_request import Request

Cut = Literal["", "limit", "time", "lost"]
_CHUNK_BYTES: Final = 1 << 16
_HEAD_BYTES_MAX: Final = 1 << 18  # of all headers of a reply together
_DROPPED: Final = ("set-cookie", "set-cookie2")  # secrets; receipts are made to be shown


@frozen
class Reply:
    """What came back.

    Attributes:
        headers: by lower-case name; several of one name are joined by commas.
        body: decompressed; as much of it as came.
        cut: why it is not whole: body or headers over the limit, out of time, connection lost.
    """

    status: int
    headers: dict[str, str]
    body: bytes
    cut: Cut


class NoReply(Exception):
    """The request was sent, or a part of it, and no status came back.

    Attributes:
        timed_out: the deadline passed; else the other side left, or spoke no HTTP.
        too_large: there is an answer, with more in front of its body than `http.client` reads: 100
            headers, or a line of 64 KiB.
    """

    def __init__(self, message: str, *, timed_out: bool = False, too_large: bool = False) -> None:
        super().__init__(message)
        self.timed_out = timed_out
        self.too_large = too_large


def exchange(
    request: Request,
    deadline: Deadline,
    body_bytes_max: int,
    *,
    public_only: bool = False,
    stop: Stop | None = None,
) -> Reply:
    """Send a request and read the reply.

    Args:
        stop: breaks the line.

    Raises:
        QueuedError: nothing was sent, because the host cannot be reached.
        GuestFailure: `tls` or `address-denied`; nothing was sent.
        NoReply: it is not known what became of it.
    """
    url = request.url
    sock = dial(url.host, url.port, deadline, public_only=public_only)
    try:
        if url.scheme == "https":
            sock = tls(sock, url.host, deadline)
        connection = http.client.HTTPConnection(url.host, url.port)
        connection.sock = TimedSocket(sock, deadline)
        with ended_by(stop, lambda: sock):
            response = _status(connection, request)
            body, cut = _body(response, body_bytes_max, request.decode)
        headers, is_whole = _headers(response, request.decode)
        return Reply(response.status, headers, body, cut if is_whole else "limit")
    finally:
        sock.close()


def _status(connection: http.client.HTTPConnection, request: Request) -> http.client.HTTPResponse:
    """Send everything and read the status line and the headers."""
    unsent: OSError | None = None
    try:
        _send(connection, request)
    except OSError as error:  # it may have answered already, e.g. that the body is too large
        unsent = error
    try:
        return _final(connection.getresponse())
    except (OSError, http.client.HTTPException) as error:
        fault = unsent or error
        where = "while the request was sent" if unsent else "before it answered"
        timed_out = isinstance(fault, TimeoutError)
        if timed_out:
            raise NoReply(f"time ran out {where}", timed_out=True) from error
        if isinstance(fault, OSError):  # also RemoteDisconnected
            raise NoReply(f"the connection was lost {where}") from error
        if isinstance(fault, http.client.LineTooLong) or "more than" in str(fault):
            raise NoReply(
                f"the head of its answer is too large: {fault}", too_large=True
            ) from error
        raise NoReply(f"its answer is not HTTP ({type(fault).__name__})") from error


def _final(response: http.client.HTTPResponse) -> http.client.HTTPResponse:
    """The answer after those that only announce it (RFC 9110, 15.2), of which `http.client` passes
    over 100 alone: taken for the answer, one would call a POST failed that was done."""
    while 100 <= response.status <= 199:
        if response.status == http.HTTPStatus.SWITCHING_PROTOCOLS:
            raise http.client.HTTPException("another protocol, which was not asked for")
        response.headers = None  # type: ignore[assignment]  # so that `begin` reads on
        response.begin()
    return response


def _send(connection: http.client.HTTPConnection, request: Request) -> None:
    connection.putrequest(
        request.method, request.url.target, skip_host=True, skip_accept_encoding=True
    )
    connection.putheader("host", request.url.host_header)
    connection.putheader("connection", "close")
    if request.body.size or request.method in ("PUT", "POST"):
        connection.putheader("content-length", str(request.body.size))
    for name, value in request.headers.items():
        connection.putheader(name, value.encode("latin-1"))
    connection.endheaders()
    for chunk in request.body.chunks():
        connection.send(chunk)


def _body(response: http.client.HTTPResponse, bound: int, decode: bool) -> tuple[bytes, Cut]:
    unzip = _Unzip(bound) if decode and _is_gzip(response) else None
    parts: list[bytes] = []
    taken = 0
    try:
        while chunk := response.read(_CHUNK_BYTES):
            if unzip is not None:
                chunk = unzip.more(chunk)
            parts.append(chunk)
            taken += len(chunk)
            if taken > bound or (unzip is not None and unzip.read_bytes > bound):
                return b"".join(parts)[:bound], "limit"
    except TimeoutError:
        return b"".join(parts), "time"
    except (OSError, http.client.HTTPException, ValueError):  # ValueError: a bad chunk or stream
        return b"".join(parts), "lost"
    whole = response.length in (None, 0) and (unzip is None or unzip.is_whole)
    return b"".join(parts), "" if whole else "lost"


def _is_gzip(response: http.client.HTTPResponse) -> bool:
    return (response.getheader("content-encoding") or "").strip().lower() in ("gzip", "x-gzip")


class _Unzip:
    """gzip, member after member, never more than one byte over the bound in memory."""

    def __init__(self, bound: int) -> None:
        import zlib

        self._zlib = zlib
        self._stream = zlib.decompressobj(wbits=31)
        self._left = bound + 1
        self.read_bytes = 0

    @property
    def is_whole(self) -> bool:
        return self._stream.eof or not self.read_bytes

    def more(self, data: bytes) -> bytes:
        """Raises `ValueError` for what is no gzip."""
        self.read_bytes += len(data)
        out = b""
        try:
            while data and self._left:
                if self._stream.eof:
                    self._stream = self._zlib.decompressobj(wbits=31)
                part = self._stream.decompress(data, self._left)
                self._left -= len(part)
                out += part
                data = self._stream.unused_data or self._stream.unconsumed_tail
        except self._zlib.error as error:
            raise ValueError(str(error)) from error
        return out


def _headers(response: http.client.HTTPResponse, decode: bool) -> tuple[dict[str, str], bool]:
    """The headers as far as they fit, and whether these are all of them."""
    headers: dict[str, str] = {}
    left = _HEAD_BYTES_MAX
    for name, value in response.getheaders():
        lower = name.lower()
        left -= len(name) + len(value)
        if left < 0:
            break
        if lower not in _DROPPED:
            headers[lower] = f"{headers[lower]}, {value}" if lower in headers else value
    if decode and _is_gzip(response):  # they describe what came over the line
        headers.pop("content-encoding", None)
        headers.pop("content-length", None)
    return headers, left >= 0
