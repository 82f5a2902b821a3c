"""What a workflow's file may not consent to, and what is not known of a workflow before it ran."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from lite import Node
from lite.engine.base import Outcome
from lite.limits import Limits
from lite.model.instruction import Instruction
from lite.model.workflow import Workflow
from tests.integration.conftest import Ipvm
from tests.ops_support import HttpServer
from tests.scheduler_support import Lab, do


@pytest.fixture
def server() -> Iterator[HttpServer]:
    with HttpServer() as made:
        yield made


@pytest.mark.parametrize("private", [False, True])
def test_the_file_cannot_let_out_a_secret_and_all_say_so(
    ipvm: Ipvm, server: HttpServer, private: bool
) -> None:
    Path("key").write_text("top secret")
    if not private:
        ipvm("add", "key", "--private")
    post = {"op": "http/post", "rsc": f"{server.url}/", "input": {"body": "@key"}}
    told = {"meta": {"force": True}, "steps": {"tell": post}}
    Path("w.json").write_text(json.dumps(told))
    more = ["--private"] if private else []
    if not private:
        assert "! tell: it would let out" in ipvm("workflow", "check", "w.json").text
    dry = ipvm("workflow", "run", "w.json", "--dry-run", *more)
    assert (dry.status, "would let out" in dry.text) == (3, True)
    ran = ipvm("workflow", "run", "w.json", *more)
    assert (ran.status, server.count("POST")) == (3, 0)
    assert ipvm("workflow", "run", "w.json", "--dry-run", "--force", *more).status == 0
    assert ipvm("workflow", "run", "w.json", "--force", *more).status == 0
    assert server.count("POST") == 1


def test_what_would_be_refused_is_said_before_and_what_was_done_is_no_more(
    ipvm: Ipvm, server: HttpServer
) -> None:
    puts = {
        name: {"op": "http/put", "rsc": f"{server.url}/{name}", "input": {"body": name}}
        for name in ("one", "two")
    }
    Path("w.json").write_text(json.dumps({"steps": puts}))
    run = ("workflow", "run", "w.json")
    said = "changes the world in more than one place, or before its end: one, two"
    dry = ipvm(*run, "--dry-run")
    assert (dry.status, said in dry.err, "--force" in dry.err) == (2, True, True)
    assert "▸ one  would run" in dry.text
    told = ipvm(*run, "--dry-run", "--json")
    assert (told.status, said in told.json["refused"]) == (2, True)
    refused = ipvm(*run)
    assert (refused.status, said in refused.err, server.count("PUT")) == (2, True, 0)
    allowed = ipvm(*run, "--dry-run", "--force", "--json")
    assert (allowed.status, allowed.json["refused"]) == (0, None)
    assert ipvm(*run, "--force").status == 0
    assert server.count("PUT") == 2
    for more in ((), ("--force",), ("--no-cache",)):
        done = ipvm(*run, "--dry-run", "--json", *more)
        assert (done.status, done.json["refused"], done.json["counts"]) == (0, None, {"done": 2})
        again = ipvm(*run, *more)
        assert (again.status, "was done before; --new" in again.err) == (0, True)
    for more in ((), ("--dry-run",)):
        anew = ipvm(*run, "--new", *more)
        assert (anew.status, said in anew.err) == (2, True)
    redone = ipvm(*run, "--redo", "one")
    assert (redone.status, said in redone.err) == (2, True)
    assert server.count("PUT") == 2


def test_a_graph_is_drawn_as_the_name_of_the_file_says_or_not_at_all(
    ipvm: Ipvm, here: Path
) -> None:
    Path("w.json").write_text(json.dumps({"steps": {"a": {"op": "crud/read", "rsc": "file:///x"}}}))
    refused = ipvm("workflow", "graph", "w.json", "-o", "q.png")
    assert (refused.status, "not drawn as .png" in refused.err) == (2, True)
    assert not (here / "q.png").exists()
    assert ipvm("workflow", "graph", "w.json", "-o", "q.mmd").status == 0
    assert ipvm("workflow", "graph", "w.json", "-o", "q.png", "-f", "dot").status == 0
    assert (here / "q.png").read_text().startswith("digraph")


def test_why_takes_a_file_as_its_other_direction_does(ipvm: Ipvm) -> None:
    Path("note").write_text("of a file")
    cid = ipvm("add", "note").text.split()[0]
    for words in (("why", "note"), ("why", "--from", "note")):
        shown = ipvm(*words, "--json")
        assert (shown.status, shown.json["why"]["cid"]) == (0, cid)


def test_a_step_with_effects_may_ask_for_more_than_is_known(ipvm: Ipvm) -> None:
    step = {"run": "numbers.wasm:add", "args": [1, 2], "fx": True}
    Path("w.json").write_text(json.dumps({"steps": {"ask": step}}))
    found = ipvm("workflow", "check", "w.json", "--json").json
    assert found["safety"] == "pure; ask may ask for more work"
    assert found["steps"][0]["may_ask"] is True
    (dry,) = ipvm("workflow", "run", "w.json", "--dry-run", "--json").json["steps"]
    assert (dry["state"], dry["reason"]) == ("run", "it may ask for more work")


def test_what_a_known_result_asks_for_is_forecast_with_it(tmp_path: Path) -> None:
    lab = Lab(tmp_path / "home")
    post, pure = do("post", value=1, **{"as": "post"}), do("pure", value=2)
    fx = ([post.value()], pure.value())
    lab.work["ask"] = lambda ready: Outcome(ok=1, fx=fx)
    ask = do("pure", "ask")
    lab.executor.run(ask, Limits())

    def forecast(**asked: Instruction) -> dict[str, tuple[str, str]]:
        workflow, look = Workflow(**asked), lab.runs.outlook
        found = look.forecast(workflow, look.graph(workflow))
        return {one.label: (one.state, one.reason) for one in found}

    assert forecast(ask=ask) == {
        "ask": ("cached", "own receipt"),
        "ask/1": ("run", ""),
        "ask/join": ("run", ""),
    }
    beside = forecast(ask=ask, act=do("post", value=3))
    assert beside["ask/1"][0] == "queued"
    assert "needs --force" in beside["ask/1"][1]
    assert lab.runs.begin(Workflow(ask=ask)).go().counts == {"cached": 1, "done": 2}
    assert forecast(ask=ask)["ask/1"] == ("done", "")
    lab.close()


def test_a_dry_run_knows_what_was_done_or_is_in_doubt_elsewhere(tmp_path: Path) -> None:
    lab = Lab(tmp_path / "home")
    act = do("post", "act", nnc="n", **{"as": "act"})

    def state(**asked: bool) -> str:
        workflow, look = Workflow(other=do("pure", value=5), act=act), lab.runs.outlook
        found = look.forecast(workflow, look.graph(workflow), **asked)
        return found[1].state

    class Killed(BaseException):
        pass

    def killed(_: object) -> None:
        raise Killed

    lab.work["act"] = killed
    with pytest.raises(Killed):
        lab.executor.run(act, Limits())
    assert state() == state(fresh=True) == state(homestar=True) == "in-doubt"
    with lab.store.lease(act.cid):
        assert state() == "queued"
    lab.work["act"] = lambda ready: 1
    lab.executor.run(act, Limits(), redo=True)
    assert (state(), state(homestar=True), state(fresh=True)) == ("cached", "cached", "run")
    lab.close()


def test_bad_effects_are_named_in_the_row(tmp_path: Path) -> None:
    lab = Lab(tmp_path / "home")
    lab.work["ask"] = lambda ready: Outcome(ok=1, fx=([{"op": "x"}], None))
    run = lab.runs.begin(Workflow(ask=do("pure", "ask"))).go()
    (row,) = lab.store.runs.steps(run.id)
    assert row.reason.startswith("bad-effects: ")
    lab.close()


def test_an_open_home_is_all_that_a_node_needs_to_say_it(home: Path) -> None:
    with Node.open(home, in_process=True) as node:
        look = node.workflows.outlook
        unknown = Workflow(odd=Instruction("x:y", "quantum/run", {}, ""))
        assert look.graph(unknown).safety == "unknown until the operation of odd is here"
