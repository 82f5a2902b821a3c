"""A runner whose list of peers cannot be read says so for as long as that is so."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from sync.errors import StoreError
from sync.peers import MemoryPeerStore, Peer, PeerBook
from sync.runner import Runner
from sync.wall import SystemClock
from tests.sync_net_support import key_of, run


class Locked(MemoryPeerStore):
    locked = False

    def peers(self) -> Sequence[Peer]:
        if self.locked:
            raise StoreError("locked")
        return super().peers()


def test_a_list_that_can_be_read_again_is_no_problem_any_more() -> None:
    store, key = Locked(), key_of("a")
    book = PeerBook(store, key.did, SystemClock(), bytes)

    async def story() -> None:
        runner = Runner(key, book, lambda _: [], SystemClock())
        await runner.start()
        for locked, problem in ((True, "locked"), (False, ""), (True, "locked")):
            store.locked = locked
            runner.poke()
            while runner.problem != problem:  # `run` waits a minute at most
                await asyncio.sleep(0)
        await runner.stop()

    run(story)
