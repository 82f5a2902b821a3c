"""What an HTTP server says of requests that are none: counted, and never a text of a stranger's.

Whoever reaches a port may send anything. aiohttp answers it with 400 and logs a traceback, which
would let strangers fill the owner's screen and disk. Failures of this program itself are told once
each, where the event loop tells such things.

A server that is quiet about strangers has all three: `AppRunner(logger=counting(...),
auto_decompress=False)` and the middleware `readable(...)`, inside any that words errors. One that
makes its own protocols passes them through `brief`, so that no answer repeats what it cannot read.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.typedefs import Handler, Middleware
from aiohttp.web_protocol import RequestHandler

__all__ = ["brief", "counting", "readable"]

WHY_CHARS_MAX: Final = 200  # of the text that says why a request cannot be read

_PLAIN = "identity"


def counting(on_garbled: Callable[[], None]) -> logging.Logger:
    """A logger for `aiohttp.web.AppRunner`.

    Args:
        on_garbled: called for each request that could not be read.
    """
    logger = logging.Logger("sync.noise", logging.DEBUG)
    logger.addHandler(_Counting(on_garbled))
    return logger


def readable(on_garbled: Callable[[], None]) -> Middleware:
    """A middleware that answers 400 to bodies that are encoded, before anything of them is read,
    and to those that turn out not to be what their headers say.

    Nobody who speaks with such a server has a reason to compress a body, and what is not unpacked
    can neither be broken nor grow.

    Args:
        on_garbled: called for each request with an encoded body.
    """

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        encodings = request.headers.getall("Content-Encoding", ())
        if any(one.strip().lower() != _PLAIN for one in encodings):
            on_garbled()
            raise web.HTTPBadRequest(text="a body with a Content-Encoding is not taken\n")
        try:
            return await handler(request)
        except web.RequestPayloadError:  # the server finds it again, and counts it
            raise web.HTTPBadRequest(text="the body cannot be read\n") from None

    return middleware


class _Brief(RequestHandler):
    __slots__ = ()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        why = None if message is None else message[:WHY_CHARS_MAX]
        return super().handle_error(request, status, exc, why)


def brief(protocol: RequestHandler) -> RequestHandler:
    """The protocol of a new connection, which answers what is no request in few words: others send
    all of it back, and more."""
    protocol.__class__ = _Brief
    return protocol


class _Counting(logging.Handler):
    def __init__(self, on_garbled: Callable[[], None]) -> None:
        super().__init__(logging.DEBUG)
        self._on_garbled = on_garbled

    def emit(self, record: logging.LogRecord) -> None:
        error = None if record.exc_info is None else record.exc_info[1]
        if isinstance(error, HttpProcessingError | web.RequestPayloadError):
            self._on_garbled()
            return
        if record.levelno < logging.WARNING or isinstance(error, OSError):
            return  # it went away in the middle
        told = {"message": record.getMessage(), "exception": error}
        loop = asyncio.get_running_loop()
        loop.call_exception_handler({name: one for name, one in told.items() if one is not None})
