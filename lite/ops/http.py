"""`http/get`, `http/put`, `http/delete`, `http/post`: one request to an http or https URL.

`rsc` is the URL. The value is `{status, headers, body}`, or only the body; an answer other than 2xx
is the error `http-status`. What is not known to have been done is never said to have failed: see
`InDoubt` in `lite.ops.base`.
"""

from __future__ import annotations

from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from lite.config import Config
from lite.engine.base import GuestFailure, Outcome
from lite.errors import Interrupted, QueuedError
from lite.frozen import replace
from lite.limits import Limits
from lite.ops.arguments import Arguments
from lite.ops.base import InDoubt, Level, Ready, outcome_of
from lite.ops.dial import Deadline
from lite.ops.http_request import Request, Url, make_request, parse_url

if TYPE_CHECKING:
    from lite.ops.http_exchange import Reply

REDIRECTS_DEFAULT: Final = 5
REDIRECTS_MAX: Final = 20
TIMEOUT_MS_MAX: Final = 2**31 - 1
EXCERPT_BYTES_MAX: Final = 1024
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_TRANSIENT: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
_GET_KEYS: Final = frozenset({"headers", "timeout_ms", "only", "max_redirects"})
_SEND_KEYS: Final = frozenset({"headers", "timeout_ms", "only", "body", "json"})
_TRAVELS: Final = frozenset(
    {"accept", "accept-encoding", "accept-language", "cache-control", "range", "user-agent"}
)
"""Headers that follow a redirect to another origin. All others may say who asks."""
_LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")


class _Http:
    """What the four have in common."""

    name: str
    level: Level
    needs = frozenset({"network"})
    method: str

    def __init__(self, config: Config) -> None:
        self._netrc: Path | None = config["ops.http_netrc"]

    def missing(self, ready: Ready) -> str | None:
        return None

    def run(self, ready: Ready) -> Outcome:
        return outcome_of(lambda: self._answer(ready))

    def _answer(self, ready: Ready) -> Any:
        given = Arguments(ready, _GET_KEYS if self.method == "GET" else _SEND_KEYS)
        only = given.choice("only", "all", "body")
        ends_at = ready.ends_at(given.number("timeout_ms", None, 1, TIMEOUT_MS_MAX))
        redirects = given.number("max_redirects", REDIRECTS_DEFAULT, 0, REDIRECTS_MAX) or 0
        request = make_request(ready, given, self.method)
        deadline = Deadline(ends_at)
        reply = self._send(request, ready, deadline)
        while self.method == "GET" and reply.status in _REDIRECTS and "location" in reply.headers:
            if redirects == 0:
                raise GuestFailure("redirect-refused", "more redirects than input.max_redirects")
            redirects -= 1
            request = _redirected(request, reply.headers["location"])
            reply = self._send(request, ready, deadline)
        return self._value(request.url, reply, only, ready.limits)

    def _send(self, request: Request, ready: Ready, deadline: Deadline) -> Reply:
        from lite.ops.http_exchange import NoReply, exchange

        known = None if ready.for_others else self._credentials(request)
        if known is not None:
            request = replace(request, headers={**request.headers, "authorization": known})
        try:
            reply = exchange(
                request,
                deadline,
                ready.limits.output_bytes,
                public_only=ready.for_others,
                stop=ready.stop,
            )
        except NoReply as lost:
            told = f"{self.method} {request.url.origin}: {lost}"
            if self.level == "mutation":
                raise InDoubt(told) from lost
            _check_wanted(ready)
            if lost.timed_out:
                raise _out_of_time(told, ready.limits) from lost
            if lost.too_large:
                raise GuestFailure("output-limit", told) from lost
            raise GuestFailure("connection-lost", told, transient=True) from lost
        if reply.cut and self.method == "GET":
            _check_wanted(ready)
        return reply

    def _credentials(self, request: Request) -> str | None:
        """HTTP Basic credentials from the owner's netrc file, in which `default` does not count:
        a name and password are for the hosts that it names."""
        url = request.url
        if self._netrc is None or "authorization" in request.headers:
            return None
        if url.scheme != "https" and url.host not in _LOOPBACK:
            return None
        import base64
        import netrc

        try:
            found = netrc.netrc(str(self._netrc)).hosts.get(url.host)
        except (OSError, netrc.NetrcParseError, UnicodeDecodeError) as error:
            raise QueuedError(
                f"the file of ops.http_netrc cannot be read ({type(error).__name__})",
                hint="It needs lines like: machine example.org login me password secret",
            ) from error
        if found is None:
            return None
        login, _, password = found
        return "Basic " + base64.b64encode(f"{login}:{password}".encode()).decode()

    def _value(self, url: Url, reply: Reply, only: str, limits: Limits) -> Any:
        if not 200 <= reply.status <= 299:
            raise self._refusal(url, reply)
        if reply.cut and self.method == "GET":
            raise _cut(url, reply, limits)
        if only == "body" and not reply.cut:
            return reply.body
        value = {"status": reply.status, "headers": reply.headers, "body": reply.body}
        # It was done and answered: that is not to be lost for a part of the words.
        return {**value, "truncated": True} if reply.cut else value

    def _refusal(self, url: Url, reply: Reply) -> GuestFailure:
        detail: dict[str, Any] = {"status": reply.status, "body": reply.body[:EXCERPT_BYTES_MAX]}
        if self.level != "mutation" and reply.status in _TRANSIENT:
            detail["transient"] = True
        wait = reply.headers.get("retry-after", "")
        if wait.isascii() and wait.isdigit() and len(wait) < 10:
            detail["retry_after_s"] = int(wait)
        try:
            phrase = f" {HTTPStatus(reply.status).phrase}"
        except ValueError:
            phrase = ""
        told = f"{url.origin} answered {reply.status}{phrase} to {self.method}"
        return GuestFailure("http-status", told, **detail)


