"""Workflows that are large, odd or hostile: what they cost, and how they end."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from lite import Node
from lite.errors import StoreFull
from lite.ipld.cid import CID, RAW
from lite.limits import EFFECTS_DEPTH_MAX, EFFECTS_MAX
from lite.model.instruction import Instruction
from lite.model.task import Task
from lite.model.workflow import Step, Workflow
from lite.scheduler import effects
from lite.scheduler.events import RunEvent
from tests.disk_support import fill
from tests.flow_support import bomb
from tests.guests import ADD
from tests.ops_support import HttpServer, Log
from tests.store_support import FakeClock
from tests.wat_guests import ODD_RESULTS_A, wat


@pytest.fixture
def node(home: Path) -> Iterator[Node]:
    with Node.open(home, in_process=True) as made:
        yield made


def wasm(module: CID, func: str, *args: Any, **given: Any) -> Instruction:
    return Instruction(f"ipfs://{module}", "wasm/run", {"func": func, "args": list(args), **given})


def add(a: Any, b: Any) -> Instruction:
    return wasm(CID.of(ADD, RAW), "add", a, b)


def flow(instructions: Sequence[Instruction]) -> Workflow:
    return Workflow.of([Step(f"s{n}", Task(one)) for n, one in enumerate(instructions)])


def chain(length: int, first: int) -> list[Instruction]:
    made = [add(first, 0)]
    for number in range(1, length):
        made.append(add(made[-1].ok, number))
    return made


def diamond(layers: int, width: int) -> list[Instruction]:
    """Each step of a layer awaits two of the one before."""
    layer = made = [add(n, 1000 * n) for n in range(width)]
    for _ in range(layers):
        layer = [add(layer[n].ok, layer[(n + 1) % width].ok) for n in range(width)]
        made = [*made, *layer]
    return made


def layered_values(layers: int, width: int) -> list[int]:
    layer = made = [1001 * n for n in range(width)]
    for _ in range(layers):
        layer = [layer[n] + layer[(n + 1) % width] for n in range(width)]
        made = [*made, *layer]
    return made


# Large.


@pytest.mark.parametrize("workers", [1, 2, 64])
def test_wide_deep_and_layered_workflows_come_out_right(
    node: Node, workers: int, scaled: Callable[[int, int], int]
) -> None:
    node.add(ADD)
    count = scaled(150, 1000)
    wide = node.workflow_run(flow([add(n, 7) for n in range(count)]), workers=workers)
    assert [view.receipt and view.receipt.out.body for view in wide.steps] == [
        n + 7 for n in range(count)
    ]
    deep = node.workflow_run(flow(chain(count, 5)), workers=workers)
    assert deep[f"s{count - 1}"].out.unwrap() == 5 + sum(range(count))
    layered = node.workflow_run(flow(diamond(10, 10)), workers=workers)
    values = [layered[view.label].out.unwrap() for view in layered.steps]
    assert values == layered_values(10, 10)
    assert node.store.check(deep=True) == []


def test_ten_thousand_steps(
    node: Node, full: bool, record_property: Callable[[str, object], None]
) -> None:
    if not full:
        pytest.skip("long: runs with --full")
    node.add(ADD)
    shapes = {"wide": [add(n, 3) for n in range(10_000)], "deep": chain(10_000, 9)}
    for shape, steps in shapes.items():
        workflow = flow(steps)
        started = time.monotonic()
        assert node.workflow_run(workflow).state == "done"
        ran = time.monotonic()
        again = node.workflow_run(workflow, new=True)
        known = time.monotonic()
        assert again.counts == {"cached": 10_000}
        record_property(f"{shape}_s", round(ran - started, 1))
        record_property(f"{shape}_known_s", round(known - ran, 1))


# Odd.


def test_a_result_that_comes_from_nowhere_is_waited_for(node: Node) -> None:
    node.add(ADD)
    foreign = add(40, 1)
    workflow = flow([add(foreign.ok, 1), add(1, 1)])
    run = node.workflow_run(workflow)
    assert (run.state, run.counts) == ("queued", {"queued": 1, "done": 1})
    assert str(foreign.cid) in run.step("s0").reason
    node.run(foreign)
    again = node.workflow_run(workflow)
    assert (again.id, again.state, again["s0"].out.unwrap()) == (run.id, "done", 42)


def test_a_deadline_that_is_past_runs_nothing(node: Node) -> None:
    node.add(ADD)
    workflow = flow(chain(3, 1))
    run = node.workflow_run(workflow, deadline_ms=0)
    assert (run.state, run.counts) == ("expired", {"expired": 3})
    assert node.store.receipts.count() == 0
    assert node.workflow_run(workflow).state == "done"


@pytest.mark.parametrize("jump", [-86_400, 3_600, 10_000_000])
def test_a_clock_that_jumps_changes_nothing_but_times(
    home: Path, clock: FakeClock, jump: int
) -> None:
    def shift(event: RunEvent) -> None:
        if event.kind == "step" and event.state != "running":
            clock.seconds += jump if event.position % 2 else -jump

    with Node.open(home, in_process=True, clock=clock) as node:
        node.add(ADD)
        run = node.workflow_run(flow(diamond(4, 5)), on_event=shift)
        assert [run[view.label].out.unwrap() for view in run.steps] == layered_values(4, 5)
        assert node.store.check(deep=True) == []
    clock.seconds -= 86_400
    with Node.open(home, in_process=True, clock=clock) as node:
        again = node.workflow_run(flow(diamond(4, 5)), new=True)
        assert again.state == "done"
        assert node.store.check(deep=True) == []


# A full disk.

DISK = "size=32m"


def test_a_disk_that_fills_stops_the_run_which_then_goes_on(
    disk: Path, home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("IPVM_HOME", str(disk / "home"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    module = wat(ODD_RESULTS_A)
    sizes = [200_000 + n for n in range(30)]
    with Node.open(in_process=True) as node:
        cid = node.add(module)
        workflow = flow([wasm(cid, "give", size) for size in sizes])
        ballast = fill(disk, leave=3_500_000)
        with pytest.raises(StoreFull, match="full"):
            node.workflow_run(workflow)
    ballast.unlink()
    with Node.open(in_process=True) as node:
        (row,) = node.store.runs.list()
        before = node.store.receipts.count()
        assert 0 < before < len(sizes)
        assert node.store.runs.state_of(row) == "interrupted"
        assert node.store.check(deep=True) == []
        run = node.workflow_run(workflow)
        assert (run.id, run.counts) == (row.id, {"done": len(sizes)})
        assert node.store.receipts.count() == len(sizes)
        assert node.store.check(deep=True) == []


class Filling(Log):
    """Fills the disk with each request."""

    def __init__(self, disk: Path) -> None:
        super().__init__()
        self._disk = disk

    def add(self, **entry: Any) -> None:
        super().add(**entry)
        self.ballast = fill(self._disk)


def test_a_disk_that_is_full_when_a_mutation_has_happened_leaves_it_in_doubt(
    disk: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IPVM_HOME", str(disk / "home"))
    log = Filling(disk)
    with HttpServer(log) as server:
        # Its answer is larger than what is left in the pages of the database.
        post = Instruction(f"{server.url}/gzip?2000000", "http/post", {"only": "body"})
        with Node.open(in_process=True) as node, pytest.raises(StoreFull):
            node.workflow_run(flow([post]))
        log.ballast.unlink()
        with Node.open(in_process=True) as node:
            for _ in range(2):
                run = node.workflow_run(flow([post]))
                assert (run.state, run.counts) == ("in-doubt", {"in-doubt": 1})
                assert server.count("POST") == 1
            assert node.store.check(deep=True) == []


# Effects without end.


@pytest.mark.parametrize("forks", [1, 2, 40])
def test_effects_that_ask_for_effects_come_to_an_end(
    node: Node, forks: int, scaled: Callable[[int, int], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    most = scaled(100, EFFECTS_MAX)
    monkeypatch.setattr(effects, "EFFECTS_MAX", most)
    cid = node.add(bomb(forks))
    rsc = f"ipfs://{cid}"
    first = wasm(cid, "bomb", 1 << 33, rsc, fx=True)
    started = time.monotonic()
    run = node.workflow_run(flow([first]))
    assert time.monotonic() - started < 30
    rows = node.store.runs.steps(run.id)
    codes = Counter(view.receipt.error_code for view in run.steps if view.receipt is not None)
    assert run.state == "failed"
    assert set(run.counts) == {"done", "failed"}
    assert codes["bad-effects"] == run.counts["failed"]
    assert max(row.depth for row in rows) <= EFFECTS_DEPTH_MAX
    assert len(rows) <= 1 + most
    assert max(row.depth for row in rows) == EFFECTS_DEPTH_MAX or len(rows) > most - forks
    assert all(row.cause is not None for row in rows[1:])
    assert node.store.check(deep=True) == []
    assert node.workflow_run(flow([first])).state == "failed"
