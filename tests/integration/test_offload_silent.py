"""A step whose providers were silent: its owner can offer it to others."""

from __future__ import annotations

from pathlib import Path

from lite.keys import Key
from lite.model.workflow import Workflow
from tests.clerk_support import Shop
from tests.outbox_support import OTHER_KEY, TTL_S, Far, needing
from tests.scheduler_support import do
from tests.store_support import FakeClock

KEYS = (OTHER_KEY, Key.from_seed(bytes([11]) * 32), Key.from_seed(bytes([12]) * 32))


def test_a_step_with_two_silent_providers_says_so_and_its_owner_offers_it_to_the_third(
    tmp_path: Path,
) -> None:
    clock = FakeClock()
    lab = Far(tmp_path / "home", clock)
    shop, outbox = Shop(lab, clock, *KEYS), lab.store.outbox
    shop.queue(Workflow(heavy=needing(do("pure", value=1))))
    asked = []
    for _ in range(2):
        (job,) = shop.send()
        shop.accept(job)
        asked.append(job.provider)
        clock.seconds = job.lease_until + 1
        shop.clerk.look_at_ends()
    item = shop.item(job)
    assert item.state == "queued" and f"queue retry {item.id}" in item.note
    assert shop.send() == []  # not by itself
    assert outbox.retry(item.id, deadline_at=clock.seconds + TTL_S)
    (third,) = shop.send()
    assert third.provider not in asked
    shop.hear(third, shop.receipt(third))
    assert shop.item(third).state == "done"
    lab.close()
