"""How a run is listed whose process died."""

from __future__ import annotations

from pathlib import Path

from lite import Node, Workflow, wasm
from lite.store.runs_rows import StepChange
from tests.integration.conftest import Ipvm


def test_nobody_runs_what_a_dead_process_was_at(ipvm: Ipvm, home: Path) -> None:
    numbers = ipvm("add", "numbers.wasm").text.split()[0]
    with Node.open(home) as node:
        run = node.workflows.begin(Workflow(a=wasm(f"ipfs://{numbers}", "add", 1, 2)))
        change = StepChange("running", attempts=1, started_at=1)
        node.store.runs.set_steps(run.id, [(0, change)], durable=True)
        listed = ipvm("workflow", "list").text
        assert ("interrupted" in listed, "1 step: 1 interrupted" in listed) == (True, True)
        assert "running" not in listed
        with node.store.runs.presence(run.id):
            listed = ipvm("workflow", "list").text
            assert ("1 step: 1 running" in listed, "interrupted" in listed) == (True, False)
