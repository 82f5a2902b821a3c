"""A node as a process, hostile peers that have the right to talk to it, and an honest one.

The hostile acts of PROTOCOL.md, each over a real channel, with the heartbeat of a real node (a
machine with much to do keeps everybody waiting): the process does not grow, stores nothing
that is forged, bans who did it, and an honest peer gets everything meanwhile.
"""

from __future__ import annotations

import asyncio
import gc
import socket
import subprocess
import sys
import time
import warnings
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from random import Random

import pytest

from sync.base import Position, Summary
from sync.dial import WebChannel, dial
from sync.door import STRANGERS_PER_ADDRESS
from sync.errors import ChannelError
from sync.messages import (
    BY_COMPARISON,
    NO_LIMIT,
    Compare,
    Give,
    Hello,
    Message,
    Mode,
    Offer,
    Want,
    encode,
)
from sync.reconcile import varint
from tests.sync_net_support import key_of, run
from tests.sync_process_support import ROOT, Runner
from tests.sync_support import SET, digest, make_raw

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")

MIB = 1024 * 1024
ITEMS = 1_200


def hello() -> Hello:
    summary = Summary(bytes(8), Position(9, bytes(32)), 9, bytes(16))
    return Hello(SET, summary, None, NO_LIMIT, 7)


async def say(channel: WebChannel, *messages: Message) -> None:
    for message in messages:
        await channel.send(encode(message))


async def forged(channel: WebChannel, random: Random) -> None:
    for number in range(1_000):
        raw = make_raw("x", number, random.randbytes(40))
        raw = raw[:-1] + bytes((raw[-1] ^ 1,))  # its time, by one second
        await say(channel, Offer((digest(raw),), (len(raw),)), Give((raw,)))


async def unasked(channel: WebChannel, random: Random) -> None:
    for _ in range(2_000):
        await say(channel, Give(tuple(random.randbytes(16_000) for _ in range(4))))


async def endless_offers(channel: WebChannel, random: Random) -> None:
    for number in range(1_000):
        ids = tuple(random.randbytes(32) for _ in range(1_024))
        await say(channel, Offer(ids, (300,) * 1_024, Position(number + 10, ids[-1])))


async def endless_wants(channel: WebChannel, random: Random) -> None:
    for _ in range(5_000):
        await say(channel, Want(tuple(random.randbytes(32) for _ in range(512))))


async def endless_comparing(channel: WebChannel, random: Random) -> None:
    while True:
        parts = b"".join(
            varint(2) + varint(0) + varint(1) + random.randbytes(16) for _ in range(2_900)
        )
        await say(channel, Compare(b"\x61" + parts))
        await channel.receive()


async def scattered(channel: WebChannel, random: Random) -> None:
    """Good items at all times between now and the end of time."""
    for _ in range(5):
        raws = [make_raw("y", random.randrange(2**52), random.randbytes(9)) for _ in range(400)]
        await say(channel, Compare(bytes.fromhex("6100000200")), Give(tuple(raws)))


async def bombs(channel: WebChannel, random: Random) -> None:
    """Lengths without content, and depth without end."""
    for bomb in (b"\x9b" + b"\xff" * 8, b"\x81" * 60_000, b"\xa1\x61t\x7b" + b"\xff" * 8):
        await channel.send(bomb)


ATTACKS: dict[str, Callable[[WebChannel, Random], Awaitable[None]]] = {
    one.__name__: one
    for one in (forged, unasked, endless_offers, endless_wants, endless_comparing, bombs)
}


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[Callable[[str], Runner]]:
    made: list[Runner] = []

    def one(name: str) -> Runner:
        made.append(Runner(None, name, tmp_path, "calm"))
        return made[-1]

    yield one
    for runner in made:
        runner.stop()


def attack(victim: Runner, name: str, act: Callable[[WebChannel, Random], Awaitable[None]]) -> None:
    """Do it until the victim has had enough."""

    async def work() -> None:
        channel = await dial(key_of(name), victim.address, key_of("victim").did, SET)
        with suppress(ChannelError):
            await say(channel, hello(), Mode(BY_COMPARISON))
            await act(channel, Random(name))
        await channel.close()
        channel.drop()

    gc.freeze()  # what other tests left is not looked through
    with warnings.catch_warnings():  # it is cut off in the middle of what it says
        warnings.simplefilter("ignore", ResourceWarning)
        run(work)
        gc.collect()


