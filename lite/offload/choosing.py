"""Bids as a customer weighs them, and what of it goes together in one container."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from lite.frozen import replace
from lite.needs.bids import Bid
from lite.needs.capabilities import Capabilities, Gpu
from lite.needs.choice import Choice, Wish, choose
from lite.needs.requirements import Requirements
from lite.offload import wire
from lite.offload.invoking import Cargo
from lite.offload.plans import Plan

__all__ = ["asks_of", "chosen", "claimed", "loads", "told_of", "whys"]

CARGO_BYTES_MAX: Final = 3 * 1024 * 1024


Told = Mapping[str, Bid | wire.NoBid | str]
"""What each provider said about one step, or why it says nothing."""


def asks_of(plans: Iterable[Plan]) -> list[wire.Ask]:
    """The calls for bids on steps, each with what would go along."""
    leads = ((plan, plan.group.lead) for plan in plans)
    return [
        wire.Ask(lead.instruction.cid, lead.needs, plan.item.confirm, plan.along)
        for plan, lead in leads
    ]


def told_of(
    plans: Iterable[Plan], bids: Mapping[str, list[Bid | wire.NoBid] | str]
) -> Iterator[tuple[Plan, Told]]:
    """What was said about each step: the same instruction may be there twice, for two that need
    other things.

    Args:
        bids: by provider, on those of the steps that it may do, in their order.
    """
    turns = {did: iter(some) for did, some in bids.items() if not isinstance(some, str)}
    for plan in plans:
        dids = [did for did in bids if did in plan.providers]
        yield plan, {did: next(turns[did]) if did in turns else str(bids[did]) for did in dids}


def whys(told: Told) -> list[str]:
    """Why nobody bids, for people."""
    said = ((did, one) for did, one in told.items() if not isinstance(one, Bid))
    return [one if isinstance(one, str) else f"{did}: {one.message}" for did, one in said]


def chosen(
    plan: Plan,
    bids: Sequence[Bid],
    known: Mapping[str, Capabilities],
    worth_ms: Mapping[str, int],
    now: int,
) -> tuple[Plan, Choice]:
    """The bids in the order in which to take them; without what goes along where nobody takes
    that. `worth_ms`: how much time one unit of a price is worth, by unit."""
    lead = plan.group.lead
    has = {
        bid.provider: known.get(bid.provider)
        or claimed(bid.provider, lead.needs, *(() if bid.alone else plan.along))
        for bid in bids
    }
    alone = Wish(lead.instruction.cid, lead.needs, worth_ms=worth_ms)
    choice = choose(bids, replace(alone, along=plan.along), has, {}, now)
    if choice.ranked or not plan.along:
        return plan, choice
    return replace(plan, group=plan.group.alone), choose(bids, alone, has, {}, now)


def claimed(provider: str, *steps: Requirements) -> Capabilities:
    """What a provider says by a bid that it has, where it has published nothing: what the steps
    need of a machine. Its tags are not known."""
    gpus: tuple[Gpu, ...] = ()
    for needs in (needs.gpu for needs in steps if needs.gpu is not None):
        gpus += (Gpu(needs.kind or "gpu", needs.kind or "gpu", needs.memory_bytes or None),) * (
            needs.count
        )
    return Capabilities(
        provider,
        arch=next((needs.arch for needs in steps if needs.arch), ""),
        cores=max(1, *(needs.cores for needs in steps)),
        memory_bytes=max(needs.memory_bytes for needs in steps),
        disk_bytes=max(needs.disk_bytes for needs in steps),
        gpus=gpus,
        engine=tuple(sorted({name for needs in steps for name in needs.engine})),
        ops=tuple(sorted({op for needs in steps for op in needs.ops})),
    )


def loads(cargos: Sequence[Cargo]) -> list[list[Cargo]]:
    """Cargos that fit into one container each."""
    found: list[list[Cargo]] = []
    jobs = size = 0
    for cargo in cargos:
        more = sum(len(job.token) for job in cargo.jobs) + sum(map(len, cargo.tokens))
        if not found or jobs + len(cargo.jobs) > wire.JOBS_MAX or size + more > CARGO_BYTES_MAX:
            found.append([])
            jobs = size = 0
        found[-1].append(cargo)
        jobs, size = jobs + len(cargo.jobs), size + more
    return found
