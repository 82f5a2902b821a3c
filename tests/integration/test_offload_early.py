"""Answers that come before what they were made from is answered: none counts unlooked at."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lite.config import Config
from lite.ipld import dag_cbor
from lite.ipld.block import Block
from lite.ipld.cid import DAG_CBOR
from lite.limits import Limits
from lite.model.promise import Await
from lite.model.result import Result
from lite.model.workflow import Workflow
from lite.offload import wire
from lite.offload.dispatch import Dispatcher
from lite.offload.early import Early
from lite.offload.plans import Wanted
from lite.store import Store
from lite.store.outbox_rows import Job
from tests.clerk_support import Shop
from tests.outbox_support import OTHER_KEY, Far, needing
from tests.scheduler_support import do
from tests.store_support import KEY, FakeClock

DID = OTHER_KEY.did
LEAD = do("pure", "sum", of=[1, 2])
VICTIM = do("pure", value=777)


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    clock = FakeClock()
    lab = Far(tmp_path / "home", clock)
    yield Shop(lab, clock)
    lab.close()


def pair(shop: Shop, awaited: Any = None) -> tuple[Job, Job]:
    """A step and the one behind it, which both went to one provider."""
    behind = do("pure", "sum", of=[awaited or LEAD.ok, 1])
    shop.queue(Workflow(lead=needing(LEAD), behind=behind))
    first, second = shop.send()
    return first, second


def hear_due(shop: Shop) -> list[Any]:
    return [shop.clerk.heard(did, told) for did, told in shop.clerk.early.due()]


def test_an_answer_before_its_source_waits_and_a_lie_is_refused_then(shop: Shop) -> None:
    first, second = pair(shop)
    lie = shop.receipt(second, "POISON", instruction=VICTIM)
    assert isinstance(shop.hear(second, lie), Early)
    assert not shop.clerk.early.due()
    assert shop.lab.executor.lookup(VICTIM.cid, Limits()) is None
    shop.hear(first, shop.receipt(first, 3))
    assert hear_due(shop) == [None]
    assert shop.lab.store.outbox.refusals() == {DID: {"other-step": 1}}
    assert not shop.lab.store.receipts.has(lie.cid)
    assert shop.lab.executor.lookup(VICTIM.cid, Limits()) is None


def test_an_honest_answer_before_its_source_counts_as_soon_as_that_is_here(shop: Shop) -> None:
    first, second = pair(shop)
    answer = shop.receipt(second, 4, instruction=do("pure", "sum", of=[3, 1]))
    assert isinstance(shop.hear(second, answer), Early)
    assert shop.job(second).is_pending
    shop.hear(first, shop.receipt(first, 3))
    assert hear_due(shop) == [None] and not shop.clerk.early.due()
    assert shop.job(second).receipt == answer.cid
    assert shop.lab.store.outbox.refusals() == {}


def test_an_answer_whose_source_was_refused_does_not_count(shop: Shop) -> None:
    first, second = pair(shop)
    early = shop.receipt(second, 4, instruction=do("pure", "sum", of=[3, 1]))
    assert isinstance(shop.hear(second, early), Early)
    shop.hear(first, shop.receipt(first, 3, instruction=VICTIM))
    assert hear_due(shop) == [None]
    assert shop.lab.store.outbox.refusals() == {DID: {"no-source": 1, "other-step": 1}}
    assert not shop.lab.store.receipts.has(early.cid)


def test_an_answer_made_from_a_linked_error_is_judged_by_the_whole_of_it(shop: Shop) -> None:
    first, second = pair(shop, Await("error", LEAD.cid))
    whole = {"code": "big", "message": "m" * 99}
    error = Block.make(dag_cbor.encode(whole), DAG_CBOR)
    told = shop.receipt(first, out=Result.of_error(error.cid), linked="dag-cbor")
    wanted = shop.hear(first, told)
    assert isinstance(wanted, Wanted) and wanted.blocks == (error.cid,)
    lie = shop.receipt(second, "POISON", instruction=VICTIM)
    assert isinstance(shop.hear(second, lie), Early)
    shop.clerk.settle(wanted)  # it did not come: it is over the bound
    assert hear_due(shop) == [None]
    assert shop.lab.store.outbox.refusals() == {DID: {"no-source": 1}}
    assert shop.lab.executor.lookup(VICTIM.cid, Limits()) is None


def test_the_dispatcher_looks_again_and_has_it_told_again_until_then(
    shop: Shop, tmp_path: Path
) -> None:
    first, second = pair(shop)
    answers = [
        (second, shop.receipt(second, 4, instruction=do("pure", "sum", of=[3, 1])), 7),
        (first, shop.receipt(first, 3), 8),
    ]
    store = Store.open(shop.lab.store.home, clock=shop.clock)
    config = Config.load(tmp_path, {})
    node: Any = SimpleNamespace(key=KEY, clock=shop.clock, config=config)
    resumed: list[str] = []

    async def resume(run: str) -> None:
        resumed.append(run)

    async def story() -> list[int]:
        dispatcher = Dispatcher(node, store, None, tell=lambda *_a, **_b: None, resume=resume)
        seen = []
        dispatcher._bringing.look = lambda *_: None  # type: ignore[method-assign]
        for job, receipt, seq in answers:
            told = wire.Job(
                job.invocation, "done", seq, shop.clock.now(), True, receipt=receipt.data
            )
            await dispatcher._changed(DID, told)
            seen.append((await dispatcher._hearing.since(DID))[1])
        await dispatcher._look()
        seen.append((await dispatcher._hearing.since(DID))[1])
        await dispatcher.stop()
        return seen

    assert asyncio.run(story()) == [6, 6, 8]
    store.close()
    assert shop.job(second).state == "done"
    assert resumed
