"""What is measured: a row a name, each with our side, the floor beside it, and the target."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import floors
import guests
import processes
from measure import Effort, Side, repeated

if TYPE_CHECKING:
    from lite import Node

KNOWN_TASKS = 1_000
MIB = 1024 * 1024


@dataclass(frozen=True)
class Sides:
    """What runs in turn. Without `other` the row is a figure with no ratio."""

    ours: Side
    other: Side | None = None


Maker = Callable[[Path, Effort], Iterator[Sides]]


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        name: as on the command line; rows with one target share the part before the dot.
        what: in words.
        unit: "us", "ms" or "MB" of the figures.
        most: the largest ratio to the floor that is acceptable (for MB: the figure itself).
        other: what the other side is.
        kind: the peers' operation that this row is also measured against, where asked for.
        peers: how many times faster than a peer it should be.
    """

    name: str
    what: str
    unit: str
    most: float | None
    make: Maker
    other: str = "floor"
    kind: str = ""
    peers: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def sides(self, folder: Path, effort: Effort) -> Iterator[Sides]:
        yield from self.make(folder, effort)


ROWS: dict[str, Row] = {}


def row(
    name: str, what: str, unit: str, most: float | None, other: str = "floor", kind: str = "",
    **peers: float,
) -> Callable[[Maker], Maker]:  # fmt: skip
    """Enter a maker of sides into the table; the arguments are those of `Row`."""

    def register(make: Maker) -> Maker:
        ROWS[name] = Row(name, what, unit, most, make, other, kind, peers)
        return make

    return register


@contextmanager
def node_in(folder: Path, durability: str = "full", *, in_process: bool = False) -> Iterator[Node]:
    from lite.config import Config
    from lite.node import Node

    config = Config.load(folder / "ours", {"store.durability": durability})
    with Node.open(config=config, in_process=in_process) as node:
        yield node


@row("P1", "memo hit, in process", "us", 2.5, kind="memo", redun=150, dbos=20)
def memo_hit(folder: Path, effort: Effort) -> Iterator[Sides]:
    from lite import wasm

    with node_in(folder, "normal", in_process=True) as node:
        module, turn = node.add(guests.ADD), count()
        for number in range(KNOWN_TASKS):
            node.run(wasm(module, "add", number, 1))

        def ours() -> object:
            return node.run(wasm(module, "add", next(turn) % KNOWN_TASKS, 1)).out.unwrap()

        floor = floors.Memo(folder / "floor", KNOWN_TASKS)
        yield Sides(repeated(ours, effort), repeated(floor, effort))
        floor.close()


def executed(folder: Path, effort: Effort, durability: str, in_process: bool) -> Iterator[Sides]:
    from lite import wasm

    with node_in(folder, durability, in_process=in_process) as node:
        module, turn = node.add(guests.ADD), count()

        def ours() -> object:
            return node.run(wasm(module, "add", next(turn), 1)).out.unwrap()

        floor = floors.Execute(folder / "floor", durability, guests.ADD)
        yield Sides(repeated(ours, effort), repeated(floor, effort))
        floor.close()


@row("P2.full", "executed step in a worker, FULL", "us", 2.0, kind="step", redun=18, dbos=2.5)
def executed_full(folder: Path, effort: Effort) -> Iterator[Sides]:
    yield from executed(folder, effort, "full", False)


@row("P2.normal", "executed step in a worker, NORMAL", "us", 2.0)
def executed_normal(folder: Path, effort: Effort) -> Iterator[Sides]:
    yield from executed(folder, effort, "normal", False)


@row("P2.full-inside", "executed step in this process, FULL", "us", 2.0)
def executed_full_inside(folder: Path, effort: Effort) -> Iterator[Sides]:
    yield from executed(folder, effort, "full", True)


@row("P2.normal-inside", "executed step in this process, NORMAL", "us", 2.0)
def executed_normal_inside(folder: Path, effort: Effort) -> Iterator[Sides]:
    yield from executed(folder, effort, "normal", True)


