"""Bringing peers into sync while somebody waits, and saying truthfully what came of it."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from lite.frozen import frozen
from lite.peering.names import RECORDS
from lite.peering.sight import Sight, ask_again
from sync.events import Status, Stored
from sync.health import Notice, PeerHealth
from sync.talk import Talk
from sync.within import within

if TYPE_CHECKING:
    from lite.peering.peering import Peering

__all__ = ["PeerRound", "Round", "bring_together"]

LOOK_S: Final = 0.2  # a session says nothing when what looked like news turns out to be none
SETTLED_S: Final = 0.2  # a peer that just got something of its own offers it within that
HELD_S: Final = 5.0  # whoever is not to be dialled for so long said so


@frozen
class PeerRound:
    """What came of one peer.

    Attributes:
        link: as `sync.health.PeerHealth`.
        in_sync: the peer said so in this round, of each set that one of the two wants to share.
        why: why it is not in sync; empty when it is.
        received: records that were stored here. given: items and blocks sent to it.
        bytes_in, bytes_out: of frames, both ways.
        count, their_count: ids of records in the set here, and at the peer when it last said so;
            None: it did not, or records are not shared.
        unheld: so many of `count` are ids alone: of issuers that are unwanted here, or forgotten.
    """

    did: str
    name: str
    link: str
    in_sync: bool
    why: str
    received: int = 0
    given: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    count: int | None = None
    their_count: int | None = None
    unheld: int = 0


@frozen
class Round:
    """What came of all that were asked for.

    Attributes:
        in_sync: there are some, and every one is in sync.
    """

    in_sync: bool
    peers: tuple[PeerRound, ...]


class _Watch:
    """What happens from now on, by peer."""

    def __init__(self, peering: Peering) -> None:
        self._peering = peering
        self._before = {talk: _moved(talk) for talk in peering.talks()}
        self._talks = list(self._before)
        self.received: dict[str, int] = {}
        self.missed: set[str] = set()
        self.news = asyncio.Event()

    def on_notice(self, notice: Notice) -> None:
        if notice.kind == "missed":
            self.missed.add(notice.peer)
        if isinstance(notice.event, Stored) and notice.set == RECORDS:
            count = self.received.get(notice.peer, 0) + len(notice.event.ids)
            self.received[notice.peer] = count
        self._talks += [talk for talk in self._peering.talks() if talk not in self._talks]
        self.news.set()

    def moved(self, did: str) -> tuple[int, int, int]:
        """Items given, and bytes both ways, over all conversations with a peer."""
        totals = [0, 0, 0]
        for talk in self._talks:
            if talk.session.peer == did:
                before = self._before.get(talk, (0, 0, 0))
                for place, (now, then) in enumerate(zip(_moved(talk), before, strict=True)):
                    totals[place] += now - then
        return totals[0], totals[1], totals[2]


async def bring_together(
    peering: Peering, dids: Collection[str] | None, within_s: float, *, once: bool = False
) -> Round:
    """Offer what is new, dial whom that concerns, have everybody who is connected answer, and wait
    until all of them are in sync.

    Args:
        dids: these peers; None: all that have a right here.
        once: do not wait for those who could not be reached, nor for more bytes to be allowed.

    Raises:
        StoreError: the store cannot be read.
    """
    loop = asyncio.get_running_loop()
    ends_at = loop.time() + within_s
    watch = _Watch(peering)
    with peering.watched(watch.on_notice):
        await peering.catch_up()
        wanted = _asked(peering, dids)
        if within_s > 0:
            peering.hurry([one.peer.did for one in wanted if not one.in_sync])
        concerned = {one.peer.did for one in wanted}
        ask_again([talk for talk in peering.talks() if talk.session.peer in concerned])
        wanted = _asked(peering, dids)
        quiet_since: float | None = None
        while (now := loop.time()) < ends_at:
            wait_s = LOOK_S
            if not all(_is_over(one, peering, watch, once) for one in wanted):
                quiet_since = None
            else:
                quiet_since = quiet_since or now
                wait_s = quiet_since + SETTLED_S - now
                if wait_s <= 0 or not any(one.in_sync for one in wanted):
                    break
            watch.news.clear()
            with suppress(asyncio.TimeoutError):
                await within(watch.news.wait(), min(wait_s, ends_at - now))
            wanted = _asked(peering, dids)
        wanted = _asked(peering, dids)
        peering.sight.proves(wanted)
        rounds = tuple(_round(one, peering, watch) for one in wanted)
    return Round(bool(rounds) and all(one.in_sync for one in rounds), rounds)


def _asked(peering: Peering, dids: Collection[str] | None) -> list[PeerHealth]:
    found = peering.health().peers
    if dids is None:
        return [one for one in found if one.peer.rights]
    return [one for one in found if one.peer.did in dids]


def _is_over(one: PeerHealth, peering: Peering, watch: _Watch, once: bool) -> bool:
    """Whether it is in sync, or waiting any longer would not make it so."""
    if one.in_sync or one.link in ("banned", "stranger"):
        return True
    if one.link == "connected" and peering.sight.one_sided(one):
        return all(shared.status.in_sync for shared in one.sets)
    if one.link == "connected" and one.next_s is None and _is_all(one):
        return True
    if not once:
        return False
    if one.link == "no-address":
        return True
    if one.link == "dialling" or any(shared.status.phase != "live" for shared in one.sets):
        return False
    held = one.next_s is not None and one.next_s >= HELD_S
    if one.link != "connected":
        return held or one.peer.did in watch.missed
    stuck = [_is_stuck(shared.status) for shared in one.sets if not shared.status.in_sync]
    return held or (bool(stuck) and all(stuck))


def _is_all(one: PeerHealth) -> bool:
    """Whether all that can come from it came, and what makes the sets differ does not."""
    return bool(one.sets) and all(
        shared.status.in_sync or _is_different(shared.status) for shared in one.sets
    )


def _is_stuck(status: Status) -> bool:
    return status.spent or _is_different(status)


def _is_different(status: Status) -> bool:
    return status.settled and bool(status.refused or status.missed or status.withheld)


def _round(one: PeerHealth, peering: Peering, watch: _Watch) -> PeerRound:
    peer = one.peer
    in_sync = one.in_sync and not peering.sight.one_sided(one)
    given, bytes_in, bytes_out = watch.moved(peer.did)
    records = next((shared.status for shared in one.sets if shared.set == RECORDS), None)
    return PeerRound(
        peer.did,
        peer.name,
        one.link,
        in_sync,
        "" if in_sync else _why_not(one, peering.sight),
        watch.received.get(peer.did, 0),
        given,
        bytes_in,
        bytes_out,
        None if records is None else records.count,
        None if records is None else records.their_count,
        0 if records is None else peering.sight.unheld(),
    )


def _why_not(one: PeerHealth, sight: Sight) -> str:
    """Why a peer is not in sync, in one line for people."""
    match one.link:
        case "banned":
            return f"it broke too many rules and is left alone: {one.why or 'for a while'}"
        case "stranger":
            return "it has no right here"
        case "no-address":
            return "where it is, is not known"
        case "dialling":
            return one.why or "it is being dialled"
        case "waiting":
            return one.why or "it was not dialled yet"
        case "connected":
            return "; ".join(sight.reasons(one))


def _moved(talk: Talk) -> tuple[int, int, int]:
    status = talk.session.status()
    return status.given, status.bytes_in, status.bytes_out