def _check_wanted(ready: Ready) -> None:
    if ready.stop is not None and ready.stop.asked:
        raise Interrupted("the run was asked to stop")


def _redirected(request: Request, location: str) -> Request:
    """The request that a redirect asks for; credentials stay with the host they were for."""
    from urllib.parse import urljoin

    before = request.url
    try:
        url = parse_url(urljoin(f"{before.origin}{before.target}", location))
    except GuestFailure as bad:
        raise GuestFailure("redirect-refused", f"{before.origin} redirects: {bad}") from None
    except ValueError:
        raise GuestFailure(
            "redirect-refused", f"{before.origin} redirects to what is no URL"
        ) from None
    if before.scheme == "https" and url.scheme != "https":
        raise GuestFailure(
            "redirect-refused", f"{before.origin} redirects to {url.origin}, which is not encrypted"
        )
    headers = dict(request.headers)
    if url.origin != before.origin:
        headers = {name: value for name, value in headers.items() if name in _TRAVELS}
    return replace(request, url=url, headers=headers)


def _cut(url: Url, reply: Reply, limits: Limits) -> GuestFailure:
    if reply.cut == "limit":
        bound = limits.output_bytes
        told = f"the answer of {url.origin} has more than {bound} bytes, or too many headers"
        return GuestFailure("output-limit", told, limit=bound)
    if reply.cut == "time":
        return _out_of_time(f"GET {url.origin}: time ran out in the answer", limits)
    told = f"GET {url.origin}: the connection was lost in the answer"
    return GuestFailure("connection-lost", told, transient=True)


def _out_of_time(told: str, limits: Limits) -> GuestFailure:
    return GuestFailure("time-limit", told, limit=limits.time_ms, transient=True)


class HttpGet(_Http):
    """Read a URL. Follows redirects."""

    name = "http/get"
    level: Level = "query"
    method = "GET"


class HttpPut(_Http):
    """Make a URL be what is given."""

    name = "http/put"
    level: Level = "idempotent-mutation"
    method = "PUT"


class HttpDelete(_Http):
    """Make a URL be gone."""

    name = "http/delete"
    level: Level = "idempotent-mutation"
    method = "DELETE"


class HttpPost(_Http):
    """Have a URL do something, once."""

    name = "http/post"
    level: Level = "mutation"
    method = "POST"
