"""A provider with real sockets in this process, and customers that ask it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from lite import Node, wasm
from lite.authority import Authority
from lite.config import Config
from lite.engine.base import Outcome
from lite.frozen import replace
from lite.identity import KEY_FILE
from lite.invocations import args_of, nonce_for
from lite.ipld.cid import CID
from lite.model.instruction import Instruction
from lite.model.receipt import Receipt
from lite.offload.admission import Bounds
from lite.offload.client import JobClient
from lite.offload.desk import Desk
from lite.offload.provider import Provider
from lite.offload.terms import NO_TERMS, Terms
from lite.offload.wire import Job
from lite.ops.base import Level, Ready
from lite.peering.peering import Peering
from lite.store import Store
from lite.ucan import container
from lite.ucan.invocation import Invocation
from sync.peers import RUN
from sync.wall import SystemClock
from tests.guests import ADD
from tests.peering_support import PeerNode, key_of

LIMITS = {"fuel": 1_000_000, "memory": 1 << 24, "time": 5_000, "output": 1 << 16}
HOUR = 3_600


class ProviderNode:
    """A node that does jobs for others, on a free port of 127.0.0.1."""

    def __init__(self, folder: Path, name: str = "pi", **settings: Any) -> None:
        self.home = folder / name
        self.key = key_of(name)
        Store.open(self.home, durability="normal").close()
        if not (self.home / KEY_FILE).exists():
            self.key.save(self.home / KEY_FILE)
        self.bounds: Bounds | None = settings.pop("bounds", None)
        self.slots: int | None = settings.pop("slots", 2)
        config = Config.defaults(self.home)
        values = {**config.values, "store.durability": "normal", **settings}
        self.config = replace(config, values=values)
        self.node = Node.open(config=self.config, in_process=True)
        self.did = self.node.did
        self.changed: list[str] = []

    async def start(self) -> None:
        self.store = Store.open(self.home, durability="normal")
        self.provider = Provider(
            self.node,
            slots=self.slots,
            bounds=self.bounds,
            on_event=lambda job: self.changed.append(job.state),
        )
        self.desk = Desk(self.provider, lambda did: self.peering.book.may(did, RUN))
        self.peering = Peering(
            self.config,
            self.key,
            self.store,
            SystemClock(),
            listen=[("127.0.0.1", 0)],
            mdns=False,
            metered=False,
            on_event=lambda _event: None,
            routes=self.desk.routes,
            posts=self.desk.posts,
        )
        await self.peering.start()
        await self.provider.start(self.peering)

    async def stop(self) -> None:
        await self.provider.stop()
        await self.peering.stop()
        self.store.close()

    async def again(self) -> None:
        """Stop and start, with the same node."""
        await self.stop()
        await self.start()

    @property
    def address(self) -> str:
        host, port = self.peering.listening[0]
        return f"{host}:{port}"

    def enable(self, customer: PeerNode, terms: Terms = NO_TERMS, op: str = "wasm/run") -> CID:
        """Let a customer have jobs done; it has the delegation at once."""
        token = self.provider.offers.give(customer.did, f"/{op}", terms, _in(HOUR))
        Authority(customer.store, customer.key, SystemClock()).import_(
            container.write([token.data])
        )
        self.peering.book.trust(customer.did, (RUN,), customer.home.name)
        self.peering.poke()
        return token.cid


def _in(seconds: int) -> int:
    return SystemClock().now() + seconds


def add_job(pi: ProviderNode, left: int, right: int) -> Instruction:
    """An addition, whose code is at the provider."""
    return wasm(pi.node.add(ADD), "add", left, right)


def asking(
    customer: PeerNode,
    pi: ProviderNode,
    job: Instruction,
    limits: dict[str, int] | None = LIMITS,
    **more: Any,
) -> list[bytes]:
    """An invocation of a job and its proofs."""
    authority = Authority(customer.store, customer.key, SystemClock())
    given = {"nonce": nonce_for(job), "expires_in_s": 300, **more}
    return authority.invoke(pi.did, f"/{job.op}", args_of(job, limits), **given)


def signed(
    customer: PeerNode, pi: ProviderNode, job: Instruction, proofs: Sequence[CID], **more: Any
) -> Invocation:
    """An invocation whatever it is worth."""
    told: dict[str, Any] = {
        "subject": pi.did,
        "command": f"/{job.op}",
        "args": args_of(job, LIMITS),
        "expires_at": _in(300),
        "nonce": nonce_for(job),
        "issued_at": _in(0),
        "proofs": proofs,
        **more,
    }
    return Invocation.issue(customer.key, **told)


@asynccontextmanager
async def client(customer: PeerNode, pi: ProviderNode) -> AsyncIterator[JobClient]:
    """The wire from a customer to a provider."""
    channel = await customer.peering.gateway(pi.did, pi.address)
    try:
        yield JobClient(channel)
    finally:
        await channel.close()


async def ended(wire: JobClient, *invocations: CID) -> list[Job]:
    """How jobs ended, in the order asked for."""
    found: dict[CID, Job] = {}

    async def all_of_them() -> None:
        async for job in wire.changes():
            if job is not None and job.is_over:
                found[job.invocation] = job
            if found.keys() >= set(invocations):
                return

    await asyncio.wait_for(all_of_them(), 30)
    return [found[cid] for cid in invocations]


def value_of(job: Job) -> Any:
    """What a job's receipt says came out."""
    assert job.receipt is not None, job
    return Receipt.parse(job.receipt).out.unwrap()


def first_cid(tokens: Sequence[bytes]) -> CID:
    """The invocation among tokens as `asking` gives them."""
    return Invocation.parse(tokens[0]).cid


def dealing(story: Callable[..., Any], folder: Path, *customers: str, **settings: Any) -> None:
    """Run a story with a started provider and customers."""
    from tests.sync_net_support import run

    async def whole() -> None:
        pi = ProviderNode(folder, **settings)
        people = [PeerNode(folder, name) for name in customers]
        try:
            await pi.start()
            for one in people:
                await one.peering.start()
            await story(pi, *people)
        finally:
            await pi.stop()
            for one in people:
                await one.peering.stop()
                one.close()
            pi.node.close()

    run(whole)


class Held:
    """An operation that waits until it is let go, unless somebody stops it."""

    name = "test/held"
    needs: frozenset[str] = frozenset()

    def __init__(self, level: Level = "pure") -> None:
        self.level = level
        self.begun: list[Any] = []
        self.go = threading.Event()

    def missing(self, ready: Ready) -> str | None:
        return None

    def run(self, ready: Ready) -> Outcome:
        self.begun.append(ready.instruction.input.get("name"))
        if ready.on_trace is not None:
            ready.on_trace(f"begun {ready.instruction.input.get('name')}\n".encode())
        assert ready.stop is not None, "jobs can be stopped"
        with ready.stop.ending(self.go.set):
            assert self.go.wait(30)
        ready.stop.check()
        return Outcome(ok=ready.instruction.input.get("name"))


def held(pi: ProviderNode, level: Level = "pure") -> Held:
    """Give a provider such an operation, which others may have done."""
    op = Held(level)
    pi.node.executor._ops = {**dict(pi.node.executor._ops), Held.name: op}
    return op


def held_job(pi: ProviderNode, name: str, **more: Any) -> Instruction:
    """A job of that operation; its code is only looked for."""
    return Instruction(f"ipfs://{pi.node.add(ADD)}", Held.name, {"name": name, **more})


HELD = {"ops.allowed_for_others": ("wasm/run", Held.name)}
