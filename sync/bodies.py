"""Bodies of requests while this node holds them: those of strangers share little room.

Names cost nothing, so that a bound for each name bounds nobody: what all who have no right here
send is counted together, until each request is answered.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Final

from aiohttp import web

__all__ = ["STRANGERS_BYTES_MAX", "Bodies", "Room", "body_of"]

STRANGERS_BYTES_MAX: Final = 8 * 1024 * 1024
_RETRY_S: Final = 5

Room = Callable[[web.Request, str], Awaitable["int | web.StreamResponse"]]
"""How many bytes a peer may send with a request, said before they are read; or the answer to it."""
Count = Callable[[int], None]


class Bodies:
    """Counts them."""

    def __init__(self) -> None:
        self._of_strangers = 0

    @contextmanager
    def held(self, *, stranger: bool) -> Iterator[Count]:
        """One request, until it is answered; told of each piece of its body.

        Raises:
            HTTPServiceUnavailable: by the function, when strangers would send too much at once.
        """
        size = 0

        def count(piece: int) -> None:
            nonlocal size
            if stranger and self._of_strangers + piece > STRANGERS_BYTES_MAX:
                told = "too much of those without rights here is on its way\n"
                raise web.HTTPServiceUnavailable(text=told, headers={"Retry-After": f"{_RETRY_S}"})
            size += piece
            self._of_strangers += piece if stranger else 0

        try:
            yield count
        finally:
            self._of_strangers -= size if stranger else 0


async def body_of(request: web.Request, bytes_max: int, count: Count) -> bytes:
    """The body of a request.

    Raises:
        HTTPRequestEntityTooLarge: it is longer than that. As `count` does.
    """
    if (request.content_length or 0) > bytes_max:
        raise web.HTTPRequestEntityTooLarge(bytes_max, request.content_length or 0)
    parts: list[bytes] = []
    size = 0
    async for part in request.content.iter_any():
        size += len(part)
        if size > bytes_max:
            raise web.HTTPRequestEntityTooLarge(bytes_max, size)
        count(len(part))
        parts.append(part)
    return b"".join(parts)
