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
from lite.offload.resting import COMES_S, REFUSED_S
from lite.offload.wire import Denied, NoBid
from lite.store import Store
from lite.store.outbox_rows import Item, Job
from sync.health import BANNED, Notice
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

    def looked(came: str = "") -> list[str]:
        return [plan.item.label for plan in shop.clerk.plans(10, shop.keys, {came} - {""})]

    def unsold() -> None:
        """Nobody took it, again and again; the other one was left to its owner."""
        for item in shop.lab.store.outbox.newest():
            is_left = item.label == "left"
            later = item.deadline_at if is_left else clock.now() + 3_000
            shop.lab.store.outbox.note(item.id, "busy", next_try_at=later)

    assert sorted(looked()) == ["heavy", "left"]
    unsold()
    assert looked() == []
    assert looked(OFF.did) == ["heavy"]
    unsold()
    assert looked(OFF.did) == [], "it only flickers"
    assert shop.clerk.planning.resting.left_s() == COMES_S
    clock.seconds += COMES_S
    assert looked() == ["heavy"]
    unsold()
    assert looked() == []
    clock.seconds += COMES_S
    shop.allow(OFF)
    assert looked() == ["heavy"], "a delegation came"


def test_nothing_is_woken_by_delegations_of_others(
    open_shop: Callable[..., Shop], clock: FakeClock
) -> None:
    shop = open_shop()
    shop.queue(Workflow(heavy=needing(HEAVY)))
    (plan,) = shop.clerk.plans(10)
    shop.lab.store.outbox.note(plan.item.id, "busy", next_try_at=clock.now() + 3_000)
    shop.allow(THIRD, audience=OFF.did)
    assert shop.clerk.plans(10) == []


def test_a_step_waits_no_longer_than_it_may_by_whatever_clock(
    open_shop: Callable[..., Shop], clock: FakeClock
) -> None:
    shop = open_shop()
    shop.queue(Workflow(heavy=needing(HEAVY), left=needing(do("pure", value=2))))
    ahead = 7_200
    clock.seconds += ahead
    plans = {plan.item.label: plan.item for plan in shop.clerk.plans(10)}
    with shop.lab.store.database.write() as transaction:
        transaction.execute("UPDATE outbox SET deadline_at = ?", (clock.now() + 9_999,))
    shop.clerk.unsold(plans["heavy"], "busy", again=True)
    until = clock.now() + 9_999
    shop.lab.store.outbox.note(plans["left"].id, "left to its owner", next_try_at=until)
    clock.seconds -= ahead
    assert [plan.item.label for plan in shop.clerk.plans(10)] == ["heavy"]


