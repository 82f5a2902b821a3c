"""Fetching what jobs need: for one job no more than its bound, however often its customer comes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from types import SimpleNamespace
from typing import Any

from lite.ipld.cid import CID, RAW
from lite.offload.doing import Needs
from lite.offload.inputs import Inputs
from lite.offload.standing import NotDone
from lite.offload.supplying import Supplied
from lite.peering.values import Fetched

ROOT = CID.of(b"root", RAW)
PHONE = "did:key:phone"
MOST = 100


class Jobs:
    """One job, which waits until it is settled."""

    def __init__(self) -> None:
        self.went_on: list[int] = []
        self.notes: list[str] = []
        self.end: NotDone | None = None

    def is_waiting(self, job: int) -> bool:
        return self.end is None

    def go_on(self, job: int, *, first: bool = False) -> None:
        self.went_on.append(job)

    async def note(self, job: Any, code: str, message: str) -> None:
        self.notes.append(code)

    async def settle(self, job: Any, end: NotDone) -> None:
        self.end = end

    async def look_at_rights(self) -> None:
        return None

    async def in_pool(self, work: Callable[[], Any]) -> Any:
        return work()

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        return asyncio.get_running_loop().create_task(work)


def test_the_bound_of_a_fetch_is_not_renewed_when_a_customer_comes_again() -> None:
    asked: list[int] = []

    async def fetch(_roots: Any, *, bytes_max: int, **_how: Any) -> Fetched:
        asked.append(bytes_max)
        return Fetched((), (ROOT,), min(40, bytes_max), "the link was lost")

    async def story() -> Jobs:
        jobs, taken = Jobs(), Supplied(taken={7: 10})
        node: Any = SimpleNamespace(store=None, config={"peers.fetch_bytes": MOST})
        inputs = Inputs(node, lambda *_: taken, jobs)
        inputs.peering = SimpleNamespace(fetch=fetch, gateway=None)  # type: ignore[assignment]
        job: Any = SimpleNamespace(number=7, customer=PHONE, party=PHONE)
        needs = Needs(blocks=(ROOT,))
        for _ in range(9):
            inputs.get(job, needs)
            await asyncio.gather(*inputs.fetching.values())
            if jobs.end is not None:
                break
            if len(asked) == 1:
                await inputs.supply(PHONE, b"")  # which counts as well
            inputs.came(PHONE)
        return jobs

    jobs = asyncio.run(story())
    assert asked == [100, 50, 10]
    assert jobs.end is not None and jobs.end.code == "fetch-size"
    assert "more than 100 bytes" in jobs.end.message and jobs.notes == ["input-missing"] * 3
