"""The dispatcher with peers that a test plays: results that do not come, or are others."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lite.config import Config
from lite.frozen import replace
from lite.ipld.block import Block
from lite.ipld.cid import DAG_CBOR
from lite.keys import Key
from lite.limits import Limits
from lite.model.result import Result
from lite.model.workflow import Workflow
from lite.needs.bids import Bid
from lite.offload import wire
from lite.offload.dispatch import Dispatcher
from lite.offload.plans import Wanted
from lite.peering.book import open_book
from lite.peering.values import Fetched
from lite.store import Store
from lite.store.database import Database, Transaction
from tests.clerk_support import Shop
from tests.outbox_support import OTHER_KEY, Far, answer_of, needing
from tests.scheduler_support import do
from tests.store_support import KEY, FakeClock
from tests.waiting_support import Watched

HEAVY = do("pure", value=1)
BIG = Block.make(b"\x83\x01\x02\x03", DAG_CBOR)
DID = OTHER_KEY.did
MALLORY = Key.from_seed(bytes([13]) * 32).did


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    clock = FakeClock()
    lab = Far(tmp_path / "home", clock)
    yield Shop(lab, clock)
    lab.close()


def fetching(
    shop: Shop,
    home: Path,
    fetch: Callable[..., Fetched],
    settings: dict[str, str] | None = None,
) -> Dispatcher:
    """A dispatcher whose peers give what a function says."""

    async def fetched(cids: Any, **_asked: Any) -> Fetched:
        return fetch(cids)

    config = Config.load(home, settings or {})
    peering: Any = SimpleNamespace(fetch=fetched, gateway=lambda did: None)
    lab = shop.lab
    node: Any = SimpleNamespace(
        key=KEY,
        clock=shop.clock,
        config=config,
        executor=lab.executor,
        here=lab.here,
        store=lab.store,
    )

    async def resume(run: str) -> None:
        raise AssertionError(run)

    store = Store.open(lab.store.home, clock=shop.clock)
    return Dispatcher(node, store, peering, tell=lambda *_a, **_b: None, resume=resume)


def wanted(shop: Shop) -> Wanted:
    """An answer whose value is a block that is not here."""
    shop.queue(Workflow(heavy=needing(HEAVY)))
    (job,) = shop.send()
    receipt = shop.receipt(job, out=Result.of_ok(BIG.cid), linked="dag-cbor")
    found = shop.hear(job, receipt)
    assert isinstance(found, Wanted)
    return found


@pytest.mark.parametrize(
    "told, code",
    [
        (Fetched((), (BIG.cid,), 0, "other bytes", junk=frozenset({DID})), "wrong-block"),
        (Fetched((), (BIG.cid,), 0, "it does not give it", frozenset({DID})), "no-block"),
    ],
)
def test_a_value_that_is_not_what_the_receipt_says_sends_the_step_on(
    shop: Shop, tmp_path: Path, told: Fetched, code: str
) -> None:
    answer = wanted(shop)

    async def story() -> None:
        dispatcher = fetching(shop, tmp_path, lambda _cids: told)
        await dispatcher._fetch(DID, answer)
        await dispatcher.stop()
        dispatcher._store.close()

    asyncio.run(story())
    outbox = shop.lab.store.outbox
    assert outbox.refusals() == {DID: {code: 1}}
    assert [item.state for item in outbox.newest()] == ["queued"]
    assert not shop.lab.store.receipts.has(answer.receipt.cid)


@pytest.mark.parametrize("over", [False, True])
def test_a_value_comes_with_its_receipt_unless_it_is_over_the_bound(
    shop: Shop, tmp_path: Path, over: bool
) -> None:
    answer = wanted(shop)

    def give(cids: Any) -> Fetched:
        if over:
            return Fetched((), tuple(cids), 0, "it is larger than may be taken", over=True)
        shop.lab.store.blocks.put_many([BIG])
        return Fetched(tuple(cids), (), 4)

    async def story() -> None:
        dispatcher = fetching(shop, tmp_path, give)
        await dispatcher._fetch(DID, answer)
        await dispatcher.stop()
        dispatcher._store.close()

    asyncio.run(story())
    (item,) = shop.lab.store.outbox.newest()
    assert (item.state, item.receipt) == ("done", answer.receipt.cid)
    assert shop.lab.store.blocks.has(BIG.cid) is not over


@pytest.mark.parametrize("worth", ["", "cent=30s"])
def test_a_price_is_paid_only_where_its_unit_is_worth_something(
    shop: Shop, tmp_path: Path, worth: str
) -> None:
    shop.queue(Workflow(heavy=needing(HEAVY)))
    plan = shop.plan()
    ins = plan.group.lead.instruction.cid
    bid = Bid(ins, DID, until=shop.clock.now() + 60, price=3, unit="cent")

    async def story() -> list[Any]:
        given = {"queue.worth": worth}
        dispatcher = fetching(shop, tmp_path, lambda _cids: Fetched((), (), 0), given)
        sold = await dispatcher._choose([plan], {DID: [bid]})
        await dispatcher.stop()
        dispatcher._store.close()
        return sold

    sold = asyncio.run(story())
    (item,) = shop.lab.store.outbox.newest()
    if worth:
        ((_, choice),) = sold
        assert choice.best is not None and "price 3 cent: 90 s" in choice.best.reason
    else:
        assert not sold and "nothing says what that is worth" in item.note


@pytest.fixture
def commits(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether each transaction since has to be durable."""
    found: list[bool] = []
    write = Database.write

    def counted(self: Database, *, durable: bool = True) -> Transaction:
        found.append(durable)
        return write(self, durable=durable)

    monkeypatch.setattr(Database, "write", counted)
    return found


