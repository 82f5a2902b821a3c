"""What waits in the outbox: every row has its turn, and rows share a job where it is for both."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lite.config import Config
from lite.keys import Key
from lite.model.result import Result
from lite.model.workflow import Workflow
from lite.needs.bids import Bid
from lite.offload import wire
from lite.offload.choosing import told_of, whys
from lite.offload.dispatch import Dispatcher
from lite.store import Store
from lite.store.outbox_rows import Item, Job
from tests.clerk_support import Shop, shops
from tests.outbox_support import OTHER_KEY, needing
from tests.scheduler_support import do
from tests.store_support import KEY

THIRD = Key.from_seed(bytes([11]) * 32)
HEAVY = do("pure", value=1)
NEAR = {OTHER_KEY.did}
PAGE = 10


@pytest.fixture
def open_shop(tmp_path: Path) -> Iterator[Callable[..., Shop]]:
    with shops(tmp_path / "home") as make:
        yield make


@pytest.fixture
def shop(open_shop: Callable[..., Shop]) -> Shop:
    return open_shop(OTHER_KEY, THIRD)


def away(shop: Shop, count: int, first: int = 100) -> None:
    """Steps that only a provider may do who cannot be reached."""
    requires = {"gpu": True, "key": THIRD.did}
    values = range(first, first + count)
    steps = {f"s{value}": needing(do("pure", value=value), requires=requires) for value in values}
    shop.queue(Workflow(**steps))


def near(shop: Shop, label: str = "near", **meta: Any) -> None:
    """A step that goes at once where it is looked at."""
    asked = {"requires": {"gpu": True, "key": OTHER_KEY.did}, **meta}
    shop.queue(Workflow(**{label: needing(do("pure", value=label), **asked)}))


def items(shop: Shop) -> list[Item]:
    """The oldest first."""
    return list(reversed(shop.lab.store.outbox.newest()))


def looked(shop: Shop) -> list[str]:
    """The labels of what may be offered of the next page."""
    return [plan.item.label for plan in shop.clerk.plans(PAGE, NEAR)]


# Turns.


def test_what_nobody_can_take_keeps_no_other_step_from_its_turn(shop: Shop) -> None:
    away(shop, 3 * PAGE)
    near(shop)
    pages = [looked(shop)]
    while shop.clerk.planning.has_more:
        pages.append(looked(shop))
    assert ["near"] in pages and len(pages) <= 8
    notes = {item.note for item in items(shop) if item.label != "near"}
    assert notes == {f"not connected: {THIRD.did}"}


def test_a_look_goes_through_no_more_than_one_page(shop: Shop) -> None:
    away(shop, 3 * PAGE)
    assert looked(shop) == []
    assert sum(bool(item.note) for item in items(shop)) == PAGE
    assert shop.clerk.planning.has_more


def test_what_is_new_does_not_wait_for_what_was_there_before_it(shop: Shop) -> None:
    away(shop, 5 * PAGE)
    while looked(shop) or shop.clerk.planning.has_more:
        pass
    assert looked(shop) == [] and shop.clerk.planning.has_more  # a round has begun
    near(shop)
    assert looked(shop) == ["near"]


def test_a_round_that_is_under_way_is_followed_by_another_when_something_happens(
    shop: Shop,
) -> None:
    away(shop, 3 * PAGE)
    while looked(shop) or shop.clerk.planning.has_more:
        pass
    looked(shop)  # of the first page nothing goes
    shop.clerk.planning.begin()
    found: list[str] = []
    while shop.clerk.planning.has_more:
        found += [plan.item.label for plan in shop.clerk.plans(PAGE)]
    assert "s100" in found  # as its provider is near by now


def test_what_rests_is_not_read_until_its_time(shop: Shop) -> None:
    near(shop)
    (item,) = items(shop)
    shop.clerk.unsold(item, "nobody made a bid", again=True)
    assert shop.lab.store.outbox.ready(PAGE) == [] == looked(shop)
    assert items(shop)[0].note == "nobody made a bid"
    shop.clock.seconds += 3_600
    assert looked(shop) == ["near"]


def test_pages_go_from_the_most_urgent_to_the_least(shop: Shop) -> None:
    for value, priority in enumerate((0, 5, -5, 5, 0, 0, -5)):
        near(shop, f"s{value}", priority=priority)
    outbox = shop.lab.store.outbox
    order = [item.label for item in outbox.ready(100)]
    assert order == ["s1", "s3", "s0", "s4", "s5", "s2", "s6"]
    walked: list[Item] = []
    while page := outbox.ready(2, behind=(walked[-1].priority, walked[-1].id) if walked else None):
        walked += page
    assert [item.label for item in walked] == order


def test_the_daemon_goes_from_page_to_page_by_itself(
    shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lite.offload.dispatch.ROUND_MAX", PAGE)
    monkeypatch.setattr("lite.offload.dispatch.PAGES_S", 0.0)  # one page a look
    away(shop, 4 * PAGE)
    node: Any = SimpleNamespace(
        key=KEY,
        clock=shop.clock,
        config=Config.load(tmp_path, {}),
        executor=shop.lab.executor,
        here=shop.lab.here,
    )
    nobody: Any = SimpleNamespace(
        talks=list,
        book=SimpleNamespace(addresses=lambda _did: [], banned_s=lambda _did: 0),
        watched=lambda _noticed: nullcontext(),
    )

    async def story() -> None:
        async def resume(run: str) -> None:
            raise AssertionError(run)

        store = Store.open(shop.lab.store.home, clock=shop.clock)
        told: dict[str, Any] = {"tell": lambda *_a, **_b: None, "resume": resume}
        dispatcher = Dispatcher(node, store, nobody, **told)
        running = asyncio.ensure_future(dispatcher.run())
        while not all(item.note for item in items(shop)):
            assert not running.done()
            await asyncio.sleep(0.01)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await dispatcher.stop()
        store.close()

    asyncio.run(asyncio.wait_for(story(), 20))


# One job for several.


def twice(shop: Shop, one: dict[str, Any], other: dict[str, Any], **asked: Any) -> list[Item]:
    """The same step in two runs; `asked` of the second one."""
    gpu = {"requires": {"gpu": True}}
    shop.queue(Workflow(one=needing(HEAVY, **{**gpu, **one})))
    shop.queue(Workflow(other=needing(HEAVY, **{**gpu, **other})), **asked)
    return items(shop)


def test_one_job_is_for_all_who_ask_for_the_same(shop: Shop) -> None:
    twice(shop, {}, {"priority": 3})
    (job,) = shop.send()
    assert shop.item(job).label == "other"  # the more urgent of both
    assert items(shop)[0].note == "the same step is asked for already"
    shop.hear(job, shop.receipt(job))
    assert [item.state for item in items(shop)] == ["done", "done"]


@pytest.mark.parametrize(
    "one, other, asked",
    [
        ({"limits": {"fuel": 1_000}}, {}, {}),
        ({"requires": {"gpu": {"count": 2}}}, {}, {}),
        ({}, {}, {"confirm": 2}),
    ],
)
def test_who_asks_for_something_else_asks_for_itself(
    shop: Shop, one: dict[str, Any], other: dict[str, Any], asked: dict[str, Any]
) -> None:
    first, second = twice(shop, one, other, **asked)
    assert [plan.item.id for plan in shop.clerk.plans(PAGE)] == [first.id, second.id]


def out_of_fuel(shop: Shop, job: Job) -> Any:
    error = {"code": "out-of-fuel", "message": "it used all of its fuel"}
    meta = {"op": HEAVY.op, "level": "pure", "limits": {"fuel": 1_000, "memory": 1 << 20}}
    return shop.receipt(job, out=Result.of_error(error), meta=meta)


def test_an_end_at_the_limit_of_one_run_is_no_answer_to_another(shop: Shop) -> None:
    twice(shop, {"limits": {"fuel": 1_000}}, {})
    tight, wide = items(shop)
    (job, *_) = (one for one in shop.send() if one.item == tight.id)
    shop.clerk.unsold(wide, "nobody made a bid", again=True)  # so that it waits
    shop.hear(job, out_of_fuel(shop, job))
    assert [item.state for item in items(shop)] == ["failed", "queued"]


def test_a_value_counts_also_for_who_asked_within_other_limits(shop: Shop) -> None:
    twice(shop, {"limits": {"fuel": 1_000}}, {})
    tight, wide = items(shop)
    (job, *_) = (one for one in shop.send() if one.item == tight.id)
    shop.clerk.unsold(wide, "nobody made a bid", again=True)
    shop.hear(job, shop.receipt(job))
    assert [item.state for item in items(shop)] == ["done", "done"]


def test_one_word_is_no_answer_to_who_wants_it_confirmed(shop: Shop) -> None:
    plain, sure = twice(shop, {}, {}, confirm=2)
    (job, *_) = (one for one in shop.send() if one.item == plain.id)
    shop.clerk.unsold(sure, "nobody made a bid", again=True)
    shop.hear(job, shop.receipt(job))
    assert [item.state for item in items(shop)] == ["done", "queued"]


def test_a_run_that_is_begun_again_with_more_to_confirm_it_waits_for_these(shop: Shop) -> None:
    workflow = Workflow(heavy=needing(HEAVY))
    for confirm in (1, 2, 1):
        shop.queue(workflow, confirm=confirm)
    assert [item.confirm for item in items(shop)] == [2]


def test_bids_on_two_that_need_other_things_are_told_apart(shop: Shop) -> None:
    twice(shop, {"requires": {"gpu": {"count": 2}}}, {})
    plans = shop.clerk.plans(PAGE)
    bid = Bid(HEAVY.cid, OTHER_KEY.did, until=shop.clock.now() + 60)
    bids: Any = {
        OTHER_KEY.did: [wire.NoBid(HEAVY.cid, "gpu", "it has one"), bid],
        THIRD.did: "not connected: it is away",
    }
    (_, first), (_, second) = told_of(plans, bids)
    assert second[OTHER_KEY.did] == bid
    assert whys(first) == [f"{OTHER_KEY.did}: it has one", "not connected: it is away"]


def test_what_was_left_to_its_owner_keeps_no_other_run_from_asking(shop: Shop) -> None:
    one, other = twice(shop, {}, {})
    assert [plan.item.id for plan in shop.clerk.plans(PAGE)] == [one.id]
    outbox = shop.lab.store.outbox
    outbox.set_state([one.id], "queued", next_try_at=one.deadline_at)
    assert [plan.item.id for plan in shop.clerk.plans(PAGE)] == [other.id]


def test_who_refused_a_step_for_what_one_run_needs_is_asked_for_another(shop: Shop) -> None:
    shop.queue(Workflow(tight=needing(HEAVY, requires={"gpu": True}, limits={"fuel": 1_000})))
    (job,) = shop.send()
    shop.refuse(job, "over-fuel")
    shop.queue(Workflow(wide=needing(HEAVY)))
    plans = {plan.item.label: plan.providers for plan in shop.clerk.plans(PAGE)}
    assert job.provider in plans["wide"] and job.provider not in plans["tight"]
