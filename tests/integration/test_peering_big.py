"""Large files on a slow link that is cut: small things overtake them, and little is sent twice."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from random import Random

from lite.files import add_source
from lite.ipld.cid import CID
from lite.ipld.unixfs.write import UNIXFS_V1_2025
from lite.ucan.delegation import Delegation
from lite.ucan.revocation import Revocation
from tests.integration.test_peering_blocks import content, fetch
from tests.peering_support import FRIEND, PeerNode, meeting, receipts

MIB = 1024 * 1024


class Link:
    """What stands between two nodes: it is as fast as it is told to be, and can be cut.

    Attributes:
        brought: bytes that went to the side that dialled.
        cuts: numbers of such bytes, at which every connection ends.
    """

    def __init__(self, target: tuple[str, int], bytes_per_s: float) -> None:
        self.target = target
        self.bytes_per_s = bytes_per_s
        self.brought = 0
        self.cuts: list[int] = []
        self._free_at = 0.0
        self._ends: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> str:
        self._server = await asyncio.start_server(self._join, "127.0.0.1", 0)
        host, port = self._server.sockets[0].getsockname()
        return f"{host}:{port}"

    async def stop(self) -> None:
        self._server.close()
        self.cut()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def cut(self) -> None:
        for writer in self._ends:
            writer.transport.abort()

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(*self.target)
        for one, other, home in ((reader, back, False), (there, writer, True)):
            self._ends.add(other)
            task = asyncio.ensure_future(self._pump(one, other, home))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, home: bool
    ) -> None:
        with suppress(ConnectionError):
            while data := await reader.read(16_384):
                if home:
                    await self._turn(len(data))
                writer.write(data)
                await writer.drain()
        writer.transport.abort()
        self._ends.discard(writer)

    async def _turn(self, count: int) -> None:
        """Wait for this connection's turn on the wire, which all of them share."""
        now = asyncio.get_running_loop().time()
        self._free_at = max(self._free_at, now) + count / self.bytes_per_s
        await asyncio.sleep(self._free_at - now)
        self.brought += count
        if self.cuts and self.brought >= self.cuts[0]:
            self.cuts.pop(0)
            self.cut()


async def linked(a: PeerNode, b: PeerNode, bytes_per_s: float) -> Link:
    """`b` dials `a` over such a link."""
    link = Link(a.peering.listening[0], bytes_per_s)
    address = await link.start()
    a.trusts(b, dial=False)
    b.peering.book.trust(a.did, FRIEND, "a")
    b.peering.book.add_static(a.did, address)
    b.peering.poke()
    await b.in_sync_with(a)
    return link


def large(node: PeerNode, size: int) -> tuple[CID, bytes]:
    data = Random(size).randbytes(min(size, 16 * MIB))
    if size > len(data):  # as many different leaves, made faster
        parts = range(0, size, MIB)
        data = b"".join(at.to_bytes(8, "big") + data[8:MIB] for at in parts)
    with node.store.adding() as put:
        return add_source(data, put, UNIXFS_V1_2025, None, 2**40), data


def test_a_file_goes_on_after_each_cut_and_sends_at_most_one_leaf_again(tmp_path: Path) -> None:
    async def story(a: PeerNode, b: PeerNode) -> None:
        link = await linked(a, b, 60 * MIB)
        cid, data = large(a, 12 * MIB)
        random, start = Random(13), link.brought
        link.cuts = [start + at for at in sorted(random.sample(range(MIB, 11 * MIB), 4))]
        found = await fetch(b, cid, within_ms=30_000)
        for _ in range(4):
            if not found.have:
                found = await fetch(b, cid, within_ms=30_000)
        assert found.have == (cid,) and content(b, cid) == data
        assert link.cuts == []
        again = link.brought - start - len(data)
        assert again <= 4 * (MIB + 64 * 1024) + len(data) // 50, again
        await link.stop()

    meeting(story, tmp_path, "a", "b")


def test_a_receipt_and_a_revocation_overtake_a_large_file(
    tmp_path: Path, scaled: Callable[[int, int], int]
) -> None:
    async def story(a: PeerNode, b: PeerNode) -> None:
        link = await linked(a, b, 1.25 * MIB)  # 10 Mbit/s
        cid, _ = large(a, scaled(16, 1024) * MIB)
        fetching = asyncio.ensure_future(fetch(b, cid, within_ms=60_000))
        before = link.brought
        await b.until(lambda: link.brought - before > MIB)
        receipt = receipts(a.key, 1)
        delegation = Delegation.issue(
            a.key, audience=b.did, subject=a.did, command="/x", policy=[], expires_at=None
        )
        revocation = Revocation.issue(a.key, revoked=delegation.cid, subject=a.did)
        began = asyncio.get_running_loop().time()
        a.store.tokens.add([delegation], [(revocation, [a.did])])
        a.keep(receipt)
        await b.until(lambda: b.has(receipt), 5)
        await b.until(lambda: bool(b.store.tokens.revokers(delegation.cid)), 5)
        took = asyncio.get_running_loop().time() - began
        assert took < 1 and not fetching.done()
        fetching.cancel()
        await asyncio.gather(fetching, return_exceptions=True)
        await link.stop()

    meeting(story, tmp_path, "a", "b")
