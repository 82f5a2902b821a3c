"""What prefetching says of a step is what the run then does with it."""

from __future__ import annotations

import json
from pathlib import Path

from lite import Node
from lite.ipld.cid import CID, RAW
from lite.model.instruction import Instruction
from lite.store.runs_rows import Beginning
from tests.integration.conftest import Ipvm

ABSENT = str(CID.of(b"no such block", RAW))


def test_a_step_runs_without_its_delegation_and_prefetch_says_both(ipvm: Ipvm) -> None:
    add = {"run": "numbers.wasm:add", "args": [8, 9], "prf": [{"/": ABSENT}]}
    Path("w.json").write_text(json.dumps({"steps": {"add": add}}))
    told = ipvm("workflow", "prefetch", "w.json", "--json")
    (step,) = told.json["steps"]
    assert (told.status, step["state"], step["missing"]) == (0, "run", [ABSENT])
    assert "without its delegation" in step["reason"]
    assert f"! {ABSENT} is missing" in ipvm("workflow", "prefetch", "w.json").text
    ran = ipvm("workflow", "run", "w.json", "--offline")
    assert (ran.status, ran.text) == (0, "add: 17\n")


def test_what_is_in_doubt_will_not_run(ipvm: Ipvm, home: Path) -> None:
    ipvm("config", "set", "ops.exec", "programs.toml")
    Path("programs.toml").write_text('[tick]\ncommand = ["/bin/true"]\n')
    tick = {"op": "exec/run", "rsc": "exec:tick", "nonce": "once"}
    Path("w.json").write_text(json.dumps({"steps": {"tick": tick}}))
    with Node.open(home) as node:
        act = Instruction("exec:tick", "exec/run", {}, "once")
        node.store.begun.note(act.cid, Beginning())
    dry = ipvm("workflow", "run", "w.json", "--dry-run", "--json")
    assert (dry.status, dry.json["steps"][0]["state"]) == (1, "in-doubt")
    assert ipvm("workflow", "prefetch", "w.json").status == 3
