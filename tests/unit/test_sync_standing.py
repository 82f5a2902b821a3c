"""What is said of a peer that is not in sync."""

from __future__ import annotations

from sync.standing import TAKES_NOTHING
from tests.sync_net_support import NetNode, notes, run, started, stopped


def test_a_peer_that_takes_nothing_by_itself_is_not_said_to_take_over() -> None:
    async def work() -> None:
        a, costly = NetNode("a"), NetNode("costly")
        costly.book.metered = True
        await started(a, costly)
        a.knows(costly)
        costly.knows(a)
        await a.until(lambda: a.peer(costly).in_sync)

        def said() -> list[str]:
            return [shared.status.reason for shared in a.peer(costly).sets]

        a.add(notes("a", 30))
        await a.until(lambda: said() == [TAKES_NOTHING])
        assert not a.peer(costly).in_sync and costly.count() == 0
        costly.add(notes("costly", 3))
        await a.until(lambda: a.count() == 33)
        assert said() == [TAKES_NOTHING]
        await stopped(a, costly)

    run(work)


def test_one_that_takes_what_comes_is_said_to() -> None:
    async def work() -> None:
        a, b = NetNode("a"), NetNode("b")
        await started(a, b)
        a.knows(b)
        b.knows(a)
        await a.until(lambda: a.peer(b).in_sync)
        a.store.add(notes("a", 3))
        (talk,) = a.runner.talks()
        talk.session.notify()
        assert talk.session.status().reason == "the peer takes over what is new here"
        talk.poke()
        await a.until(lambda: a.peer(b).in_sync)
        await stopped(a, b)

    run(work)
