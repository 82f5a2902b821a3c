"""A provider that does not answer, or dribbles, holds up no other one."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lite.config import Config
from lite.keys import Key
from lite.model.workflow import Workflow
from lite.needs.bids import Bid
from lite.offload import lines, patience
from lite.offload.client import ProviderAway
from lite.offload.dispatch import Dispatcher
from lite.offload.lines import Line
from lite.offload.patience import Patience
from lite.store import Store
from tests.clerk_support import Shop
from tests.outbox_support import OTHER_KEY, Far, needing
from tests.scheduler_support import do
from tests.store_support import KEY, FakeClock

BAD, GOOD = OTHER_KEY, Key.from_seed(bytes([11]) * 32)


class Played:
    """The line to a provider, and its client. A bad one answers only calls for bids."""

    def __init__(self, shop: Shop, key: Key) -> None:
        self.shop, self.did, self.is_bad = shop, key.did, key is BAD
        self.asked: list[str] = []

    async def client(self) -> Played:
        return self

    def follow(self) -> None:
        self.asked.append("follow")

    async def close(self) -> None:
        self.asked.append("close")

    async def bids(self, asks: Any) -> list[Bid]:
        until = self.shop.clock.now() + 60
        return [Bid(ask.instruction, self.did, until=until) for ask in asks]

    async def cancel(self, invocation: Any) -> None:
        await self._answer("cancel")

    async def send(self, tokens: Any) -> list[Any]:
        await self._answer("send")
        return []

    async def _answer(self, what: str) -> None:
        self.asked.append(what)
        if self.is_bad:
            await asyncio.Event().wait()


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    clock = FakeClock()
    lab = Far(tmp_path / "home", clock)
    yield Shop(lab, clock, BAD, GOOD)
    lab.close()


def dispatching(shop: Shop, home: Path) -> tuple[Dispatcher, Played, Played]:
    """A dispatcher with two providers near, in an event loop."""
    talks = [SimpleNamespace(session=SimpleNamespace(peer=key.did)) for key in (BAD, GOOD)]
    book = SimpleNamespace(banned_s=lambda _did: 0)
    peering: Any = SimpleNamespace(talks=lambda: talks, book=book)
    config = Config.load(home, {})
    node: Any = SimpleNamespace(
        key=KEY, clock=shop.clock, config=config, executor=shop.lab.executor, here=shop.lab.here
    )

    async def resume(run: str) -> None:
        raise AssertionError(run)

    store = Store.open(shop.lab.store.home, clock=shop.clock)
    made = Dispatcher(node, store, peering, tell=lambda *_a, **_b: None, resume=resume)
    bad, good = Played(shop, BAD), Played(shop, GOOD)
    made._ways.lines.update({BAD.did: bad, GOOD.did: good})  # type: ignore[dict-item]
    return made, bad, good


def chosen_of(shop: Shop, *keys: Key) -> Workflow:
    """A step for each of some providers."""
    steps = {
        f"s{at}": needing(do("pure", value=at), requires={"gpu": True, "key": key.did})
        for at, key in enumerate(keys)
    }
    return Workflow(**steps)


async def ended(dispatcher: Dispatcher) -> None:
    await dispatcher.stop()
    dispatcher._store.close()


def test_a_cancel_that_is_never_answered_holds_up_no_other_provider(
    shop: Shop, tmp_path: Path
) -> None:
    run = shop.queue(chosen_of(shop, BAD, GOOD))
    jobs = shop.send()
    assert sorted(job.provider for job in jobs) == sorted([BAD.did, GOOD.did])
    shop.lab.store.runs.cancel(run.id)
    shop.clerk.look_at_ends()

    async def story() -> None:
        dispatcher, bad, good = dispatching(shop, tmp_path)
        for _ in range(2):
            await asyncio.wait_for(dispatcher._call_off(), 5)
        others = [task for task, did in dispatcher._telling.items() if did == GOOD.did]
        await asyncio.wait(others, timeout=5)
        assert (bad.asked, good.asked) == (["cancel"], ["cancel"])
        await ended(dispatcher)

    asyncio.run(story())
    states = {job.provider: shop.job(job).state for job in jobs}
    assert states == {BAD.did: "sent", GOOD.did: "void"}


def test_a_send_that_is_never_answered_holds_up_no_other_provider(
    shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lite.offload.dispatch.SEND_S", 0.01)
    shop.queue(chosen_of(shop, BAD, GOOD))

    async def story() -> None:
        dispatcher, bad, good = dispatching(shop, tmp_path)
        await asyncio.wait_for(dispatcher._offer(), 10)
        assert (bad.asked, good.asked) == (["send"], ["send", "follow"])
        await ended(dispatcher)

    asyncio.run(story())


def test_one_that_does_not_answer_in_time_is_left_alone_a_while(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(patience, "SILENT_S", 0.05)

    async def story() -> None:
        woken = asyncio.Event()
        told = Patience(woken.set)
        with pytest.raises(ProviderAway, match="did not answer"):
            await told.answer(BAD.did, asyncio.Event().wait(), 0.01)
        assert told.is_silent(BAD.did) and not told.is_silent(GOOD.did)
        await asyncio.wait_for(woken.wait(), 5)
        assert not told.is_silent(BAD.did)

    asyncio.run(story())


def test_a_line_gives_up_on_an_answer_that_does_not_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "ANSWER_S_MAX", 0.01)

    class Dribbling:
        def __init__(self, _channel: Any) -> None:
            pass

        async def send(self, _tokens: Any) -> None:
            await asyncio.Event().wait()

    monkeypatch.setattr(lines, "JobClient", Dribbling)

    async def story() -> None:
        async def give(value: Any) -> Any:
            return value

        async def nothing(*_given: Any) -> None:
            raise AssertionError

        channel: Any = SimpleNamespace(receive=asyncio.Event().wait)
        line = Line(
            BAD.did,
            lambda: give(channel),
            since=lambda: give(("", 0)),
            begins=nothing,
            heard=nothing,
            changed=nothing,
            resend=lambda: give([b"token"]),
            denied=nothing,
            busy=lambda: give(True),
        )
        with pytest.raises(ProviderAway):
            await asyncio.wait_for(line._hear(), 5)
        assert line._watch is not None
        line._watch.cancel()
        await asyncio.gather(line._watch, return_exceptions=True)

    asyncio.run(story())
