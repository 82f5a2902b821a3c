"""What is pinned and not whole here comes when a peer is there that has it."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from lite.ipld.block import Block
from lite.ipld.cid import CID
from lite.model.receipt import Receipt
from lite.model.result import Result
from lite.peering.keeping import EARLY_S, Keeper
from lite.peering.names import CAPABILITIES, RECORDS
from lite.peering.values import Fetched
from lite.power import LOOK_S, Battery, Power
from tests.integration.test_peering_blocks import a_file, content
from tests.peering_support import PeerNode, befriend, meeting, receipts
from tests.store_support import FakeClock, instruction, keep, raw_block
from tests.sync_net_support import run

SIZE = 200_000


def pin_a_part(a: PeerNode, b: PeerNode, seed: int = 1) -> tuple[CID, bytes]:
    """A file of `a`, whose root alone is at `b`, which has pinned it."""
    cid, data = a_file(a, SIZE, seed)
    b.store.blocks.put(Block(cid, a.store.blocks.get(cid)))
    b.store.pins.add(cid, f"file {seed}")
    return cid, data


def whole(node: PeerNode, cid: CID) -> bool:
    return not node.peering.problems() and any(
        str(cid) in event.data["cids"] for event in node.events if event.kind == "fetched"
    )


def test_a_pin_that_was_there_before_comes_after_the_records(tmp_path: Path) -> None:
    async def story(a: PeerNode, b: PeerNode) -> None:
        cid, data = pin_a_part(a, b)
        b.peering.changed()
        await b.until(lambda: b.peering.problems() != [])
        assert b.peering.problems() == ["pinned and not whole here: file 1: no peer is connected"]
        some = receipts(a.key, 300)
        a.keep(some)
        befriend(a, b)
        await b.until(lambda: whole(b, cid))
        assert content(b, cid) == data and b.has(some)
        kinds = b.kinds()
        assert kinds.index("received") < kinds.index("fetched")

    meeting(story, tmp_path, "a", "b")


def test_what_is_pinned_while_a_peer_is_there_comes_at_once(tmp_path: Path) -> None:
    async def story(a: PeerNode, b: PeerNode) -> None:
        befriend(a, b)
        await b.in_sync_with(a)
        cid, data = pin_a_part(a, b)
        b.peering.changed()
        await b.until(lambda: whole(b, cid), 5)
        assert content(b, cid) == data

    meeting(story, tmp_path, "a", "b")


def test_a_metered_network_or_the_ceiling_stops_it_and_it_is_said(tmp_path: Path) -> None:
    async def costly(a: PeerNode, b: PeerNode) -> None:
        befriend(a, b)
        pin_a_part(a, b)
        b.peering.changed()
        await b.until(lambda: any("metered" in text for text in b.peering.problems()))
        assert "fetched" not in b.kinds()

    meeting(costly, tmp_path / "costly", "a", "b", metered=True)

    async def small(a: PeerNode, b: PeerNode) -> None:
        assert b.peering._keeper is not None
        b.peering._keeper._bytes_max = SIZE // 2
        befriend(a, b)
        pin_a_part(a, b)
        b.peering.changed()
        await b.until(lambda: any("bytes" in text for text in b.peering.problems()))
        assert 0 < b.store.blocks.total_bytes() <= SIZE // 2 + 4_096

    meeting(small, tmp_path / "small", "a", "b")


def test_a_low_battery_stops_pins_and_not_records_until_it_charges(tmp_path: Path) -> None:
    async def story(a: PeerNode, b: PeerNode) -> None:
        found = [Battery(19, True)]
        clock = FakeClock()
        b.peering._means._power = Power(20, clock, lambda: found[0])
        befriend(a, b)
        cid, data = pin_a_part(a, b)
        some = receipts(a.key, 20)
        a.keep(some)
        b.peering.changed()
        low = "the battery is low (19 %): blocks come only by name"
        await b.until(lambda: low in b.peering.problems() and b.has(some))
        assert "fetched" not in b.kinds()
        asked = b.peering.fetch([cid], deep=False, bytes_max=None, within_ms=None, by_name=False)
        assert (await asked).have == (cid,), "what is here needs no battery"
        found[0] = Battery(20, True)
        b.peering.tick()
        assert low in b.peering.problems(), "an answer holds for a while"
        clock.seconds += int(LOOK_S)
        assert b.peering._keeper is not None
        b.peering._keeper.somebody_came()  # a pin is not looked at twice within a minute

        def looked_again() -> bool:
            b.peering.tick()  # a look while a talk is busy leaves it to the next one
            return whole(b, cid)

        await b.until(looked_again)
        assert content(b, cid) == data

    meeting(story, tmp_path, "a", "b")


def test_what_no_peer_has_is_said_and_asked_for_again_when_another_comes(tmp_path: Path) -> None:
    async def story(a: PeerNode, b: PeerNode, c: PeerNode) -> None:
        befriend(a, b)
        cid, data = a_file(c, SIZE)
        b.store.pins.add(cid)
        b.store.pins.add(raw_block("here").cid, "whole")
        b.store.blocks.put_many([raw_block("here")])
        b.peering.changed()
        await b.until(lambda: any("does not give it" in text for text in b.peering.problems()))
        befriend(b, c)
        await b.until(lambda: whole(b, cid))
        assert content(b, cid) == data

    meeting(story, tmp_path, "a", "b", "c")


def test_a_look_while_a_pin_is_fetched_does_not_find_it_lacking_afterwards(tmp_path: Path) -> None:
    async def story(a: PeerNode, b: PeerNode) -> None:
        befriend(a, b)
        await b.in_sync_with(a)
        keeper = b.peering._keeper
        assert keeper is not None
        fetch = keeper._fetch

        async def looked_at_meanwhile(*args: Any, **kwargs: Any) -> Fetched:
            found = await fetch(*args, **kwargs)
            await keeper.look()  # another one is at it: it goes round once more
            return found

        keeper._fetch = looked_at_meanwhile
        cid, _ = pin_a_part(a, b)
        b.peering.changed()
        await b.until(lambda: "fetched" in b.kinds() and not keeper._busy, 5)
        assert whole(b, cid), b.peering.problems()

    meeting(story, tmp_path, "a", "b")


class Quiet:
    """A conversation at rest."""

    def __init__(self, name: bytes, began_at: float) -> None:
        self.session = SimpleNamespace(is_idle=True, peer="did:key:a")
        self.channel = SimpleNamespace(set=name)
        self.began_at = began_at


def test_a_pin_waits_for_the_channel_of_records_and_not_for_ever(tmp_path: Path) -> None:
    clock = FakeClock()
    talks = [Quiet(CAPABILITIES, clock.monotonic())]
    asked: list[CID] = []

    async def fetch(cids: Sequence[CID], **_: Any) -> Fetched:
        asked.extend(cids)
        return Fetched((), tuple(cids), 0, "nobody has it")

    async def story() -> None:
        node = PeerNode(tmp_path, "a")
        node.store.pins.add(raw_block("nowhere").cid)
        with ThreadPoolExecutor(1) as pool:
            keeper = Keeper(node.store, pool, clock, fetch, lambda: talks, 1_000)  # type: ignore[arg-type,return-value]
            await keeper.look()
            assert (asked, keeper.is_left) == ([], True)
            talks.append(Quiet(RECORDS, clock.monotonic()))
            await keeper.look()
            assert (len(asked), keeper.is_left) == (1, False)
            del talks[1]
            keeper.somebody_came()
            clock.seconds += int(EARLY_S)
            await keeper.look()
            assert (len(asked), keeper.is_left) == (2, False)
        node.close()

    run(story)


def test_a_pinned_receipt_is_whole_with_what_came_out_of_its_run(tmp_path: Path) -> None:
    async def story(a: PeerNode, b: PeerNode) -> None:
        cid, data = a_file(a, SIZE)
        trace = keep(a.store, raw_block(b"what it wrote"))
        meta = {"memory_refused": False, "trace": trace}
        told = Receipt.issue(
            a.key, instruction(1), Result.of_ok(cid), now=1_800_000_000, meta=meta, linked="file"
        )
        a.store.receipts.add(told)
        b.store.receipts.add(told)
        b.store.pins.add(told.cid, "a run")
        b.peering.changed()
        await b.until(lambda: b.peering.problems() != [])
        assert b.peering.problems() == ["pinned and not whole here: a run: no peer is connected"]
        befriend(a, b)
        await b.until(lambda: whole(b, told.cid))
        assert content(b, cid) == data and b.store.blocks.has(trace)

    meeting(story, tmp_path, "a", "b")
