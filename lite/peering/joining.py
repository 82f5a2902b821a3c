"""Taking an invitation: the inviter's side behind its channel, and the joiner's way to it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

from aiohttp import ClientError, web

from lite.clock import Clock
from lite.errors import AuthorityError, QueuedError, StoreError
from lite.keys import Key
from lite.peering.identity import channel_key
from lite.peering.pairing import Invitation, Invitations
from lite.store import Store
from sync.dial import WebChannel, dial, said
from sync.errors import ChannelError
from sync.peers import PeerBook
from sync.race import first_of
from sync.within import within

__all__ = ["Desk", "join"]

STAGGER_S: Final = 0.5
ANSWER_S_MAX: Final = 20.0
RETRY_S: Final = 30
_LATER: Final = "this node cannot use its own store now; the code stays as it is\n"
_REFUSED: Final = "no such invitation: it is over, taken, or was never made\n"


class Desk:
    """Where strangers show the codes of invitations.

    Args:
        on_paired: told who has which rights now.
    """

    def __init__(
        self,
        store: Store,
        book: PeerBook,
        own: str,
        clock: Clock,
        on_paired: Callable[[str, frozenset[str]], None],
    ) -> None:
        self._invitations = Invitations(store, clock)
        self._book = book
        self._own = own
        self._on_paired = on_paired

    async def serve(self, request: web.Request, did: str) -> web.StreamResponse:
        """The handler of `pairing.PATH`. Every refusal looks the same; none is said while this node
        cannot read or write who it knows."""
        id, proof = (bytes.fromhex(request.match_info[name]) for name in ("id", "proof"))
        taken = None
        try:
            if not self._book.banned_s(did):
                taken = self._invitations.take(id, proof, did, self._own, self._book)
        except StoreError:  # busy, full or damaged: the code stays as it is
            return web.Response(status=503, headers={"Retry-After": f"{RETRY_S}"}, text=_LATER)
        if taken is None:
            return web.Response(status=404, text=_REFUSED)
        self._on_paired(did, taken.rights)
        return web.json_response({"v": 1, "rights": sorted(taken.rights)})


async def join(key: Key, invitation: Invitation, addresses: Sequence[str]) -> str:
    """Show the code to the inviter; the address where it answered.

    Args:
        addresses: `host:port` each, the most likely first.

    Raises:
        QueuedError: it cannot be reached. AuthorityError: it does not take the code (any more).
    """
    own = channel_key(key)
    ways = [partial(dial, own, address, invitation.did, b"") for address in addresses]
    try:
        channel = await first_of(ways, STAGGER_S, _close)
    except ChannelError as error:
        raise _unreached(invitation.did, str(error)) from None

    async def shown() -> int:
        async with channel.get(invitation.path(key.did)) as response:
            return int(response.status)

    try:
        status = await within(shown(), ANSWER_S_MAX)
    except asyncio.TimeoutError:
        raise _unreached(invitation.did, f"it did not answer within {ANSWER_S_MAX:.0f} s") from None
    except ChannelError as error:
        raise _unreached(invitation.did, str(error)) from None
    except (ClientError, OSError) as error:
        raise _unreached(invitation.did, said(error)) from None
    finally:
        await _close(channel)
    if status == 503:
        raise _unreached(invitation.did, "it cannot use its own store now")
    if status != 200:
        raise AuthorityError(
            "the other node does not take this code: it was used, is over, or was withdrawn",
            hint="Ask for a new one: `ipvm peers invite` there.",
        )
    return str(channel.address)


async def _close(channel: WebChannel) -> None:
    await channel.close()
    channel.drop()  # the event loop ends soon: nobody waits for the other end to agree


def _unreached(did: str, why: str) -> QueuedError:
    return QueuedError(
        f"the node {did} cannot be reached: {why}",
        hint="It has to run `ipvm daemon` or `ipvm peers invite --wait`, on a network that this "
        "machine reaches.",
    )
