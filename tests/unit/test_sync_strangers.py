"""Names that cost nothing, over real sockets: they keep out neither friends nor newcomers."""

from __future__ import annotations

import asyncio
import gc
import socket
from asyncio.sslproto import SSLProtocol
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial

import pytest
from aiohttp import web

from sync import door
from sync.channel import Channel
from sync.dial import WebChannel, dial
from sync.door import KNOCKS_MAX, STRANGERS_PER_ADDRESS, UNPROVED_PER_ADDRESS
from sync.errors import ChannelError
from sync.keys import SeedKey
from sync.transport import FRUITLESS_MAX, Listener
from tests.sync_net_support import key_of, run
from tests.sync_support import SET

HOME, FRIEND = key_of("home"), key_of("friend")


@asynccontextmanager
async def home(
    welcome: Callable[[str], bool] = lambda did: did == FRIEND.did,
) -> AsyncIterator[tuple[Listener, str]]:
    """A node with a friend; strangers may GET their own name."""

    async def who(_: web.Request, did: str) -> web.Response:
        return web.Response(text=did)

    async def until_it_ends(channel: Channel) -> None:
        while True:
            await channel.send(await channel.receive())

    listener = Listener(HOME, until_it_ends, routes=[("/who", who)], welcome=welcome)
    ((host, port),) = await listener.start([("127.0.0.1", 0)])
    try:
        yield listener, f"{host}:{port}"
    finally:
        await listener.close()
        assert (listener.door.connections, listener.door.unproved) == (0, 0)


async def settle(holds: Callable[[], bool]) -> None:
    async def wait() -> None:
        while not holds():
            await asyncio.sleep(0.01)

    await asyncio.wait_for(wait(), 30)


async def knocks(address: str, count: int) -> list[socket.socket]:
    """Connections that say nothing."""
    made = []
    for _ in range(count):
        one = socket.socket()
        one.setblocking(False)
        host, _, port = address.partition(":")
        await asyncio.get_running_loop().sock_connect(one, (host, int(port)))
        made.append(one)
    return made


async def named(address: str, number: int) -> WebChannel:
    return await dial(SeedKey(number.to_bytes(32, "big")), address, HOME.did, b"")


def test_one_machine_with_ever_new_names_keeps_nobody_out() -> None:
    async def work() -> None:
        async with home() as (listener, address):
            friend = await dial(FRIEND, address, HOME.did, SET)
            held = [await named(address, number) for number in range(3 * STRANGERS_PER_ADDRESS)]
            assert listener.door.connections == STRANGERS_PER_ADDRESS + 1
            again = await dial(FRIEND, address, HOME.did, SET)
            newcomer = await named(address, 1_000)
            async with newcomer.get("/who") as answer:
                assert answer.status == 200
            for channel in (friend, again):
                await channel.send(b"still here")
                assert await channel.receive() == b"still here"
            with pytest.raises(ChannelError):
                await held[0].receive()
            for channel in (friend, again, newcomer, *held):
                await channel.close()

    run(work)


def test_a_friend_comes_in_past_silent_connections_and_a_crowd_that_waits() -> None:
    async def work() -> None:
        async with home() as (listener, address):
            silent = await knocks(address, KNOCKS_MAX + 3)
            # On a slow machine some of the three that wait are let in, in the place of others.
            crowd = range(UNPROVED_PER_ADDRESS, UNPROVED_PER_ADDRESS + 4)
            await settle(
                lambda: (
                    listener.door.connections in crowd
                    and listener.door.unproved == UNPROVED_PER_ADDRESS
                )
            )
            friend = await dial(FRIEND, address, HOME.did, SET)
            await friend.send(b"here")
            assert await friend.receive() == b"here"
            await friend.close()
            for one in silent:
                one.close()

    run(work)


def test_connections_that_come_to_nothing_leave_no_buffers_behind() -> None:
    async def work() -> None:
        async with home() as (listener, address):
            host, _, port = address.partition(":")
            for _ in range(3 * FRUITLESS_MAX):
                with socket.create_connection((host, int(port)), 5) as one:
                    one.sendall(b"\x16\x03\x01")
                await asyncio.sleep(0)
            await settle(lambda: listener.door.connections == 0)
            left = sum(isinstance(one, SSLProtocol) for one in gc.get_objects())
            assert left <= FRUITLESS_MAX + UNPROVED_PER_ADDRESS

    gc.collect()
    gc.disable()
    try:
        run(work)
    finally:
        gc.enable()


def test_a_stranger_without_a_request_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(door, "STRANGER_IDLE_S", 0.2)

    async def work() -> None:
        async with home() as (listener, address):
            friend = await dial(FRIEND, address, HOME.did, b"")
            stranger = await named(address, 1)
            with pytest.raises(ChannelError):
                await asyncio.wait_for(stranger.receive(), 5)
            assert listener.door.connections == 1
            for channel in (stranger, friend):
                await channel.close()

    run(work)


def test_a_friend_that_lost_its_right_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(door, "STRANGER_IDLE_S", 0.2)
    monkeypatch.setattr(door, "RIGHT_LOOK_S", 0.1)
    friends = {FRIEND.did}

    async def work() -> None:
        async with home(friends.__contains__) as (listener, address):
            friend = await dial(FRIEND, address, HOME.did, b"")
            friends.clear()
            with pytest.raises(ChannelError):
                await asyncio.wait_for(friend.receive(), 5)
            await settle(lambda: listener.door.connections == 0)
            await friend.close()

    run(work)


def test_stopping_leaves_nothing_open_and_waits_for_nobody() -> None:
    """Those that just knocked, those that wait for their turn, those in the middle of TLS: at the
    server, and at whoever dials."""

    async def stop_after(steps: int) -> None:
        async with home() as (_, address):
            knocking = await knocks(address, KNOCKS_MAX + 4 if steps == 3 else 4)
            dialling = asyncio.get_running_loop().create_task(named(address, 1))
            for _ in range(steps):
                await asyncio.sleep(0)
            dialling.cancel()
            began = asyncio.get_running_loop().time()
        (channel,) = await asyncio.gather(dialling, return_exceptions=True)
        if isinstance(channel, WebChannel):
            await channel.close()
        assert asyncio.get_running_loop().time() - began < 4.0
        for one in knocking:
            one.close()

    gc.freeze()  # what other tests left is not looked through twelve times
    for steps in range(12):
        run(partial(stop_after, steps))
        gc.collect()  # what is still open is a warning now, and that an error
