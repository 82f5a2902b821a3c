"""Providers disagree: who was named says what is right, and its owner reads how it stands."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lite import Node
from lite.keys import Key
from lite.limits import Limits
from lite.model.instruction import wasm
from lite.model.receipt import Receipt
from lite.model.result import Result
from lite.model.task import Task
from lite.model.workflow import Workflow
from lite.offload.court import Court
from lite.offload.referee import own_answer
from lite.peering.book import open_book
from lite.store.outbox_rows import Item, Job
from tests.clerk_support import Shop, shops
from tests.integration.conftest import Ipvm
from tests.offload_support import WORK
from tests.outbox_support import OTHER_KEY, needing
from tests.scheduler_support import do
from tests.store_support import KEY
from tests.wat_guests import wat

THIRD = Key.from_seed(bytes([11]) * 32)
FOURTH = Key.from_seed(bytes([29]) * 32)  # whose DID comes last of these
FIFTH = Key.from_seed(bytes([31]) * 32)
SLOW = Result.of_error({"code": "time-limit", "message": "not done in time"})
HEAVY = do("pure", value=1)


@pytest.fixture
def open_shop(tmp_path: Path) -> Iterator[Callable[..., Shop]]:
    with shops(tmp_path / "home") as make:
        yield make


def disagree(shop: Shop, **asked: Any) -> tuple[Job, Job]:
    """Two providers answer one step, each in another way."""
    shop.queue(Workflow(heavy=needing(HEAVY)), confirm=2, **asked)
    one, two = shop.send()
    shop.hear(one, shop.receipt(one, 1))
    shop.hear(two, shop.receipt(two, 666))
    court = shop.clerk.court
    assert court.disputed == {one.item}
    return one, two


def told(shop: Shop) -> str:
    """What `ipvm queue list` says of the only item."""
    (item,) = shop.lab.store.outbox.newest()
    return item.note


def looked(shop: Shop) -> list[Job]:
    """As the dispatcher does where this node does not settle it itself."""
    court = shop.clerk.court
    court.unsettled(court.disputed.pop())
    return shop.send()


def last_of_three(shop: Shop) -> tuple[Job, Job]:
    """Three are asked and two of them disagree; the jobs of the liar, and of the third."""
    shop.queue(Workflow(heavy=needing(HEAVY)), confirm=3)
    one, two, last = shop.send()
    shop.hear(one, shop.receipt(one, 1))
    shop.hear(two, shop.receipt(two, 666))
    return two, last


def silent(shop: Shop, job: Job) -> None:
    """A provider does not answer within its lease."""
    shop.clock.seconds = job.lease_until + 1
    shop.clerk.look_at_ends()


def cut(shop: Shop, job: Job) -> None:
    """A provider answers that its own limit was too low."""
    meta = {"op": HEAVY.op, "level": "pure", "limits": {"time": 50}}
    shop.hear(job, shop.receipt(job, out=SLOW, meta=meta))


def called_off(shop: Shop, job: Job) -> None:
    """The owner takes a step out, and wants it again before its provider was told."""
    outbox = shop.lab.store.outbox
    outbox.cancel(job.item, note="taken out", held=True)
    outbox.retry(job.item, deadline_at=shop.clock.seconds + 3_600)
    shop.clerk.called_off(shop.job(job), begun=False)


def said_badly(shop: Shop, job: Job) -> None:
    shop.hear(job, shop.receipt(job, key=FIFTH))


ENDS: dict[str, Callable[[Shop, Job], None]] = {
    "refused": lambda shop, job: shop.refuse(job, "busy"),
    "not taken": lambda shop, job: shop.clerk.not_taken([job], "HTTP 403"),
    "not an answer": said_badly,
    "cut short": cut,
    "lease over": silent,
    "called off": called_off,
}


@pytest.mark.parametrize("how", ENDS)
def test_a_dispute_is_seen_however_the_last_of_those_asked_ends(
    open_shop: Callable[..., Shop], how: str
) -> None:
    shop = open_shop(OTHER_KEY, THIRD, FOURTH)
    liar, last = last_of_three(shop)
    assert shop.clerk.court.disputed == set()
    ENDS[how](shop, last)
    court = shop.clerk.court
    assert not shop.job(last).is_pending and court.disputed == {last.item}
    (item,) = court.cases(lambda _item: True)
    assert told(shop) == (
        "providers disagree (1 of 3 agree so far); it runs here to see what is right"
    )
    assert (shop.item(last).state, shop.send()) == ("asked", [])
    court.referee(item.id, shop.lab.executor.run(HEAVY, Limits(), fresh=True).receipt)
    assert shop.item(last).state == "done"
    assert set(court.liars()) == {liar.provider}


def test_a_dispute_about_a_step_that_waits_is_taken_up_after_a_restart(
    open_shop: Callable[..., Shop],
) -> None:
    shop = open_shop(OTHER_KEY, THIRD, FOURTH)
    _, last = last_of_three(shop)
    shop.refuse(last, "busy")
    later = open_shop()
    later.clerk.take_up()
    (item,) = later.clerk.court.cases(lambda _item: True)
    assert later.item(last).state == "asked"  # and the next process finds it so
    again = open_shop()
    again.clerk.take_up()
    assert again.clerk.court.disputed == {item.id}


def test_a_dispute_from_before_a_step_was_wanted_again_comes_before_one_more_is_asked(
    open_shop: Callable[..., Shop],
) -> None:
    shop = open_shop(OTHER_KEY, THIRD, FOURTH)
    shop.queue(Workflow(heavy=needing(HEAVY)), confirm=2)
    one, two = shop.send()
    outbox, court = shop.lab.store.outbox, shop.clerk.court
    outbox.cancel(one.item, note="taken out", held=True)
    shop.hear(one, shop.receipt(one, 1))
    shop.hear(two, shop.receipt(two, 666))
    assert court.cases(lambda _item: True) == []
    outbox.retry(one.item, deadline_at=shop.clock.seconds + 3_600)
    assert shop.send() == []
    assert court.disputed == {one.item}


def test_what_this_node_says_nothing_of_is_run_again_only_when_one_more_has_answered(
    open_shop: Callable[..., Shop],
) -> None:
    shop = open_shop(OTHER_KEY, THIRD)
    disagree(shop)
    shop.keys[FOURTH.did] = FOURTH
    shop.allow(FOURTH)
    (third,) = looked(shop)
    shop.refuse(third, "busy")
    assert shop.clerk.court.disputed == set()
    shop.clock.seconds += 61
    (third,) = shop.send()
    shop.hear(third, shop.receipt(third, 5))
    assert shop.clerk.court.disputed == {third.item}


def test_a_dispute_offers_nothing_once_more_that_waits_for_its_owner(
    open_shop: Callable[..., Shop],
) -> None:
    shop = open_shop(OTHER_KEY, THIRD)
    disagree(shop)
    for key in (FOURTH, FIFTH):
        shop.keys[key.did] = key
        shop.allow(key)
    (third,) = looked(shop)
    silent(shop, third)
    (fourth,) = shop.send()
    silent(shop, fourth)
    later = open_shop(THIRD, Key.from_seed(bytes([33]) * 32))
    later.clerk.take_up()
    assert looked(later) == []
    note = f"`ipvm queue retry {third.item}` offers it to others"
    assert told(later) == f"providers disagree; one more is needed (1 of 2 agree so far); {note}"


@pytest.mark.parametrize("how", ["answers", "cut short"])
def test_a_referee_that_is_not_done_in_time_settles_nothing(
    open_shop: Callable[..., Shop], how: str
) -> None:
    shop = open_shop(OTHER_KEY, THIRD)
    one, two = disagree(shop, referee=FOURTH.did)
    for key in (FOURTH, FIFTH):
        shop.keys[key.did] = key
        shop.allow(key)
    (third,) = looked(shop)
    assert third.provider == FOURTH.did
    if how == "answers":
        shop.hear(third, shop.receipt(third, out=SLOW))
        (fourth,) = looked(shop)
    else:
        cut(shop, third)
        (fourth,) = shop.send()
    assert fourth.provider == FIFTH.did
    shop.hear(fourth, shop.receipt(fourth, 1))
    assert shop.item(one).state == "done"
    assert shop.item(one).receipt in {shop.job(one).receipt, shop.job(fourth).receipt}
    assert set(shop.clerk.court.liars()) == {two.provider}


def test_who_is_named_for_a_run_is_asked_and_is_right(open_shop: Callable[..., Shop]) -> None:
    shop = open_shop(OTHER_KEY, THIRD)
    one, two = disagree(shop, referee=FOURTH.did)
    strangers = [Key.from_seed(bytes([seed]) * 32) for seed in range(20, 26)]
    for key in (*strangers, FOURTH):
        shop.keys[key.did] = key
        shop.allow(key)
    (third,) = looked(shop)
    assert third.provider == FOURTH.did
    shop.hear(third, shop.receipt(third, 5))
    item = shop.item(third)
    assert item.state == "done" and item.receipt == shop.job(third).receipt
    assert set(shop.clerk.court.liars()) == {one.provider, two.provider}


def test_a_referee_without_a_right_is_waited_for_by_name(open_shop: Callable[..., Shop]) -> None:
    shop = open_shop(OTHER_KEY, THIRD)
    disagree(shop, referee=FOURTH.did)
    assert looked(shop) == []
    assert told(shop) == (
        f"providers disagree (1 of 2 agree so far); {FOURTH.did} is to say what is right"
    )


def test_a_referee_that_has_answered_already_is_right(open_shop: Callable[..., Shop]) -> None:
    shop = open_shop(OTHER_KEY, THIRD)
    shop.queue(Workflow(heavy=needing(HEAVY)), confirm=2, referee=THIRD.did)
    jobs = {job.provider: job for job in shop.send()}
    shop.hear(jobs[OTHER_KEY.did], shop.receipt(jobs[OTHER_KEY.did], 1))
    shop.hear(jobs[THIRD.did], shop.receipt(jobs[THIRD.did], 666))
    (item,) = shop.lab.store.outbox.newest()
    assert (item.state, item.receipt) == ("done", shop.job(jobs[THIRD.did]).receipt)
    assert set(shop.clerk.court.liars()) == {OTHER_KEY.did}


def test_the_setting_names_a_referee_by_its_petname_too(open_shop: Callable[..., Shop]) -> None:
    shop = open_shop(OTHER_KEY, THIRD)
    disagree(shop)
    (item,) = shop.lab.store.outbox.newest()
    store = shop.lab.store
    open_book(store, KEY.did, shop.clock).trust(FOURTH.did, ["read"], "lab")

    def named(text: str, at: Item = item) -> str:
        return Court(store, KEY, lambda *_: None, text).referee_of(at)

    assert [named(text) for text in ("lab", FOURTH.did)] == [FOURTH.did] * 2
    assert (named(KEY.did), named(""), named("nobody")) == ("", "", "nobody")


def test_a_referee_whom_no_peer_is_called_is_told_of(open_shop: Callable[..., Shop]) -> None:
    shop = open_shop(OTHER_KEY, THIRD)
    disagree(shop)
    (item,) = shop.lab.store.outbox.newest()
    court = Court(shop.lab.store, KEY, lambda *_: None, "lab")
    court.take_up([])
    assert court.problem == "queue.referee: no peer is called lab"
    assert court.standing(item).endswith("lab is to say what is right, and no peer is called so")
    open_book(shop.lab.store, KEY.did, shop.clock).trust(FOURTH.did, ["read"], "lab")
    court.look()
    assert court.problem == ""
    assert court.standing(item).endswith(f"{FOURTH.did} is to say what is right")


def test_without_a_referee_one_more_is_needed_and_that_is_said(
    open_shop: Callable[..., Shop],
) -> None:
    shop = open_shop(OTHER_KEY, THIRD)
    disagree(shop)
    assert looked(shop) == []
    assert told(shop) == "providers disagree; one more is needed (1 of 2 agree so far)"
    shop.keys[FOURTH.did] = FOURTH
    shop.allow(FOURTH)
    shop.clock.seconds += 60
    (third,) = shop.send()
    assert third.provider == FOURTH.did


def test_how_many_agree_so_far_is_said(open_shop: Callable[..., Shop]) -> None:
    shop = open_shop(OTHER_KEY, THIRD)
    shop.queue(Workflow(heavy=needing(HEAVY)), confirm=3)
    for job in shop.send():
        shop.hear(job, shop.receipt(job, 1))
    assert told(shop) == "2 of 3 agree so far; one more is needed"
    assert shop.send() == []
    assert told(shop) == "2 of 3 agree so far; one more is needed"


def test_who_had_too_little_memory_or_time_gave_no_wrong_answer(
    open_shop: Callable[..., Shop],
) -> None:
    shop = open_shop(OTHER_KEY, THIRD, FOURTH)
    shop.queue(Workflow(heavy=needing(HEAVY)), confirm=3)
    one, two, three = shop.send()
    cut = {"op": "wasm/run", "limits": {"memory": 1 << 26}, "memory_refused": True}
    shop.hear(one, shop.receipt(one, -1, meta=cut))
    late = Result.of_error({"code": "time-limit", "message": "not done in time"})
    shop.hear(two, shop.receipt(two, out=late))
    shop.hear(three, shop.receipt(three, 1))
    court = shop.clerk.court
    assert court.disputed == {one.item}
    court.referee(one.item, shop.lab.executor.run(HEAVY, Limits(), fresh=True).receipt)
    assert (shop.item(one).state, court.liars()) == ("done", {})


def judged(node: Node, **meta: Any) -> Receipt | None:
    """What this node says of a step that two others are to do, within the limits that it names."""
    ready = wasm(node.add(wat(WORK)), "work", 2_000_000_000, 5)
    far = {"affinity": {"did": OTHER_KEY.did}}
    node.workflow_run(Workflow(far=Task(ready, {"requires": far, **meta})), confirm=2)
    return own_answer(node, node.store.outbox.newest()[0])


def test_the_referee_has_the_limits_that_the_step_names(tmp_path: Path) -> None:
    with Node.open(tmp_path / "home") as node:
        found = judged(node, limits={"fuel": 1_000})
        assert found is not None
        assert (found.error_code, found.meta["limits"]["fuel"]) == ("out-of-fuel", 1_000)


def test_a_referee_that_is_not_done_in_time_says_nothing(tmp_path: Path) -> None:
    with Node.open(tmp_path / "home") as node:
        assert judged(node, limits={"time": 50}) is None


def test_run_keeps_whom_it_names(ipvm: Ipvm, here: Path, home: Path) -> None:
    steps = '{"heavy": {"run": "numbers:add", "args": [1, 2], "requires": {"gpu": {"count": 900}}}}'
    ipvm("add", "numbers.wasm", "--name", "numbers")
    (here / "heavy.json").write_text('{"name": "heavy", "steps": ' + steps + "}")
    assert ipvm("workflow", "run", "heavy.json", "--referee", FOURTH.did).status == 3
    with Node.open(home) as node:
        (item,) = node.store.outbox.newest()
        run = node.store.runs.get(item.run)
        assert run is not None and run.options["referee"] == FOURTH.did
    assert ipvm("workflow", "run", "heavy.json", "--referee", "nobody").status == 2
    assert ipvm("config", "set", "queue.referee", FOURTH.did).status == 0
    assert ipvm("config", "get", "queue.referee").text.strip() == FOURTH.did
