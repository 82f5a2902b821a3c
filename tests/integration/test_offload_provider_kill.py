"""A provider that is killed at any moment: each job ends once, no mutation happens twice."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from lite.ipld.cid import CID
from lite.model.instruction import Instruction
from lite.model.receipt import Receipt
from lite.offload import refused
from lite.offload.client import JobClient, ProviderAway
from lite.offload.wire import Job
from lite.store import Store
from lite.store.jobs import DAY_S
from tests.guests import ADD
from tests.ops_support import HttpServer
from tests.peering_support import PeerNode
from tests.provider_program import OPS
from tests.provider_support import ProviderNode, asking, first_cid

ROOT = Path(__file__).resolve().parent.parent.parent
JOBS = 12


class Process:
    """The provider's process, started again after each kill."""

    def __init__(self, folder: Path, url: str) -> None:
        self._command = [sys.executable, "-m", "tests.provider_program", str(folder), url]
        self._child: subprocess.Popen[bytes] | None = None

    async def start(self) -> str:
        """Its address."""
        self._child = subprocess.Popen(
            self._command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        out = self._child.stdout
        assert out is not None
        return (await asyncio.get_running_loop().run_in_executor(None, out.readline)).decode()[:-1]

    def kill(self) -> None:
        if self._child is not None:
            self._child.kill()
            self._child.communicate()


@pytest.mark.timeout(1_200)  # 100 kills on a slow machine
def test_each_job_ends_once_however_often_the_provider_is_killed(
    tmp_path: Path, scaled: Callable[[int, int], int]
) -> None:
    random = Random(6)
    kills = scaled(4, 100)
    seen: dict[CID, Job] = {}

    async def story(phone: PeerNode, url: str, did: str, asked: dict[CID, list[bytes]]) -> None:
        provider = Process(tmp_path, url)
        try:
            for left in range(kills, -1, -1):
                address = await provider.start()
                # The last time it is let live.
                enough = random.randrange(1, JOBS // 2) if left else len(asked) * 100
                channel = await phone.peering.gateway(did, address)
                try:
                    await talk(JobClient(channel), asked, seen, enough, random)
                finally:
                    provider.kill()
                    channel.drop()
                    await channel.close()
                if len(seen) == len(asked):
                    return
        finally:
            provider.kill()

    async def whole(server: HttpServer) -> None:
        pi = ProviderNode(tmp_path, **{"ops.allowed_for_others": OPS})
        phone = PeerNode(tmp_path, "phone")
        await pi.start()
        for op in OPS:
            pi.enable(phone, op=op)
        asked = {}
        for number in range(JOBS * max(1, kills // 8)):
            job = job_of(pi, OPS[number % 2], f"{number}")
            tokens = asking(phone, pi, job)
            asked[first_cid(tokens)] = tokens
        await pi.stop()
        pi.node.close()
        await phone.peering.start()
        try:
            await story(phone, server.url, pi.did, asked)
        finally:
            await phone.peering.stop()
            phone.close()

    with HttpServer() as server:
        asyncio.run(asyncio.wait_for(whole(server), 60 + 10 * kills))
        posts = Counter(entry["body"] for entry in server.log.entries)
    check(seen, posts)
    check_counted(tmp_path / "pi")


def job_of(pi: ProviderNode, op: str, name: str) -> Instruction:
    return Instruction(f"ipfs://{pi.node.add(ADD)}", op, {"name": f"{op[5:]}-{name}"})


async def talk(
    wire: JobClient,
    asked: dict[CID, list[bytes]],
    seen: dict[CID, Job],
    enough: int,
    random: Random,
) -> None:
    """Send what may not have got there, and listen until so many changes were heard."""
    try:
        await wire.send([token for tokens in asked.values() for token in tokens])
        async for job in wire.changes(max((job.seq for job in seen.values()), default=0)):
            if job is not None and job.is_over:
                before = seen.setdefault(job.invocation, job)
                assert (before.state, before.receipt) == (job.state, job.receipt)
            enough -= job is not None
            if enough <= 0 or len(seen) == len(asked):
                await asyncio.sleep(random.random() / 50)  # any moment
                return
    except ProviderAway:
        return


def check_counted(home: Path) -> None:
    """Each that ended ran, and counts once, whether it was answered or is in doubt."""
    with Store.open(home, durability="normal") as store:
        over = [job for job in store.jobs.newest(10_000) if not job.is_open]
        days = {job.changed_at // DAY_S for job in over}
        used = [one.jobs for day in days for one in store.jobs.customers(day).values()]
    assert over and sum(used) == len(over)


def check(seen: dict[CID, Job], posts: Counter[str]) -> None:
    """Each ended, and the world saw no mutation twice."""
    for job in seen.values():
        assert job.receipt is not None
        if job.state == "done":
            name = Receipt.parse(job.receipt).out.unwrap()
            assert posts[name] >= 1
        else:
            assert (job.state, job.code, job.begun) == ("refused", "ucan-in-doubt", True)
            assert refused.read(job.receipt).code == "ucan-in-doubt"
    acted = [name for name in posts if name.startswith("act")]
    assert {name: posts[name] for name in acted if posts[name] > 1} == {}
    done = [job for job in seen.values() if job.state == "done"]
    assert sum(Receipt.parse(job.receipt or b"").out.unwrap().startswith("pure") for job in done)
    assert len(seen) >= JOBS
