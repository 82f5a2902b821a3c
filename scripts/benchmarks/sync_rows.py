"""The rows about sync: what finding a difference costs, whole transfers, and a mesh.

Bytes are those of all frames, from the first hello to the last word, less those of the items
themselves; bytes and round trips are counted and do not change from run to run.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count, product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from floors import Ledger
from measure import QUICK, Effort, Side
from peers import NotRun
from rows import Maker, Sides, row
from sync_sets import Met, end_of, meet, mesh, shared_set, two

if TYPE_CHECKING:
    from sync.base import Accepted, Item

ID_BYTES = 32
SIZES = {"10k": 10_000, "100k": 100_000, "1M": 1_000_000}
QUICK_SIZE_MAX = 100_000
CASES = [(0, "equal"), *product((100, 1_000), ("recent", "spread"))]
MUST: dict[tuple[int, str, str], dict[str, float]] = {
    (1_000_000, "1000", "recent"): {"bytes": 40_000 / 32_000, "trips": 4, "cpu": 100},
}
EQUAL_MUST = {"bytes": 400.0, "trips": 1.0}
NODES, MEETINGS, EACH = 20, 200, 20
CHUNK = 1_000


@functools.cache
def sets() -> TemporaryDirectory[str]:
    """Where the shared sets are kept until the program ends."""
    return TemporaryDirectory(prefix="bench-sync-")


def shared(size: int) -> Path:
    path = Path(sets().name) / f"{size}.db"
    if not path.exists():
        shared_set(path, size)
    return path


def met(size: int, apart: int, how: str) -> Met:
    with two(shared(size), size, apart, how) as ends:
        found = meet(*ends)
    assert found.moved == apart, "not everything arrived"
    return found


@functools.cache
def counted(size: int, apart: int, how: str) -> Met:
    """Bytes and trips, which are always the same."""
    return met(size, apart, how)


def comparing(size: int, apart: int, how: str, of: str) -> Maker:
    def make(folder: Path, effort: Effort) -> Iterator[Sides]:
        if effort.repeat_s == QUICK.repeat_s and size > QUICK_SIZE_MAX:
            raise NotRun("so large a set is left out by --quick")
        if of == "cpu":
            yield Sides(lambda: met(size, apart, how).seconds)
        elif of == "trips":
            yield Sides(lambda: counted(size, apart, how).trips)
        else:
            floor = (lambda: float(apart * ID_BYTES)) if apart else None
            yield Sides(lambda: float(counted(size, apart, how).told), floor)

    return make


def enter() -> None:
    """The rows of each size and difference."""
    units = {"bytes": ("B", "bytes"), "trips": ("trips", "round trips"), "cpu": ("ms", "CPU")}
    for (name, size), (apart, how), of in product(SIZES.items(), CASES, units):
        unit, word = units[of]
        case = f"{apart}.{how}" if apart else how
        must = MUST.get((size, str(apart), how), {}) if apart else EQUAL_MUST
        kind = f"sync.{of}.{size}.{apart}" if size == 10_000 and how != "spread" else ""
        what = f"{name} items, {apart} apart, {how}: {word}" if apart else f"{name}, equal: {word}"
        row(f"P9.{name}.{case}.{of}", what, unit, must.get(of), "32 B each", kind)(
            comparing(size, apart, how, of)
        )


enter()


@row("P9.mesh", f"{NODES} nodes, {EACH} items a meeting: told for each item taken", "B", 110.0)
def in_a_mesh(folder: Path, effort: Effort) -> Iterator[Sides]:
    found = mesh(NODES, MEETINGS, EACH)
    yield Sides(lambda: found.told / found.moved)


# Whole transfers.


@functools.cache
def receipts(number: int) -> list[Item]:
    """Signed receipts as a node makes them."""
    from lite import wasm
    from lite.ipld.cid import CID, RAW
    from lite.keys import Key
    from lite.model.receipt import Receipt
    from lite.model.result import Result
    from sync.base import Item

    key, module = Key.from_seed(bytes(range(32))), CID.of(b"module", RAW)
    made = []
    for turn in range(number):
        at = 1_767_225_600 + turn
        receipt = Receipt.issue(key, wasm(module, "add", turn, 1), Result.of_ok(turn + 1), now=at)
        made.append(Item(receipt.cid.digest, receipt.data, at))
    return made


Timer = Callable[[], float]  # seconds: of the wall clock, or of the processor


def transfer(folder: Path, items: list[Item], timer: Timer = time.perf_counter) -> Side:
    """All receipts from one node to an empty one: verified and durable there. Both ends count."""
    from sync.verdicts import InThreads

    source = end_of(1, folder / "source.db")
    for at in range(0, len(items), CHUNK):
        source.store.add(items[at : at + CHUNK])
    turn = count()

    def side() -> float:
        judge = InThreads(Receipts())
        sink = end_of(0, folder / f"sink-{next(turn)}.db", judge)
        started = timer()
        found = meet(sink, source)
        taken = timer() - started
        assert found.moved == len(items), "not everything arrived"
        sink.store.db.close()
        judge.close()
        return taken / len(items)

    return side


class Receipts:
    """Judges receipts as `lite` does."""

    def verify(self, id: bytes, raw: bytes, peer: str) -> Accepted:
        from lite.model.receipt import Receipt
        from sync.base import Accepted

        return Accepted(Receipt.parse(raw).issued_at)


def signed(items: list[Item]) -> list[tuple[bytes, bytes]]:
    """What Ed25519 checks of each: signature and message, and the key."""
    from lite.keys import Key
    from lite.ucan import envelope

    public = Key.from_seed(bytes(range(32))).public
    tokens = [envelope.parse(one.raw) for one in items]
    return [(token.signature + token.signed, public) for token in tokens]


def verifying(items: list[Item]) -> Side:
    """Signatures alone, one after the other."""
    from nacl.bindings import crypto_sign_open

    messages = signed(items)

    def side() -> float:
        started = time.perf_counter()
        for message, public in messages:
            crypto_sign_open(message, public)
        return (time.perf_counter() - started) / len(messages)

    return side


def floor(folder: Path, items: list[Item], timer: Timer = time.perf_counter) -> Side:
    """Signatures in two threads, and rows in durable transactions of 1,000, with nothing around."""
    from nacl.bindings import crypto_sign_open

    messages = signed(items)
    turn = count()
    query = "insert into receipts (cid, instruction, data) values (?, ?, ?)"

    def verify(at: int) -> int:
        for message, public in messages[at : at + CHUNK]:
            crypto_sign_open(message, public)
        return at

    def side() -> float:
        ledger = Ledger(folder / f"floor-{next(turn)}", "full")
        started = timer()
        with ThreadPoolExecutor(2) as threads:
            for at in threads.map(verify, range(0, len(items), CHUNK)):
                ledger.db.execute("begin")
                ledger.db.executemany(
                    query, ((one.id, one.id, one.raw) for one in items[at : at + CHUNK])
                )
                ledger.db.execute("commit")
        taken = timer() - started
        ledger.close()
        return taken / len(items)

    return side


def size_of(effort: Effort, full: int) -> int:
    return full // 10 if effort.repeat_s == QUICK.repeat_s else full


@row("sync.full", "a receipt of 20k, verified, durable", "us", None, "its Ed25519 alone")
def all_receipts(folder: Path, effort: Effort) -> Iterator[Sides]:
    items = receipts(size_of(effort, 20_000))
    yield Sides(transfer(folder, items), verifying(items))


@row("P8", "a receipt of 100k, verified, durable", "us", 1.6, "floor, 2 threads")
def many_receipts(folder: Path, effort: Effort) -> Iterator[Sides]:
    items = receipts(size_of(effort, 100_000))
    yield Sides(transfer(folder, items), floor(folder, items))


@row("P8.cpu", "the same in processor time of both ends", "us", None, "floor, 2 threads")
def many_receipts_cpu(folder: Path, effort: Effort) -> Iterator[Sides]:
    items = receipts(size_of(effort, 100_000))
    yield Sides(
        transfer(folder, items, time.process_time),
        floor(folder, items, time.process_time),
    )