@row("P5", "component, 1 MiB in and 1 MiB out", "us", 2.0, other="bare core call")
def large_bytes(folder: Path, effort: Effort) -> Iterator[Sides]:
    from lite.engine.cache import CodeCache, CompileCache
    from lite.engine.execute import execute
    from lite.engine.job import Job
    from lite.engine.select import choose
    from lite.ipld.cid import CID, RAW

    data, wasm = bytes(range(256)) * (MIB // 256), guests.echo_component()
    engine, codes = choose("wasmtime")(), CodeCache(CompileCache(folder / "cache"))
    job = Job(CID.of(wasm, RAW), "echo", (data,))

    def ours() -> object:
        outcome = execute(engine, codes, job, lambda: wasm)
        assert len(outcome.ok) == MIB, outcome.error
        return outcome

    floor = floors.EchoCore(guests.echo_core(), data)
    assert floor() == data
    yield Sides(repeated(ours, effort), repeated(floor, effort))


@row("cache", "compiled module from the disk cache", "ms", None, other="compiling it")
def compile_cache(folder: Path, effort: Effort) -> Iterator[Sides]:
    from lite.engine.cache import CompileCache
    from lite.engine.select import choose
    from lite.limits import EngineCaps

    wasm, caps = guests.large_core(), EngineCaps()
    engine, cache = choose("wasmtime")(), CompileCache(folder / "cache")
    cache.store(engine, wasm, engine.compile(wasm, caps))

    def load() -> object:
        code = cache.load(engine, wasm)
        assert code is not None
        return code

    yield Sides(repeated(load, effort), repeated(lambda: engine.compile(wasm, caps), effort))


@row("P6.version", "ipvm version", "ms", 5.0, other="python -c pass")
def cli_version(folder: Path, effort: Effort) -> Iterator[Sides]:
    yield Sides(processes.ipvm(folder, effort, ["version"]), processes.nothing(effort))


@row("P6.memo", "ipvm run, known answer", "ms", 8.0, other="python -c pass")
def cli_memo(folder: Path, effort: Effort) -> Iterator[Sides]:
    (folder / "add.wasm").write_bytes(guests.ADD)
    ours = processes.ipvm(folder, effort, ["run", "add.wasm:add", "2", "40"])
    yield Sides(ours, processes.nothing(effort))


@row("P6.executed", "ipvm run, executed", "ms", 14.0, other="python -c pass")
def cli_executed(folder: Path, effort: Effort) -> Iterator[Sides]:
    (folder / "add.wasm").write_bytes(guests.ADD)
    ours = processes.ipvm(folder, effort, ["run", "add.wasm:add", "{turn}", "1"])
    yield Sides(ours, processes.nothing(effort))


@row("P7.cli", "peak memory of a CLI memo hit", "MB", 30.0)
def memory_cli(folder: Path, effort: Effort) -> Iterator[Sides]:
    (folder / "add.wasm").write_bytes(guests.ADD)
    yield Sides(processes.ipvm_memory(folder, ["run", "add.wasm:add", "2", "40"]))


@row("P7.library", "memory after one run, worker gone", "MB", 45.0)
def memory_library(folder: Path, effort: Effort) -> Iterator[Sides]:
    yield Sides(processes.library_memory(folder, with_worker=False))


@row("P7.worker", "memory after one run, with its warm worker", "MB", None)
def memory_worker(folder: Path, effort: Effort) -> Iterator[Sides]:
    yield Sides(processes.library_memory(folder, with_worker=True))


@row("P7.worker-shared", "the same, with what both share counted once", "MB", None)
def memory_worker_shared(folder: Path, effort: Effort) -> Iterator[Sides]:
    of = processes.proportional_bytes
    yield Sides(processes.library_memory(folder, with_worker=True, of=of))
