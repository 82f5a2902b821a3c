"""Things to keep in a store, made the same in every run."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from lite.ipld import dag_cbor
from lite.ipld.block import Block
from lite.ipld.cid import CID, DAG_CBOR, RAW
from lite.keys import Key
from lite.model.instruction import Instruction, wasm
from lite.model.receipt import Receipt
from lite.model.result import Result
from lite.store import Store
from lite.store.home import DATABASE

KEY = Key.from_seed(bytes(range(32)))
MODULE = CID.of(b"module", RAW)
START = 1_800_000_000


@dataclass
class FakeClock:
    """A clock that a test sets."""

    seconds: int = START

    def now(self) -> int:
        return self.seconds

    def monotonic(self) -> float:
        return float(self.seconds)


def raw_block(data: bytes | str) -> Block:
    return Block.make(data.encode() if isinstance(data, str) else data, RAW)


def bulk(seed: int, size: int) -> Block:
    """A raw block of pseudo-random bytes."""
    return raw_block(random.Random(seed).randbytes(size))


def node_block(value: object) -> Block:
    """A dag-cbor block."""
    return Block.make(dag_cbor.encode(value), DAG_CBOR)


def instruction(number: int, *, module: CID = MODULE, inputs: Sequence[CID] = ()) -> Instruction:
    return wasm(module, "f", number, *inputs)


def receipt(
    asked: Instruction, value: object = 42, *, linked: CID | None = None, trace: CID | None = None
) -> Receipt:
    """The receipt of an instruction; the same each time."""
    return Receipt.issue(
        KEY,
        asked,
        Result.of_ok(value if linked is None else linked),
        now=START,
        linked=None if linked is None else "dag-cbor" if linked.codec == DAG_CBOR else "file",
        meta={} if trace is None else {"trace": trace},
        nonce=bytes(12),
    )


def keep(store: Store, *blocks: Block) -> CID:
    """Put blocks; the CID of the last."""
    store.blocks.put_many(blocks)
    return blocks[-1].cid


def traced(store: Store) -> list[str]:
    """A list to which every statement that the store makes from now on is added."""
    seen: list[str] = []
    store._database.connection.set_trace_callback(seen.append)
    return seen


def listing(folder: Path) -> dict[str, bytes]:
    """Every file in a folder with its bytes."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def damage(home: Path, table: str) -> None:
    """Overwrite the first page of a table, in a home that nobody has open."""
    path = home / DATABASE
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        (size,) = db.execute("PRAGMA page_size").fetchone()
        query = "SELECT rootpage FROM sqlite_master WHERE name = ?"
        (page,) = db.execute(query, (table,)).fetchone()
    with path.open("r+b") as file:
        file.seek((page - 1) * size)
        file.write(b"\xff" * size)