def five(shop: Shop, level: str) -> None:
    steps = {f"s{number}": needing(do(level, value=number)) for number in range(5)}
    shop.queue(Workflow(**steps))


@pytest.mark.parametrize("level, is_durable", [("pure", False), ("mutation", True)])
def test_what_goes_at_once_is_written_down_together_and_what_acts_is_durable_before_it_leaves(
    shop: Shop, commits: list[bool], level: str, is_durable: bool
) -> None:
    five(shop, level)
    commits.clear()
    jobs = shop.send()
    assert commits == [is_durable] * (5 if is_durable else 1)
    assert sorted(job.item for job in jobs) == sorted(
        item.id for item in shop.lab.store.outbox.newest() if item.state == "sent"
    )
    assert len(jobs) == 5


def test_answers_that_come_together_are_kept_in_one_durable_commit(
    shop: Shop, commits: list[bool]
) -> None:
    five(shop, "pure")
    jobs = shop.send()
    told = [
        wire.Job(job.invocation, "done", at, 0, True, receipt=shop.receipt(job, at).data)
        for at, job in enumerate(jobs, 1)
    ]
    commits.clear()
    assert shop.clerk.heard_all(DID, [*told, told[0]]) == [None] * 6
    assert commits == [True]
    assert [item.state for item in shop.lab.store.outbox.newest()] == ["done"] * 5
    assert [kind for kind, _ in shop.told].count("job.ended") == 5


def test_an_answer_and_what_was_made_of_it_may_come_together(shop: Shop) -> None:
    first = do("pure", value=1)
    second = do("pure", value={"await/ok": first.cid})
    shop.queue(Workflow(first=needing(first), second=needing(second)))
    jobs = {shop.asked(job).cid: job for job in shop.send()}
    one, two = jobs.pop(first.cid), jobs.popitem()[1]
    answer = shop.receipt(one, 7)
    made = shop.asked(two).substitute(dict.fromkeys(shop.asked(two).awaits(), 7))
    told = [
        wire.Job(one.invocation, "done", 1, 0, True, receipt=answer.data),
        wire.Job(
            two.invocation, "done", 2, 0, True, receipt=shop.receipt(two, instruction=made).data
        ),
    ]
    assert shop.clerk.heard_all(DID, told) == [None, None]
    assert [item.state for item in shop.lab.store.outbox.newest()] == ["done"] * 2


def test_a_step_whose_answer_is_known_by_now_is_not_offered(shop: Shop, tmp_path: Path) -> None:
    shop.queue(Workflow(heavy=needing(HEAVY)))
    shop.lab.executor.run(HEAVY, Limits())

    async def story() -> None:
        dispatcher = fetching(shop, tmp_path, lambda _cids: Fetched((), (), 0))
        assert dispatcher._clerk.plans(10) == []
        assert dispatcher._clerk.planning.freed == {shop.lab.store.runs.list()[0].id}
        await dispatcher.stop()
        dispatcher._store.close()

    asyncio.run(story())
    assert shop.queue(Workflow(heavy=needing(HEAVY))).step("heavy").state == "cached"


