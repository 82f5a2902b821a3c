"""The floor of an offloaded task, both ends: FOLDER begins the provider and prints its port.

One signed invocation goes out by HTTP, is verified, run, answered by a signed receipt that is
durable there, and the receipt is checked and durable here. Nobody is asked first, nothing is
queued, no right is looked at, and nothing would survive a lost answer.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from itertools import count
from pathlib import Path
from typing import Any

import cbor2
import guests
from floors import CBOR_CID, HEADER, Ledger, cid, instruction, metered_engine, metered_store
from nacl.bindings import crypto_sign, crypto_sign_open

TAG = "ucan/inv@1.0.0-rc.1"


class Provider:
    """Runs what comes, one request a task."""

    def __init__(self, folder: Path) -> None:
        import wasmtime

        self._wasmtime, self._ledger = wasmtime, Ledger(folder, "full")
        self._engine = metered_engine()
        self._module = wasmtime.Module(self._engine, guests.ADD)

    def answer(self, body: bytes) -> bytes:
        signature, payload = cbor2.loads(body)
        crypto_sign_open(signature + cbor2.dumps(payload), self._ledger.public)
        left, right = payload[TAG]["args"]["input"]["args"]
        data = instruction("ipfs://module", left, right)
        key = cid(CBOR_CID, data)
        assert self._ledger.lookup(key) is None
        store = metered_store(self._engine)
        exports: Any = self._wasmtime.Instance(store, self._module, []).exports(store)
        self._ledger.commit(data, key, exports["add"](store, left, right))
        found = self._ledger.lookup(key)
        assert found is not None
        return found

    async def serve(self) -> None:
        from aiohttp import web

        async def post(request: web.Request) -> web.Response:
            return web.Response(body=self.answer(await request.read()))

        app = web.Application()
        app.router.add_post("/", post)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        print(runner.addresses[0][1], flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
        await runner.cleanup()


class Customer:
    """Sends tasks to a provider in a process of its own."""

    def __init__(self, folder: Path) -> None:
        command = [sys.executable, __file__, str(folder / "there")]
        pipe = subprocess.PIPE
        self._provider = subprocess.Popen(command, stdin=pipe, stdout=pipe)
        assert self._provider.stdout is not None
        self._url = f"http://127.0.0.1:{int(self._provider.stdout.readline())}/"
        self._ledger, self._next = Ledger(folder / "here", "full"), count()

    def run(self, tasks: int, in_flight: int) -> float:
        """Seconds for one of so many tasks."""
        return asyncio.run(self._all(tasks, in_flight)) / tasks

    async def _all(self, tasks: int, in_flight: int) -> float:
        import aiohttp

        async with aiohttp.ClientSession() as session:
            turns = iter(range(tasks))

            async def some() -> None:
                for _ in turns:
                    await self._one(session)

            started = time.perf_counter()
            await asyncio.gather(*(some() for _ in range(in_flight)))
            return time.perf_counter() - started

    async def _one(self, session: Any) -> None:
        number = next(self._next)
        data = instruction("ipfs://module", number, 1)
        async with session.post(self._url, data=self._invocation(data)) as response:
            receipt = await response.read()
        signature, payload = cbor2.loads(receipt)
        again = cbor2.dumps(payload)
        crypto_sign_open(signature + again, self._ledger.public)
        key = cid(CBOR_CID, data)
        assert payload[TAG]["args"]["ins"].value[1:] == key and again in receipt
        self._keep(data, key, receipt)

    def _invocation(self, data: bytes) -> bytes:
        did = "did:key:z6Mkk89bC3JrVqKie71YEcc5M1SMVxuCgNx6zLZ8SYJsxALi"
        told = {"cmd": "/wasm/run", "exp": 1_800_000_000, "iss": did, "sub": did, "prf": []}
        payload = {"h": HEADER, TAG: {**told, "args": cbor2.loads(data), "nonce": bytes(12)}}
        return cbor2.dumps([crypto_sign(cbor2.dumps(payload), self._ledger.secret)[:64], payload])

    def _keep(self, data: bytes, key: bytes, receipt: bytes) -> None:
        execute = self._ledger.db.execute
        execute("begin immediate")
        execute("insert into blocks (cid, data) values (?, ?)", (key, data))
        execute(
            "insert into receipts (cid, instruction, data) values (?, ?, ?)",
            (cid(CBOR_CID, receipt), key, receipt),
        )
        execute("commit")

    def close(self) -> None:
        self._ledger.close()
        assert self._provider.stdin is not None
        self._provider.stdin.close()
        self._provider.wait()


if __name__ == "__main__":
    asyncio.run(Provider(Path(sys.argv[1])).serve())
