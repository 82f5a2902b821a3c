"""Schedules from the command line: added, listed, due once, and what becomes of their runs."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lite import Node
from lite.cli.schedule_run import worst
from lite.model.workflow import Workflow
from lite.store.schedules import Due, Schedules
from tests.integration.conftest import Ipvm
from tests.ops_support import HttpServer
from tests.waiting_support import until

Start = Callable[..., "subprocess.Popen[bytes]"]
MINUTELY = "* * * * *"


def workflow(folder: Path, name: str = "w.json", **steps: dict[str, Any]) -> str:
    steps = steps or {"sum": {"run": "numbers.wasm:add", "args": [1, 2]}}
    (folder / name).write_text(json.dumps({"name": "sums", "steps": steps}))
    return name


def make_due(home: Path, minutes: int = 1) -> None:
    """Let so many minutes have gone by unseen."""
    with sqlite3.connect(home / "ipvm.db") as database:
        set_back = "UPDATE schedules SET next_due_at = next_due_at - ?, created_at = created_at - ?"
        database.execute(set_back, (60 * minutes, 60 * minutes))
    database.close()


def test_a_schedule_is_added_listed_rested_and_removed(ipvm: Ipvm, here: Path) -> None:
    file = workflow(here)
    added = ipvm("schedule", "add", "0 3 * * 1", file, "--tz", "Europe/Berlin", "--json").json
    one = added["schedule"]
    assert (one["id"], one["name"], one["cron"]) == (1, "sums", "0 3 * * 1")
    assert (one["zone"], one["missed"], one["enabled"]) == ("Europe/Berlin", "once", True)
    assert one["source"] == str(here / file)
    assert ipvm("schedule", "list", "--json").json["schedules"] == [one]
    listed = ipvm("schedule", "list").text
    assert " Mon " in listed
    assert "03:00 CE" in listed  # CET or CEST
    assert not ipvm("schedule", "disable", "sums", "--json").json["schedule"]["enabled"]
    assert "disabled" in ipvm("schedule", "list").text
    assert ipvm("schedule", "enable", 1, "--json").json["schedule"]["enabled"]
    assert ipvm("schedule", "rm", 1, "--json").json["removed"] == 1
    assert "nothing is scheduled" in ipvm("schedule", "list").err


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["0 3 * *", "w.json"], 2, "4 fields, not 5"),
        (["61 3 * * *", "w.json"], 2, "minute"),
        (["0 0 31 2 *", "w.json"], 2, "31 2"),
        (["@daily", "w.json"], 2, "not a cron line"),
        (["0 3 * * 1", "w.json", "--tz", "Mars/Base"], 2, "Mars/Base"),
        (["0 3 * * 1", "w.json", "--tz", ""], 2, "time zone"),
        (["0 3 * * 1", "absent.yaml"], 5, "no file absent.yaml"),
        (["0 3 * * 1", "broken.json"], 2, "broken.json"),
        (["0 3 * * 1", "w.json", "--missed", "some"], 2, "once"),
        (["0 3 * * 1", "w.json", "--name", "7"], 2, "numbers"),
        (["0 3 * * 1", "w.json", "--deadline", "soon"], 2, "--deadline"),
    ],
)
def test_what_cannot_be_scheduled_is_said_and_not_kept(
    ipvm: Ipvm, here: Path, words: list[str], status: int, said: str
) -> None:
    workflow(here)
    (here / "broken.json").write_text('{"steps": {"a": {"rum": "x"}}}')
    ended = ipvm("schedule", "add", *words)
    assert ended.status == status
    assert said in ended.err
    assert ipvm("schedule", "list", "--json").json["schedules"] == []


def test_consent_is_asked_for_when_it_is_added(ipvm: Ipvm, here: Path) -> None:
    put = {"op": "crud/update", "input": {"body": "x"}}
    file = workflow(here, a={**put, "rsc": "file:///a"}, b={**put, "rsc": "file:///b"})
    refused = ipvm("schedule", "add", MINUTELY, file)
    assert (refused.status, "--force" in refused.err) == (2, True)
    assert ipvm("schedule", "add", MINUTELY, file, "--force").status == 0


def test_a_name_is_given_once(ipvm: Ipvm, here: Path) -> None:
    file = workflow(here)
    assert ipvm("schedule", "add", MINUTELY, file, "--name", "mine").status == 0
    assert "called 'mine' already" in ipvm("schedule", "add", MINUTELY, file, "--name", "mine").err
    ipvm("schedule", "add", MINUTELY, file)
    ipvm("schedule", "add", MINUTELY, file)
    assert "several schedules are called 'sums': 2, 3" in ipvm("schedule", "rm", "sums").err
    assert ipvm("schedule", "rm", "other").status == 5
    assert ipvm("schedule", "rm", 77).status == 5


def test_what_is_due_runs_once(ipvm: Ipvm, here: Path, home: Path) -> None:
    ipvm("schedule", "add", MINUTELY, workflow(here))
    assert ipvm("schedule", "run", "--json").json["runs"] == []
    make_due(home)
    assert len(ipvm("schedule", "run", "--dry-run", "--json").json["due"]) == 1
    first = ipvm("schedule", "run", "--json").json["runs"]
    assert [(run["state"], run["counts"]) for run in first] == [("done", {"done": 1})]
    assert ipvm("schedule", "run", "--json").json["runs"] == []
    make_due(home)
    (second,) = ipvm("schedule", "run", "--json").json["runs"]
    assert second["counts"] == {"cached": 1}  # a run of its own, and no work
    assert second["run"] != first[0]["run"]
    (kept,) = ipvm("schedule", "list", "--json").json["schedules"]
    assert kept["last_run"] == second["run"]
    assert f"last run {second['run'][:8]} done" in ipvm("schedule", "list").text


@pytest.mark.parametrize(("missed", "runs"), [("once", 1), ("all", 6), ("none", 0)])
def test_times_that_went_by_are_made_up_for_as_asked(
    ipvm: Ipvm, here: Path, home: Path, missed: str, runs: int
) -> None:
    ipvm("schedule", "add", "*/10 * * * *", workflow(here), "--missed", missed)
    make_due(home, minutes=60)
    ran = ipvm("schedule", "run", "--json").json["runs"]
    on_time = missed == "none" and len(ran) == 1 and ran[0]["due_at"] > time.time() - 120
    assert len(ran) == runs or on_time
    assert ipvm("schedule", "run", "--json").json["runs"] == []


def test_a_resting_schedule_makes_up_for_nothing(ipvm: Ipvm, here: Path, home: Path) -> None:
    ipvm("schedule", "add", MINUTELY, workflow(here))
    ipvm("schedule", "disable", 1)
    make_due(home, minutes=30)
    assert ipvm("schedule", "run", "--json").json["runs"] == []
    ipvm("schedule", "enable", 1)
    assert ipvm("schedule", "run", "--json").json["runs"] == []


def test_the_workflow_is_kept_as_it_was_added(ipvm: Ipvm, here: Path, home: Path) -> None:
    file = workflow(here)
    ipvm("schedule", "add", MINUTELY, file, "--private")
    (here / file).unlink()
    (here / "numbers.wasm").unlink()
    assert ipvm("gc", "--grace", "0s").status == 0
    make_due(home)
    (ran,) = ipvm("schedule", "run", "--json").json["runs"]
    assert (ran["state"], ran["error"]) == ("done", None)
    assert ipvm("receipt", "list", "--json").json["receipts"][0]["secret"]


def test_one_that_fails_stops_no_other_and_gives_the_status(
    ipvm: Ipvm, here: Path, home: Path
) -> None:
    ipvm(
        "schedule",
        "add",
        MINUTELY,
        workflow(here, fails={"run": "numbers.wasm:div", "args": [1, 0]}),
    )
    ipvm("schedule", "add", MINUTELY, workflow(here))
    make_due(home)
    ended = ipvm("schedule", "run")
    assert ended.status == 1
    assert [line[0] for line in ended.text.splitlines()] == ["✗", "✓"]


def test_one_that_cannot_begin_stops_no_other(ipvm: Ipvm, here: Path, home: Path) -> None:
    ipvm("schedule", "add", MINUTELY, workflow(here))
    ipvm("schedule", "add", MINUTELY, workflow(here, b={"run": "numbers.wasm:add", "args": [5, 6]}))
    with sqlite3.connect(home / "ipvm.db") as database:
        database.execute("DELETE FROM blocks WHERE cid = (SELECT workflow FROM schedules)")
    database.close()
    make_due(home)
    ended = ipvm("schedule", "run", "--json")
    assert ended.status == 5
    assert [run["error"] and run["error"]["code"] for run in ended.json["runs"]] == [
        "not-found",
        None,
    ]


def test_what_needs_the_network_is_queued_offline(ipvm: Ipvm, here: Path, home: Path) -> None:
    file = workflow(here, get={"op": "http/get", "rsc": "https://example.org/"})
    ipvm("schedule", "add", MINUTELY, file)
    make_due(home)
    ended = ipvm("schedule", "run", "--offline")
    assert ended.status == 3
    assert ended.text.startswith("⇢ sums")


def test_two_at_once_run_a_time_once(ipvm: Ipvm, here: Path, home: Path, process: Start) -> None:
    ipvm("schedule", "add", MINUTELY, workflow(here))
    make_due(home, minutes=1)
    both = [process("schedule", "run", "--json") for _ in range(2)]
    ran = [run for one in both for run in json.loads(one.communicate(timeout=60)[0])["runs"]]
    due = {run["due_at"] for run in ran}
    assert len(ran) == len(due)  # a minute may begin in between: then there are two
    assert len(ran) in (1, 2)


def test_a_time_that_another_took_meanwhile_is_left_to_it(
    ipvm: Ipvm, here: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ipvm("schedule", "add", MINUTELY, workflow(here))
    make_due(home)
    look = Schedules.due

    def and_another_is_faster(schedules: Schedules) -> list[Due]:
        found = look(schedules)
        with Node.open(home) as rival:
            assert [rival.store.schedules.mark(one) for one in found] == [True]
        return found

    monkeypatch.setattr(Schedules, "due", and_another_is_faster)
    assert ipvm("schedule", "run", "--json").json["runs"] == []


def test_each_time_is_a_run_of_its_own(ipvm: Ipvm, here: Path, home: Path) -> None:
    file = workflow(here, get={"op": "http/get", "rsc": "https://example.org/"})
    ipvm("schedule", "add", MINUTELY, file)
    ids = []
    for _ in range(2):
        make_due(home)
        (ran,) = ipvm("schedule", "run", "--offline", "--json").json["runs"]
        ids.append(ran["run"])
        assert ran["state"] == "queued"
    assert ids[0] != ids[1]


def test_a_run_that_a_crash_ended_goes_on(ipvm: Ipvm, here: Path, home: Path) -> None:
    ipvm("schedule", "add", "0 3 1 1 *", workflow(here))
    with Node.open(home, in_process=True) as node:
        (schedule,) = node.store.schedules.list()
        assert schedule.workflow is not None
        kept = Workflow.parse(node.store.blocks.get(schedule.workflow))
        due = schedule.next_due_at
        assert due is not None
        row = node.store.runs.start(kept, options={}, due=Due(schedule, due))
        later = node.store.schedules.list()[0]
        assert later.next_due_at is not None
        other = node.store.runs.start(kept, options={}, due=Due(later, later.next_due_at))
    found = ipvm("schedule", "run", "--dry-run", "--json").json
    assert found["interrupted"] == [{"schedule": 1, "run": one.id} for one in (row, other)]
    ran = ipvm("schedule", "run", "--json").json["runs"]
    told = [(one["run"], one["state"], one["due_at"]) for one in ran]
    assert told == [(row.id, "done", None), (other.id, "done", None)]
    assert ipvm("schedule", "run", "--json").json["runs"] == []


def test_what_a_killed_process_began_is_gone_on_with_also_when_another_came_between(
    ipvm: Ipvm, here: Path, home: Path, process: Start
) -> None:
    """The newest run of a schedule is that of the second process; the first one was killed."""
    with HttpServer() as server:
        slow = {"op": "http/get", "rsc": f"{server.url}/silent"}
        ipvm("schedule", "add", MINUTELY, workflow(here, get=slow), "--missed", "all")
        make_due(home)
        running: list[subprocess.Popen[bytes]] = []
        for count in (1, 2):
            running.append(process("schedule", "run", "--json"))
            until(lambda: len(ipvm("workflow", "list", "--json").json["runs"]) == count)  # noqa: B023
            make_due(home)
        for one in running:
            one.kill()
            one.wait()
        found = ipvm("schedule", "run", "--dry-run", "--json").json["interrupted"]
        runs = [row["run"] for row in ipvm("workflow", "list", "--json").json["runs"]]
    assert sorted(one["run"] for one in found) == sorted(runs)
    assert len(runs) == 2


def test_steps_that_would_tell_a_secret_are_named_when_it_is_added(ipvm: Ipvm, here: Path) -> None:
    Path("key").write_text("secret")
    ipvm("add", "key", "--private")
    post = {"op": "http/post", "rsc": "https://example.org/", "input": {"body": "@key"}}
    file = workflow(here, post=post)
    assert (
        "post will wait each time: it would let out" in ipvm("schedule", "add", MINUTELY, file).err
    )
    forced = ipvm("schedule", "add", MINUTELY, file, "--force")
    assert "will wait" not in forced.err


def test_the_worst_status_counts() -> None:
    assert worst([]) == worst([0, 0]) == 0
    assert worst([3, 8, 1]) == 1
    assert worst([3, 8]) == 8
    assert worst([0, 3]) == 3
    assert worst([1, 5]) == 5
