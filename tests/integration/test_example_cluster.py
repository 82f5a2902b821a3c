"""The example that hands operations to a Ray cluster, with Ray on this machine."""

from __future__ import annotations

import importlib
import json
import pickle
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from lite.engine.spool import SPOOL_BYTES_MIN, Spool, Spooled
from lite.errors import QueuedError
from lite.ipld.cid import CID, RAW
from lite.limits import EngineCaps, Limits
from lite.model.instruction import wasm
from lite.ops.base import Files
from tests.example_support import environment, install
from tests.wat_guests import wat

ADD = wat(
    '(module (func (export "add") (param i32 i32) (result i32) local.get 0 local.get 1 i32.add))'
)
NO_RAY = "Ray is not installed: scripts/test --full installs it"


@pytest.fixture
def ray_package(root: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.syspath_prepend(str(root / "examples" / "cluster" / "src"))
    yield importlib.import_module("ipvm_ray.demand")
    for name in [name for name in sys.modules if name.partition(".")[0] == "ipvm_ray"]:
        del sys.modules[name]


def test_what_a_step_requires_becomes_resources_of_a_task(ray_package: ModuleType) -> None:
    demand = ray_package.Demand
    assert demand.of({}).options() == {"num_cpus": 1, "num_gpus": 0}
    needs = {"cpu": 4, "memory": 2**30, "gpu": {"count": 2, "memory": 2**33}, "limits": {}}
    assert demand.of(needs).options() == {"num_cpus": 4, "num_gpus": 2, "memory": 2**30}


def test_what_no_machine_has_is_named(ray_package: ModuleType) -> None:
    demand = ray_package.Demand
    machines = [{"CPU": 8.0, "memory": 2.0**33}, {"CPU": 2.0, "GPU": 1.0, "memory": 2.0**30}]
    assert demand().lacking(machines) is None
    assert demand(gpus=1).lacking(machines) is None
    told = "needs 2 GPUs; no machine of the cluster has over 1"
    assert demand(gpus=2).lacking(machines) == told
    assert "has all that it needs at once" in demand(cpus=4, gpus=1).lacking(machines)
    assert demand().lacking([]) == "needs 1 cores; no machine of the cluster has over 0"


def test_large_results_travel_as_bytes(ray_package: ModuleType) -> None:
    in_memory = importlib.import_module("ipvm_ray.task").in_memory
    spool = Spool()
    spool.write(bytes(SPOOL_BYTES_MIN + 1))
    large = spool.end()
    assert isinstance(large, Spooled)
    assert in_memory(large) == bytes(SPOOL_BYTES_MIN + 1)
    assert in_memory({"a": [large, 1]}) == {"a": [bytes(SPOOL_BYTES_MIN + 1), 1]}
    assert in_memory(None) is None


def test_a_run_that_travelled_is_done_with_what_came_along(
    ray_package: ModuleType, tmp_path: Path
) -> None:
    """What happens on a machine of the cluster, without Ray."""
    task = importlib.import_module("ipvm_ray.task")
    module = CID.of(ADD, RAW)
    parcel = task.Parcel(
        "wasm/run",
        wasm(module, "add", 2, 40).data,
        {},
        (module.raw, ADD),
        Limits(),
        EngineCaps(),
        homestar=False,
        needs={},
    )
    settings = {"engine.in_process": "true"}
    outcome, _ = task.run_there(pickle.loads(pickle.dumps(parcel)), settings)
    for home in task._HOMES:
        home.cleanup()
    assert (outcome.ok, outcome.error) == (42, None)
    files: Files = task._Shipped((module.raw, ADD))
    assert files.gather(module) == files.read(module) == ADD
    for name in (name for name in vars(Files) if not name.startswith("_")):
        assert callable(getattr(files, name)), name


def test_of_a_fault_of_ray_the_last_line_is_told(ray_package: ModuleType) -> None:
    told = importlib.import_module("ipvm_ray")._last_line
    fault = RuntimeError("\x1b[36mray::run_there()\x1b[39m\n  File x\nAttributeError: no such\n")
    assert told(fault) == "AttributeError: no such"
    assert told(RuntimeError("")) == "RuntimeError"


@pytest.mark.parametrize(
    "ray, told",
    [
        (None, "Ray cannot be loaded: "),
        (SimpleNamespace(init=lambda **_: int("garbage")), "cannot be used: ValueError: "),
    ],
)
def test_a_ray_that_is_not_there_or_fails_is_said_at_once(
    ray_package: ModuleType, monkeypatch: pytest.MonkeyPatch, ray: Any, told: str
) -> None:
    monkeypatch.setitem(sys.modules, "ray", ray)
    cluster = sys.modules["ipvm_ray"].RayCluster(SimpleNamespace(text=lambda name: ""))
    for _ in range(2):
        with pytest.raises(QueuedError) as fault:
            cluster.machines()
        assert told in str(fault.value)


STORY = """
import json, sys, time
from lite import Node
from lite.errors import QueuedError
from lite.model.instruction import wasm
from lite.model.task import Task
from lite.model.workflow import Step, Workflow
from lite.settled import Watch

home, module, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
with Node.open(home) as node:
    add = node.add(module)
    steps = [Step(f"s{n}", Task(wasm(add, "add", n, 1))) for n in range(count)]
    steps.append(Step("gpus", Task(wasm(add, "add", -1, 1), {"requires": {"gpu": 2}})))
    started = time.monotonic()
    run = node.workflow_run(Workflow.of(steps), workers=16)
    took = time.monotonic() - started
    rows = node.store.runs.steps(run.id)
    values = [node.store.receipts.get(r.receipt).out.body for r in rows if r.state == "done"]
    left = [[r.label, r.state, r.reason] for r in rows if r.state != "done"]
    executor, ready = node.executor, wasm(add, "add", -2, 1)
    started = time.monotonic()
    try:
        executor.compute(ready, node.config.limits, watch=Watch(needs={"gpu": {"count": 2}}))
        refused = ""
    except QueuedError as fault:
        refused = str(fault)
    at_once = time.monotonic() - started
    started_here = node.workers_started
    import ray
    ray.shutdown()
print(json.dumps([values, left, refused, at_once, started_here, took]))
"""


def test_a_hundred_tasks_run_on_a_local_ray_and_two_gpus_are_refused_at_once(
    root: Path, tmp_path: Path
) -> None:
    if find_spec("ray") is None:
        pytest.skip(NO_RAY)
    libraries, home = tmp_path / "libraries", tmp_path / "home"
    install(root / "examples" / "cluster", libraries)
    more = {"IPVM_OPS_THROUGH": "ray", "IPVM_NODE_GPUS": "none", "HOME": str(tmp_path)}
    env = {**environment(root, libraries, **more)}
    env.pop("RAY_ADDRESS", None)
    module = str(root / "examples" / "wat" / "add.wasm")
    command = [sys.executable, "-c", STORY, str(home), module, "100"]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=110)
    assert done.returncode == 0, done.stderr[-3000:]
    values, left, refused, at_once, started_here, _ = json.loads(done.stdout.splitlines()[-1])
    assert sorted(values) == list(range(1, 101))
    assert [(label, state) for label, state, _ in left] == [("gpus", "queued")]
    assert "needs 2 GPUs; this node has none" in left[0][2]
    assert refused == "needs 2 GPUs; no machine of the cluster has over 0"
    assert at_once < 1.0
    assert started_here == 0  # no guest ran outside of the cluster's tasks
