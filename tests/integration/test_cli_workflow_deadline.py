"""The deadline of one command while another process works on the same run."""

from __future__ import annotations

import json
from pathlib import Path

from lite import Node
from lite.ipld.cid import CID
from tests.integration.conftest import Ipvm


def test_a_deadline_that_ends_only_this_command_is_said_and_leaves_the_run(
    ipvm: Ipvm, here: Path, home: Path
) -> None:
    step = {"run": "numbers.wasm:add", "args": [1, 2]}
    (here / "w.json").write_text(json.dumps({"steps": {"one": step}}))
    told = ipvm("workflow", "check", "w.json", "--json").json
    first = ipvm("workflow", "run", "w.json", "--deadline", "0s", "--json")
    assert (first.status, first.json["state"]) == (8, "expired")
    assert "goes on with it, without a deadline" in first.err
    run = first.json["run"]
    with Node.open(home, in_process=True) as other:
        lease = other.store.lease(CID.parse(told["steps"][0]["ins"]))
        with other.store.runs.presence(run):  # it is at the step
            assert lease.take(block=False)
            ended = ipvm("workflow", "run", "w.json", "--deadline", "100ms", "--json")
            lease.release()
    assert (ended.status, ended.json["run"], ended.json["state"]) == (8, run, "running")
    assert "The deadline passed; another process goes on with the run" in ended.err
    assert "goes on with it" not in ended.err
    assert ipvm("workflow", "run", "w.json", "--json").json["counts"] == {"done": 1}
