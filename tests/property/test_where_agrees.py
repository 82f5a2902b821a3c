"""Whoever a look at a workflow names as able to run a step is who the outbox would send it to."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from lite.cli.workflow_where import _Others
from lite.keys import Key
from lite.model.workflow import Step, Workflow
from lite.needs.bids import Bid
from lite.needs.capabilities import Capabilities, Gpu
from lite.needs.fit import Whereabouts
from lite.node import Node
from lite.offload.choosing import chosen
from lite.offload.confirming import WRONG
from lite.offload.invoking import NoChain, pack_most
from lite.peering.capability_set import CapabilitySet, known_capabilities, publish
from tests.clerk_support import Shop, shops
from tests.outbox_support import needing
from tests.scheduler_support import do
from tests.store_support import KEY

OTHERS = [Key.from_seed(bytes([seed]) * 32) for seed in range(60, 65)]
COMMANDS = ("/", "/lab", "/lab/pure", "/other", "")
POLICIES: Sequence[list[Any]] = (
    [],
    [],
    [["<=", ".limits.fuel", 5_000_000]],
    [["!=", ".input.as", "step"]],
)
WHYS = ("gave a wrong answer", "no right to", "over-fuel: ", "no delegation of ")
LIMITS: Sequence[dict[str, int]] = ({}, {"fuel": 4_000_000}, {"fuel": 6_000_000})


def wanted(chance: random.Random) -> dict[str, Any]:
    """What a step declares; some node may have all of it, this one has none."""
    found: dict[str, Any] = {"gpu": True}
    if chance.random() < 0.4:
        found["memory"] = 1 << chance.randint(30, 36)
    if chance.random() < 0.3:
        found["affinity"] = {"tag": "lab"}
    if chance.random() < 0.2:
        found["anti_affinity"] = {"did": chance.choice(OTHERS).did}
    if chance.random() < 0.15:
        found["key"] = chance.choice(OTHERS).did
    return found


def populate(shop: Shop, chance: random.Random) -> None:
    """What is known of other nodes: records, delegations, wrong answers."""
    store, clock = shop.lab.store, shop.clock
    for key in OTHERS:
        if chance.random() < 0.7:
            has = Capabilities(
                key.did,
                cores=8,
                memory_bytes=1 << chance.randint(30, 36),
                gpus=(Gpu("nvidia", "H200", None),) * chance.randint(0, 1),
                ops=("lab/pure",) if chance.random() < 0.9 else (),
                tags=("lab",) if chance.random() < 0.5 else (),
            )
            assert publish(CapabilitySet(store, clock), key, clock, has) is not None
        if command := chance.choice(COMMANDS):
            shop.allow(key, command, policy=chance.choice(POLICIES))
        if chance.random() < 0.2:
            store.outbox.refused(key.did, WRONG)


def named(shop: Shop, workflow: Workflow) -> Whereabouts:
    node = SimpleNamespace(store=shop.lab.store, key=KEY, clock=shop.clock, did=KEY.did)
    look = shop.lab.runs.outlook_among(_Others(cast(Node, node)))
    return look.where(workflow)["step"]


def sent_to(shop: Shop) -> set[str]:
    """All those to whom the one step that waits could go, if each of them made a bid."""
    store, now = shop.lab.store, shop.clock.now()
    found: set[str] = set()
    for plan in shop.clerk.plans(10):
        ins = plan.group.lead.instruction.cid
        bids = [Bid(ins, did, until=now + 60) for did in plan.providers]
        plan, choice = chosen(plan, bids, known_capabilities(store, now), {}, now)
        rights = shop.clerk.planning.rights
        for ranked in choice.ranked:
            try:
                pack_most(KEY, rights, plan.group, ranked, now=now, lease_s=60, along_from=-1)
            except NoChain:
                continue
            found.add(ranked.bid.provider)
    return found


def looked_at(home: Path, seed: int) -> Whereabouts:
    """Where a step of a made-up world can run, as it is said and as the outbox has it."""
    chance = random.Random(seed)
    with shops(home) as make:
        shop = make(KEY)  # its only delegation is one of this node to itself, which asks nobody
        populate(shop, chance)
        meta = {"requires": wanted(chance), "limits": chance.choice(LIMITS)}
        step = needing(do("pure", **{"as": "step"}), **meta)
        workflow = Workflow.of([Step("step", step)])
        where = named(shop, workflow)
        assert shop.queue(workflow).counts == {"queued": 1}
        told = {*where.elsewhere, *where.perhaps}
        assert told == sent_to(shop), seed
        assert told.isdisjoint(did for did, _ in where.barred)
        return where


def test_who_is_named_before_a_run_is_who_the_outbox_would_send_to(
    tmp_path: Path, scaled: Callable[[int, int], int]
) -> None:
    seen: set[str] = set()
    for seed in range(scaled(120, 1_000)):
        where = looked_at(tmp_path / str(seed), seed)
        assert not where.here.ok
        seen |= {name for name in ("elsewhere", "perhaps", "barred") if getattr(where, name)}
        seen |= {why for why in WHYS for _, text in where.barred if why in text}
    assert seen == {"elsewhere", "perhaps", "barred", *WHYS}  # else it would show nothing