def test_who_refused_by_a_clock_that_was_ahead_is_asked_again_in_time(
    open_shop: Callable[..., Shop], clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = open_shop(OTHER_KEY)
    began = clock.now()
    passed = [0.0]
    monkeypatch.setattr(clock, "monotonic", lambda: passed[0], raising=False)
    clock.seconds += 7_200
    refused(shop)
    off(shop)
    assert shop.clerk.plans(10, NEAR) == []
    clock.seconds = began + 5
    passed[0] = 5
    assert shop.clerk.plans(10, NEAR) == []
    assert shop.clerk.planning.resting.left_s() == REFUSED_S - 5
    clock.seconds, passed[0] = began + REFUSED_S, REFUSED_S
    (plan,) = shop.clerk.plans(10, NEAR)
    assert OTHER_KEY.did in plan.providers


def test_a_step_that_all_left_alone_is_ready_when_the_first_of_them_may_be_asked(
    open_shop: Callable[..., Shop], clock: FakeClock
) -> None:
    shop = open_shop()
    job = refused(shop)
    with shop.lab.store.database.write() as transaction:
        transaction.execute("UPDATE outbox SET attempts = 9")
    assert shop.clerk.plans(10, NEAR) == []
    assert shop.item(job).next_try_at == clock.now() + REFUSED_S


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
        self.no, self.did = "", OTHER_KEY.did
        self.error: ProviderRefused | None = None

    async def client(self) -> Played:
        return self

    def follow(self) -> None:
        pass

    async def close(self) -> None:
        pass

    async def bids(self, asks: Any) -> list[Bid | NoBid]:
        self.asked.append("bids")
        if self.error is not None:
            raise self.error
        if self.no:
            return [NoBid(ask.instruction, "node", self.no) for ask in asks]
        until = self.shop.clock.now() + 60
        return [Bid(ask.instruction, self.did, until=until) for ask in asks]

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


def test_nothing_is_polled_once_nothing_waits(
    open_shop: Callable[..., Shop], tmp_path: Path, clock: FakeClock
) -> None:
    shop = open_shop()
    job = refused(shop)
    off(shop)

    async def story(dispatcher: Dispatcher, played: Played) -> None:
        assert await dispatcher._look() is not None
        shop.lab.store.outbox.cancel(job.item, note="its owner ended it", held=True)
        clock.seconds += REFUSED_S + 1
        assert await dispatcher._look() is None
        assert played.asked == []

    looking(shop, tmp_path, story)


@pytest.mark.parametrize("why", ["rests", "is off", "is banned", "allows less", "lied"])
def test_the_note_says_of_all_why_they_do_not_do_it(
    open_shop: Callable[..., Shop], tmp_path: Path, clock: FakeClock, why: str
) -> None:
    shop = open_shop(OFF) if why == "rests" else open_shop()
    if why == "rests":
        shop.queue(Workflow(heavy=needing(HEAVY)))
        (job,) = shop.send()
        shop.refuse(job, "per-day")
        shop.allow(OTHER_KEY)
    else:
        shop.queue(Workflow(heavy=needing(HEAVY, requires={"gpu": True}, limits={"fuel": 1_000})))
        (tight if why == "allows less" else off)(shop)
    if why == "lied":
        shop.lab.store.outbox.refused(OFF.did, WRONG)
    with shop.lab.store.database.write() as transaction:
        transaction.execute("UPDATE outbox SET attempts = 9")

    async def story(dispatcher: Dispatcher, played: Played) -> None:
        played.no = "it has no GPU"
        if why == "is banned":
            book: Any = dispatcher._peering and dispatcher._peering.book
            book.banned_s = lambda did: 3_600 if did == OFF.did else 0
        await dispatcher._look()
        assert played.asked == ["bids"]
        (item,) = shop.lab.store.outbox.newest()
        assert f"{OTHER_KEY.did}: it has no GPU" in item.note
        told = {
            "rests": f"{OFF.did}: because of per-day (it is asked again 60 s after that)",
            "is off": f"not connected: {OFF.did}",
            "is banned": f"{OFF.did}: {BANNED}",
            "allows less": f"the delegation of {OFF.did}",
            "lied": f"{OFF.did} gave a wrong answer",
        }
        assert told[why] in item.note
        assert item.next_try_at is not None
        pause_s = item.next_try_at - clock.now()
        assert pause_s <= REFUSED_S if why == "rests" else pause_s > REFUSED_S

    looking(shop, tmp_path, story)


def test_a_new_channel_counts_though_who_was_away_had_seemed_near(
    open_shop: Callable[..., Shop], tmp_path: Path, clock: FakeClock
) -> None:
    shop = open_shop(OTHER_KEY, OFF)
    shop.queue(Workflow(heavy=needing(HEAVY)))

    async def story(dispatcher: Dispatcher, played: Played) -> None:
        played.no = "it has no GPU"
        await dispatcher._look()
        book: Any = dispatcher._peering and dispatcher._peering.book
        book.addresses = lambda did: ["it may be there"]
        await dispatcher._look()
        assert played.asked == ["bids"], "nobody knows whether it is there"
        assert dispatcher._ways.noticed(Notice("connected", OFF.did))
        gpu = Played(shop)
        gpu.did = OFF.did
        dispatcher._ways.lines[OFF.did] = gpu  # type: ignore[assignment]
        await dispatcher._look()
        assert gpu.asked == ["bids", "send"]

    looking(shop, tmp_path, story)
