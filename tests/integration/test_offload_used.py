"""What a customer used at each provider, on both sides."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lite.model.result import Result
from lite.model.workflow import Workflow
from lite.offload.accounts import Used, used_at
from lite.store.jobs import DAY_S, Usage
from tests.clerk_support import Shop
from tests.daemon_support import ipvm
from tests.meeting_support import Home, rooms
from tests.offload_support import WORK, begin, done, enable, far_step, jobs, write
from tests.outbox_support import OTHER_KEY, Far, needing
from tests.scheduler_support import do
from tests.store_support import FakeClock
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