@pytest.mark.parametrize("confirm", [1, 2])
def test_the_word_of_one_peer_that_answers_does_not_end_a_step_that_several_are_to_confirm(
    shop: Shop, tmp_path: Path, confirm: int
) -> None:
    store = shop.lab.store
    shop.queue(Workflow(heavy=needing(HEAVY)), confirm=confirm)
    open_book(store, KEY.did, shop.clock).trust(DID, ["answers"], "lab")
    store.receipts.add(answer_of(HEAVY, 666))

    async def story() -> None:
        dispatcher = fetching(shop, tmp_path, lambda _cids: Fetched((), (), 0))
        assert len(dispatcher._clerk.plans(10)) == confirm - 1
        await dispatcher.stop()
        dispatcher._store.close()

    asyncio.run(story())


def test_without_peers_the_reason_says_so(shop: Shop, tmp_path: Path) -> None:
    shop.queue(Workflow(heavy=needing(HEAVY)))
    shop.clerk.alone()
    (item,) = shop.lab.store.outbox.newest()
    assert item.note == "this node works without peers (--offline)"


JUNK = f"{DID}: the link broke; {MALLORY} sent what it should not: other bytes"


@pytest.mark.parametrize(
    "lost",
    [
        Fetched((), (BIG.cid,), 0, "no peer can be reached"),
        Fetched((), (BIG.cid,), 0, JUNK, junk=frozenset({MALLORY})),
    ],
    ids=["nobody", "junk-of-another"],
)
def test_a_link_that_is_lost_meanwhile_keeps_the_job(
    shop: Shop, tmp_path: Path, lost: Fetched
) -> None:
    answer = wanted(shop)

    async def story() -> None:
        dispatcher = fetching(shop, tmp_path, lambda _cids: lost)
        await dispatcher._changed(DID, wire.Job(answer.job.invocation, "running", 6, 0))
        await dispatcher._changed(DID, replace(answer.told, seq=7))
        await asyncio.gather(*dispatcher._fetching[DID])
        await dispatcher._changed(DID, wire.Job(BIG.cid, "running", 8, 0))
        assert await dispatcher._hearing.since(DID) == ("", 6)  # so that the answer is told again
        await dispatcher.stop()
        dispatcher._store.close()

    asyncio.run(story())
    assert shop.lab.store.outbox.refusals() == {}
    assert shop.job(answer.job).is_pending


@pytest.mark.parametrize("named", ["none", OTHER_KEY.did])
def test_a_dispute_is_settled_here_unless_a_referee_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: str
) -> None:
    clock = FakeClock()
    lab = Far(tmp_path / "home", clock)
    shop = Shop(lab, clock, *(Key.from_seed(bytes([seed]) * 32) for seed in (11, 12)))
    elsewhere = {"affinity": {"did": list(shop.keys)}}
    shop.queue(Workflow(heavy=needing(HEAVY, requires=elsewhere)), confirm=2)
    one, two = shop.send()
    shop.hear(one, shop.receipt(one, 1))
    shop.hear(two, shop.receipt(two, 666))
    own = lab.executor.run(HEAVY, Limits(), fresh=True).receipt
    ran: list[int] = []
    monkeypatch.setattr(
        "lite.offload.dispatch.own_answer", lambda _node, item, _stop: ran.append(item.id) or own
    )

    async def story() -> None:
        settings = {"queue.referee": named}
        dispatcher = fetching(shop, tmp_path, lambda _cids: Fetched((), (), 0), settings)
        dispatcher._clerk.take_up()
        assert await dispatcher._judging.look()
        await Watched().until(lambda: shop.item(one).state in ("done", "queued"))
        await dispatcher.stop()
        dispatcher._store.close()

    asyncio.run(story())
    item = shop.item(one)
    if named == "none":
        assert (item.state, ran) == ("done", [item.id])
    else:
        assert (item.state, ran) == ("queued", [])
        assert item.note.endswith(f"{named} is to say what is right")
    lab.close()
