"""Running here what providers disagree about, while all else goes on."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lite.engine.stop import Stop
from lite.errors import StoreError
from lite.identity import KEY_FILE
from lite.keys import Key
from lite.limits import Limits
from lite.model.instruction import Instruction, wasm
from lite.model.receipt import Receipt
from lite.model.result import Result
from lite.model.workflow import Workflow
from lite.offload.judging import Judging
from lite.store import Store
from lite.store.finished import Finished
from lite.store.outbox_rows import Item, Job
from tests.clerk_support import Shop, shops
from tests.meeting_support import Home, homes, start
from tests.offload_support import (
    WORK,
    begin,
    done,
    either,
    enable,
    far_step,
    queue,
    values,
    write,
)
from tests.outbox_support import OTHER_KEY, needing
from tests.scheduler_support import do
from tests.waiting_support import Watched, until
from tests.wat_guests import wat

THIRD = Key.from_seed(bytes([11]) * 32)
FOURTH = Key.from_seed(bytes([29]) * 32)
WITHIN_S = 10.0
HERE = "it runs here to see what is right"
SPIN = '(func (export "spin") (param i32) (result i32) (loop $more (br $more)) local.get 0))'
"""A function that never returns, as the end of a module."""


@pytest.fixture
def open_shop(tmp_path: Path) -> Iterator[Callable[..., Shop]]:
    with shops(tmp_path / "home") as make:
        yield make


def know(home: Home, instruction: Instruction, value: int) -> None:
    """Let a home have an answer that it says it made."""
    meta = {"op": "wasm/run", "level": "pure", "memory_refused": False, "limits": {"fuel": 10**9}}
    key = Key.load(home.path / KEY_FILE)
    told = Result.of_ok(value)
    receipt = Receipt.issue(key, instruction, told, now=int(time.time()), meta=meta)
    with Store.open(home.path, durability="normal") as store:
        store.commit_runs((Finished(instruction, receipt),))


class Bench(Watched):
    """A judging over the books of a shop, whose runs end when the test says so, or are ended.

    Attributes:
        began: the items of runs, as they began. stopped: those that were ended.
        say: what a run comes to; None: nothing.
    """

    def __init__(self, shop: Shop, fault: StoreError | None = None) -> None:
        super().__init__()
        self.began: list[int] = []
        self.stopped: list[int] = []
        self.say: Callable[[Item], Receipt | None] = lambda _item: None
        self.woken = 0
        self._ends = threading.Semaphore(0)
        court = self.court = shop.clerk.court

        async def call(work: Callable[..., Any], *given: Any) -> Any:
            if fault is not None and work == court.unsettled:
                raise fault
            return work(*given)

        self.judging = Judging(court, call, lambda _item: True, self._run, self._wake)

    def _wake(self) -> None:
        self.woken += 1
        self.happened()

    def _run(self, item: Item, stop: Stop) -> Receipt | None:
        self.began.append(item.id)
        with stop.ending(self._ends.release):
            assert self._ends.acquire(timeout=WITHIN_S)
        if stop.asked:
            self.stopped.append(item.id)
            return None
        return self.say(item)

    async def let_end(self) -> None:
        """Let the run that is under way end; what came of it was taken in then."""
        woken = self.woken
        self._ends.release()
        await self.until(lambda: self.woken > woken)


def disagree(shop: Shop, value: int) -> tuple[Job, Job]:
    """Two providers answer one more step, each in another way."""
    shop.queue(Workflow(heavy=needing(do("pure", value=value))), confirm=2)
    one, two = shop.send()
    shop.hear(one, shop.receipt(one, value))
    shop.hear(two, shop.receipt(two, 666))
    return one, two


def own(shop: Shop, item: Item) -> Receipt:
    instruction = shop.lab.store.instructions.get(item.instruction)
    assert instruction is not None
    return shop.lab.executor.run(instruction, Limits(), fresh=True).receipt


def test_a_look_waits_for_no_run_and_one_goes_after_the_other(
    open_shop: Callable[..., Shop],
) -> None:
    shop = open_shop(OTHER_KEY, THIRD)
    jobs = [disagree(shop, value)[0] for value in (1, 2)]

    async def story() -> None:
        bench = Bench(shop)
        bench.say = lambda item: own(shop, item)
        assert await bench.judging.look()
        await bench.until(lambda: bench.began)
        assert not await bench.judging.look()  # there is nothing new
        assert [shop.item(job).state for job in jobs] == ["asked", "asked"]
        await bench.let_end()
        await bench.until(lambda: len(bench.began) == 2)
        assert sorted(shop.item(job).state for job in jobs) == ["asked", "done"]
        await bench.let_end()
        assert [shop.item(job).state for job in jobs] == ["done", "done"]
        await bench.judging.close()
        assert sorted(bench.began) == sorted(job.item for job in jobs)

    asyncio.run(story())


@pytest.mark.parametrize("own_says", [True, False])
def test_an_answer_that_comes_meanwhile_begins_no_second_run(
    open_shop: Callable[..., Shop], own_says: bool
) -> None:
    shop = open_shop(OTHER_KEY, THIRD, FOURTH)
    shop.queue(Workflow(heavy=needing(do("pure", value=1))), confirm=3)
    one, two, late = shop.send()
    shop.hear(one, shop.receipt(one, 1))
    shop.hear(two, shop.receipt(two, 666))
    shop.clock.seconds = late.lease_until + 1
    shop.clerk.look_at_ends()

    async def story() -> None:
        bench = Bench(shop)
        bench.say = lambda item: own(shop, item) if own_says else None
        assert await bench.judging.look()
        await bench.until(lambda: bench.began)
        shop.hear(late, shop.receipt(late, 7))
        assert not await bench.judging.look()
        await bench.let_end()
        assert not await bench.judging.look()
        assert len(bench.began) == 1
        await bench.judging.close()

    asyncio.run(story())
    assert shop.item(one).state == ("done" if own_says else "queued")
    wrong = {two.provider, late.provider} if own_says else set()
    assert set(shop.clerk.court.liars()) == wrong


def test_who_lied_is_known_also_of_a_step_that_nobody_wants_any_more(
    open_shop: Callable[..., Shop],
) -> None:
    shop = open_shop(OTHER_KEY, THIRD)
    one, two = disagree(shop, 1)

    async def story() -> None:
        bench = Bench(shop)
        bench.say = lambda item: own(shop, item)
        await bench.judging.look()
        shop.lab.store.outbox.cancel(one.item, note="taken out", held=True)
        await bench.let_end()
        await bench.judging.close()

    asyncio.run(story())
    assert shop.item(one).state == "cancelled"
    assert "job.ended" not in [kind for kind, _ in shop.told]
    assert set(shop.clerk.court.liars()) == {two.provider}


def test_the_end_ends_the_run_and_the_next_process_runs_it_again(
    open_shop: Callable[..., Shop],
) -> None:
    shop = open_shop(OTHER_KEY, THIRD)
    one, _ = disagree(shop, 1)

    async def story() -> None:
        bench = Bench(shop)
        await bench.judging.look()
        await bench.until(lambda: bench.began)
        await bench.judging.close()
        await bench.until(lambda: bench.stopped)
        await bench.judging.close()

    asyncio.run(story())
    assert shop.item(one).state == "asked"
    for later in (shop, open_shop()):  # the part that was started again, and another process
        later.clerk.take_up()
        assert later.clerk.court.disputed == {one.item}


def test_what_cannot_be_written_is_not_lost_in_a_task(open_shop: Callable[..., Shop]) -> None:
    shop = open_shop(OTHER_KEY, THIRD)
    one, _ = disagree(shop, 1)

    async def story() -> None:
        bench = Bench(shop, StoreError("the disk is gone"))
        await bench.judging.look()
        await bench.let_end()
        with pytest.raises(StoreError, match="the disk is gone"):
            await bench.judging.look()
        await bench.judging.close()

    asyncio.run(story())
    shop.clerk.take_up()
    assert shop.clerk.court.disputed == {one.item}


def test_all_else_goes_on_while_the_daemon_runs_it_and_its_end_ends_the_run(tmp_path: Path) -> None:
    guest = wat(WORK.rstrip()[:-1] + SPIN)
    with homes(tmp_path, guest, "phone", "one", "two") as (phone, *far):
        with Store.open(phone.path, durability="normal") as store:
            module = store.names.get("numbers")
        assert module is not None
        for home, value in zip(far, (1, 666), strict=True):
            know(home, wasm(module, "spin", 7), value)
        start([phone, *far])
        for home in far:
            enable(home, phone)
        step = far_step(far[0], "spin", 7) | {"requires": either(*far)}
        path = write(tmp_path, "far", {"far": step})
        begin(phone, path, "--confirm", "2", "--time", "60s", "--fuel", "900T")
        until(lambda: HERE in queue(phone)[0].note)
        other = begin(phone, write(tmp_path, "other", {"other": far_step(far[0], "add", 1, 2)}))
        assert values(done(phone, other, WITHIN_S), ["other"]) == [3]
        assert queue(phone)[0].state == "asked"
        began = time.monotonic()
        assert phone.running.stop()[0] == 0
        assert time.monotonic() - began < WITHIN_S / 2
        assert queue(phone)[0].state == "asked"
