"""While the clock cannot be right, nothing that begins or ends at a time gives anybody a right."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lite import Node
from lite.clock import EARLIEST_S
from lite.config import Config
from lite.model.workflow import Workflow
from lite.offload.dispatch import Dispatcher
from lite.offload.grants import Grants
from lite.offload.invoking import Rights
from lite.peering.readers import BLOCKS_COMMAND, COMMAND, Readers, delegated_readers
from lite.store import Store
from lite.ucan.refusals import ClockWrong, NoProofs
from tests.authority_support import add, give
from tests.clerk_support import Shop
from tests.outbox_support import OTHER_KEY, TTL_S, Far, needing
from tests.scheduler_support import do
from tests.store_support import KEY, START, FakeClock, raw_block
from tests.ucan_support import STRANGER

RUN = "/wasm/run"
PAST = 86_400


@pytest.mark.parametrize("wrong", [PAST, EARLIEST_S - 1, START - 3_600])
def test_readers_have_nothing_by_what_ends_and_all_by_what_does_not(
    pi: Node, laptop: Node, phone: Node, clock: FakeClock, wrong: int
) -> None:
    give(pi, laptop, COMMAND, expires_in_s=60)
    give(pi, laptop, BLOCKS_COMMAND, expires_in_s=10**6)
    give(pi, phone, COMMAND, expires_in_s=None)
    readers = Readers(pi.store, pi.key, clock)
    told = delegated_readers(pi.store, pi.key, clock)
    assert readers.may_now(laptop.did, BLOCKS_COMMAND)
    assert (set(told.records), told.blocks) == ({laptop.did, phone.did}, (laptop.did,))
    clock.seconds = START + 3_000
    pi.run(add(pi))  # the clock was that far
    clock.seconds = wrong
    assert pi.authority.clock_state().suspicious is not None
    told = delegated_readers(pi.store, pi.key, clock)
    assert (told.records, told.blocks) == ((phone.did,), ())
    readers.forget()
    assert [readers.may_read(one.did) for one in (laptop, phone)] == [False, True]
    assert not readers.may_now(laptop.did, BLOCKS_COMMAND)


def test_a_link_with_a_time_anywhere_in_the_chain_is_enough(
    pi: Node, laptop: Node, phone: Node, clock: FakeClock
) -> None:
    give(pi, laptop, RUN, expires_in_s=600)
    issued = laptop.authority.delegate(phone.did, RUN, expires_in_s=None, subject=pi.did)
    phone.authority.import_(laptop.authority.container([one.cid for one in issued.chain]))
    find = {"subject": pi.did, "audience": phone.did, "command": RUN}
    assert len(phone.authority.find_chain(**find) or ()) == 2
    rights = Rights(phone.store, phone.key, clock)
    assert rights.chain(pi.did, RUN, None)
    clock.seconds = PAST
    assert phone.authority.find_chain(**find) is None
    assert len(phone.authority.find_chain(**find, timed=True) or ()) == 2, "to be handed on"
    assert Rights(phone.store, phone.key, clock).chain(pi.did, RUN, None) is None
    assert Rights(phone.store, phone.key, clock).providers(RUN) == ()


def test_what_would_rest_on_it_is_refused_by_name(pi: Node, phone: Node, clock: FakeClock) -> None:
    give(pi, phone, RUN, expires_in_s=600)
    clock.seconds = PAST
    for expires_in_s in (None, 60):
        with pytest.raises(ClockWrong):
            phone.authority.delegate(STRANGER.did, RUN, expires_in_s=expires_in_s, subject=pi.did)
    with pytest.raises(ClockWrong, match=r"no delegation here gives .* the clock here shows"):
        phone.authority.invoke(pi.did, RUN, {}, expires_in_s=None)
    with pytest.raises(NoProofs):
        phone.authority.invoke(pi.did, "/crud/read", {}, expires_in_s=None)
    give(pi, phone, RUN, expires_in_s=None)
    assert len(phone.authority.invoke(pi.did, RUN, {}, expires_in_s=None)) == 2


@pytest.fixture
def shop(tmp_path: Path, clock: FakeClock) -> Iterator[Shop]:
    far = Far(tmp_path / "far", clock)
    yield Shop(far, clock)
    far.close()


def test_a_job_lets_its_provider_read_nothing_then(shop: Shop, clock: FakeClock) -> None:
    store = shop.lab.store
    leaf = raw_block("leaf")
    store.blocks.put_many([leaf])
    shop.queue(Workflow(heavy=needing(do("pure", value=leaf.cid))))
    shop.send()
    grants = Grants(store)
    assert grants.may_read(OTHER_KEY.did, leaf.cid)
    clock.seconds = PAST
    assert not grants.may_read(OTHER_KEY.did, leaf.cid)
    clock.seconds = START
    assert grants.may_read(OTHER_KEY.did, leaf.cid)


def test_no_job_is_signed_then_and_the_step_says_why(shop: Shop, clock: FakeClock) -> None:
    shop.queue(Workflow(heavy=needing(do("pure", value=1))))
    clock.seconds = PAST
    assert shop.send() == []
    (item,) = shop.lab.store.outbox.newest()
    assert "the clock here shows" in item.note


HEAVY = do("pure", value=1)
STEP = Workflow(heavy=needing(HEAVY))


def looked(shop: Shop) -> None:
    """A dispatcher looks once at the outbox, and ends."""
    lab = shop.lab
    config = Config.load(lab.store.home, {})
    here = {"executor": lab.executor, "here": lab.here, "store": lab.store}
    node: Any = SimpleNamespace(key=KEY, clock=shop.clock, config=config, **here)

    async def resume(_run: str) -> None:
        """As if it could not go on."""

    async def story() -> None:
        with Store.open(lab.store.home, clock=shop.clock) as store:
            of = (node, store, None)
            dispatcher = Dispatcher(*of, tell=lambda *_a, **_b: None, resume=resume)
            await dispatcher._look()
            await dispatcher.stop()

    asyncio.run(story())


@pytest.mark.parametrize("wrong", [PAST, START - 10 * TTL_S])
def test_what_was_queued_then_has_its_time_from_when_the_clock_is_right(
    shop: Shop, clock: FakeClock, wrong: int
) -> None:
    other = Workflow(one=do("pure", value=7))
    assert shop.lab.run(other).state == "done"  # signed while the clock was right
    clock.seconds = wrong
    shop.queue(STEP)
    outbox = shop.lab.store.outbox
    (item,) = outbox.newest()
    assert (item.created_at, item.deadline_at) == (wrong, wrong + TTL_S)
    clock.seconds = START + 5
    looked(shop)
    (item,) = outbox.newest()
    assert (item.state, item.created_at) == ("queued", START + 5)
    assert item.deadline_at == START + 5 + TTL_S
    clock.seconds += TTL_S
    looked(shop)  # once alone
    assert outbox.newest()[0].deadline_at == item.deadline_at
    assert len(shop.send()) == 1
    clock.seconds += 1
    looked(shop)
    assert outbox.newest()[0].state == "expired"


def test_what_was_queued_while_the_clock_was_right_is_late_as_ever(
    shop: Shop, clock: FakeClock
) -> None:
    shop.queue(STEP)
    clock.seconds = PAST
    looked(shop)
    clock.seconds = START + TTL_S + 1
    looked(shop)
    assert shop.lab.store.outbox.newest()[0].state == "expired"


def test_what_was_left_of_a_deadline_then_is_left_when_the_clock_is_right(
    shop: Shop, clock: FakeClock
) -> None:
    lab = shop.lab
    clock.seconds = PAST
    begun = lab.runs.begin(STEP, deadline_ms=60_000)  # and its process dies
    clock.seconds = START
    run = lab.runs.begin(STEP)
    assert run.id == begun.id
    assert run.go().state == "queued"
    row = lab.store.runs.get(run.id)
    assert row is not None and row.deadline_at == START + 61
    assert lab.store.outbox.newest()[0].deadline_at == START + 61
