"""Meeting peers once, from a process that is no daemon: it dials, and nobody can dial it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Collection, Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from lite.clock import Clock
from lite.config import Config
from lite.errors import StoreBusy
from lite.keys import Key
from lite.peering.peering import Peering
from lite.peering.together import Round
from lite.peering.values import PeerEvent
from lite.store import Store
from lite.store.locks import FileLock

__all__ = ["LOCK", "sync_alone", "take_turn"]

LOCK: Final = "sync.lock"  # of the home
_LOOK_S: Final = 0.1


def sync_alone(
    config: Config,
    key: Key,
    store: Store,
    clock: Clock,
    dids: Collection[str] | None,
    within_s: float,
    *,
    once: bool,
    on_event: Callable[[PeerEvent], None],
    has_daemon: Callable[[], bool],
) -> Round | None:
    """Dial the peers and stay until they are in sync: `lite.peering.together.bring_together`. None:
    a daemon of this home runs now, or asked for its turn; it does that then.

    To its peers a node is one: a second process that dials takes the channels of the first. So one
    waits for the other, and the time for that is part of its own.

    Args:
        store: a handle that nobody else uses meanwhile.
        has_daemon: whether one runs; asked while another process dials.

    Raises:
        StoreBusy: another process did the same for all of that time.
        IpvmError: the store cannot be used.
    """

    async def meet() -> Round | None:
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + within_s
        lock = await _turn(config.home, ends_at, has_daemon)
        if lock is None:
            return None
        try:
            return await go(lock, max(0.0, ends_at - loop.time()))
        finally:
            lock.release()

    async def go(lock: FileLock, within_s: float) -> Round | None:
        peering = Peering(
            config, key, store, clock, listen=[], mdns=False, metered=False, on_event=on_event
        )
        await peering.start()
        try:
            return await _until_asked(lock, peering.together(dids, within_s, once=once))
        finally:
            await peering.stop()

    return asyncio.run(meet())


async def take_turn(home: Path, within_s: float) -> FileLock | None:
    """The lock of the one process of a home that dials, for a daemon: whoever has it is asked for
    it. None: it was not given in time.

    Raises:
        StoreError: the home cannot be written.
    """
    loop = asyncio.get_running_loop()
    lock, ends_at = FileLock(home / LOCK), loop.time() + within_s
    while not lock.acquire(block=False):
        if loop.time() >= ends_at:
            return None
        _ask_for(lock)
        await asyncio.sleep(_LOOK_S)
    _take_back(lock)
    return lock


async def _turn(home: Path, ends_at: float, has_daemon: Callable[[], bool]) -> FileLock | None:
    """The same for a process that is no daemon; None: there is one."""
    loop = asyncio.get_running_loop()
    lock = FileLock(home / LOCK)
    while not lock.acquire(block=False):
        if has_daemon():
            return None
        if loop.time() >= ends_at:
            raise StoreBusy(
                "another `ipvm sync` of this home is under way",
                hint="Wait for it, or give more time with --within.",
            )
        await asyncio.sleep(_LOOK_S)  # the kernel tells nobody when a lock is free
    _take_back(lock)
    return lock


async def _until_asked(lock: FileLock, work: Coroutine[Any, Any, Round]) -> Round | None:
    """What the work comes to; None: a daemon asked for the lock first."""
    task = asyncio.ensure_future(work)
    try:
        while not task.done():
            if _is_asked_for(lock):
                return None
            await asyncio.wait({task}, timeout=_LOOK_S)
        return task.result()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


# Who waits for a lock writes into its file; that goes with the lock.


def _ask_for(lock: FileLock) -> None:
    with suppress(OSError):  # it was given back just now
        descriptor = os.open(lock.path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(descriptor, b"daemon\n")
        finally:
            os.close(descriptor)


def _is_asked_for(lock: FileLock) -> bool:
    try:
        return lock.path.stat().st_size > 0
    except OSError:
        return False


def _take_back(lock: FileLock) -> None:
    """What was asked of one that was killed is not asked of its successor."""
    with suppress(OSError):
        os.truncate(lock.path, 0)
