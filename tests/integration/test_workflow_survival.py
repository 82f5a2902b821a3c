"""kill -9 at any point of a workflow that computes, asks, writes, posts and mails.

The process that runs it is killed and started again until the workflow has come to its end, then
the next one begins. Kills come after a delay, drawn from the time that a whole run takes, or at an
event: a line that the process writes, or a request that a server has taken and not answered.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from lite.ipld.cid import CID, RAW
from lite.limits import EFFECTS_DEPTH_MAX
from lite.model.receipt import Receipt
from lite.store import Store
from lite.store.runs_rows import StepRow
from tests.flow_support import (
    IPVM,
    STEPS,
    WAIT_S,
    WORKERS,
    Launch,
    Servers,
    Told,
    bomb,
    sixty,
    write_workflow,
)
from tests.guests import ADD

ENDED = ("done", "cached", "failed")
PARTS = range(1, 10)  # with --full; each of 30 kills, so of 300 in all

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs named pipes and kill -9")


class Story:
    """One workflow from its first start to its end, with all the kills between.

    Attributes:
        repeated: for each kill how many steps had begun and were not written down.
    """

    def __init__(self, place: Path, servers: Servers, turn: int) -> None:
        self.steps = {told.label: told for told in sixty(turn, servers.url)}
        self.place = place
        self.servers = servers
        self.file = write_workflow(place, turn, list(self.steps.values()))
        self.run = ""
        self.is_done = False
        self.repeated: Counter[str] = Counter()
        self.worst = 0
        self.doubts: Counter[str] = Counter()
        self._settled: dict[str, StepRow] = {}
        self._asked: dict[str, int] = {}  # how often a step's request had come when it was done

    def requests(self, label: str) -> int:
        return self.servers.count(self.steps[label].request)

    def rows(self, store: Store) -> dict[str, StepRow]:
        return {row.label: row for row in store.runs.steps(self.run)} if self.run else {}

    def launch(self, *args: str, **options: Any) -> Launch:
        return Launch(self.file, *args, **options)

    def look(self, launch: Launch, *, killed: bool) -> list[str]:
        """Hold what is written down against what was seen; the labels of the steps in doubt."""
        self.run = next((event["run"] for event in launch.events), self.run)
        with Store.open(self.place / "home") as store:
            assert store.check() == []
            run = store.runs.get(self.run)
            self.is_done = run is not None and run.state == "done"
            rows = self.rows(store)
            for label, row in rows.items():
                self._hold(label, row, store)
        if killed:
            self._count_repeated(launch, rows)
        doubtful = [label for label, row in rows.items() if row.state == "in-doubt"]
        assert all(self.steps[label].kind == "plain" for label in doubtful)
        return doubtful

    def _hold(self, label: str, row: StepRow, store: Store) -> None:
        told, earlier = self.steps[label], self._settled.get(label)
        if earlier is not None:
            same = (row.state, row.receipt, row.attempts)
            assert same == (earlier.state, earlier.receipt, earlier.attempts), label
            assert self.requests(label) == self._asked[label], f"{label} was done and asked again"
        if told.kind == "plain":
            assert self.requests(label) <= 1 + self.doubts[label], f"{label} was repeated"
        if row.state in ENDED:
            self._settled[label] = row
            self._asked[label] = self.requests(label)
            check_receipt(row, store)
        else:
            assert row.receipt is None, label

    def _count_repeated(self, launch: Launch, rows: dict[str, StepRow]) -> None:
        """A step that began and is not written down will run again, but for mutations in doubt."""
        again = [
            label
            for label in launch.under_way()
            if label in rows and rows[label].state not in ENDED
        ]
        for label in again:
            self.repeated[self.steps[label].kind] += 1
        self.worst = max(self.worst, len(again))
        seen = [label for label in again if self.steps[label].kind != "pure"]
        assert len(seen) <= WORKERS, seen
        assert len(again) <= WORKERS, again
        assert sum(self.steps[label].kind == "plain" for label in again) <= 1, again

    def redo(self, doubtful: list[str]) -> list[str]:
        """The options with which a user who has looked asks for steps in doubt."""
        self.doubts.update(doubtful)
        return [part for label in doubtful for part in ("--redo", label)]

    def check_end(self) -> None:
        """Everything is there, right, and was done as often as it should."""
        assert len(self._settled) == STEPS
        assert {row.state for row in self._settled.values()} <= {"done", "cached"}
        with Store.open(self.place / "home") as store:
            assert store.check(deep=True) == []
            for label, told in self.steps.items():
                row = self._settled[label]
                receipt = store.receipts.get(row.receipt) if row.receipt else None
                assert receipt is not None, label
                assert told.value is None or receipt.out.body == told.value, label
                assert told.kind == "query" or len(own_receipts(store, receipt)) == 1, label
        for told in self.steps.values():
            self._check_left(told)

    def _check_left(self, told: Told) -> None:
        if told.request.startswith("FILE"):
            left = (self.place / "top" / told.request.split()[1]).read_bytes()
            assert left == told.body, told.label
        elif told.request:
            assert self.servers.count(told.request) >= (0 if self.doubts[told.label] else 1)
            assert told.body is None or self.servers.body(told.request) == told.body, told.label


def check_receipt(row: StepRow, store: Store) -> None:
    """The receipt says what its row says."""
    assert row.receipt is not None, row.label
    receipt = store.receipts.get(row.receipt)
    assert receipt is not None, row.label
    Receipt.parse(receipt.data)  # checks its signature
    assert receipt.out.is_ok == (row.state in ("done", "cached")), row.label


def own_receipts(store: Store, receipt: Receipt) -> list[Receipt]:
    """All that is written about the instruction of a receipt."""
    return store.receipts.by_instruction(receipt.instruction)


class Kills:
    """Draws when a launch is killed, and kills it."""

    def __init__(self, seed: int, servers: Servers, span_s: float) -> None:
        self._dice = random.Random(seed)
        self._servers = servers
        self._span_s = span_s
        self.by_trigger: Counter[str] = Counter()

    def launch(self, story: Story, *args: str) -> tuple[Launch, bool]:
        """A launch that has ended, and whether by a kill."""
        trigger = self._dice.choice(("delay", "event", "request", "request"))
        with self._start(story, trigger, args) as launch:
            if trigger == "delay":
                self._kill_after(launch, self._dice.uniform(0, self._span_s))
            status = launch.ended()
        self._servers.on_request = None
        killed = status == -9
        if killed:
            self.by_trigger[trigger] += 1
            assert all_gone(launch.children), "a worker outlived the process that it served"
        return launch, killed

    def _start(self, story: Story, trigger: str, args: tuple[str, ...]) -> Launch:
        number = self._dice.randrange(1, {"event": 100, "request": 22}.get(trigger, 2))
        left, started = [number], list[Launch]()

        def count_down(launch: Launch) -> None:
            left[0] -= 1
            if left[0] == 0:
                launch.kill()

        if trigger == "event":
            return story.launch(*args, on_event=lambda launch, _: count_down(launch))
        if trigger == "request":
            self._servers.on_request = lambda _: count_down(started[0])
        started.append(story.launch(*args))
        return started[0]

    def _kill_after(self, launch: Launch, delay_s: float) -> None:
        try:
            launch.process.wait(delay_s)
        except subprocess.TimeoutExpired:
            launch.kill()


def all_gone(processes: list[int], timeout_s: float = 20) -> bool:
    """Whether none of these lives, after some time at most."""
    until = time.monotonic() + timeout_s
    while any(is_alive(pid) for pid in processes):
        if time.monotonic() > until:
            return False
        time.sleep(0.002)
    return True


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def whole_run_s(place: Path, servers: Servers) -> float:
    """How long a workflow takes that nobody kills; makes the home."""
    for turn in (900_001, 900_002):  # the first one makes key, store and compiled code
        story = Story(place, servers, turn)
        started = time.monotonic()
        with story.launch() as launch:
            assert launch.ended() == 0, launch.said
        took = time.monotonic() - started
        assert story.look(launch, killed=False) == []
        story.check_end()
    return took


def check_ending(launch: Launch, doubtful: list[str]) -> None:
    """What a process that nobody killed says of the run, and of steps in doubt."""
    assert launch.result is not None and "state" in launch.result, (launch.result, launch.said)
    state, status = ("in-doubt", 1) if doubtful else ("done", 0)
    assert (launch.result["state"], launch.process.returncode) == (state, status), launch.said
    assert all(f"--redo {label}" in launch.said for label in doubtful)


def doctor(place: Path) -> None:
    done = subprocess.run([*IPVM, "doctor", "--deep", "-q"], cwd=place, capture_output=True)
    assert done.returncode == 0, (done.stdout, done.stderr)


@pytest.mark.parametrize("part", [0, *(pytest.param(n, marks=pytest.mark.full) for n in PARTS)])
def test_kill_at_any_point_repeats_nothing_and_loses_nothing(
    place: Path,
    servers: Servers,
    part: int,
    scaled: Callable[[int, int], int],
    record_property: Callable[[str, object], None],
) -> None:
    kills = Kills(20 + part, servers, 1.1 * whole_run_s(place, servers))
    wanted, turn, worst = scaled(5, 30), 0, 0
    repeated, doubts = Counter[str](), 0
    while kills.by_trigger.total() < wanted:
        turn += 1
        story = Story(place, servers, turn)
        args: list[str] = []
        while not story.is_done:
            launch, killed = kills.launch(story, *args)
            doubtful = story.look(launch, killed=killed)
            if not killed:
                check_ending(launch, doubtful)
            args = [] if killed else story.redo(doubtful)
            doubts += 0 if killed else len(doubtful)
        story.check_end()
        repeated += story.repeated
        worst = max(worst, story.worst)
    doctor(place)
    record_property("kills", dict(kills.by_trigger))
    record_property("workflows", turn)
    record_property("begun_again", dict(repeated))
    record_property("begun_again_by_one_kill", worst)
    record_property("in_doubt", doubts)


def test_a_post_that_was_under_way_is_in_doubt_until_the_user_asks_for_it(
    place: Path, servers: Servers
) -> None:
    told = Told(
        "send", "plain", {"op": "http/post", "rsc": f"{servers.url}/silent"}, "POST /silent"
    )
    put = Told("keep", "idempotent", {"op": "http/put", "rsc": f"{servers.url}/kept"}, "PUT /kept")
    file = write_workflow(place, 1, [told, put])
    killed_when_asked(file, servers)
    assert listed(place) == ["interrupted"]
    for _ in range(2):
        with Launch(file) as launch:
            assert launch.ended() == 1
        assert launch.result is not None and launch.result["state"] == "in-doubt"
        assert "--redo send" in launch.said
        assert servers.count("POST /silent") == 1
        assert listed(place) == ["in-doubt"]
    assert servers.count("PUT /kept") == 1, "what was done before is not done again"
    killed_when_asked(file, servers, "--redo", "send")
    assert servers.count("POST /silent") == 2
    with Launch(file) as launch:
        assert launch.ended() == 1
    assert servers.count("POST /silent") == 2


def listed(place: Path) -> list[str]:
    """The states of all runs, as they are shown."""
    command = [*IPVM, "workflow", "list", "--json"]
    done = subprocess.run(command, cwd=place, capture_output=True, check=True)
    return [run["state"] for run in json.loads(done.stdout)["runs"]]


def killed_when_asked(file: Path, servers: Servers, *args: str) -> None:
    """Run a workflow and kill it once the server has a POST, which it never answers."""
    asked = Event()
    servers.on_request = lambda request: asked.set() if request.startswith("POST") else None
    with Launch(file, *args) as launch:
        assert asked.wait(WAIT_S)
        launch.kill()
        assert launch.ended() == -9
    servers.on_request = None


def test_kill_among_steps_that_results_asked_for(
    place: Path, scaled: Callable[[int, int], int]
) -> None:
    """Each result asks for one more step, until there are too many."""
    (place / "bomb.wasm").write_bytes(bomb(1))
    dice = random.Random(21)
    for turn in range(scaled(1, 10)):
        file = place / f"bomb-{turn}.json"
        args = [(1 << 33) + (turn << 10), f"ipfs://{CID.of(bomb(1), RAW)}"]
        given = {"func": "bomb", "args": args, "fx": True}
        first = {"op": "wasm/run", "rsc": "@bomb.wasm", "input": given}
        file.write_text(json.dumps({"steps": {"first": first}}))
        for _ in range(4):
            kill_at_event(file, dice.randrange(1, 30))
        with Launch(file) as launch:
            assert launch.ended() == 1, launch.said
        assert launch.result is not None
        check_effects(place, launch.result["run"])


def kill_at_event(file: Path, number: int) -> None:
    left = [number]

    def count_down(launch: Launch, _: object) -> None:
        left[0] -= 1
        if left[0] == 0:
            launch.kill()

    with Launch(file, on_event=count_down) as launch:
        launch.ended()


def check_effects(place: Path, run: str) -> None:
    """One step a depth, down to the one that asked for too much, and each was run once."""
    with Store.open(place / "home") as store:
        rows = store.runs.steps(run)
        assert [row.depth for row in rows] == list(range(EFFECTS_DEPTH_MAX + 1))
        assert [row.state for row in rows] == [*EFFECTS_DEPTH_MAX * ["done"], "failed"]
        for row in rows:
            check_receipt(row, store)
            assert row.receipt is not None
            receipt = store.receipts.get(row.receipt)
            assert receipt is not None
            # Only the one that failed is tried again when the workflow is run again.
            assert row.state == "failed" or own_receipts(store, receipt) == [receipt]
        assert store.check(deep=True) == []


@pytest.mark.parametrize("seed", range(3))
def test_kill_in_a_fan_of_pure_steps_repeats_one_a_worker(
    place: Path, servers: Servers, seed: int
) -> None:
    steps = {f"s{n}": {"run": "add.wasm:add", "args": [seed, n]} for n in range(300)}
    (place / "add.wasm").write_bytes(ADD)
    file = place / f"fan-{seed}.json"
    file.write_text(json.dumps({"steps": steps}))
    left = [150 + 70 * seed]

    def count_down(launch: Launch, _: object) -> None:
        left[0] -= 1
        if left[0] == 0:
            launch.kill()

    with Launch(file, on_event=count_down) as launch:
        launch.ended()
        began = {event.get("label", "") for event in launch.events}
        run = launch.events[0]["run"]
    with Store.open(place / "home") as store:
        kept = {row.label for row in store.runs.steps(run) if row.state in ENDED}
    began.discard("")
    assert len(began - kept) <= WORKERS
    assert len(kept) < len(steps)
