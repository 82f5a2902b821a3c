"""What a step of a workflow costs, in counts that are the same on every machine."""

from __future__ import annotations

import importlib
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from lite import Node, Workflow, wasm
from lite.model.instruction import Instruction
from tests.guests import ADD

BENCHMARKS = Path(__file__).resolve().parent.parent.parent / "scripts" / "benchmarks"
STEPS = 100


@pytest.fixture
def fsyncs(monkeypatch: pytest.MonkeyPatch) -> Any:
    if shutil.which("strace") is None:
        pytest.skip("fsyncs are counted with strace")
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("fsyncs")


@pytest.mark.parametrize(
    ("kind", "most"), [("chain", 1.05), ("fan", 0.25), ("replay", 0)],
    ids=["one for each step of a chain", "few for steps side by side", "none for what is known"],
)  # fmt: skip
def test_fsyncs_of_a_workflow(fsyncs: Any, tmp_path: Path, kind: str, most: float) -> None:
    """Steps side by side share one while they come within a few milliseconds: traced and on a busy
    machine fewer of them do."""
    each = fsyncs.fsyncs_each(kind, tmp_path)
    if each is None:
        pytest.skip("strace may not trace here")
    assert each <= most
    assert kind != "chain" or each >= 1


def chain(module: Any) -> Workflow:
    steps: dict[str, Instruction] = {"s0": wasm(module, "add", 0, 1)}
    for number in range(1, STEPS):
        steps[f"s{number}"] = wasm(module, "add", steps[f"s{number - 1}"].ok, 1)
    return Workflow(**steps)


def test_sql_statements_of_a_step(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    connect = sqlite3.connect

    def traced(*args: Any, **kwargs: Any) -> sqlite3.Connection:
        connection = connect(*args, **kwargs)
        connection.set_trace_callback(seen.append)
        return connection

    monkeypatch.setattr(sqlite3, "connect", traced)
    with Node.open(home, in_process=True) as node:
        module = node.add(ADD)
        seen.clear()
        run = node.workflow_run(chain(module))
        assert run.counts == {"done": STEPS}
        # Six rows for each step come in bulk before the first one begins.
        began = next(at for at, one in enumerate(seen) if one.startswith("COMMIT"))
        executed = len(seen) - began
        seen.clear()
        again = node.workflow_run(chain(module))
        known = len(seen)
    assert executed / STEPS <= 15.5  # one of them looks once more whether anything is secret
    assert again.counts == {"cached": STEPS}
    assert known / STEPS <= 3
