"""Several processes at one run: they share its steps, outlive each other, and hear of a cancel."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from lite.store import Store
from tests.flow_support import (
    IPVM,
    STEPS,
    WAIT_S,
    Launch,
    Servers,
    Told,
    sixty,
    write_workflow,
)

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs named pipes and kill -9")

CANCEL_WITHIN_S = 2.5  # seen within one second, plus the time a busy machine takes


def check_all_done_once(place: Path, servers: Servers, run: str, steps: list[Told]) -> None:
    """Each of these steps has one receipt, and its request came once."""
    with Store.open(place / "home") as store:
        row = store.runs.get(run)
        assert row is not None and row.state == "done"
        assert store.check(deep=True) == []
        rows = {row.label: row for row in store.runs.steps(run)}
        assert len(rows) == STEPS
        for told in steps:
            row_receipt = rows[told.label].receipt
            receipt = None if row_receipt is None else store.receipts.get(row_receipt)
            assert receipt is not None, told.label
            assert told.value is None or receipt.out.body == told.value
            known = store.receipts.by_instruction(receipt.instruction)
            assert len(known) == 1, f"{told.label} ran {len(known)} times"
    for told in steps:
        if told.request and not told.request.startswith("FILE"):
            assert servers.count(told.request) == 1, told.label


@pytest.mark.timeout(1_200)  # of its full number of turns, on a slow machine
def test_two_processes_share_one_run_and_do_no_step_twice(
    place: Path, servers: Servers, scaled: Callable[[int, int], int]
) -> None:
    turns, helped = scaled(1, 20), 0
    for turn in range(turns):
        steps = sixty(turn, servers.url)
        file = write_workflow(place, turn, steps)
        with Launch(file) as one, Launch(file) as two:
            assert (one.ended(), two.ended()) == (0, 0), (one.said, two.said)
        runs = {event["run"] for launch in (one, two) for event in launch.events}
        assert len(runs) == 1
        check_all_done_once(place, servers, runs.pop(), steps)
        helped += all(ran_here(launch) for launch in (one, two))
    assert helped or turns == 1, "one process did all the work each time"


def ran_here(launch: Launch) -> int:
    """How many steps one process ran itself."""
    return sum(event["event"] == "step" and event["state"] == "done" for event in launch.events)


@pytest.mark.timeout(1_200)  # of its full number of turns, on a slow machine
def test_when_one_of_two_is_killed_the_other_finishes(
    place: Path, servers: Servers, scaled: Callable[[int, int], int]
) -> None:
    for turn in range(scaled(1, 20)):
        steps = sixty(100 + turn, servers.url)
        file = write_workflow(place, 100 + turn, steps)

        def kill_at(
            launch: Launch, event: dict[str, Any], label: str = f"p{6 + turn % 12}"
        ) -> None:
            if event.get("label") == label:
                launch.kill()

        with Launch(file, on_event=kill_at) as one, Launch(file) as two:
            one.ended()
            status = two.ended()
        assert two.result is not None, two.said
        # The one that was killed may have had a mutation begun; the other one says so.
        assert (status, two.result["state"]) == (0, "done"), two.said
        with Store.open(place / "home") as store:
            states = {row.state for row in store.runs.steps(two.result["run"])}
        assert states <= {"done", "cached"}
        for told in steps:
            if told.kind == "plain":
                assert servers.count(told.request) == 1, told.label


@pytest.mark.timeout(1_200)  # of its full number of turns, on a slow machine
def test_two_processes_that_are_both_killed_again_and_again_do_no_step_twice(
    place: Path, servers: Servers, scaled: Callable[[int, int], int]
) -> None:
    dice = random.Random(22)
    for turn in range(200, 200 + scaled(1, 30)):
        steps = sixty(turn, servers.url)
        file = write_workflow(place, turn, steps)
        with killed_at(file, dice.randrange(2, 60)) as first:
            first.ended()
        run = first.events[0]["run"]
        doubted: set[str] = set()
        while (state := state_of(place, run)) != "done":
            if state == "in-doubt":
                doubted |= redo(place, file, run)
                continue
            with ExitStack() as both:
                kills = [dice.randrange(1, 90) for _ in range(2)]
                pair = [both.enter_context(killed_at(file, kill, resume=run)) for kill in kills]
                assert {launch.ended() for launch in pair} <= {-9, 0, 1}, pair[0].said
        # Queries and mutations that may be repeated are, when they were under way.
        once = [told for told in steps if told.kind in ("pure", "plain")]
        check_all_done_once(place, servers, run, [t for t in once if t.label not in doubted])


def killed_at(file: Path, number: int, **options: Any) -> Launch:
    """A process that is killed when it says so many things."""
    left = [number]

    def count_down(launch: Launch, _: object) -> None:
        left[0] -= 1
        if left[0] == 0:
            launch.kill()

    return Launch(file, on_event=count_down, **options)


def state_of(place: Path, run: str) -> str:
    """The state that was last written of a run."""
    with Store.open(place / "home") as store:
        row = store.runs.get(run)
        assert row is not None
        return row.state


def redo(place: Path, file: Path, run: str) -> set[str]:
    """Do the steps in doubt again, as a user who has looked; their labels."""
    with Store.open(place / "home") as store:
        labels = {row.label for row in store.runs.steps(run) if row.state == "in-doubt"}
    args = [part for label in labels for part in ("--redo", label)]
    with Launch(file, *args, resume=run) as launch:
        assert launch.ended() in (0, 1), launch.said
    return labels


def test_a_mutation_of_a_process_that_is_killed_is_in_doubt_for_the_other(
    place: Path, servers: Servers
) -> None:
    send = {"op": "http/post", "rsc": f"{servers.url}/silent"}
    file = write_workflow(place, 1, [Told("send", "plain", send, "POST /silent")])
    asked, waits = Event(), Event()

    def note(launch: Launch, event: dict[str, Any]) -> None:
        if event.get("label") == "send":
            waits.set()

    servers.on_request = lambda request: asked.set() if request == "POST /silent" else None
    with Launch(file) as one:
        assert asked.wait(WAIT_S)
        with Launch(file, on_event=note) as two:
            assert waits.wait(WAIT_S)
            one.kill()
            assert two.ended() == 1, two.said
    assert two.result is not None
    assert two.result["state"] == "in-doubt"
    assert servers.count("POST /silent") == 1


def endless(place: Path) -> Path:
    """A workflow file with a guest that does not end, and one that waits for it."""
    import json

    import wasmtime

    guest = '(module (func (export "f") (param i32) (result i32) (loop $x (br $x)) unreachable))'
    (place / "endless.wasm").write_bytes(wasmtime.wat2wasm(guest))
    file = place / "endless.json"
    steps = {
        "spin": {"run": "endless.wasm:f", "args": [1]},
        "next": {"run": "endless.wasm:f", "args": ["${spin}"]},
    }
    file.write_text(json.dumps({"steps": steps}))
    return file


def test_cancel_from_another_process_is_heard_in_about_a_second(place: Path) -> None:
    began = Event()

    def note(launch: Launch, event: dict[str, Any]) -> None:
        if event.get("label") == "spin":
            began.set()

    with ExitStack() as stack:
        file = endless(place)
        launches = [stack.enter_context(Launch(file, on_event=note)) for _ in range(2)]
        assert began.wait(WAIT_S)
        run = launches[0].events[0]["run"] if launches[0].events else launches[1].events[0]["run"]
        subprocess.run([*IPVM, "workflow", "cancel", run], check=True, capture_output=True)
        since = time.monotonic()
        statuses = [launch.ended() for launch in launches]
        took = time.monotonic() - since
    assert took < CANCEL_WITHIN_S
    assert statuses == [1, 1]
    for launch in launches:
        assert launch.result is not None
        assert launch.result["state"] == "cancelled"
    with Store.open(place / "home") as store:
        assert store.runs.counts(run) == {"cancelled": 2}
        assert store.check(deep=True) == []


@pytest.mark.parametrize(
    ("op", "state"),
    [("http/get", "cancelled"), ("http/post", "in-doubt")],
)
def test_cancel_does_not_wait_for_a_server_that_is_silent(
    place: Path, servers: Servers, op: str, state: str
) -> None:
    step = {"op": op, "rsc": f"{servers.url}/silent"}
    file = write_workflow(place, 1, [Told("ask", "", step)])
    asked, told = Event(), Event()
    servers.on_request = lambda request: asked.set()
    with Launch(file, on_event=lambda _launch, _event: told.set()) as launch:
        assert asked.wait(WAIT_S)
        assert told.wait(WAIT_S)
        run = launch.events[0]["run"]
        subprocess.run([*IPVM, "workflow", "cancel", run], check=True, capture_output=True)
        since = time.monotonic()
        assert launch.ended() == 1, launch.said
        assert time.monotonic() - since < CANCEL_WITHIN_S
    assert launch.result is not None
    assert (launch.result["state"], launch.result["counts"]) == (state, {state: 1})
