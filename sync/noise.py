"""What an HTTP server says of requests that are none: counted, and never a text of a stranger's.

Whoever reaches a port may send anything. aiohttp answers it with 400 and logs a traceback, which
would let strangers fill the owner's screen and disk. Failures of this program itself are told once
each, where the event loop tells such things.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from aiohttp.http_exceptions import HttpProcessingError

__all__ = ["counting"]


def counting(on_garbled: Callable[[], None]) -> logging.Logger:
    """A logger for `aiohttp.web.AppRunner`.

    Args:
        on_garbled: called for each request that could not be read.
    """
    logger = logging.Logger("sync.noise", logging.DEBUG)
    logger.addHandler(_Counting(on_garbled))
    return logger


class _Counting(logging.Handler):
    def __init__(self, on_garbled: Callable[[], None]) -> None:
        super().__init__(logging.DEBUG)
        self._on_garbled = on_garbled

    def emit(self, record: logging.LogRecord) -> None:
        error = None if record.exc_info is None else record.exc_info[1]
        if isinstance(error, HttpProcessingError):
            self._on_garbled()
            return
        if record.levelno < logging.WARNING or isinstance(error, OSError):
            return  # it went away in the middle
        told = {"message": record.getMessage(), "exception": error}
        loop = asyncio.get_running_loop()
        loop.call_exception_handler({name: one for name, one in told.items() if one is not None})
