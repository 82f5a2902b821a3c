"""What is said of a run that is done, or failed as it is known to, when it is asked for again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.integration.conftest import Ipvm
from tests.ops_support import HttpServer

ADD = {"run": "numbers.wasm:add", "args": [1, 2]}


def write(here: Path, **steps: Any) -> str:
    (here / "w.json").write_text(json.dumps({"steps": steps}))
    return "w.json"


def test_what_is_done_says_what_is_true_and_what_begins_another_run(ipvm: Ipvm, here: Path) -> None:
    run = ipvm("workflow", "run", write(here, a=ADD), "--private", "--json").json
    again = ipvm("workflow", "resume", run["run"])
    assert "changed the world" not in again.err
    advice = f"ipvm workflow run {run['workflow']} --new --private"
    assert f"nothing was left to do; `{advice}` begins another run" in again.err
    anew = ipvm(*advice.split()[1:], "--json")
    assert (anew.status, anew.json["run"] != run["run"]) == (0, True)


def test_what_changed_the_world_says_how_it_is_done_again(ipvm: Ipvm, here: Path) -> None:
    with HttpServer() as server:
        put = {"op": "http/put", "rsc": f"{server.url}/one", "input": {"body": "1"}}
        run = ipvm("workflow", "run", write(here, a=put), "--json").json
        again = ipvm("workflow", "resume", run["run"])
        advice = f"ipvm workflow run {run['workflow']} --new"
        assert f"changed the world and was done before; `{advice}` does it again" in again.err
        assert server.count("PUT") == 1
        assert ipvm(*advice.split()[1:]).status == 0
        assert server.count("PUT") == 2


def test_a_known_failure_has_its_reason(ipvm: Ipvm, here: Path) -> None:
    file = write(here, a={"run": "numbers.wasm:div", "args": [1, 0]})
    (first,) = ipvm("workflow", "run", file, "--json").json["steps"]
    ended = ipvm("workflow", "run", file, "--new", "--json")
    (step,) = ended.json["steps"]
    assert (step["state"], step["source"], ended.status) == ("failed", "cached", 1)
    assert step["reason"] == first["reason"] != ""
    assert "tries again" not in ipvm("workflow", "run", file, "--new").err


def test_a_dry_run_names_a_known_failure_and_does_not_count_it(ipvm: Ipvm, here: Path) -> None:
    file = write(here, a={"run": "numbers.wasm:div", "args": [1, 0]})
    assert ipvm("workflow", "run", file).status == 1
    dry = ipvm("workflow", "run", file, "--dry-run")
    assert (dry.status, "has failed" in dry.text) == (0, True)


def test_redo_of_what_is_done_says_how_to_do_it_again(ipvm: Ipvm, here: Path) -> None:
    act = {"op": "exec/run", "rsc": "exec:none"}
    pure = {"run": "numbers.wasm:add", "args": [1, 2]}
    Path("w.json").write_text(json.dumps({"steps": {"pure": pure}}))
    run = ipvm("workflow", "run", "w.json", "--json").json["run"]
    again = ipvm("workflow", "resume", run, "--redo", "pure")
    assert "It was done before, so nothing was left to do" in again.err
    Path("w.json").write_text(json.dumps({"steps": {"act": act, "pure": pure}}))
    run = ipvm("workflow", "run", "w.json", "--json").json["run"]
    assert ipvm("workflow", "cancel", run).status == 0
    shown = ipvm("workflow", "show", run, "--json").json
    assert {step["label"]: step["state"] for step in shown["steps"]} == {
        "act": "cancelled",
        "pure": "cached",
    }
    assert "tries again" not in ipvm("workflow", "show", run).text


def test_check_names_no_place_that_only_a_result_tells(ipvm: Ipvm, here: Path) -> None:
    made = {"run": "typed.wasm:greet", "args": ["x"], "secret": True}
    asks = {"op": "http/get", "rsc": "${made}"}
    Path("w.json").write_text(json.dumps({"steps": {"made": made, "asks": asks}}))
    told = ipvm("workflow", "check", "w.json").text
    assert "! asks: it would let out what is secret to where an awaited result says" in told
    assert "Await(" not in told
