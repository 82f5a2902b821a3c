"""Nodes over real sockets: their receipts come together, whatever happened to their homes."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
import time
from pathlib import Path

from lite.store import Store, restore
from tests.peering_support import PeerNode, befriend, key_of, meeting, receipts

WRITER = """
import sys
from pathlib import Path
from lite.store import Store
from tests.peering_support import key_of, receipts
with Store.open(Path(sys.argv[1]), durability="normal") as store:
    for one in receipts(key_of(sys.argv[2]), int(sys.argv[4]), int(sys.argv[3])):
        store.receipts.add(one)
"""


def told(node: PeerNode) -> set[str]:
    found = (event.data["receipts"] for event in node.events if event.kind == "received")
    return {cid for some in found for cid in some}


def test_receipts_of_both_come_together_and_both_say_so(tmp_path: Path) -> None:
    async def story(a: PeerNode, b: PeerNode) -> None:
        ours, theirs = receipts(a.key, 40), receipts(b.key, 30, 20)
        a.keep(ours)
        b.keep(theirs)
        befriend(a, b)
        await a.in_sync_with(b)
        assert a.has(theirs) and b.has(ours)
        assert {"connected", "received", "synced"} <= set(b.kinds())
        assert b.kinds().count("connected") == 1
        assert told(b) == {str(one.cid) for one in ours}

    meeting(story, tmp_path, "a", "b")


def test_a_receipt_written_by_another_process_arrives_at_once(tmp_path: Path) -> None:
    async def story(a: PeerNode, b: PeerNode) -> None:
        befriend(a, b)
        await a.in_sync_with(b)
        late = receipts(a.key, 1)
        a.keep(late)
        await b.until(lambda: b.has(late), 5)

    meeting(story, tmp_path, "a", "b")


def test_receipts_travel_on_to_nodes_that_never_met_their_author(tmp_path: Path) -> None:
    async def story(a: PeerNode, b: PeerNode, c: PeerNode) -> None:
        befriend(a, b)
        befriend(b, c)
        c.trusts(a, dial=False)
        a.trusts(c, dial=False)
        some = receipts(a.key, 5)
        a.keep(some)
        await c.until(lambda: c.has(some))
        await c.in_sync_with(b)
        await a.in_sync_with(b)

    meeting(story, tmp_path, "a", "b", "c")


def test_what_is_of_nobody_here_is_not_kept_until_it_is_of_somebody(tmp_path: Path) -> None:
    async def story(a: PeerNode, b: PeerNode) -> None:
        foreign = receipts(key_of("elsewhere"), 6)
        a.peering.book.trust(key_of("elsewhere").did, ["answers"])
        a.keep(foreign)
        a.peering.poke()
        befriend(a, b)
        await a.in_sync_with(b)
        assert b.store.receipts.count() == 0
        b.peering.book.trust(key_of("elsewhere").did, ["answers"])
        b.peering.poke()
        await b.until(lambda: b.has(foreign))
        await a.in_sync_with(b)

    meeting(story, tmp_path, "a", "b")


def test_what_was_forgotten_stays_away_until_its_owner_brings_it(tmp_path: Path) -> None:
    async def story(a: PeerNode, b: PeerNode) -> None:
        some = receipts(a.key, 4)
        a.keep(some)
        befriend(a, b)
        await b.until(lambda: b.has(some))
        assert b.store.receipts.forget(some[0].cid)
        b.peering.changed()
        await b.again()
        b.trusts(a)
        late = receipts(a.key, 1, 50)
        a.keep(late)
        await b.until(lambda: b.has(late))
        await a.in_sync_with(b)
        assert not b.store.receipts.has(some[0].cid)
        b.keep(some[:1])
        assert b.has(some)

    meeting(story, tmp_path, "a", "b")


def set_back(node: PeerNode, copy: Path) -> None:
    """The database file as it was when it was copied, as after a power cut without a sync."""
    for side in ("", "-wal", "-shm"):
        path = node.home / f"ipvm.db{side}"
        path.unlink(missing_ok=True)
        if (copy / path.name).exists():
            shutil.copy(copy / path.name, path)


def test_nothing_is_lost_when_a_database_file_is_set_back(tmp_path: Path) -> None:
    async def story(a: PeerNode, b: PeerNode) -> None:
        befriend(a, b)
        first = receipts(a.key, 20)
        a.keep(first)
        await b.until(lambda: b.has(first))
        await a.in_sync_with(b)
        copy = tmp_path / "copy"
        copy.mkdir()
        await a.peering.stop()
        a.close()
        shutil.copy(a.home / "ipvm.db", copy)
        a.store, a._own = Store.open(a.home), Store.open(a.home)
        a.peering = a._made()
        await a.peering.start()
        b.trusts(a)
        lost = receipts(a.key, 20, 100)
        a.keep(lost)
        await b.until(lambda: b.has(lost))
        await a.peering.stop()
        a.close()
        set_back(a, copy)
        a.store, a._own = Store.open(a.home), Store.open(a.home)
        a.peering = a._made()
        new = receipts(a.key, 30, 200)
        for one in new:
            a.store.receipts.add(one)
        assert not a.has(lost)
        await a.peering.start()
        a.trusts(b)
        await a.until(lambda: a.has([*first, *lost]) and b.has(new))
        await a.in_sync_with(b)

    meeting(story, tmp_path, "a", "b")


def test_a_restored_backup_and_what_came_after_it_come_together(tmp_path: Path) -> None:
    async def story(a: PeerNode, b: PeerNode) -> None:
        befriend(a, b)
        first = receipts(a.key, 10)
        a.keep(first)
        await a.in_sync_with(b)
        await b.until(lambda: b.has(first))
        a.store.backup(tmp_path / "backup.tar")
        lost = receipts(a.key, 10, 100)
        a.keep(lost)
        await b.until(lambda: b.has(lost))
        await a.peering.stop()
        a.close()
        restore(tmp_path / "backup.tar", a.home)
        a.store, a._own = Store.open(a.home), Store.open(a.home)
        a.peering = a._made()
        new = receipts(a.key, 10, 200)
        for one in new:
            a.store.receipts.add(one)
        await a.peering.start()
        a.trusts(b)
        await a.until(lambda: a.has([*first, *lost]) and b.has(new))
        await a.in_sync_with(b)

    meeting(story, tmp_path, "a", "b")


def test_two_processes_may_write_while_it_syncs(tmp_path: Path) -> None:
    async def story(a: PeerNode, b: PeerNode) -> None:
        befriend(a, b)
        await a.in_sync_with(b)
        writers = [
            subprocess.Popen([sys.executable, "-c", WRITER, str(a.home), "a", str(start), "150"])
            for start in (0, 1_000)
        ]
        wanted = [*receipts(a.key, 150), *receipts(a.key, 150, 1_000)]
        while any(writer.poll() is None for writer in writers):
            a.peering.changed()
            await asyncio.sleep(0.02)
        a.peering.changed()
        assert [writer.returncode for writer in writers] == [0, 0]
        await b.until(lambda: b.has(wanted))
        await a.in_sync_with(b)
        assert "problem" not in a.kinds()

    meeting(story, tmp_path, "a", "b")


def test_the_event_loop_goes_on_while_much_comes_in(tmp_path: Path) -> None:
    async def story(a: PeerNode, b: PeerNode) -> None:
        some = receipts(a.key, 3_000)
        for one in some:
            a.store.receipts.add(one)
        gaps: list[float] = []  # processor time of this thread, whatever else the machine does

        async def watch() -> None:
            before = time.thread_time()
            while True:
                await asyncio.sleep(0.001)
                gaps.append(time.thread_time() - before)
                before = time.thread_time()

        watching = asyncio.ensure_future(watch())
        a.peering.changed()
        befriend(a, b)
        await b.until(lambda: b.store.receipts.count() == len(some), 60)
        watching.cancel()
        gaps.sort()
        assert gaps[-len(gaps) // 20] < 0.1

    meeting(story, tmp_path, "a", "b")
