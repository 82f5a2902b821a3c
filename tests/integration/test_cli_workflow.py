"""`ipvm workflow run` and `resume`: results, statuses, JSON, files, and what goes on."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from lite import Node
from lite.ipld.cid import CID, RAW
from lite.model.instruction import Instruction
from lite.store.runs_rows import StepChange
from tests.integration.conftest import Ipvm

SUMS = """
name: sums
steps:
  a: {run: "numbers.wasm:add", args: [1, 2]}
  b: {run: "numbers.wasm:add", args: ["${a}", 10]}
  c: {run: "numbers.wasm:add", args: ["${a}", 100]}
"""
SHARED = SUMS.replace("sums", "shared").replace("100]", "1000]")
MIXED = """
steps:
  good: {run: "numbers.wasm:add", args: [1, 2]}
  bad: {run: "numbers.wasm:div", args: [1, 0]}
  after: {run: "numbers.wasm:add", args: ["${bad}", 1]}
  later: {run: "numbers.wasm:add", args: ["${unknown}", 1]}
  unknown: {op: quantum/run, rsc: "test:x"}
"""
ONLY_QUEUED = """
steps:
  x: {op: quantum/run, rsc: "test:x"}
  y: {run: "numbers.wasm:add", args: ["${x}", 1]}
"""
OUT_OF_FUEL = 'steps: {x: {run: "numbers.wasm:spin", limits: {fuel: 1000}}, y: {run: '
OUT_OF_FUEL += '"numbers.wasm:add", args: ["${x}", 1]}}'


@pytest.fixture(autouse=True)
def files(here: Path) -> None:
    texts = {
        "sums": SUMS,
        "shared": SHARED,
        "mixed": MIXED,
        "queued": ONLY_QUEUED,
        "fuel": OUT_OF_FUEL,
    }
    for name, text in texts.items():
        (here / f"{name}.yaml").write_text(text)


def test_a_run_prints_its_results_and_the_next_one_shares_the_work(ipvm: Ipvm) -> None:
    first = ipvm("workflow", "run", "sums.yaml")
    assert (first.status, first.text) == (0, "b: 13\nc: 103\n")
    lines = [line for line in first.err.splitlines() if not line.startswith("ipvm: made")]
    assert re.fullmatch(r"sums  3 steps, \d+ workers?  run [0-9a-f]{8}", lines[0])
    assert re.fullmatch(r"  ✓ a  done       [\d.]+ ms +fuel \d+", lines[1])
    assert lines[-1] == "0 of 3 without work · 3 ran · 0 queued · 0 failed"
    second = ipvm("workflow", "run", "shared.yaml")
    assert (second.status, second.text) == (0, "b: 13\nc: 1003\n")
    assert re.search(r"^  ✓ a  cached     this node, receipt bafy…\w{7}  ", second.err, re.M)
    assert "2 of 3 without work · 1 ran" in second.err
    again = ipvm("workflow", "run", "sums.yaml", "-q")
    assert (again.text, again.err) == ("b: 13\nc: 103\n", "")


def test_several_outcomes_are_one_status_and_each_step_says_why(ipvm: Ipvm) -> None:
    ended = ipvm("workflow", "run", "mixed.yaml")
    assert (ended.status, ended.text) == (1, "good: 3\n")
    assert re.search(r"✗ bad      failed     integer-divide-by-zero: ", ended.err)
    assert re.search(r"✗ after    failed     because bad failed", ended.err)
    assert "⇢ unknown  queued     the operation 'quantum/run' is not known here" in ended.err
    assert "0 of 5 without work · 3 ran · 1 queued · 2 failed · 1 waiting" in ended.err
    assert re.search(r"→ `ipvm workflow resume [0-9a-f]{8}` tries again", ended.err)


@pytest.mark.parametrize(
    ("file", "status"), [("sums", 0), ("mixed", 1), ("fuel", 8), ("queued", 3)]
)
def test_the_exit_status_is_1_before_8_before_3(ipvm: Ipvm, file: str, status: int) -> None:
    assert ipvm("workflow", "run", f"{file}.yaml").status == status
    again = ipvm("workflow", "run", f"{file}.yaml")
    assert again.status == status
    if status in (1, 8):
        assert "✗ " in again.err  # also when nothing had to be run to know it


def test_json_is_one_object_with_steps_and_results(ipvm: Ipvm) -> None:
    found = ipvm("workflow", "run", "mixed.yaml", "--json").json
    assert found["state"] == "failed"
    steps = {step["label"]: step for step in found["steps"]}
    assert (steps["good"]["state"], steps["good"]["source"]) == ("done", "ran")
    assert steps["later"]["state"] == "waiting"
    assert found["counts"] == {"done": 1, "failed": 2, "queued": 1, "waiting": 1}
    assert found["results"]["good"]["value"] == 3
    assert found["results"]["after"]["error"]["code"] == "branch-mismatch"
    assert steps["good"]["receipt"] == found["results"]["good"]["receipt"]


def test_watch_with_json_is_one_object_an_event(ipvm: Ipvm) -> None:
    out = ipvm("workflow", "run", "sums.yaml", "--json", "--watch").text.splitlines()
    events = [json.loads(line) for line in out]
    assert all(event["v"] == 1 for event in events)
    *told, last = events
    assert told[0]["event"] == "run" and told[0]["state"] == "running"
    seen = {(event["label"], event["state"]) for event in told if event["event"] == "step"}
    assert {("a", "running"), ("a", "done"), ("b", "done"), ("c", "done")} <= seen
    assert last["state"] == "done" and last["run"] == told[0]["run"]


def test_out_writes_the_values_of_steps(ipvm: Ipvm, here: Path) -> None:
    ended = ipvm("workflow", "run", "sums.yaml", "--out", "a=a.txt", "--out", "b=b.txt")
    assert ended.text == "c: 103\n"
    assert ((here / "a.txt").read_text(), (here / "b.txt").read_text()) == ("3", "13")
    assert ipvm("workflow", "run", "sums.yaml", "--out", "c=-").text == "103"


@pytest.mark.parametrize(
    ("out", "said"),
    [
        ("z=f", "there is no step 'z'"),
        ("f", "which step's value?"),
        ("a=", "a file is missing"),
        ("a=no/f", "there is no folder no"),
        ("a=f --out b=../here/f", "a and b would both be written to ../here/f"),
    ],
)
def test_an_out_that_cannot_be_is_refused_before_anything_runs(
    ipvm: Ipvm, out: str, said: str
) -> None:
    ended = ipvm("workflow", "run", "sums.yaml", "--out", *out.split())
    assert ended.status == 2 and said in ended.err
    assert ipvm("workflow", "list", "--json").json["runs"] == []


def test_a_value_that_is_not_there_leaves_its_file_alone(ipvm: Ipvm, here: Path) -> None:
    (here / "old").write_text("old")
    ended = ipvm("workflow", "run", "mixed.yaml", "--out", "bad=old")
    assert "ipvm: old was not written: bad is failed" in ended.err
    assert (here / "old").read_text() == "old"


def test_bytes_are_shown_as_cid_and_size_and_written_raw(ipvm: Ipvm, here: Path) -> None:
    (here / "data").write_bytes(bytes(10_000))
    (here / "sub").mkdir()
    (here / "sub/w.yaml").write_text(
        'steps: {e: {run: "../typed.wasm:echo", args: ["@../data"]}, '
        'g: {run: "../typed.wasm:greet", args: ["line\\nline"]}}'
    )
    ended = ipvm("workflow", "run", "sub/w.yaml", "--out", "e=copy")
    assert ended.text == 'g: "line\\nline"\n'
    assert (here / "copy").read_bytes() == bytes(10_000)
    assert ipvm("workflow", "run", "sub/w.yaml").text.splitlines()[0] == (
        f"e: {CID.of(bytes(10_000), RAW)}  9.8 KiB"
    )


def test_a_workflow_may_be_stored_piped_in_or_homestars(ipvm: Ipvm, here: Path) -> None:
    cid = ipvm("add", "sums.yaml", "--name", "saved").text.strip()
    for ref in (cid, "saved", cid[-8:]):
        assert ipvm("workflow", "run", ref).text == "b: 13\nc: 103\n"
    assert ipvm("workflow", "run", "-", stdin=SUMS.encode()).text == "b: 13\nc: 103\n"
    compiled = ipvm("workflow", "check", "sums.yaml", "--json").json["workflow"]
    assert ipvm("workflow", "run", compiled).text == "b: 13\nc: 103\n"
    module = ipvm("add", "numbers.wasm").text.strip()
    run = {"rsc": f"ipfs://{module}", "op": "wasm/run", "nnc": ""}
    task = {"run": {**run, "input": {"func": "add", "args": [20, 22]}}, "meta": {}, "prf": []}
    request = {"name": "theirs", "workflow": {"tasks": [{**task, "cause": None}]}}
    (here / "theirs.json").write_text(json.dumps(request))
    assert ipvm("workflow", "run", "theirs.json").text == "add: 42\n"


@pytest.mark.parametrize(
    ("text", "status", "said"),
    [
        ("steps: {a: {run: 'no.wasm:f'}}", 5, "w.yaml: steps.a.run: there is no file 'no.wasm:f'"),
        ("steps: {a: {run: 'x', bogus: 1}}", 2, "w.yaml: steps.a.bogus: is not a field here"),
        ("steps: {a: {op: x/y, rsc: 'a:b', after: [b]}}", 2, "steps.a.after[0]: there is no step"),
        ("steps: [", 2, "w.yaml: line 1"),
        ("", 2, "w.yaml"),
        ("\xff\xfe", 2, "w.yaml"),
    ],
)
def test_a_wrong_file_is_told_by_file_step_and_field(
    ipvm: Ipvm, here: Path, text: str, status: int, said: str
) -> None:
    (here / "w.yaml").write_bytes(text.encode("latin-1"))
    for verb in ("run", "check", "graph"):
        ended = ipvm("workflow", verb, "w.yaml")
        assert ended.status == status, ended.err
        assert said in ended.err


def test_a_run_is_called_after_its_file_when_the_workflow_has_no_name(
    ipvm: Ipvm, here: Path
) -> None:
    told = ipvm("workflow", "run", "mixed.yaml", "--json").json
    assert told["name"] == "mixed"
    assert re.search(r"✗ [0-9a-f]{8}  mixed  ", ipvm("workflow", "list").text)
    (here / "other.yaml").write_text(MIXED)  # the same workflow, so its run goes on
    assert ipvm("workflow", "run", "other.yaml", "--json").json["workflow"] == told["workflow"]
    assert ipvm("workflow", "run", "sums.yaml", "--json").json["name"] == "sums"


def test_mutations_need_consent(ipvm: Ipvm, here: Path) -> None:
    (here / "two.yaml").write_text(
        "steps: {a: {op: msg/send, rsc: 'mailto:a@example.org', input: {subject: x, body: y}}, "
        "b: {op: msg/send, rsc: 'mailto:b@example.org', input: {subject: x, body: y}}}"
    )
    ended = ipvm("workflow", "run", "two.yaml")
    assert ended.status == 2 and "a, b" in ended.err and "--force" in ended.err
    assert ipvm("workflow", "run", "two.yaml", "--force").status == 3  # no mail server is set


def test_queued_steps_are_done_once_what_they_need_is_here(ipvm: Ipvm, here: Path) -> None:
    cid = CID.of((here / "numbers.wasm").read_bytes(), RAW)
    (here / "w.yaml").write_text(f'steps: {{a: {{run: "{cid}:add", args: [1, 2]}}}}')
    first = ipvm("workflow", "run", "w.yaml", "--json")
    assert first.status == 3 and first.json["state"] == "queued"
    ipvm("add", "numbers.wasm")
    run = first.json["run"]
    second = ipvm("workflow", "resume", run[:6], "--json")
    assert (second.status, second.json["run"], second.json["state"]) == (0, run, "done")
    assert ipvm("workflow", "run", "w.yaml", "--json").json["run"] != run


def test_flags_set_the_limits_of_steps_that_name_none(ipvm: Ipvm, here: Path) -> None:
    ended = ipvm("workflow", "run", "sums.yaml", "--fuel", "1")
    assert ended.status == 8 and "out-of-fuel: used all of its 1 fuel" in ended.err
    run = ipvm("workflow", "list", "--json").json["runs"][0]["run"]
    assert "out-of-fuel" in ipvm("workflow", "resume", run).err  # under the same rules
    assert ipvm("workflow", "resume", run, "--fuel", "1M").text == "b: 13\nc: 103\n"


def test_offline_leaves_queued_what_needs_the_network(ipvm: Ipvm, here: Path) -> None:
    (here / "w.yaml").write_text("steps: {a: {op: http/get, rsc: 'http://127.0.0.1:1/x'}}")
    ended = ipvm("workflow", "run", "w.yaml", "--offline")
    assert ended.status == 3 and "it needs the network; --offline was given" in ended.err


def test_a_step_in_doubt_is_done_again_only_when_asked(ipvm: Ipvm, here: Path, home: Path) -> None:
    (here / "w.yaml").write_text(
        "steps: {send: {op: msg/send, rsc: 'mailto:a@example.org', input: {subject: x, body: y}}}"
    )
    run = ipvm("workflow", "run", "w.yaml", "--json").json["run"]
    with Node.open(home) as node:
        doubt = StepChange("in-doubt", reason="the process that ran it ended")
        node.store.runs.set_steps(run, [(0, doubt)], durable=True)
        node.store.runs.set_state(run, "in-doubt")
    for verb in (("run", "w.yaml"), ("resume", run)):
        ended = ipvm("workflow", *verb)
        assert ended.status == 1
        assert "? send  in-doubt   the process that ran it ended" in ended.err
        assert f"if it did not: `ipvm workflow resume {run[:8]} --redo send`" in ended.err
    again = ipvm("workflow", "resume", run, "--redo", "send", "--json")
    assert (again.status, again.json["counts"]) == (1, {"in-doubt": 1})  # no mail server is set
    (step,) = again.json["steps"]
    assert step["reason"].startswith("the process that ran it ended; it was not done again: ")
    wrong = ipvm("workflow", "resume", run, "--redo", "sent")
    assert (wrong.status, "Did you mean send?" in wrong.err) == (2, True)
    dry = ipvm("workflow", "run", "w.yaml", "--dry-run", "--redo", "send", "--json")
    assert (dry.status, dry.json["counts"]["in-doubt"]) == (1, 1)
    told = ipvm("workflow", "cancel", run)
    assert f"{run[:8]} is stopped, and in doubt; nobody worked on it" in told.err


def test_steps_that_a_result_asks_for_are_shown_and_results_unless_awaited(
    ipvm: Ipvm, here: Path
) -> None:
    module = ipvm("add", "numbers.wasm").text.strip()
    greeter = ipvm("add", "typed.wasm").text.strip()

    def add(a: object, b: object) -> dict[str, object]:
        job = {"rsc": f"ipfs://{module}", "op": "wasm/run", "nnc": ""}
        return {**job, "input": {"func": "add", "args": [a, b]}}

    awaited = add(1, 1)
    link = {"await/ok": {"/": str(Instruction.from_value(awaited).cid)}}
    fx = {"fork": [awaited, add(3, 4)], "join": add(20, link)}
    asks = json.dumps({"out": 5, "fx": fx})
    given = {"func": "greet", "args": [asks], "fx": True}
    step = {"op": "wasm/run", "rsc": f"ipfs://{greeter}", "input": given}
    (here / "fx.json").write_text(json.dumps({"steps": {"go": step}}))
    ended = ipvm("workflow", "run", "fx.json")
    assert re.fullmatch(r"go: 5\ngo/[12]: 7\ngo/join: 22\n", ended.text)
    assert re.search(r"✓ go/1 +done", ended.err)
    assert "0 of 4 without work · 4 ran" in ended.err
    told = ipvm("workflow", "show", "fx.json", "--json").json["results"]
    assert {label: one["value"] for label, one in told.items()} == {
        label: int(value) for label, value in re.findall(r"(\S+): (\d+)", ended.text)
    }
    drawn = ipvm("workflow", "graph", ipvm("workflow", "show", "fx.json", "--json").json["run"])
    assert drawn.text.count("-->|fx|") == 3  # from go to those that it asked for
    assert "go#47;join<br/>done" in drawn.text
