"""What a customer used at each provider, by the receipts that it holds, which prove it; and what
its providers say that they counted for it.

Numbers that another node signed count within what it was allowed, as an odd one is no reason to
fail, and none may make a sum smaller:

    a whole number of 0 or more       itself, at most the limit
    anything else                     the limit
    no fuel                           0 of an operation that burns none, or where nothing ran for
                                      any time; of WebAssembly that ran, the limit
    no time                           the limit for who passed the job on; else 0
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

from lite.errors import IpvmError
from lite.frozen import frozen
from lite.limits import KILL_GRACE_MS, Limits
from lite.model.instruction import WASM_RUN
from lite.model.receipt import Receipt
from lite.offload.wire import Account
from lite.store import Store
from lite.store.jobs import DAY_S
from lite.store.jobs_used import COUNT_MAX, Usage, counted
from lite.ucan.invocation import Invocation

if TYPE_CHECKING:
    from sync.dial import WebChannel

__all__ = [
    "ASK_S",
    "Used",
    "ask_accounts",
    "beyond_belief",
    "plus",
    "usage_fields",
    "used_at",
    "used_by",
    "within",
]

ASK_S: Final = 5.0  # for which one provider is asked what it counted
JOBS_A_DAY: Final = 10**8  # that no provider does for one customer: each waits for its disk
_MICRO: Final = 1_000
_OWN: Final = Limits(fuel=COUNT_MAX, time_ms=COUNT_MAX // _MICRO)

Gateway = Callable[[str], Awaitable["WebChannel"]]


@frozen
class Used:
    """What receipts of one provider say that it took; `today`: those of this day (UTC)."""

    today: Usage = Usage()
    all: Usage = Usage()


def used_by(receipt: Receipt, limits: Limits = _OWN) -> Usage:
    """What a run used, as its receipt says.

    Args:
        limits: what it was allowed by whoever counts; default for what this node signed itself.
    """
    told = _told(receipt, limits, receipt.meta.get("op", WASM_RUN), no_time_us=0)
    return Usage(1, told.get("fuel", 0), told["time_us"] // _MICRO)


def within(receipt: Receipt, limits: Limits, op: str) -> dict[str, int]:
    """`fuel` and `time_us` of the meta of a receipt that another node signed, as they count.

    Args:
        limits: what it was allowed. op: the operation that ran.
    """
    return _told(receipt, limits, op, no_time_us=limits.time_ms * _MICRO)


def _told(receipt: Receipt, limits: Limits, op: str, *, no_time_us: int) -> dict[str, int]:
    meta = receipt.meta
    told = {"time_us": _bounded(meta.get("time_us"), limits.time_ms * _MICRO, no_time_us)}
    if "fuel" in meta or (op == WASM_RUN and told["time_us"]):
        said = meta.get("limits")
        unsaid = (Limits.guest() if limits is _OWN else limits).fuel
        own = _bounded(said.get("fuel") if type(said) is dict else None, limits.fuel, unsaid)
        told["fuel"] = _bounded(meta.get("fuel"), limits.fuel, own)
    return told


def _bounded(number: Any, most: int, absent: int) -> int:
    """A number of somebody else as it counts."""
    most = min(most, COUNT_MAX)
    if number is None:
        return min(absent, most)
    return min(number, most) if type(number) is int and number >= 0 else most


def plus(one: Usage, other: Usage) -> Usage:
    """Both together."""
    jobs, fuel, time_ms = one.jobs + other.jobs, one.fuel + other.fuel, one.time_ms + other.time_ms
    return Usage(jobs, counted(fuel), counted(time_ms))


def beyond_belief(account: Account, limits: Limits) -> str:
    """Why what a provider says that it counted cannot be right; empty: it can.

    Args:
        limits: what this node allows any job at most.
    """
    most = Limits().widen(limits)
    jobs = account.jobs
    most_ms = jobs * (most.time_ms + KILL_GRACE_MS)
    if jobs <= JOBS_A_DAY and account.fuel <= jobs * most.fuel and account.time_ms <= most_ms:
        return ""
    figures = f"{jobs} jobs, {account.fuel} fuel, {account.time_ms} ms today"
    return f"what it says cannot be right: {figures}"


def usage_fields(usage: Usage) -> dict[str, int]:
    """What JSON says of what was used."""
    return {"jobs": usage.jobs, "fuel": usage.fuel, "time_ms": usage.time_ms}


def used_at(store: Store, now: int) -> dict[str, Used]:
    """What this node used at each provider that it sent jobs to, by the receipts for them that are
    here, if any. What a provider knew before counts as well: its receipt says what it took then.

    Args:
        now: seconds since 1970.
    """
    found = defaultdict(Used, {did: Used() for did in store.outbox.providers()})
    for provider, data in store.outbox.answers():
        receipt = Receipt.from_store(data)
        if receipt.issuer != provider:
            continue
        used, before = used_by(receipt, _allowed(store, receipt)), found[provider]
        is_today = receipt.issued_at // DAY_S == now // DAY_S
        today = plus(before.today, used) if is_today else before.today
        found[provider] = Used(today, plus(before.all, used))
    return dict(sorted(found.items()))


def _allowed(store: Store, receipt: Receipt) -> Limits:
    """What this node allowed for a receipt: the limits in the invocation that it sent, else those
    of its owner's jobs."""
    sent = None if receipt.invocation is None else store.outbox.job(receipt.invocation)
    try:
        told = {} if sent is None else Invocation.parse(sent.token).args.get("limits")
    except IpvmError:  # the disk changed it
        told = {}
    asked = told if type(told) is dict else {}
    usual = Limits()
    most = _bounded(asked.get("fuel"), COUNT_MAX, usual.fuel)
    return Limits(fuel=most, time_ms=_bounded(asked.get("time"), COUNT_MAX, usual.time_ms))


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
