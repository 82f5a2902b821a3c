"""Operations that are handed to a cluster: what is taken over, told, and said when it fails."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from lite import Node
from lite.capabilities import measure
from lite.config import Config
from lite.engine.base import Outcome
from lite.engine.pool import Workers
from lite.errors import QueuedError
from lite.keys import Key
from lite.model.instruction import wasm
from lite.model.task import Task
from lite.model.workflow import Workflow
from lite.needs.capabilities import Gpu
from lite.ops.base import Level, Op, Ready
from lite.ops.registry import Ops
from lite.ops.through import Machine
from tests.store_support import MODULE

DID = Key.from_seed(bytes(32)).did


class There:
    """A cluster that takes `wasm/run` and answers by itself."""

    told: list[Any]

    def __init__(self, config: object) -> None:
        There.told = []

    def wrap(self, op: Op) -> Op:
        return Taken(op) if op.name == "wasm/run" else op

    def machines(self) -> Sequence[Machine]:
        return [Machine(2, 2**31), Machine(64, 2**40, ("NVIDIA H200", ""))]


class Taken:
    def __init__(self, op: Op) -> None:
        self.name, self.needs = op.name, op.needs
        self.level: Level = op.level

    def missing(self, ready: Ready) -> str | None:
        return "needs 2 GPUs; the cluster has 1" if "gpu" in ready.needs else None

    def run(self, ready: Ready) -> Outcome:
        There.told.append(dict(ready.needs))
        return Outcome(ok="there")


class Point:
    def __init__(self, made: Callable[[object], Any]) -> None:
        self._made = made

    def load(self) -> Callable[[object], Any]:
        return self._made


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Point]]:
    """What is found under the name that the setting has."""
    points: list[Point] = []
    real = metadata.entry_points

    def entry_points(**asked: str) -> Any:
        return points if asked.get("group") == "ipvm.through" else real(**asked)

    monkeypatch.setattr(metadata, "entry_points", entry_points)
    monkeypatch.setenv("IPVM_OPS_THROUGH", "there")
    yield points


def test_it_runs_what_it_takes_and_is_told_what_the_step_requires(
    home: Path, installed: list[Point]
) -> None:
    installed.append(Point(There))
    with Node.open(home) as node:
        first, second = wasm(MODULE, "f", 1), wasm(MODULE, "f", 2)
        requires = {"requires": {"cpu": 1, "memory": "1M"}}
        run = node.workflow_run(Workflow(a=Task(first, requires), b=Task(second)))
        assert [row.state for row in node.store.runs.steps(run.id)] == ["done", "done"]
        assert sorted(map(len, There.told)) == [0, 2]
        assert {"cpu": 1, "memory": 2**20} in There.told
        assert node.workers_started == 0
        (receipt,) = node.store.receipts.by_instruction(first.cid)
        assert (receipt.issuer, receipt.out.body) == (node.did, "there")


def test_what_it_cannot_run_is_queued_with_its_reason(home: Path, installed: list[Point]) -> None:
    installed.append(Point(There))
    with Node.open(home, config=Config.load(home, {"node.gpus": "a, b, c"})) as node:
        asked = Task(wasm(MODULE, "f", 1), {"requires": {"gpu": 2}})
        run = node.workflow_run(Workflow(a=asked))
        (row,) = node.store.runs.steps(run.id)
        assert (row.state, row.reason) == ("queued", "needs 2 GPUs; the cluster has 1")


def test_a_node_has_what_the_largest_of_its_machines_has(
    home: Path, installed: list[Point]
) -> None:
    installed.append(Point(There))
    config = Config.load(home)
    found = measure(DID, config, Ops(config, Workers(cache_dir=home)))
    assert (found.cores, found.memory_bytes) == (64, 2**40)
    assert found.gpus == (Gpu("nvidia", "NVIDIA H200"), Gpu("", ""))
    config = Config.load(home, {"node.gpus": "mine:1G"})
    found = measure(DID, config, Ops(config, Workers(cache_dir=home)))
    assert found.gpus == (Gpu("mine", "mine", 2**30),)


def broken(config: object) -> Any:
    raise SystemExit("no licence")


@pytest.mark.parametrize(
    ("points", "told"),
    [
        ([], "ops.through names there, but no distribution has it"),
        ([Point(There), Point(There)], "several distributions have it"),
        ([Point(broken)], "there cannot be used: SystemExit: no licence"),
        ([Point(lambda _: object())], "it has no methods wrap and machines"),
    ],
)
def test_one_that_cannot_be_used_has_every_operation_wait_with_the_reason(
    home: Path, installed: list[Point], points: list[Point], told: str
) -> None:
    installed.extend(points)
    config = Config.load(home)
    ops = Ops(config, Workers(cache_dir=home))
    ready: Any = None
    for name in ("wasm/run", "http/get"):
        with pytest.raises(QueuedError, match=r"ops\.through|cannot be used") as caught:
            ops[name].run(ready)
        assert told in str(caught.value)
        assert "ops.through" in (caught.value.hint or "")
    assert measure(DID, config, ops).ops == ()


def test_without_the_setting_nothing_is_looked_for(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metadata, "entry_points", lambda **_: pytest.fail("looked for"))
    ops = Ops(Config.load(home), Workers(cache_dir=home))
    assert ops["wasm/run"].level == "pure"
    assert ops.machines() is None
