"""A node that passes a job on does nothing that the receipt of whoever did it asks for."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from lite import Node
from lite.config import Config
from lite.keys import Key
from lite.limits import Limits
from lite.model.instruction import Instruction
from lite.model.receipt import Receipt
from lite.model.result import Result
from lite.needs.requirements import Requirements
from lite.offload.contracting import Contracting
from lite.store.finished import Finished
from tests.guests import ADD

FAR = Key.from_seed(bytes([9]) * 32)


def test_effects_of_a_job_that_was_passed_on_are_the_customers(tmp_path: Path) -> None:
    top, home = tmp_path / "top", tmp_path / "home"
    top.mkdir()
    told = {"trust.issuers": FAR.did, "ops.crud_root": str(top)}
    with Node.open(config=Config.load(home, told, env={})) as node:
        module = f"ipfs://{node.add(ADD)}"
        job = Instruction(module, "wasm/run", {"func": "add", "args": [1, 2], "fx": True}, "")
        write = Instruction("file:///made", "crud/update", {"body": "by another"}, "")
        meta = {"op": "wasm/run", "memory_refused": False}
        receipt = Receipt.issue(
            FAR, job, Result.of_ok(3), now=node.clock.now(), meta=meta, fork=[write.cid]
        )
        node.store.commit_runs([Finished(job, receipt)])
        node.store.instructions.add(write)
        asked: Any = SimpleNamespace(
            invocation=job.cid, customer=node.did, expires_at=node.clock.now() + 60
        )
        contracting = Contracting(node)
        run = contracting.begin(asked, job, Requirements(), Limits())
        assert contracting.end(run) == receipt
        assert [step.state for step in node.store.runs.steps(run)] == ["cached", "queued"]
    assert list(top.iterdir()) == []
