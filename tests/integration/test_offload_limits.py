"""Limits that a step names are needed; those that nobody named may be cut, and then count less."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lite.keys import Key
from lite.limits import Limits
from lite.model.receipt import Receipt
from lite.model.result import Result
from lite.model.workflow import Workflow
from lite.needs.requirements import Requirements
from lite.offload.doing import NEEDS
from lite.offload.terms import Terms
from lite.offload.wire import Ask, Bid, Job, NoBid
from lite.store import Store
from lite.store.outbox_rows import Item
from lite.store.outbox_rows import Job as Sent
from lite.ucan.invocation import Invocation
from tests.clerk_support import Shop
from tests.meeting_support import Home, rooms
from tests.offload_support import WORK, begin, done, either, enable, jobs, queue, write
from tests.outbox_support import OTHER_KEY, Far, needing
from tests.peering_support import PeerNode
from tests.provider_support import ProviderNode, add_job, client, dealing, signed
from tests.scheduler_support import do
from tests.store_support import FakeClock
from tests.waiting_support import until
from tests.wat_guests import wat

THIRD = Key.from_seed(bytes([11]) * 32)
MUCH = 20 * 10**9
GPU: dict[str, Any] = {"requires": {"gpu": True}}
LITTLE = [["<=", ".limits.fuel", 10**6]]


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    clock = FakeClock()
    lab = Far(tmp_path / "home", clock)
    yield Shop(lab, clock)
    lab.close()


def allow_little(shop: Shop) -> None:
    """Its provider has given it this alone."""
    with shop.lab.store.database.write() as transaction:
        transaction.execute("DELETE FROM delegations")
    shop.allow(OTHER_KEY, policy=LITTLE)


def asked_of(job: Sent) -> dict[str, Any]:
    limits: dict[str, Any] = Invocation.parse(job.token).args["limits"]
    return limits


def the_item(shop: Shop) -> Item:
    (item,) = shop.lab.store.outbox.newest()
    return item


def ends_by(shop: Shop, job: Sent, code: str, **limits: int) -> Receipt:
    """Its provider says that it came to a limit of its own."""
    key = shop.keys[job.provider]
    instruction = shop.asked(job)
    return Receipt.issue(
        key,
        instruction,
        Result.of_error({"code": code, "message": "no more"}),
        now=shop.clock.now(),
        invocation=job.invocation,
        meta={"op": instruction.op, "level": "pure", "limits": limits},
    )


def test_a_delegation_below_what_a_step_names_is_unfit_by_that_reason(shop: Shop) -> None:
    allow_little(shop)
    shop.queue(Workflow(heavy=needing(do("pure", value=1), **GPU, limits={"fuel": MUCH})))
    assert shop.send() == []
    item = the_item(shop)
    assert item.state == "queued" and item.note.startswith("over-fuel: asks for 20G of fuel")
    assert OTHER_KEY.did in item.note
    shop.keys[THIRD.did] = THIRD
    shop.allow(THIRD, policy=[["<=", ".limits.fuel", MUCH]])
    (job,) = shop.send()
    assert (job.provider, asked_of(job)["fuel"]) == (THIRD.did, MUCH)


def test_of_two_delegations_that_which_allows_it_is_taken(shop: Shop) -> None:
    shop.allow(OTHER_KEY, policy=LITTLE)
    shop.queue(Workflow(heavy=needing(do("pure", value=1), **GPU, limits={"fuel": MUCH})))
    (job,) = shop.send()
    assert asked_of(job)["fuel"] == MUCH


def test_a_limit_that_nobody_named_is_cut_to_the_delegation(shop: Shop) -> None:
    allow_little(shop)
    shop.queue(Workflow(heavy=needing(do("pure", value=1))))
    (job,) = shop.send()
    assert asked_of(job)["fuel"] == 10**6


@pytest.mark.parametrize(
    ("code", "key"),
    [
        *(("out-of-fuel", "fuel"), ("memory-limit", "memory")),
        *(("time-limit", "time"), ("output-limit", "output")),
    ],
)
def test_an_end_at_a_limit_that_was_cut_is_no_result(shop: Shop, code: str, key: str) -> None:
    shop.keys[THIRD.did] = THIRD
    shop.allow(THIRD)
    shop.queue(Workflow(heavy=needing(do("pure", value=1))))
    (job,) = shop.send()
    shop.hear(job, ends_by(shop, job, code, **{key: 1_000}))
    assert (shop.job(job).state, shop.job(job).code) == ("refused", "cut-short")
    item = the_item(shop)
    assert item.state == "queued" and f"it ended there by {code}: {key} 1000" in item.note
    (next_one,) = shop.send()
    assert next_one.provider != job.provider
    shop.hear(next_one, shop.receipt(next_one))
    assert the_item(shop).state == "done"


def test_who_cut_a_step_short_is_not_asked_for_it_again(shop: Shop) -> None:
    shop.queue(Workflow(heavy=needing(do("pure", value=1))))
    (job,) = shop.send()
    shop.hear(job, ends_by(shop, job, "out-of-fuel", fuel=1_000))
    shop.clock.seconds += 4_000
    assert shop.send() == []
    item = the_item(shop)
    assert item.state == "queued" and "out-of-fuel" in item.note


def test_an_end_at_the_limit_that_the_step_has_here_too_is_its_result(shop: Shop) -> None:
    shop.queue(Workflow(heavy=needing(do("pure", value=1), **GPU, limits={"fuel": 1_000})))
    (job,) = shop.send()
    shop.hear(job, ends_by(shop, job, "out-of-fuel", fuel=1_000))
    assert the_item(shop).state == "failed"


def test_a_provider_does_not_bid_below_what_a_step_names_and_refuses_it(tmp_path: Path) -> None:
    async def story(pi: ProviderNode, phone: PeerNode) -> None:
        pi.enable(phone)  # which names no limits
        job = add_job(pi, 1, 2)

        async def offered(fuel: int) -> tuple[Bid | NoBid, Job]:
            needs = Requirements.of(job, {"limits": {"fuel": fuel}})
            given = phone.store.tokens.given_to(phone.did, pi.did, "/wasm/run", (pi.did,))
            token = signed(
                *(phone, pi, job, [one.cid for one in given]),
                meta={NEEDS: needs.value(), "salt": bytes([fuel % 251])},
            )
            async with client(phone, pi) as wire:
                (bid,) = await wire.bids([Ask(job.cid, needs)])
                (told,) = await wire.send([token.data, *(one.data for one in given)])
            return bid, told

        bid, told = await offered(MUCH)
        assert isinstance(bid, NoBid) and bid.code == "over-fuel"
        assert (told.state, told.code) == ("refused", "over-fuel")
        assert "this provider allows a step 1G" in told.message
        bid, told = await offered(10**6)
        assert isinstance(bid, Bid) and told.code == ""
        pi.enable(phone, Terms(fuel=MUCH))
        bid, _ = await offered(MUCH)
        assert isinstance(bid, Bid)

    dealing(story, tmp_path, "phone")


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Callable[..., list[Home]]]:
    with rooms(tmp_path, wat(WORK)) as make:
        yield make


def test_a_step_goes_to_the_bid_that_allows_what_it_names(
    room: Callable[..., list[Home]], tmp_path: Path
) -> None:
    phone, small, large = room("phone", "small", "large")
    enable(small, phone)
    step = {
        "run": "numbers:work",
        "args": [250_000_000, 5],
        "requires": either(small, large),
        "limits": {"fuel": MUCH},
    }
    run = begin(phone, write(tmp_path, "far", {"far": step}))
    until(lambda: "20G of fuel" in queue(phone)[0].note, 20.0)
    enable(large, phone, "--fuel", "20G")
    assert done(phone, run)["state"] == "done"
    with Store.open(phone.path, durability="normal") as store:
        (kept,) = store.receipts.list()
    assert kept.issuer == large.did and kept.meta["limits"]["fuel"] == MUCH
    assert {job.provider for job in jobs(phone) if job.state == "done"} == {large.did}


HERE = Limits().memory_bytes


def grew(memory: int, refused: bool | None) -> dict[str, Any]:
    """What a receipt says whose guest wanted more memory."""
    told = {} if refused is None else {"memory_refused": refused}
    return {"op": "wasm/run", "limits": {"memory": memory}, **told}


@pytest.mark.parametrize("refused", [True, None])
def test_a_value_that_hangs_on_a_memory_limit_that_was_cut_is_no_result(
    shop: Shop, refused: bool | None
) -> None:
    shop.queue(Workflow(heavy=needing(do("pure", value=1))))
    (job,) = shop.send()
    shop.hear(job, shop.receipt(job, -1, meta=grew(HERE // 4, refused)))
    assert (shop.job(job).state, shop.job(job).code) == ("refused", "cut-short")
    assert f"memory {HERE // 4} is allowed, {HERE} here" in the_item(shop).note


@pytest.mark.parametrize(("memory", "refused"), [(HERE // 4, False), (HERE, True), (HERE, None)])
def test_a_value_on_which_no_other_memory_limit_bears_is_the_result(
    shop: Shop, memory: int, refused: bool | None
) -> None:
    shop.queue(Workflow(heavy=needing(do("pure", value=1))))
    (job,) = shop.send()
    shop.hear(job, shop.receipt(job, -1, meta=grew(memory, refused)))
    assert the_item(shop).state == "done"


@pytest.mark.parametrize("code", ["bad-argument", "no-such-function", "denied-import"])
def test_an_error_before_any_guest_ran_is_the_result_under_every_memory_limit(
    shop: Shop, code: str
) -> None:
    shop.queue(Workflow(heavy=needing(do("pure", value=1))))
    (job,) = shop.send()
    out = Result.of_error({"code": code, "message": "arg 1: 3000000000 is not an i32"})
    shop.hear(job, shop.receipt(job, out=out, meta=grew(HERE // 4, None)))
    assert (the_item(shop).state, shop.job(job).code) == ("failed", "")


def test_a_value_under_the_memory_limit_that_the_step_names_is_its_result(shop: Shop) -> None:
    shop.queue(Workflow(heavy=needing(do("pure", value=1), **GPU, limits={"memory": 1 << 26})))
    (job,) = shop.send()
    shop.hear(job, shop.receipt(job, -1, meta=grew(1 << 26, True)))
    assert the_item(shop).state == "done"
