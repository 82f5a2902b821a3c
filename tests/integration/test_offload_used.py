"""What a customer used at each provider, on both sides."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lite.ipld.cid import CID, RAW
from lite.limits import Limits
from lite.model.instruction import wasm
from lite.model.receipt import Receipt
from lite.model.result import Result
from lite.model.workflow import Workflow
from lite.offload.accounts import Used, beyond_belief, used_at, used_by
from lite.offload.wire import Account
from lite.store import Store
from lite.store.jobs import DAY_S, Usage
from lite.store.jobs_used import COUNT_MAX
from lite.ucan.invocation import Invocation
from tests.clerk_support import Shop
from tests.daemon_support import ipvm
from tests.meeting_support import Home, rooms
from tests.offload_support import WORK, begin, done, enable, far_step, jobs, queue, write
from tests.outbox_support import OTHER_KEY, Far, needing
from tests.scheduler_support import do
from tests.store_support import FakeClock
from tests.waiting_support import until
from tests.wat_guests import wat


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Callable[..., list[Home]]]:
    with rooms(tmp_path, wat(WORK)) as make:
        yield make


def told(home: Home, *words: str) -> Any:
    return json.loads(ipvm(home.path, *words, "--json"))


def test_both_sides_show_the_same_and_the_customers_figures_are_those_of_its_receipts(
    room: Callable[..., list[Home]], tmp_path: Path
) -> None:
    phone, gpu = room("phone", "gpu")
    enable(gpu, phone)
    assert told(phone, "queue", "used") == {"v": 1, "providers": []}
    steps = {name: far_step(gpu, "work", 100_000, at) for at, name in enumerate("abc")}
    done(phone, begin(phone, write(tmp_path, "three", steps)))
    (one,) = told(phone, "queue", "used")["providers"]
    there = told(gpu, "provider", "show")["used_today"][phone.did]
    assert one["provider"] == gpu.did and one["today"] == one["all"] == there
    assert (there["jobs"], there["fuel"] > 300_000) == (3, True)
    assert one["says"] == {**there, "waiting": 0, "running": 0, "refused": {}}
    text = ipvm(phone.path, "queue", "used").decode()
    assert "gpu" in text and f"today: 3 jobs, {there['fuel']} fuel" in text
    assert f"it says:    3 jobs, {there['fuel']} fuel" in text
    gpu.end()
    (one,) = told(phone, "queue", "used")["providers"]
    assert one["today"] == there and "says" not in one and one["why"]
    phone.end()
    (one,) = told(phone, "queue", "used")["providers"]
    assert one["today"] == there and "no daemon" in one["why"]
    assert len(jobs(phone)) == 3


def test_each_receipt_counts_once_on_its_day_for_who_was_asked(tmp_path: Path) -> None:
    clock = FakeClock()
    lab = Far(tmp_path / "home", clock)
    try:
        shop = Shop(lab, clock)
        for day in range(2):
            shop.queue(Workflow(heavy=needing(do("pure", value=day))))
            (job,) = shop.send()
            receipt = shop.receipt(job)
            shop.hear(job, receipt)
            clock.seconds += DAY_S
        shop.queue(Workflow(heavy=needing(do("pure", value=9))))
        (job,) = shop.send()
        shop.hear(job, shop.receipt(job, out=Result.of_error({"code": "trap", "message": "x"})))
        found = used_at(lab.store, clock.now())
        assert found == {OTHER_KEY.did: Used(Usage(1), Usage(3))}
    finally:
        lab.close()


def test_who_gave_no_receipt_is_shown_with_what_it_says_itself(
    room: Callable[..., list[Home]], tmp_path: Path
) -> None:
    phone, gpu = room("phone", "gpu")
    enable(gpu, phone)
    begin(phone, write(tmp_path, "long", {"a": far_step(gpu, "work", 2_000_000_000, 1)}))
    with Store.open(gpu.path, durability="normal") as store:
        until(lambda: store.jobs.counts().get("running"))
        until(lambda: queue(phone)[0].state == "accepted")
        ipvm(phone.path, "queue", "cancel", queue(phone)[0].id)
        until(lambda: not store.jobs.counts().get("running"))
    there = told(gpu, "provider", "show")["used_today"][phone.did]
    assert there["jobs"] == 1, "what began counts, though it was called off"
    (one,) = told(phone, "queue", "used")["providers"]
    none = {"jobs": 0, "fuel": 0, "time_ms": 0}
    assert (one["provider"], one["today"], one["all"]) == (gpu.did, none, none)
    assert one["says"] == {**there, "waiting": 0, "running": 0, "refused": {}}


@pytest.mark.parametrize("odd", [2**64 - 1, 2**63, -(10**15), 0.5, "9", True])
def test_a_receipt_counts_no_more_than_its_job_was_allowed(tmp_path: Path, odd: Any) -> None:
    clock = FakeClock()
    lab = Far(tmp_path / "home", clock)
    try:
        shop = Shop(lab, clock)
        for value, number in enumerate((odd, 7_000)):
            shop.queue(Workflow(heavy=needing(do("pure", value=value))))
            (job,) = shop.send()
            meta = {"op": "lab/pure", "level": "pure", "fuel": number, "time_us": number}
            shop.hear(job, shop.receipt(job, meta=meta))
        allowed = Invocation.parse(job.token).args["limits"]
        most = Usage(2, allowed["fuel"] + 7_000, allowed["time"] + 7)
        assert used_at(lab.store, clock.now()) == {OTHER_KEY.did: Used(most, most)}
    finally:
        lab.close()


def test_a_guest_that_ran_without_a_word_of_its_fuel_counts_with_its_limit() -> None:
    job, said = wasm(CID.of(b"code", RAW), "f", 1), {"fuel": 500, "time": 60}

    def used(**meta: Any) -> Usage:
        return used_by(Receipt.issue(OTHER_KEY, job, Result.of_ok(1), now=1, meta=meta))

    assert used(limits=said, time_us=61_000) == Usage(1, 500, 61)
    assert used(limits=said, time_us=0) == Usage(1, 0, 0)
    assert used(limits=said, time_us=61_000, op="exec/run") == Usage(1, 0, 61)
    assert used(limits=said, time_us=61_000, fuel=20) == Usage(1, 20, 61)


@pytest.mark.parametrize(
    ("jobs", "fuel", "time_ms", "credible"),
    [
        (0, 0, 0, True),
        (3, 3 * 10**12, 180_000, True),
        (3, 3 * 10**12 + 1, 0, False),
        (0, 1, 0, False),
        (1, 0, 2**64 - 1, False),
        (2**64 - 1, 0, 0, False),
    ],
)
def test_what_a_provider_says_is_only_told_where_it_can_be(
    jobs: int, fuel: int, time_ms: int, credible: bool
) -> None:
    told = beyond_belief(Account(1, jobs, fuel, time_ms), Limits.guest())
    assert told == "" if credible else f"{fuel} fuel" in told


def test_the_daemon_says_why_figures_of_a_provider_are_not_shown(
    room: Callable[..., list[Home]], tmp_path: Path
) -> None:
    phone, gpu = room("phone", "gpu")
    enable(gpu, phone)
    done(phone, begin(phone, write(tmp_path, "one", {"a": far_step(gpu, "add", 1, 2)})))
    with Store.open(gpu.path, durability="normal") as store, store.database.write() as transaction:
        transaction.execute("UPDATE job_days SET fuel = ?", (COUNT_MAX,))
    (one,) = told(phone, "queue", "used")["providers"]
    assert "says" not in one and f"{COUNT_MAX} fuel" in one["why"]
    assert one["today"]["jobs"] == 1 and one["today"]["fuel"] < 10**6
    assert "cannot be right" in ipvm(phone.path, "queue", "used").decode()
