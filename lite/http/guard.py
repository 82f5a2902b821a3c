"""Who may use the API, and how failures are told.

A web page that a browser shows may send requests to any address of the machine. It cannot read
`daemon.json`, so it lacks the token; besides, a request that names another host (DNS rebinding) or
comes from another origin is refused before anything of it is looked at.
"""

from __future__ import annotations

import asyncio
import hmac
import sys
import traceback
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from lite.errors import BugError, IpvmError
from lite.frozen import frozen
from lite.http.reply import error_reply, status_of

if TYPE_CHECKING:
    from lite.http.api import Api

__all__ = ["Door", "guard"]

_BEARER: Final = "bearer"
_SAME: Final = ("", "none", "same-origin")  # what Sec-Fetch-Site says of tools and own pages
_BUSY_RETRY_S: Final = "5"


@frozen
class Door:
    """What a request has to show.

    Attributes:
        hosts: the values of `Host` that name this API; empty on a unix socket, which has no name.
        token: needed on TCP. It may be absent on a unix socket, whose file only the owner opens.
    """

    token: str
    hosts: frozenset[str] = frozenset()

    def refusal(self, request: web.Request) -> web.Response | None:
        """The answer to a request that may not come in."""
        headers = request.headers
        host = headers.get("Host", "").lower()
        if self.hosts and host not in self.hosts:
            return _refused(
                403, "host", f"the host {host[:100]!r} is not this API", "Ask for 127.0.0.1."
            )
        origin = headers.get("Origin")
        own = {f"http://{name}" for name in self.hosts}
        site = headers.get("Sec-Fetch-Site", "")
        if (origin is not None and origin.lower() not in own) or site not in _SAME:
            return _refused(403, "origin", "web pages of other origins may not use this API", None)
        shown = headers.get("Authorization")
        if shown is None and not self.hosts:
            return None
        if shown is not None and self._fits(shown):
            return None
        return _refused(
            401,
            "token",
            "the token is missing or wrong",
            "Send `Authorization: Bearer TOKEN` with the token of daemon.json in the home.",
        )

    def _fits(self, shown: str) -> bool:
        scheme, _, told = shown.partition(" ")  # the case of the scheme says nothing: RFC 9110
        is_ours = hmac.compare_digest(told.strip().encode("utf-8", "replace"), self.token.encode())
        return scheme.lower() == _BEARER and is_ours


def guard(door: Door, api: Api) -> Middleware:
    """The middleware around every handler: the door, then errors as JSON, then a count."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        refused = door.refusal(request)
        reply = await _answer(request, handler) if refused is None else refused
        resource = request.match_info.route.resource
        key = ("" if resource is None else resource.canonical, reply.status)
        api.requests[key] = api.requests.get(key, 0) + 1
        return reply

    return middleware


async def _answer(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except IpvmError as error:
        status = status_of(error)
        more = {"Retry-After": _BUSY_RETRY_S} if status == 503 else None
        return error_reply(error.code, str(error), error.hint, status, more)
    except web.HTTPException as error:
        return _of_http(request, error)
    except (ConnectionError, asyncio.CancelledError):
        raise  # the client went away
    except Exception as error:
        _report(error)
        said = f"{type(error).__name__}: {error}"
        return error_reply(BugError.code, said, "Please report it with the daemon's messages.", 500)


def _report(error: Exception) -> None:
    """The traceback of a bug, where the daemon's messages go."""
    text = "".join(traceback.format_exception(error))
    with suppress(OSError):  # the terminal was closed
        sys.stderr.write(text.encode("utf-8", "backslashreplace").decode())


def _of_http(request: web.Request, error: web.HTTPException) -> web.Response:
    """What aiohttp itself refuses, in our words."""
    if error.status == 404:
        said, code = f"there is no path {request.path[:200]!r}", "not-found"
    elif error.status == 405:
        said, code = f"{request.method} is not for {request.path[:200]!r}", "usage"
    else:
        said, code = (error.text or error.reason).strip(), "usage"
    allow = error.headers.get("Allow")
    headers = {} if allow is None else {"Allow": allow}
    return error_reply(code, said, "`GET /openapi.json` lists them all.", error.status, headers)


def _refused(status: int, code: str, message: str, hint: str | None) -> web.Response:
    headers = {"WWW-Authenticate": "Bearer"} if status == 401 else None
    return error_reply(code, message, hint, status, headers)
