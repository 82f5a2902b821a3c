"""A disk that gets full, and clocks that are wrong, are normal."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from lite.peering.peering import Peering
from lite.store.reserve import RECEIPTS
from tests.disk_support import fill, free
from tests.integration.test_peering_blocks import a_file, content, fetch
from tests.peering_support import PeerNode, befriend, meeting, receipts, signed, started
from tests.store_support import instruction, keep, raw_block
from tests.sync_net_support import run

DISK_MIB = 50
DISK = f"size={DISK_MIB}m"
MIB = 1024 * 1024
YEAR_S = 365 * 86_400


def test_a_full_disk_refuses_files_then_records_says_so_and_recovers(
    disk: Path, tmp_path: Path
) -> None:
    async def story() -> None:
        a, b = PeerNode(tmp_path, "a"), PeerNode(disk, "b")
        async with started(a, b):
            befriend(a, b)
            await b.in_sync_with(a)

            cid, _ = a_file(a, DISK_MIB * MIB)
            refused = await fetch(b, cid)
            assert refused.absent == (cid,) and "the disk is nearly full" in refused.why
            assert refused.bytes > 0 and free(disk) >= 5 * MIB  # what came is kept

            some = receipts(a.key, 300)
            a.keep(some)
            await b.until(lambda: b.has(some))
            await b.in_sync_with(a)

            assert b.peering.problems() == [] and (disk / "b" / RECEIPTS).stat().st_size == 5 * MIB
            # Its log has no room of its own.
            b.store.database.run("PRAGMA wal_checkpoint(TRUNCATE)")
            fill(disk, name="more")
            assert "the disk is full" in b.peering.failures()[0]  # before anything came
            more = receipts(a.key, 1_000, 300)
            a.keep(more)
            await b.until(lambda: b.has(more))
            await b.in_sync_with(a)
            assert not (disk / "b" / RECEIPTS).exists()
            (told,) = b.peering.problems()
            assert "the disk is full" in told
            refused = await fetch(b, a_file(a, MIB, 2)[0])
            assert "the disk is nearly full" in refused.why

            fill(disk, name="most")
            most = receipts(a.key, 4_000, 1_300)
            a.keep(most)
            await b.until(lambda: "full" in b.health(a).why)
            assert not b.health(a).in_sync and b.health(a).next_s

            for name in ("more", "most"):
                (disk / name).unlink()
            b.peering.hurry([a.did])  # as `ipvm sync` does; by itself it tries after a minute
            await b.until(lambda: b.has(most))
            await b.in_sync_with(a)

            b.store.gc(grace_s=0)  # the part of the file that came

            def has_room() -> bool:
                b.peering.tick()  # as the daemon does now and then
                return b.peering.problems() == []

            await b.until(has_room)
            assert (disk / "b" / RECEIPTS).exists()
            assert b.store.check(deep=True) == []

    run(story)


class Dated(PeerNode):
    """A node whose date is wrong; seconds pass as they should."""

    def __init__(self, folder: Path, name: str, date: int) -> None:
        self.date = date
        super().__init__(folder, name)

    def now(self) -> int:
        return self.date

    def monotonic(self) -> float:
        return time.monotonic()

    def _made(self) -> Peering:
        return Peering(self.config, self.key, self._own, self, on_event=self._note, **self.options)


@pytest.mark.parametrize("date", [0, int(time.time()) + 2 * YEAR_S], ids=["1970", "in-two-years"])
def test_a_wrong_clock_keeps_nobody_from_meeting(date: int, tmp_path: Path) -> None:
    async def story() -> None:
        a, b = PeerNode(tmp_path, "a"), Dated(tmp_path, "b", date)
        async with started(a, b):
            befriend(a, b)
            ours = receipts(a.key, 20)
            theirs = [signed(b.key, instruction(n), n, at=date + n) for n in range(20, 40)]
            a.keep(ours)
            b.keep(theirs)
            await a.until(lambda: a.has(theirs) and b.has(ours))
            await a.in_sync_with(b)
            cid, data = a_file(a, 100_000)
            assert (await fetch(b, cid)).have == (cid,) and content(b, cid) == data
            for talk in b.peering.talks():
                talk.channel.drop()
            await b.until(lambda: b.kinds().count("connected") == 2)
            await b.in_sync_with(a)

            b.date = int(time.time())  # somebody sets it right
            late = receipts(a.key, 3, 100)
            a.keep(late)
            await b.until(lambda: b.has(late))
            assert a.peering.problems() == b.peering.problems() == []

    run(story)


def test_a_home_that_is_gone_ends_a_fetch_and_is_not_the_peers_fault(tmp_path: Path) -> None:
    async def story(a: PeerNode, b: PeerNode) -> None:
        befriend(a, b)
        await b.in_sync_with(a)
        cid = keep(a.store, raw_block(bytes(100_000)))
        elsewhere = b.home.rename(tmp_path / "moved")
        asked = b.peering.fetch([cid], deep=True, bytes_max=None, within_ms=None)
        found = await asyncio.wait_for(asked, 10)
        assert found.absent == (cid,) and not found.full
        assert found.why.startswith("it cannot be stored: ") and "broke off" not in found.why
        elsewhere.rename(b.home)
        asked = b.peering.fetch([cid], deep=True, bytes_max=None, within_ms=10_000)
        assert (await asked).have == (cid,)

    meeting(story, tmp_path, "a", "b")
