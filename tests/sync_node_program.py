"""A node of `sync` as a process, for tests that put it into a network namespace or kill it.

    python -m tests.sync_node_program NAME DATABASE IP[:PORT] [mdns] [calm]

`calm` waits as long for a silent peer as a real node does; else one is given up after 0.75 s.

Commands come as lines on the standard input: `knows NAME ADDRESS` (or `-` for no address), `add
AUTHOR COUNT`, `fetch NAME BYTES` (a blob of so many bytes, beside the session). After each thing
that happens it prints one line of JSON: what it was and how this node stands then.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from pathlib import Path
from typing import Any

from aiohttp import web

from sync.discovery import LocalNetwork
from sync.health import Notice
from sync.mdns import MdnsZone, machine_addresses
from sync.peers import BLOCKS, READ
from sync.wall import SystemClock
from tests.sync_net_support import NetNode, key_of, notes

HEARTBEAT_S = 0.5


class Program(NetNode):
    def __init__(
        self, name: str, path: Path, host: str, port: int, *, mdns: bool, calm: bool
    ) -> None:
        options: dict[str, Any] = {"listen": [(host, port)]}
        if not calm:
            options["heartbeat_s"] = HEARTBEAT_S
        options["routes"] = [("/blob/{size}", blob)]
        self._fetching: asyncio.Task[None] | None = None
        if mdns:
            options["discovery"] = self._network
        self._bytes: dict[int, int] = {}
        super().__init__(name, path, **options)
        self.store.db.execute("PRAGMA journal_mode = WAL")

    def _network(self, port: int) -> LocalNetwork:
        clock = SystemClock()
        zone = lambda: MdnsZone(self.key.did, port)  # noqa: E731
        return LocalNetwork(zone, machine_addresses, clock, clock.awake_and_asleep)

    def _note(self, notice: Notice) -> None:
        super()._note(notice)
        self.tell(notice.kind, notice.text)

    def tell(self, kind: str, text: str = "") -> None:
        for talk in self.runner.talks():
            self._bytes[id(talk)] = talk.session.bytes_in
        peers = self.runner.health().peers
        line = {
            "kind": kind,
            "text": text,
            "count": self.count(),
            "bytes_in": sum(self._bytes.values()),
            "in_sync": bool(peers) and all(one.in_sync for one in peers),
            "why": [set.status.reason for one in peers for set in one.sets],
            "links": sorted(one.link for one in peers),
        }
        sys.stdout.write(json.dumps(line) + "\n")
        sys.stdout.flush()

    def obey(self, line: str) -> None:
        command, name, value = line.split()
        if command == "add":
            self.add(notes(name, int(value)))
        elif command == "knows":
            did = key_of(name).did
            self.book.trust(did, [READ, BLOCKS])
            if value != "-":
                self.book.add_static(did, value)
            self.runner.poke()
        elif command == "fetch":
            self._fetching = asyncio.create_task(self._fetch(key_of(name).did, value))
        self.tell("obeyed", line.strip())

    async def _fetch(self, did: str, size: str) -> None:
        channel = await self.runner.gateway(did)
        async with channel.get(f"/blob/{size}") as answer:
            received = 0
            async for part in answer.content.iter_any():
                if not received:
                    self.tell("fetching")
                received += len(part)
        await channel.close()
        self.tell("fetched", str(received))


async def blob(request: web.Request, did: str) -> web.Response:
    return web.Response(body=bytes(int(request.match_info["size"])))


async def main(name: str, path: str, address: str, *more: str) -> None:
    host, _, port = address.partition(":")
    node = Program(name, Path(path), host, int(port or 0), mdns="mdns" in more, calm="calm" in more)
    await node.runner.start()
    node.tell("listening", node.address)
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        node.obey(line.decode())
    await node.runner.stop()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main(*sys.argv[1:]))
