"""`ipvm bundle`: work carried between two homes that never meet, and back."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.integration.conftest import Ended, Ipvm

FLOW = """
name: sums
steps:
  a: {run: "numbers.wasm:add", args: [1, 2]}
  b: {run: "numbers.wasm:add", args: ["${a}", 10]}
  far: {run: "%s:add", args: ["${a}", 100]}
  end: {run: "numbers.wasm:add", args: ["${b}", "${far}"]}
"""

At = Callable[..., Ended]


@pytest.fixture
def at(ipvm: Ipvm, here: Path) -> At:
    """A command line at the home of a name beside this folder."""

    def call(name: str, *args: object, **told: Any) -> Ended:
        return ipvm("--home", here.parent / name, *args, **told)

    return call


def did(at: At, name: str) -> str:
    return at(name, "id", "-q").text.split()[0]


def trust(at: At, name: str, other: str) -> None:
    assert at(name, "config", "set", "trust.issuers", did(at, other)).status == 0


def half_done(at: At, here: Path, ipvm: Ipvm) -> None:
    """A workflow at `a` whose third step waits for code that only `b` has."""
    (here / "far.wasm").write_bytes((here / "numbers.wasm").read_bytes() + b"\0\x01\0")
    code = at("b", "add", "far.wasm").text.split()[0]
    (here / "flow.yaml").write_text(FLOW % code)
    (here / "far.wasm").unlink()
    assert at("a", "workflow", "run", "flow.yaml").status == 3


def states(ended: Ended) -> dict[str, tuple[str, str]]:
    """Label -> state and where the answer came from."""
    return {step["label"]: (step["state"], step["source"]) for step in ended.json["steps"]}


def test_half_a_workflow_goes_over_is_finished_there_and_comes_back(
    at: At, here: Path, ipvm: Ipvm
) -> None:
    half_done(at, here, ipvm)
    trust(at, "a", "b")
    trust(at, "b", "a")
    made = at("a", "bundle", "create", "--workflow", "flow.yaml", "-o", "over.car")
    assert made.status == 0 and "the code of step far" in made.err
    came = at("b", "bundle", "import", "over.car", "--names")
    cid, name = came.text.split()
    assert name == "sums" and "2 new receipts" in came.err
    there = at("b", "--json", "--offline", "workflow", "run", cid)
    assert there.status == 0
    assert {label: source for label, (_, source) in states(there).items()} == {
        "a": "cached",
        "b": "cached",
        "far": "ran",
        "end": "ran",
    }
    told = ("--no-code", "--no-inputs", "--receipts", "all")
    assert at("b", "bundle", "create", *told, "-o", "back.car").status == 0
    back = at("a", "--json", "bundle", "import", "back.car").json
    assert back["known"] == {"receipts": 2} and back["new"]["receipts"] == 2
    ended = at("a", "--json", "--offline", "workflow", "run", "flow.yaml")
    assert ended.status == 0
    assert {source for _, source in states(ended).values()} <= {"cached", "ran"}
    assert states(ended)["end"] == states(ended)["far"] == ("cached", "cached")
    assert at("b", "workflow", "run", "sums").text == "end: 116\n"


def test_without_trust_the_receipts_stay_out_and_the_work_is_done_again(at: At, here: Path) -> None:
    (here / "flow.yaml").write_text(FLOW % "numbers.wasm")
    at("a", "workflow", "run", "flow.yaml")
    at("a", "bundle", "create", "--workflow", "flow.yaml", "-o", "over.car")
    came = at("b", "bundle", "import", "over.car")
    assert f"left out 4 receipts by {did(at, 'a')}" in came.err
    ended = at("b", "--json", "workflow", "run", came.text.split()[0])
    assert {source for _, source in states(ended).values()} == {"ran"}
    taken = at("b", "bundle", "import", "over.car", "--all")
    assert "took 4 new receipts" in taken.err


def test_a_run_is_named_by_its_id_and_json_says_what_is_in_it(at: At, here: Path) -> None:
    (here / "flow.yaml").write_text(FLOW % "numbers.wasm")
    run = at("a", "--json", "workflow", "run", "flow.yaml").json["run"]
    made = at("a", "--json", "bundle", "create", "--workflow", run, "-o", "x.car").json
    assert made["file"] == "x.car" and made["absent"] == [] and len(made["receipts"]) == 4
    assert made["bytes"] == (here / "x.car").stat().st_size
    dry = at("b", "--json", "bundle", "import", "x.car", "--dry-run").json
    assert dry["dry_run"] and dry["root"] == made["root"]
    assert [one["called"] for one in dry["workflows"]] == ["sums"]
    assert at("b", "cat", dry["workflows"][0]["cid"]).status == 5


def test_complete_refuses_what_would_lack_something_and_writes_no_file(
    at: At, here: Path, ipvm: Ipvm
) -> None:
    half_done(at, here, ipvm)
    told = ("bundle", "create", "--workflow", "flow.yaml", "-o", "x.car", "--complete")
    refused = at("a", *told)
    assert refused.status == 5 and "would lack" in refused.err
    assert not (here / "x.car").exists()
    assert at("a", *told, "--no-code").status == 0


def test_through_a_pipe(at: At, here: Path) -> None:
    (here / "flow.yaml").write_text(FLOW % "numbers.wasm")
    made = at("a", "bundle", "create", "--workflow", "flow.yaml", "-o", "-")
    came = at("b", "bundle", "import", "-", stdin=made.out)
    assert came.status == 0 and "2 new blocks" in came.err
    cut = at("c", "bundle", "import", "-", stdin=made.out[:-1])
    assert cut.status == 7 and "truncated" in cut.err


def test_pinned_blocks_survive_a_collection(at: At, here: Path) -> None:
    (here / "flow.yaml").write_text(FLOW % "numbers.wasm")
    at("a", "bundle", "create", "--workflow", "flow.yaml", "-o", "x.car")
    cid = at("b", "bundle", "import", "x.car", "--pin").text.split()[0]
    assert cid in at("b", "pin", "list").text


def test_a_name_that_is_taken_stays_with_what_it_names(at: At, here: Path) -> None:
    (here / "flow.yaml").write_text(FLOW % "numbers.wasm")
    at("a", "bundle", "create", "--workflow", "flow.yaml", "-o", "x.car")
    own = at("b", "add", "numbers.wasm", "--name", "sums").text.split()[0]
    found = at("b", "--json", "bundle", "import", "x.car", "--names").json
    assert found["workflows"][0]["name"] is None
    assert own in at("b", "name", "list").text


def test_a_right_and_a_job_travel_and_the_job_waits(at: At, here: Path) -> None:
    trust(at, "b", "a")
    right = at("b", "ucan", "delegate", "--to", did(at, "a"), "--cmd", "/wasm/run")
    at("a", "ucan", "import", "-", stdin=right.out)
    at("b", "add", "numbers.wasm")
    invoke = ("ucan", "invoke", "--subject", did(at, "b"), "--exp", "1h")
    job = at("a", *invoke, "numbers.wasm:add", 2, 40)
    (here / "job.ucan").write_bytes(job.out)
    made = at("a", "bundle", "create", "--token", "job.ucan", "-o", "x.car")
    assert made.status == 0
    found = at("b", "--json", "bundle", "import", "x.car").json
    assert len(found["invocations"]) == 1 and found["tokens"][0]["kind"] == "delegation"


def test_a_killed_import_is_completed_by_the_next_one(
    at: At, here: Path, process: Callable[..., Any]
) -> None:
    (here / "big.bin").write_bytes(random.Random(1).randbytes(40 << 20))
    (here / "flow.yaml").write_text(FLOW % "numbers.wasm" + '  big: {op: x/y, rsc: "@big.bin"}\n')
    at("a", "workflow", "run", "flow.yaml")
    assert at("a", "bundle", "create", "--workflow", "flow.yaml", "-o", "x.car").status == 0
    trust(at, "b", "a")
    wal = here.parent / "b" / "ipvm.db-wal"
    killed = process("--home", here.parent / "b", "bundle", "import", "x.car")
    while killed.poll() is None and not (wal.exists() and wal.stat().st_size > 1 << 20):
        continue  # until the first of several transactions is being written
    killed.kill()
    assert killed.wait() == -9
    assert at("b", "receipt", "list").text == ""
    assert "4 new receipts" in at("b", "bundle", "import", "x.car").err
    assert at("b", "doctor", "--deep").status == 0
    assert "nothing new" in at("b", "bundle", "import", "x.car").err


@pytest.mark.parametrize(
    ("told", "status", "text"),
    [
        (["-o", "x.car"], 2, "nothing to put into it"),
        (["-o", "x.car", "--receipts", "all", "--receipts", "none"], 2, "contradict"),
        (["-o", "x.car", "--receipts", "abcdefgh"], 5, "abcdefgh"),
        (["-o", "x.car", "--workflow", "no.yaml"], 5, "no.yaml"),
        (["-o", "x.car", "--delegations", "--for", "me"], 2, "did:key"),
        (["-o", "none/x.car", "--receipts", "all"], 2, "No such file or directory"),
    ],
)
def test_what_cannot_be_made_says_why(at: At, told: list[str], status: int, text: str) -> None:
    at("a", "run", "numbers.wasm:add", 1, 2)
    ended = at("a", "bundle", "create", *told)
    assert ended.status == status and text in ended.err


def test_an_archive_and_a_bundle_are_told_apart(at: At, here: Path) -> None:
    at("a", "run", "numbers.wasm:add", 1, 2)
    listed = json.loads(at("a", "--json", "receipt", "list").out)["receipts"][0]["cid"]
    at("a", "export", listed, "-o", "x.car")
    refused = at("b", "bundle", "import", "x.car")
    assert refused.status == 7 and "Other archives are for `ipvm import`" in refused.err


def test_secrets_stay_without_the_word_for_it(at: At, here: Path) -> None:
    (here / "flow.yaml").write_text(FLOW % "numbers.wasm")
    at("a", "workflow", "run", "flow.yaml", "--private")
    told = ("bundle", "create", "--workflow", "flow.yaml", "-o", "x.car")
    refused = at("a", *told)
    assert refused.status == 4 and not (here / "x.car").exists()
    assert at("a", *told, "--with-secrets").status == 0
    trust(at, "b", "a")
    at("b", "bundle", "import", "x.car")
    passed_on = at("b", "bundle", "create", "--receipts", "all", "-o", "y.car")
    assert passed_on.status == 2 and "nothing to put into it" in passed_on.err
    assert (
        at("b", "bundle", "create", "--receipts", "all", "--with-secrets", "-o", "y.car").status
        == 0
    )
