"""Peers that compare without end, as a process, so that they take nothing of the victim's.

    python -m tests.sync_attack_program ADDRESS NAME...

They go on, and come again, until the standard input is closed. Once all are at it, one line is
printed.
"""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import suppress
from random import Random

from sync.base import Position, Summary
from sync.dial import dial
from sync.errors import ChannelError
from sync.messages import BY_COMPARISON, NO_LIMIT, Compare, Hello, Mode, encode
from sync.reconcile import varint
from tests.sync_net_support import key_of
from tests.sync_support import SET

RANGES = 2_500
FIRST_S = 1_767_225_600  # when `sync_net_support.notes` begins


def costly() -> bytes:
    """Many ranges that cut through all items, with fingerprints that are nobody's."""
    random, before, body = Random(1), 0, bytearray(b"\x61")
    for time in sorted(FIRST_S + random.randrange(6_000) for _ in range(RANGES)):
        body += varint(time - before + 1) + varint(0) + varint(1) + random.randbytes(16)
        before = time
    return encode(Compare(bytes(body)))


async def compare(name: str, address: str, began: asyncio.Event) -> None:
    frame = costly()
    summary = Summary(bytes(8), Position(9, bytes(32)), 9, bytes(16))
    greeting = encode(Hello(SET, summary, None, NO_LIMIT, 7)), encode(Mode(BY_COMPARISON))
    while True:
        with suppress(ChannelError):
            channel = await dial(key_of(name), address, key_of("victim").did, SET)
            try:
                for one in greeting:
                    await channel.send(one)
                while True:
                    await channel.send(frame)
                    await channel.receive()
                    began.set()
            finally:
                await channel.close()


async def main(address: str, *names: str) -> None:
    os.nice(19)  # who is slow is the victim, not the machine
    began = [asyncio.Event() for _ in names]
    pairs = zip(names, began, strict=True)
    attacks = [asyncio.create_task(compare(name, address, event)) for name, event in pairs]
    await asyncio.gather(*(event.wait() for event in began))
    sys.stdout.write("all at it\n")
    sys.stdout.flush()
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    for one in attacks:
        one.cancel()
    await asyncio.gather(*attacks, return_exceptions=True)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
