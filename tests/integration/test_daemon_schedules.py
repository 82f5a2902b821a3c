"""Schedules in a running daemon: due, missed, added meanwhile, interrupted, broken."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from lite import Node, Workflow, wasm
from lite.daemon.timetable import Timetable
from lite.daemon.wakeups import CountingLoop
from lite.http.api import Api
from lite.http.events import EventLog
from lite.http.work import Work
from lite.ipld.cid import CID, RAW
from lite.nudge import RECORDS, nudge
from lite.schedule_times import Missed
from lite.store import Store
from tests.daemon_support import DaemonProcess, daemon, prepare
from tests.integration.conftest import NUMBERS
from tests.store_support import START, FakeClock
from tests.waiting_support import until
from tests.wat_guests import wat

HOUR_S = 3_600


@pytest.fixture
def place(tmp_path: Path) -> Path:
    prepare(tmp_path / "home", numbers=wat(NUMBERS))
    return tmp_path / "home"


def long_due(home: Path, *, missed: Missed = "once", spin: bool = False, gone: bool = False) -> int:
    """A schedule whose times of the last hour nobody has seen to; its number."""
    clock = FakeClock(int(time.time()) - HOUR_S)
    with Store.open(home, clock=clock) as store:
        module = store.names.get("numbers")
        assert module is not None
        step = wasm(module, "spin") if spin else wasm(module, "add", 1, int(time.time()))
        workflow = Workflow(step=step)
        if gone:
            return store.schedules.add("*/20 * * * *", workflow=CID.of(b"gone", RAW)).id
        run = store.runs.start(workflow)  # keeps the workflow
        store.runs.set_state(run.id, "done")
        added = store.schedules.add("*/20 * * * *", workflow=workflow.cid, missed=missed)
        return added.id


def ran(here: DaemonProcess, number: int) -> list[dict[str, Any]]:
    heard = here.link.events("oldest", follow=False)
    told = [one.data for one in heard if one.kind == "schedule.ran"]
    return [one for one in told if one["schedule"] == number]


@pytest.mark.parametrize(("missed", "times"), [("once", 1), ("all", 3)])
def test_what_was_missed_is_run_as_its_policy_says(place: Path, missed: Missed, times: int) -> None:
    number = long_due(place, missed=missed)
    with daemon(place) as here:
        found = until(lambda: one if len(one := ran(here, number)) >= times else None)
    assert [(one["state"], one["error"]) for one in found] == [("done", None)] * times
    with Store.open(place) as store:
        kept = store.schedules.get(number)
    assert kept.last_run == found[-1]["run"]
    assert kept.next_due_at is not None and kept.next_due_at > time.time() - 1


def test_missed_times_that_are_to_be_left_are_left(place: Path) -> None:
    number = long_due(place, missed="none")
    other = long_due(place)
    with daemon(place) as here:
        until(lambda: ran(here, other))
        assert ran(here, number) == [] or time.time() % 1200 < 90  # due at this very moment


def test_a_schedule_that_is_added_meanwhile_is_seen_at_once(place: Path) -> None:
    with daemon(place) as here:
        number = long_due(place)
        nudge(place, RECORDS)
        assert until(lambda: ran(here, number), 10)[0]["state"] == "done"


def test_a_run_that_was_killed_goes_on_at_the_next_start(place: Path) -> None:
    number = long_due(place, spin=True)
    with daemon(place) as here:
        events = here.link.events("oldest")
        run = next(one.data["run"] for one in events if one.kind == "run.started")
        until(lambda: here.link.get(f"/v1/workflows/{run}")["steps"][0]["state"] == "running")
        here.child.kill()
        here.child.wait()
    with daemon(place) as again:
        events = again.link.events("oldest")
        assert next(one.data["run"] for one in events if one.kind == "run.started") == run
        assert again.call("POST", f"/v1/workflows/{run}/cancel").json["asked"] is True
        ended = until(lambda: ran(again, number))
    assert (ended[0]["run"], ended[0]["state"]) == (run, "cancelled")


def test_a_schedule_that_cannot_begin_is_told_and_holds_up_no_other(place: Path) -> None:
    broken, sound = long_due(place, gone=True), long_due(place)
    with daemon(place) as here:
        (failed,) = until(lambda: ran(here, broken))
        assert failed["run"] is None and failed["error"]["code"] == "not-found"
        assert until(lambda: ran(here, sound))[0]["state"] == "done"
        assert here.link.get("/healthz")["ok"] is True


@dataclass
class MovingClock:
    """A clock that goes as fast as the real one, from a time that a test sets."""

    begins_at: float
    began: float = field(default_factory=time.monotonic)

    def now(self) -> int:
        return int(self.begins_at + time.monotonic() - self.began)

    def monotonic(self) -> float:
        return time.monotonic()


class NoCounters:
    """A daemon about which nothing is asked here."""


def test_it_sleeps_until_a_schedule_is_due(tmp_path: Path) -> None:
    """A second and a half before the full minute: it begins then, and wakes few times until."""
    clock = MovingClock(START + 58.5)
    loop = CountingLoop()

    async def story(node: Node) -> tuple[float, int]:
        events = EventLog("e", clock)
        api = Api(node, Work(), events, NoCounters(), lambda _what: None)  # type: ignore[arg-type]
        timetable = Timetable(api)
        api.on_ended = timetable.ended
        task = asyncio.get_running_loop().create_task(timetable.run())
        began = time.monotonic()
        at, woken = 0, 0
        async for event in events.follow(0):
            assert event is not None
            if event.kind == "run.started" and not at:
                at, woken = clock.now(), loop.wakeups
            if event.kind == "schedule.ran":
                assert event.data["due_at"] == START + 60 and event.data["state"] == "done"
                break
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        api.work.close()
        assert at >= START + 60
        return time.monotonic() - began, woken

    with Node.open(tmp_path / "home", in_process=True, clock=clock) as node:
        module = node.add(wat(NUMBERS))
        workflow = Workflow(sum=wasm(module, "add", 1, 2))
        node.run(workflow)
        node.store.schedules.add("* * * * *", workflow=workflow.cid)
        took, woken = loop.run_until_complete(story(node))
    loop.close()
    assert took >= 1.0
    assert woken <= 20
