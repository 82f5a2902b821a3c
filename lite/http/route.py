"""One line of the API: a path, what it takes, what it gives, and the function that answers.

The routes are the one source of what is served and of `/openapi.json`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, Literal

from aiohttp import web

from lite.errors import CodecError, LimitError, UsageError
from lite.frozen import frozen
from lite.http.reply import JSON, json_reply
from lite.http.schema import Schema
from lite.ipld import dag_json
from lite.limits import MIB

if TYPE_CHECKING:
    from lite.http.api import Api

__all__ = ["BODY_BYTES_MAX", "Call", "Param", "Reply", "Route"]

BODY_S_MAX: Final = 60.0  # for a body to come whole
BODY_BYTES_MAX: Final = 8 * MIB  # a workflow file, or the arguments of a call


@frozen
class Param:
    """One parameter of a query string.

    Attributes:
        kind: `flag` is `true` or `false`; a number is not negative and at most `largest`.
        default: what its absence means.
    """

    name: str
    kind: Literal["text", "number", "flag"]
    help: str
    default: str | int | bool | None = None
    largest: int = 2**31 - 1

    def read(self, text: str) -> str | int | bool:
        """The value in a query. Raises `UsageError`."""
        if self.kind == "text":
            return text
        if self.kind == "flag":
            if text in ("true", "false"):
                return text == "true"
            raise UsageError(f"{self.name}={text[:32]!r}: true or false is needed")
        if text.isascii() and text.isdigit() and len(text) < 12 and int(text) <= self.largest:
            return int(text)
        raise UsageError(
            f"{self.name}={text[:32]!r}: a whole number from 0 to {self.largest} is needed"
        )


@frozen
class Reply:
    """What comes back under one status.

    Attributes:
        body: the schema of a JSON object without its `v`; None for what is no JSON.
    """

    help: str
    body: Schema | None = None
    media: str = JSON


class Call:
    """One request, with what its route says about it already checked."""

    def __init__(self, api: Api, route: Route, request: web.Request) -> None:
        self.api = api
        self.request = request
        self.query = _read_query(route, request)
        self._bytes_max = route.bytes_max

    def path(self, name: str) -> str:
        """A part of the path, as it stands in `{name}` of the route."""
        return self.request.match_info[name]

    async def body(self) -> bytes:
        """The whole body.

        Raises:
            LimitError: it is too large for this path.
            HTTPRequestTimeout: it did not come whole in time; also when it is broken in a way that
                the server takes for more to come.
        """
        told = self.request.content_length
        if told is not None and told > self._bytes_max:
            raise self._too_large()
        parts, size, content = [], 0, self.request.content
        # No task of its own: what has come already is read before the loop can hear that the
        # client left, and a client that leaves ends nothing.
        late = asyncio.get_running_loop().call_later(
            BODY_S_MAX, content.set_exception, asyncio.TimeoutError()
        )
        try:
            async for part in content.iter_any():
                size += len(part)
                if size > self._bytes_max:
                    raise self._too_large()
                parts.append(part)
        except asyncio.TimeoutError:
            raise web.HTTPRequestTimeout(
                text=f"the body did not come whole within {BODY_S_MAX:g} s"
            ) from None
        finally:
            late.cancel()
        return b"".join(parts)

    async def map(self, known: Schema) -> dict[str, Any]:
        """The body as a map with the keys of a schema; an empty body is an empty map.

        Raises:
            UsageError: it is no JSON, no map, has other keys, or what is no flag as one.
        """
        data = await self.body()
        try:
            value = dag_json.decode(data) if data else {}
        except CodecError as error:
            raise UsageError(
                f"the body is not JSON: {error}", hint="Send one JSON object in UTF-8."
            ) from None
        if type(value) is not dict:
            raise UsageError("the body is not a JSON object")
        for key in value.keys() - known["properties"].keys():
            raise UsageError(
                f"{str(key)[:64]!r} is not a field of this request",
                hint=f"It takes {', '.join(known['properties']) or 'none'}.",
            )
        for key in known["required"]:
            if key not in value:
                raise UsageError(f"the field {key!r} is missing")
        for key, told in value.items():
            if known["properties"][key].get("type") == "boolean" and type(told) is not bool:
                raise UsageError(f"{key}: true or false is needed")
        return value

    def reply(self, fields: Mapping[str, Any], status: int = 200) -> web.Response:
        """A JSON object."""
        return json_reply(fields, status)

    def _too_large(self) -> LimitError:
        return LimitError(
            f"the body has more than {self._bytes_max} bytes",
            hint="Add large files with `ipvm add` and send their CIDs.",
        )


Handler = Callable[[Call], Awaitable[web.StreamResponse]]


@frozen
class Route:
    """One method of one path.

    Attributes:
        path: with `{name}` for its parts that vary.
        name: unlike that of any other.
        takes: the schema of the JSON object that it takes; None: no body, or one of `takes_media`.
        bytes_max: of the body.
        head: HEAD is answered as well.
        open_query: parameters that are not listed are let through, as convention has it there.
    """

    method: Literal["GET", "POST", "PUT"]
    path: str
    name: str
    help: str
    handler: Handler
    replies: Mapping[int, Reply]
    query: tuple[Param, ...] = ()
    takes: Schema | None = None
    takes_media: str = ""
    bytes_max: int = BODY_BYTES_MAX
    head: bool = False
    open_query: bool = False


def _read_query(route: Route, request: web.Request) -> dict[str, Any]:
    """The parameters, those that are absent by their defaults."""
    known = {param.name: param for param in route.query}
    found: dict[str, Any] = {param.name: param.default for param in route.query}
    for name, text in request.query.items():
        if name not in known:
            if route.open_query:
                continue
            takes = ", ".join(known) or "none"
            raise UsageError(
                f"{name[:64]!r} is not a parameter of this path", hint=f"It takes {takes}."
            )
        found[name] = known[name].read(text)
    return found
