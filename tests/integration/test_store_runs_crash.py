"""Runs whose process is killed at any point: rows and receipts agree, nothing finished is lost.

The child runs this file. It works through runs in batches and writes a line after each thing that
is done; the parent reads a seeded number of lines, kills it, and looks.
"""

from __future__ import annotations

import random
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from lite.ipld.block import Block
from lite.model.workflow import Workflow
from lite.store import Finished, Store
from lite.store.database import Transaction
from lite.store.run_gc import RunsKept
from lite.store.runs_rows import ENDED, FINISHED_STEP, NewStep, RunRow, StepChange
from tests.runs_support import done
from tests.store_support import bulk, instruction, receipt

ROOT = Path(__file__).resolve().parent.parent.parent
STEPS = 24
LOCK = threading.Lock()


def workflow(number: int) -> Workflow:
    return Workflow(**{f"s{step}": instruction(1_000 * number + step) for step in range(STEPS)})


def result(number: int, step: int) -> Block:
    return bulk(1_000 * number + step, 3_000)


def finished(store: Store, run: RunRow, number: int, step: int, *, last: bool) -> Finished:
    asked, value = instruction(1_000 * number + step), result(number, step)
    kept = receipt(asked, linked=value.cid)
    effect = instruction(1_000 * number + 900 + step)

    def write(transaction: Transaction) -> None:
        store.runs.write_step(transaction, run.id, step, done(kept.cid))
        if step == 3:
            new = NewStep("effect", effect, "pure", kept.cid, 1)
            store.runs.write_new_steps(transaction, run.id, [new])
        if last:
            store.runs.write_state(transaction, run.id, "done")

    return Finished(asked, kept, [value], step=write, secret=step == 5)


def work(home: Path, seed: int, first: int, durability: str) -> None:
    """Work through runs, two at once, in batches; a line for each. Never ends by itself."""
    store = Store.open(home, durability=durability)  # type: ignore[arg-type]
    say("open")
    threads = [
        threading.Thread(target=runs, args=(store, random.Random(seed + place), first + place))
        for place in range(2)
    ]
    for thread in threads:
        thread.start()


def runs(store: Store, seeded: random.Random, number: int) -> None:
    while True:
        number += 2
        run = store.runs.start(workflow(number))
        with store.runs.presence(run.id):
            log = store.run_log(run.id)
            say(f"start {number} {run.id}")
            step = 0
            while step < STEPS:
                batch = range(step, min(STEPS, step + seeded.choice((1, 1, 2, 5, 16))))
                running = [(one, StepChange("running", attempts=1)) for one in batch]
                store.runs.set_steps(run.id, running, durable=False)
                log.append(f"s{step}", "stdout", b"line %d" % step)
                ends = batch[-1] == STEPS - 1
                store.commit_runs(
                    [
                        finished(store, run, number, one, last=ends and one == batch[-1])
                        for one in batch
                    ]
                )
                step = batch[-1] + 1
                say(f"steps {number} {step}")
        if seeded.random() < 0.2:
            store.gc(grace_s=0, runs=RunsKept(50))


def say(line: str) -> None:
    with LOCK:
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()


def killed_child(home: Path, seed: int, durability: str) -> list[list[str]]:
    """Run the child until it is killed; the lines that it acknowledged."""
    command = [sys.executable, "-m", "tests.integration.test_store_runs_crash"]
    child = subprocess.Popen(
        [*command, str(home), str(seed), str(1_000 * seed), durability],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    seeded = random.Random(seed)
    lines = [child.stdout.readline() for _ in range(seeded.choice((1, 2, 4, 9, 20, 45)))]
    for _ in range(seeded.randrange(20_000)):
        pass  # somewhere inside what comes next
    child.kill()
    lines += child.stdout.readlines()
    child.wait()
    child.stdout.close()
    assert lines[0] == "open\n", "the child did not start"
    return [line.split() for line in lines[1:] if line.endswith("\n")]


def look(home: Path, known: list[list[str]]) -> int:
    """Everything acknowledged is there, and rows agree with receipts; the finished steps."""
    count = 0
    with Store.open(home) as store:
        assert store.check(deep=True) == []
        ids = {int(words[1]): words[2] for words in known if words[0] == "start"}
        reached = dict.fromkeys(ids, 0)
        for words in known:
            if words[0] == "steps":
                reached[int(words[1])] = int(words[2])
        for number, run_id in ids.items():
            run = store.runs.find(run_id)
            assert run.workflow == workflow(number).cid
            count += compare(store, run, number, reached[number])
        assert all(not store.runs.is_active(run.id) for run in store.runs.list())
    return count


def compare(store: Store, run: RunRow, number: int, reached: int) -> int:
    rows = store.runs.steps(run.id)
    effects = [row for row in rows if row.label == "effect"]
    states = [row.state for row in rows if row.label != "effect"]
    assert len(states) == STEPS
    finished = sum(state in FINISHED_STEP for state in states)
    assert finished >= reached, "a finished step was lost"
    assert (run.state in ENDED) == (finished == STEPS)
    assert store.runs.state_of(run) == ("done" if finished == STEPS else "interrupted")
    assert bool(effects) == (states[3] == "done")
    for row in rows[:STEPS]:
        asked = instruction(1_000 * number + row.position)
        known = store.receipts.by_instruction(asked.cid)
        assert [one.cid for one in known] == ([] if row.receipt is None else [row.receipt])
        assert (row.state in FINISHED_STEP) == bool(known)
        value = result(number, row.position)
        assert store.blocks.has(value.cid) == bool(known)
        assert store.secrets.is_secret(value.cid) == (bool(known) and row.position == 5)
    lines = [line.data for line in store.run_log(run.id).read()]
    assert len(lines) == len(set(lines))
    return finished


def test_rows_and_receipts_agree_wherever_a_process_is_killed(
    tmp_path: Path, scaled: Callable[[int, int], int]
) -> None:
    known: dict[Path, list[list[str]]] = {}
    count = 0
    for seed in range(1, scaled(8, 200) + 1):
        home = tmp_path / f"home-{seed // 4}"
        durability = "full" if seed % 2 else "normal"
        mine = known.setdefault(home, [])
        mine += killed_child(home, seed, durability)
        count += look(home, mine)
    assert count > 100


if __name__ == "__main__":
    work(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
