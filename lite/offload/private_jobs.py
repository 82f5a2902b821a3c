"""Jobs that are secrets of their customer: how an invocation says so, and what is fetched for one.

    meta: {…, "ipvm/config": {"secret": true}, open?: [link, …]}

It is signed with the rest of the invocation. `open` names those of its inputs that are no secrets
of the customer; all others are fetched from the customer alone, each block marked as it is stored.
The provider gives what comes of it to that customer and to nobody else. A provider of another kind,
or one that is older than this, need not heed it. Source: IPVM workflow 0.1.0, section 3 (`secret`).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from lite.errors import StoreError
from lite.ipld.block import Block
from lite.ipld.cid import CID
from lite.model.known_meta import CONFIG, is_private
from lite.peering.download import Budget, Download, Junk, TooMuch
from lite.peering.pace import Pace
from lite.peering.shelf import missing
from lite.peering.storing import store_blocks, unstored
from lite.peering.values import Fetched
from lite.store import Store
from lite.ucan.invocation import Invocation
from sync.errors import ChannelError
from sync.within import within

if TYPE_CHECKING:
    from sync.dial import WebChannel

__all__ = ["fetch_privately", "open_inputs", "private_meta", "private_roots"]

_OPEN: Final = "open"
Dial = Callable[[str], Awaitable["WebChannel"]]


def private_meta(open_inputs: Sequence[CID]) -> dict[str, Any]:
    """What the `meta` of an invocation has to hold."""
    value: dict[str, Any] = {CONFIG: {"secret": True}}
    return {**value, _OPEN: list(open_inputs)} if open_inputs else value


def private_roots(invocation: Invocation) -> frozenset[CID]:
    """The inputs of a job that are secrets of its customer; none where the job is none."""
    from lite.invocations import instruction_of

    if not is_private(invocation.meta):
        return frozenset()
    instruction = instruction_of(invocation)
    roots = {*instruction.links(), *filter(None, [instruction.module])}
    return frozenset(roots.difference(open_inputs(invocation)))


def open_inputs(invocation: Invocation) -> list[CID]:
    """Those of the inputs of such a job that it names as no secrets."""
    told = invocation.meta.get(_OPEN)
    return [cid for cid in told if type(cid) is CID] if type(told) is list else []


async def fetch_privately(
    dial: Dial,
    did: str,
    store: Store,
    roots: Sequence[CID],
    *,
    bytes_max: int,
    within_ms: int,
    customer: str = "",
) -> Fetched:
    """Get what is below some roots from one node, and ask nobody else; each block is secret from
    the moment in which it is stored.

    Args:
        dial: opens a channel to a node.
        customer: it is a secret of this customer; empty: of this node.
    """
    budget, why, junk = Budget(bytes_max), "", frozenset[str]()
    over = full = refused = False

    async def keep(blocks: Sequence[Block]) -> None:
        put = partial(store_blocks, store, blocks, secret=True, customer=customer)
        await asyncio.get_running_loop().run_in_executor(None, put)

    async def lacking() -> list[CID]:
        look = partial(missing, store, roots, deep=True)
        return await asyncio.get_running_loop().run_in_executor(None, look)

    async def get() -> bool:
        channel = await dial(did)
        try:
            download = Download(channel, keep, budget, Pace(time.monotonic))
            asked: set[CID] = set()
            while todo := [cid for cid in await lacking() if cid not in asked]:
                await download.several(todo, deep=True)
                asked.update(todo)
            return bool(asked)
        finally:
            await channel.close()

    try:
        refused = await within(get(), within_ms / 1000)
    except asyncio.TimeoutError:
        why = f"it did not come within {within_ms} ms"
    except TooMuch as error:
        why, over = str(error), True
    except StoreError as error:
        why, full = unstored(error)
    except Junk as error:
        why, refused = f"{did} sent what it should not: {error}", True
        junk = frozenset([did])
    except ChannelError as error:
        why = f"{did} cannot be reached: {error}"
    gone = set(await lacking())
    if not gone:
        return Fetched(tuple(roots), (), budget.taken)
    absent = tuple(roots) if not gone.issuperset(roots) else tuple(gone.intersection(roots))
    refusing = frozenset([did] if refused else [])
    why = why or f"{did} does not give it"
    return Fetched((), absent, budget.taken, why, refusing, over, full, junk)
