"""The floors of workflows: the same chain, fan-out and replay as straight lines.

Nothing is scheduled, leased or retried: what a step needs is known, and its receipt is all that is
kept of it.
"""

from __future__ import annotations

from itertools import count
from pathlib import Path
from typing import Any

import cbor2
from floors import CBOR_CID, Ledger, cid, instruction, metered_engine, metered_store

GROUP = 50  # receipts in one commit of a fan-out


class Flow:
    """Adds numbers, one new instruction a step; each call runs `steps` of them."""

    def __init__(self, folder: Path, wasm: bytes, steps: int) -> None:
        import wasmtime

        self._wasmtime, self._ledger, self._next = wasmtime, Ledger(folder, "full"), count()
        self._engine = metered_engine()
        self._module = wasmtime.Module(self._engine, wasm)
        self._steps = steps

    def step(self, number: int, other: int) -> tuple[bytes, bytes, Any]:
        data = instruction("ipfs://module", number, other)
        key = cid(CBOR_CID, data)
        assert self._ledger.lookup(key) is None
        store = metered_store(self._engine)
        instance = self._wasmtime.Instance(store, self._module, [])
        exports: Any = instance.exports(store)
        return data, key, exports["add"](store, number, other)

    def close(self) -> None:
        self._ledger.close()


class Chain(Flow):
    """Each step takes what the one before it gave, and is durable before the next begins."""

    def __call__(self) -> None:
        value = next(self._next) * self._steps * 2
        for _ in range(self._steps):
            data, key, value = self.step(value, 1)
            self._ledger.commit(data, key, value)


class Fan(Flow):
    """Steps that need nothing of each other; fifty share a commit."""

    def __call__(self) -> None:
        turn = next(self._next)
        for first in range(0, self._steps, GROUP):
            numbers = range(first, min(first + GROUP, self._steps))
            self._ledger.commit_many(self.step(number, turn) for number in numbers)


def replay(ledger: Ledger, steps: int) -> None:
    """The chain that `Chain` made first, from its receipts."""
    value = 0
    for _ in range(steps):
        data = instruction("ipfs://module", value, 1)
        found = ledger.lookup(cid(CBOR_CID, data))
        assert found is not None
        value = cbor2.loads(found)[1]["ucan/inv@1.0.0-rc.1"]["args"]["out"]["ok"]
