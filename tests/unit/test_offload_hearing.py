"""How far a provider's changes count as heard."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lite.ipld.cid import CID, RAW
from lite.offload.hearing import Hearing
from lite.store import Store

DID = "did:key:provider"
A, B = CID.of(b"a", RAW), CID.of(b"b", RAW)


class Noted(Hearing):
    """One whose provider has jobs of ours as long as told so."""

    def __init__(self, store: Store) -> None:
        async def do(work: Callable[..., Any], *given: Any) -> Any:
            return self.busy if work.__name__ == "is_busy" else work(*given)

        super().__init__(store.outbox, do)
        self.busy = True


@pytest.fixture
def hearing(tmp_path: Path) -> Iterator[Noted]:
    with Store.open(tmp_path / "home", durability="normal") as store:
        yield Noted(store)


def test_an_answer_says_nothing_of_the_changes_before_it(hearing: Noted) -> None:
    async def story() -> list[tuple[str, int]]:
        await hearing.begins(DID, "e1")
        hearing.followed(DID, 8)
        hearing.told(DID, 11)  # while something else may have changed as the ninth
        assert await hearing.is_busy(DID)
        found = [await hearing.since(DID)]
        hearing.busy = False
        assert not await hearing.is_busy(DID)
        return [*found, await hearing.since(DID)]

    assert asyncio.run(story()) == [("e1", 8), ("e1", 11)]


def test_what_could_not_be_kept_is_told_again(hearing: Noted) -> None:
    async def story() -> list[int]:
        hearing.waits(DID, A, 3)
        hearing.waits(DID, B, 5)
        hearing.followed(DID, 9)
        found = [(await hearing.since(DID))[1]]
        for cid in (A, B):
            hearing.kept(DID, cid)
            found.append((await hearing.since(DID))[1])
        return found

    assert asyncio.run(story()) == [2, 4, 9]


def test_in_another_epoch_all_is_heard_again(hearing: Noted) -> None:
    async def story() -> list[tuple[str, int]]:
        await hearing.begins(DID, "e1")
        hearing.waits(DID, A, 480)
        hearing.told(DID, 500)
        hearing.followed(DID, 500)
        found = [await hearing.since(DID)]
        await hearing.begins(DID, "e1")
        found.append(await hearing.since(DID))
        await hearing.begins(DID, "e2")
        found.append(await hearing.since(DID))
        hearing.busy = False
        await hearing.is_busy(DID)
        found.append(await hearing.since(DID))
        hearing.followed(DID, 3)
        return [*found, await hearing.since(DID)]

    expected = [("e1", 479), ("e1", 479), ("e2", 0), ("e2", 0), ("e2", 3)]
    assert asyncio.run(story()) == expected
