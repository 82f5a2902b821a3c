"""The way to each provider: a line over a channel where it is a peer that can be dialled or is
connected, else plain HTTP where it is noted by a URL."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Final

from lite.offload.lines import Line
from lite.offload.patience import Patience
from lite.offload.post_line import PostLine

if TYPE_CHECKING:
    from lite.peering.peering import Peering
    from sync.health import Notice

__all__ = ["Way", "Ways"]

Way = Line | PostLine

DIAL_AGAIN_S: Final = 30.0  # for one that could not be dialled, unless it comes by itself


class Ways:
    """See the module. On one event loop.

    Args:
        line: makes the line to a peer. post: makes the way to a provider at a URL.
        wake: called when one may be asked again.

    Attributes:
        lines: over channels, by DID. urls: of providers that are noted, by DID.
    """

    def __init__(
        self,
        peering: Peering | None,
        patience: Patience,
        line: Callable[[str], Line],
        post: Callable[[str, str], PostLine],
        wake: Callable[[], None],
    ) -> None:
        self.lines: dict[str, Line] = {}
        self.urls: Mapping[str, str] = {}
        self._posts: dict[str, PostLine] = {}
        self._left: set[asyncio.Task[None]] = set()
        self._peering = peering
        self._patience = patience
        self._make_line = line
        self._make_post = post
        self._wake = wake
        self._far_until: dict[str, float] = {}
        self._came: set[str] = set()
        self._banned: set[str] = set()  # of whom it is looked again when that ends

    def to(self, did: str) -> Way:
        """The way to take now."""
        if did in self.urls and not self._is_peer_near(did):
            return self._post(did)
        return self.line(did)

    def line(self, did: str) -> Line:
        """The line over a channel."""
        if did not in self.lines:
            self.lines[did] = self._make_line(did)
        return self.lines[did]

    def is_near(self, did: str) -> bool:
        """Whether it is worth asking a provider now."""
        assert self._peering is not None, "there are peers"
        if self._patience.is_silent(did) or self._is_banned(did):
            return False
        return self._is_peer_near(did) or (did in self.urls and self._post(did).is_near)

    def lost(self, did: str) -> None:
        """A provider could not be reached by the way to it."""
        way = self.to(did)
        if isinstance(way, PostLine):
            way.lost()
            return
        loop = asyncio.get_running_loop()
        self._far_until[did] = loop.time() + DIAL_AGAIN_S
        if did in self.urls:
            self._wake()
        elif self._is_connected(did):  # so that nobody tells when it can be asked again
            loop.call_later(DIAL_AGAIN_S, self._wake)

    def noticed(self, notice: Notice) -> bool:
        """Something happened among peers; whether that is worth a look."""
        if notice.kind == "connected":
            self._came.add(notice.peer)
            self._far_until.pop(notice.peer, None)
            if notice.peer in self.lines:
                self.lines[notice.peer].poke()
        elif notice.kind == "banned" and notice.peer in self.lines:
            self.lines[notice.peer].cut()
        elif notice.kind == "moved":
            self._far_until.clear()
            for way in self._all():
                way.poke()
        return notice.kind in ("connected", "moved")

    def banned(self, dids: Iterable[str]) -> set[str]:
        """Those that are left alone, as they broke too many rules."""
        return {did for did in dids if self._is_banned(did)}

    def take_came(self) -> set[str]:
        """To whom there is a new channel since the last time, or who may be asked again."""
        came, self._came = self._came, set()
        return came

    async def close(self) -> None:
        """End all of them."""
        await asyncio.gather(*(way.close() for way in self._all()), *self._left)

    def _all(self) -> list[Way]:
        return [*self.lines.values(), *self._posts.values()]

    def _post(self, did: str) -> PostLine:
        known, url = self._posts.get(did), self.urls[did]
        if known is None or known.url != url:
            if known is not None:
                task = asyncio.get_running_loop().create_task(known.close())
                self._left.add(task)
                task.add_done_callback(self._left.discard)
            self._posts[did] = known = self._make_post(did, url)
        return known

    def _is_banned(self, did: str) -> bool:
        """Whether a peer is given nothing and asked for nothing for a while."""
        assert self._peering is not None, "there are peers"
        left_s = self._peering.book.banned_s(did)
        if left_s and did not in self._banned:
            self._banned.add(did)
            asyncio.get_running_loop().call_later(left_s + 1, self._ban_over, did)
        return bool(left_s)

    def _ban_over(self, did: str) -> None:
        self._banned.discard(did)
        self._came.add(did)
        self._wake()

    def _is_connected(self, did: str) -> bool:
        assert self._peering is not None, "there are peers"
        return any(talk.session.peer == did for talk in self._peering.talks())

    def _is_peer_near(self, did: str) -> bool:
        """Whether a peer is connected, or has an address that did not fail lately."""
        assert self._peering is not None, "there are peers"
        if self._is_connected(did):
            return True
        can = bool(self._peering.book.addresses(did))
        far_until = self._far_until.get(did, 0.0)
        return can and asyncio.get_running_loop().time() >= far_until
