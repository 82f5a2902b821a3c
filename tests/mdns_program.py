"""`sync.discovery` as a process, for tests that put it into a network namespace.

    python -m tests.mdns_program NAME

It prints `ready`, starts at the first line of its standard input, prints `found NAME` for each of
`a` and `b` that it finds, and ends when its standard input does. It waits a quarter of all waits.
"""

from __future__ import annotations

import asyncio
import sys

from sync.discovery import LocalNetwork, Sighting
from sync.mdns import MdnsZone, machine_addresses
from sync.wall import SystemClock
from tests.sync_net_support import key_of

PORT = 7001


def tell(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


async def main(name: str) -> None:
    clock, names = SystemClock(), {key_of(one).did: one for one in ("a", "b")}

    def found(sighting: Sighting) -> None:
        tell(f"found {names[sighting.did]}")

    network = LocalNetwork(
        lambda: MdnsZone(key_of(name).did, PORT),
        machine_addresses,
        clock,
        clock.awake_and_asleep,
        rest=lambda seconds: asyncio.sleep(seconds / 4),
    )
    loop = asyncio.get_running_loop()
    tell("ready")
    await loop.run_in_executor(None, sys.stdin.readline)
    await network.start(found, lambda _: None)
    tell("started")
    await loop.run_in_executor(None, sys.stdin.read)
    await network.stop()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
