"""What a customer used at each provider, by the receipts that it holds, which prove it; and what
its providers say that they counted for it."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Final

from lite.errors import IpvmError
from lite.frozen import frozen
from lite.model.receipt import Receipt
from lite.offload.wire import Account
from lite.store import Store
from lite.store.jobs import DAY_S, Usage

if TYPE_CHECKING:
    from sync.dial import WebChannel

__all__ = ["ASK_S", "Used", "ask_accounts", "plus", "usage_fields", "used_at", "used_by"]

ASK_S: Final = 5.0  # for which one provider is asked what it counted
_MICRO: Final = 1_000

Gateway = Callable[[str], Awaitable["WebChannel"]]


@frozen
class Used:
    """What receipts of one provider say that it took; `today`: those of this day (UTC)."""

    today: Usage = Usage()
    all: Usage = Usage()


def used_by(receipt: Receipt) -> Usage:
    """What a run used, as its receipt says."""
    fuel, time_us = receipt.meta.get("fuel"), receipt.meta.get("time_us")
    return Usage(
        1,
        fuel if type(fuel) is int else 0,
        time_us // _MICRO if type(time_us) is int else 0,
    )


def plus(one: Usage, other: Usage) -> Usage:
    """Both together."""
    return Usage(one.jobs + other.jobs, one.fuel + other.fuel, one.time_ms + other.time_ms)


def usage_fields(usage: Usage) -> dict[str, int]:
    """What JSON says of what was used."""
    return {"jobs": usage.jobs, "fuel": usage.fuel, "time_ms": usage.time_ms}


def used_at(store: Store, now: int) -> dict[str, Used]:
    """What this node used at each provider, by the receipts for its jobs that are here. What a
    provider knew before counts as well: its receipt says what it took then.

    Args:
        now: seconds since 1970.
    """
    found: defaultdict[str, Used] = defaultdict(Used)
    for provider, data in store.outbox.answers():
        receipt = Receipt.from_store(data)
        if receipt.issuer != provider:
            continue
        used, before = used_by(receipt), found[provider]
        is_today = receipt.issued_at // DAY_S == now // DAY_S
        today = plus(before.today, used) if is_today else before.today
        found[provider] = Used(today, plus(before.all, used))
    return dict(sorted(found.items()))


async def ask_accounts(gateway: Gateway, providers: Sequence[str]) -> dict[str, Account | str]:
    """What each provider says that it counted for this node today, or why it says nothing; all are
    asked at once, each for `ASK_S` at most.

    Args:
        gateway: opens a channel to a peer.
    """
    told = await asyncio.gather(*(_ask(gateway, did) for did in providers))
    return dict(zip(providers, told, strict=True))


async def _ask(gateway: Gateway, did: str) -> Account | str:
    from lite.offload.client import JobClient
    from sync.errors import ChannelError
    from sync.within import within

    async def ask() -> Account:
        channel = await gateway(did)
        try:
            return await JobClient(channel).account()
        finally:
            await channel.close()

    try:
        return await within(ask(), ASK_S)
    except asyncio.TimeoutError:
        return f"it did not answer in {ASK_S:.0f} s"
    except (ChannelError, IpvmError) as error:
        return str(error)