def test_every_hostile_act_leaves_memory_the_set_and_an_honest_peer_as_they_were(
    nodes: Callable[[str], Runner],
) -> None:
    victim, honest = nodes("victim"), nodes("honest")
    victim.tell("knows", "honest", "-")
    for name in ATTACKS:
        victim.tell("knows", name, "-")
    honest.tell("knows", "victim", victim.address)
    honest.until(lambda state: state["in_sync"] is True)
    before, numbers = victim.rss(), count(1)
    for name, act in ATTACKS.items():
        honest.tell("add", f"honest{next(numbers)}", ITEMS // len(ATTACKS))
        attack(victim, name, act)
        victim.until(lambda state: state["kind"] == "ended")
        grown = victim.rss() - before
        assert grown <= 50 * MIB, f"{name}: {grown} bytes more"
    wanted = ITEMS // len(ATTACKS) * len(ATTACKS)
    last = honest.until(lambda state: state["in_sync"] and state["count"] == wanted)
    assert last["count"] == wanted, "not even one item of the attackers"
    assert [state["text"] for state in honest.states if state["kind"] == "ended"] == []
    banned = {state["kind"] for state in victim.states}
    assert "banned" in banned


ATTACKERS = ("comparer1", "comparer2", "comparer3", "comparer4")
ROUNDS = 3


@contextmanager
def comparers(victim: Runner) -> Iterator[None]:
    """All attackers compare without end meanwhile."""
    program = [sys.executable, "-m", "tests.sync_attack_program", victim.address, *ATTACKERS]
    with subprocess.Popen(
        program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as process:
        assert process.stdout is not None and process.stdin is not None
        assert process.stdout.readline() == "all at it\n"
        yield
        process.stdin.close()


@pytest.mark.full
@pytest.mark.alone
def test_an_honest_peer_is_at_most_half_as_fast_while_all_others_attack(
    nodes: Callable[[str], Runner],
) -> None:
    """The latency of bringing new items over: the best of some, with and without attackers."""
    victim, honest = nodes("victim"), nodes("honest")
    for name in ("honest", *ATTACKERS):
        victim.tell("knows", name, "-")
    honest.tell("knows", "victim", victim.address)
    honest.until(lambda state: state["in_sync"] is True)
    total, numbers = 0, count(1)

    def seconds() -> float:
        nonlocal total
        total += 2_000
        began = time.monotonic()
        honest.tell("add", f"author{next(numbers)}", 2_000)
        honest.until(lambda state: state["in_sync"] and state["count"] == total)
        return time.monotonic() - began

    alone = min(seconds() for _ in range(ROUNDS))
    with comparers(victim):
        attacked = min(seconds() for _ in range(ROUNDS))
    assert attacked <= 2 * alone, f"{attacked:.2f} s instead of {alone:.2f} s"


@pytest.mark.full
@pytest.mark.alone
def test_silent_connections_keep_nobody_out(nodes: Callable[[str], Runner]) -> None:
    victim, honest = nodes("victim"), nodes("honest")
    victim.tell("knows", "honest", "-")
    honest.tell("add", "honest", 200)
    before = victim.rss()
    held = [socket.create_connection(("127.0.0.1", victim.port)) for _ in range(200)]
    for one in held:
        with suppress(OSError):
            one.send(b"\x16\x03\x01")  # the first bytes of TLS, and no more
    began = time.monotonic()
    honest.tell("knows", "victim", victim.address)
    honest.until(lambda state: state["in_sync"] and state["count"] == 200)
    assert time.monotonic() - began <= 15
    assert victim.rss() - before <= 50 * MIB
    for one in held:
        one.close()


def test_strangers_with_ever_new_names_fill_no_memory_and_keep_nobody_out(
    nodes: Callable[[str], Runner], scaled: Callable[[int, int], int]
) -> None:
    victim, honest = nodes("victim"), nodes("honest")
    victim.tell("knows", "honest", "-")
    honest.tell("add", "honest", 200)
    before = victim.rss()

    async def work() -> None:
        held = []
        for number in range(scaled(100, 256)):
            with suppress(ChannelError):
                key = key_of(f"stranger {number}")
                held.append(await dial(key, victim.address, key_of("victim").did, b""))
        honest.tell("knows", "victim", victim.address)
        await asyncio.to_thread(
            honest.until, lambda state: state["in_sync"] and state["count"] == 200
        )
        assert len(held) > STRANGERS_PER_ADDRESS
        assert victim.rss() - before <= 50 * MIB
        for channel in held:
            await channel.close()

    run(work)


def test_items_at_all_times_cost_only_the_room_that_they_take(
    nodes: Callable[[str], Runner],
) -> None:
    """Valid items that are scattered over all of time are taken, and finding differences among
    them stays possible: an honest peer gets them all."""
    victim, honest = nodes("victim"), nodes("honest")
    victim.tell("knows", "honest", "-")
    victim.tell("knows", "scattered", "-")
    before = victim.rss()
    attack(victim, "scattered", scattered)
    held = victim.until(lambda state: state["kind"] == "ended")["count"]
    assert held > 0
    honest.tell("knows", "victim", victim.address)
    honest.until(lambda state: state["in_sync"] and state["count"] >= held)
    assert victim.rss() - before <= 50 * MIB
