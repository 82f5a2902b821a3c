"""Who refused a step is asked for it again after 60 s, whatever keeps all others from it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lite.config import Config
from lite.errors import StoreBusy
from lite.frozen import replace
from lite.keys import Key
from lite.model.workflow import Workflow
from lite.needs.bids import Bid
from lite.needs.capabilities import Capabilities
from lite.needs.choice import Wish, choose
from lite.offload.client import ProviderRefused
from lite.offload.confirming import WRONG
from lite.offload.dispatch import Dispatcher
from lite.offload.resting import REFUSED_S
from lite.offload.wire import Denied
from lite.store import Store
from lite.store.outbox_rows import Item, Job
from tests.clerk_support import Shop
from tests.outbox_support import OTHER_KEY, Far, needing
from tests.scheduler_support import do
from tests.store_support import KEY, FakeClock

OFF, THIRD = Key.from_seed(bytes([11]) * 32), Key.from_seed(bytes([12]) * 32)
NEAR = {OTHER_KEY.did}
HEAVY = do("pure", value=1)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def open_shop(tmp_path: Path, clock: FakeClock) -> Iterator[Callable[..., Shop]]:
    labs: list[Far] = []

    def make(*keys: Key) -> Shop:
        labs.append(Far(tmp_path / "shop", clock))
        return Shop(labs[-1], clock, *keys)

    yield make
    for lab in labs:
        lab.close()


def refused(shop: Shop, **meta: Any) -> Job:
    """A job of a step that its provider, the only one there is yet, refused."""
    shop.queue(Workflow(heavy=needing(HEAVY, requires={"gpu": True}, **meta)))
    (job,) = shop.send()
    assert job.provider == OTHER_KEY.did
    shop.refuse(job, "per-day")
    return job


def off(shop: Shop) -> None:
    """Another one may do it, and is off."""
    shop.allow(OFF)


def tight(shop: Shop) -> None:
    """Another one may do it, but for the fuel that the step names."""
    shop.allow(OFF, policy=[["<=", ".limits.fuel", 10]])


@pytest.mark.parametrize("other", [off, tight])
def test_who_refused_is_asked_again_though_another_cannot_be(
    open_shop: Callable[..., Shop], other: Callable[[Shop], None], clock: FakeClock
) -> None:
    shop = open_shop()
    job = refused(shop, limits={"fuel": 1_000})
    other(shop)
    near = NEAR if other is off else None
    assert shop.clerk.plans(10, near) == []
    note = shop.item(job).note
    assert note.startswith(f"{OTHER_KEY.did}: because of per-day (it is asked again 60 s after")
    assert OFF.did in note, "and why not the other"
    resting = shop.clerk.planning.resting
    assert resting.over_at == clock.now() + REFUSED_S
    clock.seconds += REFUSED_S
    (plan,) = shop.clerk.plans(10, near)
    assert OTHER_KEY.did in plan.providers
    assert resting.over_at is None, "nobody rests any more"


def test_the_note_names_no_liar_that_may_not_do_it_anyway(open_shop: Callable[..., Shop]) -> None:
    shop = open_shop()
    job = refused(shop)
    shop.lab.store.outbox.refused(THIRD.did, WRONG)
    assert shop.clerk.plans(10, NEAR) == []
    assert shop.item(job).note == f"{OTHER_KEY.did}: because of per-day"


@pytest.mark.parametrize("level", ["pure", "post"])
def test_what_runs_here_just_then_is_looked_at_again(
    open_shop: Callable[..., Shop], clock: FakeClock, level: str
) -> None:
    shop = open_shop()
    store = shop.lab.store
    shop.queue(Workflow(heavy=needing(do(level, value=1))))
    (item,) = store.outbox.newest()
    with store.database.write() as transaction:
        transaction.execute("UPDATE steps SET state = 'running'")
    plan = shop.plan()
    shop.clerk.asked([plan])
    ins, until = plan.group.lead.instruction.cid, clock.now() + 60
    bid = Bid(ins, OTHER_KEY.did, until=until)
    has = {OTHER_KEY.did: Capabilities(OTHER_KEY.did, cores=9, ops=plan.group.lead.needs.ops)}
    wish = Wish(ins, replace(plan.group.lead.needs, gpu=None))
    assert shop.clerk.pack([(plan, choose([bid], wish, has, {}, clock.now()))]) == []
    item = store.outbox.get(item.id)
    assert (item.state, item.note) == ("queued", "it is being run here")
    assert item.next_try_at is not None and item.next_try_at > clock.now()
    with store.database.write() as transaction:
        transaction.execute("UPDATE steps SET state = 'queued'")
    clock.seconds = item.next_try_at
    assert [job.item for job in shop.send()] == [item.id]


def test_a_customer_does_not_hear_that_it_may_have_begun_while_it_runs_here(
    open_shop: Callable[..., Shop], monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = open_shop()
    shop.queue(Workflow(heavy=needing(do("post", value=1))))
    (item,) = shop.lab.store.outbox.newest()
    begun: list[int] = []

    def begin(one: Item) -> str:
        begun.append(one.id)
        return ""

    monkeypatch.setattr(shop.clerk._behalf, "begin", begin)
    with shop.lab.store.lease(item.instruction):
        assert shop.send() == [] and begun == []
    assert [job.item for job in shop.send()] == begun == [item.id]


def test_who_comes_is_asked_at_once_for_what_others_do_not_take(
    open_shop: Callable[..., Shop], clock: FakeClock
) -> None:
    shop = open_shop(OTHER_KEY, OFF)
    shop.queue(Workflow(heavy=needing(HEAVY), left=needing(do("pure", value=2))))

    def looked(*near: str) -> list[str]:
        return [plan.item.label for plan in shop.clerk.plans(10, near)]

    def unsold() -> None:
        """Nobody took it, again and again; the other one was left to its owner."""
        for item in shop.lab.store.outbox.newest():
            is_left = item.label == "left"
            later = item.deadline_at if is_left else clock.now() + 3_000
            shop.lab.store.outbox.note(item.id, "busy", next_try_at=later)

    assert sorted(looked(OTHER_KEY.did)) == ["heavy", "left"]
    unsold()
    assert looked(OTHER_KEY.did) == []
    assert looked(OTHER_KEY.did, OFF.did) == ["heavy"]
    unsold()
    assert looked(OTHER_KEY.did) == [] and looked(OTHER_KEY.did, OFF.did) == [], "it only flickers"
    clock.seconds += 600
    assert looked(OTHER_KEY.did) == [] and looked(OTHER_KEY.did, OFF.did) == ["heavy"]


def test_a_store_that_fails_for_a_moment_keeps_no_step_for_ever(
    open_shop: Callable[..., Shop], clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = open_shop()
    shop.queue(Workflow(heavy=needing(HEAVY)))

    def busy(*_: object) -> None:
        raise StoreBusy("the store is locked")

    with monkeypatch.context() as patched:
        patched.setattr(shop.lab.store.instructions, "get", busy)
        assert shop.clerk.plans(10) == []
    (item,) = shop.lab.store.outbox.newest()
    assert item.note == "the store is locked"
    assert item.next_try_at is not None and item.next_try_at > clock.now()


class Played:
    """The line to a provider that bids, or refuses to, and takes what comes."""

    def __init__(self, shop: Shop) -> None:
        self.shop, self.asked = shop, list[str]()
        self.error: ProviderRefused | None = None

    async def client(self) -> Played:
        return self

    def follow(self) -> None:
        pass

    async def close(self) -> None:
        pass

    async def bids(self, asks: Any) -> list[Bid]:
        self.asked.append("bids")
        if self.error is not None:
            raise self.error
        until = self.shop.clock.now() + 60
        return [Bid(ask.instruction, OTHER_KEY.did, until=until) for ask in asks]

    async def send(self, tokens: Any) -> list[Any]:
        self.asked.append("send")
        return []


def looking(shop: Shop, home: Path, story: Callable[[Dispatcher, Played], Any]) -> None:
    """A story with a dispatcher to which one provider alone is near."""

    async def whole() -> None:
        talks = [SimpleNamespace(session=SimpleNamespace(peer=OTHER_KEY.did))]
        book = SimpleNamespace(addresses=lambda did: [], banned_s=lambda did: 0)
        lab = shop.lab
        node: Any = SimpleNamespace(
            key=KEY,
            clock=shop.clock,
            config=Config.load(home, {}),
            executor=lab.executor,
            here=lab.here,
        )
        store = Store.open(lab.store.home, clock=shop.clock)
        peering: Any = SimpleNamespace(talks=lambda: talks, book=book)

        async def resume(run: str) -> None:
            raise AssertionError(run)

        made = Dispatcher(node, store, peering, tell=lambda *_a, **_b: None, resume=resume)
        played = Played(shop)
        made._ways.lines[OTHER_KEY.did] = played  # type: ignore[assignment]
        try:
            await story(made, played)
        finally:
            await made.stop()
            store.close()

    asyncio.run(whole())


def test_the_dispatcher_wakes_for_who_rests(
    open_shop: Callable[..., Shop], tmp_path: Path, clock: FakeClock
) -> None:
    shop = open_shop()
    refused(shop)
    off(shop)

    async def story(dispatcher: Dispatcher, played: Played) -> None:
        pause = await dispatcher._look()
        assert pause is not None and 0 < pause <= REFUSED_S
        assert played.asked == []
        clock.seconds += REFUSED_S
        await dispatcher._look()
        assert played.asked == ["bids", "send"]

    looking(shop, tmp_path, story)


def test_who_refuses_to_bid_is_asked_again(
    open_shop: Callable[..., Shop], tmp_path: Path, clock: FakeClock
) -> None:
    shop = open_shop()
    shop.queue(Workflow(heavy=needing(HEAVY)))

    async def story(dispatcher: Dispatcher, played: Played) -> None:
        played.error = ProviderRefused(Denied("starting", "it starts"), 503)
        pause = await dispatcher._look()
        assert pause is not None and 0 < pause <= 60
        (item,) = shop.lab.store.outbox.newest()
        assert item.note == f"{OTHER_KEY.did}: starting: it starts"
        assert item.next_try_at is not None
        played.error, clock.seconds = None, item.next_try_at + 1
        await dispatcher._look()
        assert played.asked == ["bids", "bids", "send"]

    looking(shop, tmp_path, story)
