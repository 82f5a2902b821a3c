"""The floors: straight-line programs that do the same work with nothing around it.

They make real CIDs by hand, use cbor2, PyNaCl's bindings, sqlite3 and wasmtime directly, and keep
one signed receipt a task in a WAL database. They have no features, check nothing and handle no
error.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterable
from itertools import count
from pathlib import Path
from typing import Any

import cbor2
from nacl.bindings import crypto_sign, crypto_sign_seed_keypair

CBOR_CID = b"\x01\x71\x12\x20"
RAW_CID = b"\x01\x55\x12\x20"
HEADER = b"\x34\x01\xed\x01\xed\x01\x13\x71"

SCHEMA = """
create table blocks (id integer primary key, cid blob not null, data blob not null) strict;
create unique index blocks_cid on blocks (cid);
create table receipts (
    id integer primary key, cid blob not null, instruction blob not null, data blob not null
) strict;
create unique index receipts_cid on receipts (cid);
create index receipts_instruction on receipts (instruction);
"""


def cid(prefix: bytes, data: bytes) -> bytes:
    return prefix + hashlib.sha256(data).digest()


def link(raw: bytes) -> cbor2.CBORTag:
    return cbor2.CBORTag(42, b"\0" + raw)


class Ledger:
    """The database and the key of a floor."""

    def __init__(self, folder: Path, durability: str) -> None:
        folder.mkdir(parents=True)
        self.db = sqlite3.connect(folder / "floor.db", isolation_level=None)
        self.db.execute("pragma journal_mode = wal")
        self.db.execute(f"pragma synchronous = {durability}")
        self.db.executescript(SCHEMA)
        self.public, self.secret = crypto_sign_seed_keypair(bytes(32))

    def close(self) -> None:
        self.db.close()

    def lookup(self, instruction: bytes) -> bytes | None:
        row = self.db.execute(
            "select data from receipts where instruction = ?", (instruction,)
        ).fetchone()
        return row[0] if row else None

    def commit(self, data: bytes, instruction: bytes, out: Any) -> None:
        """Sign a receipt and keep it with the instruction's block, in one transaction."""
        self.commit_many([(data, instruction, out)])

    def commit_many(self, tasks: Iterable[tuple[bytes, bytes, Any]]) -> None:
        """The same for several in one transaction: (data, instruction, out) of each."""
        signed = [(data, key, self._sign(key, out)) for data, key, out in tasks]
        execute = self.db.execute
        execute("begin immediate")
        for data, key, receipt in signed:
            execute("insert into blocks (cid, data) values (?, ?)", (key, data))
            execute(
                "insert into receipts (cid, instruction, data) values (?, ?, ?)",
                (cid(CBOR_CID, receipt), key, receipt),
            )
        execute("commit")

    def _sign(self, instruction: bytes, out: Any) -> bytes:
        payload = {
            "h": HEADER,
            "ucan/inv@1.0.0-rc.1": {
                "cmd": "/ucan/assert/receipt",
                "exp": None,
                "iat": 1_800_000_000,
                "iss": "did:key:z6Mkk89bC3JrVqKie71YEcc5M1SMVxuCgNx6zLZ8SYJsxALi",
                "prf": [],
                "sub": "did:key:z6Mkk89bC3JrVqKie71YEcc5M1SMVxuCgNx6zLZ8SYJsxALi",
                "args": {
                    "fx": {"fork": []},
                    "ins": link(instruction),
                    "out": {"ok": out},
                    "ran": link(instruction),
                },
                "meta": {"op": "wasm/run", "fuel": 4, "func": "add", "time_us": 20},
                "nonce": bytes(12),
            },
        }
        signature = crypto_sign(cbor2.dumps(payload), self.secret)[:64]
        return cbor2.dumps([signature, payload])


def instruction(module: str, a: int, b: int) -> bytes:
    """The DAG-CBOR of one call, keys already in canonical order."""
    return cbor2.dumps(
        {"op": "wasm/run", "nnc": "", "rsc": module, "input": {"args": [a, b], "func": "add"}}
    )


class Memo:
    """Answers known tasks: encode, hash, look up, decode."""

    def __init__(self, folder: Path, tasks: int) -> None:
        self._ledger = Ledger(folder, "full")
        self._next, self._tasks = count(), tasks
        for number in range(tasks):
            data = instruction("ipfs://module", number, 1)
            self._ledger.commit(data, cid(CBOR_CID, data), number + 1)

    def __call__(self) -> Any:
        data = instruction("ipfs://module", next(self._next) % self._tasks, 1)
        found = self._ledger.lookup(cid(CBOR_CID, data))
        return cbor2.loads(found)[1]["ucan/inv@1.0.0-rc.1"]["args"]["out"]["ok"]  # type: ignore[arg-type]

    def close(self) -> None:
        self._ledger.close()


class Execute:
    """Runs new tasks: miss, fresh store and instance, call, receipt, commit."""

    def __init__(self, folder: Path, durability: str, wasm: bytes) -> None:
        import wasmtime

        self._wasmtime, self._ledger, self._next = wasmtime, Ledger(folder, durability), count()
        self._engine = metered_engine()
        self._module = wasmtime.Module(self._engine, wasm)

    def __call__(self) -> Any:
        number = next(self._next)
        data = instruction("ipfs://module", number, 1)
        key = cid(CBOR_CID, data)
        assert self._ledger.lookup(key) is None
        store = metered_store(self._engine)
        instance = self._wasmtime.Instance(store, self._module, [])
        out = instance.exports(store)["add"](store, number, 1)
        self._ledger.commit(data, key, out)
        return out

    def close(self) -> None:
        self._ledger.close()


def metered_engine() -> Any:
    """With fuel and epochs on, as any node needs them."""
    import wasmtime

    config = wasmtime.Config()
    config.consume_fuel = True
    config.epoch_interruption = True
    return wasmtime.Engine(config)


def metered_store(engine: Any) -> Any:
    import wasmtime

    store = wasmtime.Store(engine)
    store.set_limits(memory_size=1 << 30, instances=8, tables=8, memories=8)
    store.set_fuel(10**12)
    store.set_epoch_deadline(10**6)
    return store


class EchoCore:
    """Bytes into a fresh core instance and out again, by memory copies."""

    def __init__(self, wasm: bytes, data: bytes) -> None:
        import wasmtime

        self._wasmtime, self._data = wasmtime, data
        self._engine = metered_engine()
        self._module = wasmtime.Module(self._engine, wasm)

    def __call__(self) -> bytes:
        store = metered_store(self._engine)
        exports: Any = self._wasmtime.Instance(store, self._module, []).exports(store)
        memory, size = exports["memory"], len(self._data)
        at = exports["cabi_realloc"](store, 0, 0, 1, size)
        memory.write(store, self._data, at)
        result = exports["echo"](store, at, size)
        pair = memory.read(store, result, result + 8)
        start, length = int.from_bytes(pair[:4], "little"), int.from_bytes(pair[4:], "little")
        return bytes(memory.read(store, start, start + length))
