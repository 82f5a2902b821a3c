"""Runs that are to end while guests are busy: inside this process too, and while waiting for a
turn."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest
import wasmtime

from lite import Node, Workflow, wasm
from lite.config import Config
from lite.errors import Interrupted
from lite.ipld.cid import CID
from lite.limits import Limits
from lite.workflow_run import Run
from tests.waiting_support import until

SPIN = '(module (func (export "spin") (param i32) (loop br 0)))'
LONG = Limits(fuel=10**15, time_ms=60_000)
SOON_S = 10.0  # of the sixty seconds that the guests would take


def spins(node: Node, count: int = 3, first: int = 0) -> Workflow:
    code: CID = node.add(bytes(wasmtime.wat2wasm(SPIN)))
    return Workflow(**{f"s{n}": wasm(code, "spin", n) for n in range(first, first + count)})


@pytest.fixture(params=[False, True], ids=["workers", "in-process"])
def node(tmp_path: Path, request: pytest.FixtureRequest):
    with Node.open(tmp_path / "home", in_process=request.param) as opened:
        yield opened


def begun(node: Node, workflow: Workflow, workers: int = 2) -> tuple[Run, threading.Thread]:
    """A run in a thread of its own, as far as that its first guests are being run."""
    heard = threading.Event()
    opened = node.workflows.begin(
        workflow, limits=LONG, workers=workers, on_event=lambda e: e.label and heard.set()
    )
    thread = threading.Thread(target=opened.go)
    thread.start()
    assert heard.wait(30)
    return opened, thread


def test_a_busy_run_ends_when_it_is_cancelled_from_elsewhere(node: Node) -> None:
    opened, thread = begun(node, spins(node), workers=8)
    asked = time.monotonic()
    assert node.store.runs.cancel(opened.id)
    thread.join(SOON_S)
    assert not thread.is_alive(), f"it goes on {time.monotonic() - asked:.1f} s later"
    assert (opened.state, opened.counts) == ("cancelled", {"cancelled": 3})


def test_a_busy_run_that_is_interrupted_can_go_on(node: Node) -> None:
    heard = threading.Event()
    workflow = spins(node)
    opened = node.workflows.begin(
        workflow, limits=LONG, workers=2, on_event=lambda e: e.label and heard.set()
    )
    faults: list[BaseException] = []

    def go() -> None:
        try:
            opened.go()
        except Interrupted as fault:
            faults.append(fault)

    thread = threading.Thread(target=go)
    thread.start()
    assert heard.wait(30)
    opened.interrupt()
    thread.join(SOON_S)
    assert not thread.is_alive() and len(faults) == 1
    row = node.store.runs.get(opened.id)
    assert row is not None and node.store.runs.state_of(row) == "interrupted"
    again = node.workflow_run(workflow, limits=LONG, deadline_ms=0)
    assert (again.id, again.state) == (opened.id, "expired")


def test_a_deadline_ends_busy_guests_and_leaves_no_receipt(node: Node) -> None:
    began = time.monotonic()
    run = node.workflow_run(spins(node), limits=LONG, deadline_ms=400)
    assert 0.4 <= time.monotonic() - began < SOON_S
    assert (run.state, run.counts) == ("expired", {"expired": 3})
    assert node.store.receipts.count() == 0


def test_nothing_starts_when_no_time_is_left(node: Node) -> None:
    started: list[str] = []
    opened = node.workflows.begin(
        spins(node), deadline_ms=0, on_event=lambda event: started.append(event.label)
    )
    assert opened.go().state == "expired"
    assert set(started) == {""}  # of the run alone
    assert node.workers_started == 0


def test_a_run_that_waits_for_the_workers_of_another_one_ends_at_once(tmp_path: Path) -> None:
    config = Config.load(tmp_path / "home", {"engine.workers": "1"})
    with Node.open(config=config) as node:
        first, holds = begun(node, spins(node, 1))
        until(lambda: node.workers_started == 1)
        second, waits = begun(node, spins(node, 1, first=1))
        second.cancel()
        waits.join(SOON_S)
        ended = not waits.is_alive()
        first.cancel()
        holds.join(SOON_S)
        waits.join(SOON_S)
    assert ended, "it waited for the guest of the other run"
    assert (first.state, second.state) == ("cancelled", "cancelled")
