"""What is secret stays: from a file to a receipt, in archives, for others, in backups."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from lite import Node, wasm
from lite.errors import AuthorityError
from lite.ipld.cid import CID
from lite.privacy import make_secret
from tests.authority_support import add, ask, give
from tests.integration.conftest import Ipvm
from tests.ops_support import HttpServer

DIARY = b"dear diary, "


def rows(ipvm: Ipvm) -> dict[str, bool]:
    """The receipts here, and whether they are marked."""
    return {r["cid"]: r["secret"] for r in ipvm("receipt", "list", "--json").json["receipts"]}


@pytest.mark.parametrize("size", [20, 5_000, 1_500_000], ids=["inline", "linked", "chunked"])
def test_what_is_made_from_a_secret_file_stays(ipvm: Ipvm, here: Path, size: int) -> None:
    data = (DIARY * (size // len(DIARY) + 1))[:size]
    (here / "diary.txt").write_bytes(data)
    added = ipvm("add", "diary.txt", "--private", "--json").json["added"]
    assert added[0]["secret"]
    done = ipvm("run", "command.wasm", "--stdin", "diary.txt")
    assert done.out == data
    assert done.err.rstrip().endswith("secret")
    (receipt,) = rows(ipvm)
    assert rows(ipvm) == {receipt: True}
    for words in ([receipt], [added[0]["cid"]], ["--with-inputs", receipt]):
        refused = ipvm("export", *words, "-o", "out.car")
        assert refused.status == 4
        assert not (here / "out.car").exists()
    assert ipvm("export", receipt, "-o", "out.car", "--with-secrets").status == 0
    assert ipvm("receipt", "verify", "out.car").status == 0
    assert ipvm("receipt", "verify", "out.car", "--json").json["verified"][0].get("secret") is None


def test_a_secret_shows_wherever_it_is_listed(ipvm: Ipvm, here: Path) -> None:
    (here / "docs").mkdir()
    (here / "docs/a.txt").write_text("secret")
    (here / "docs/b.txt").write_text("open")
    ipvm("add", "docs", "--name", "docs")
    ipvm("add", "docs/a.txt", "--private")
    entries = ipvm("ls", "docs", "--json").json["entries"]
    assert [entry["secret"] for entry in entries] == [True, False]
    assert [line.endswith("(secret)") for line in ipvm("ls", "docs").text.splitlines()] == [
        True,
        False,
    ]
    found = ipvm("run", "numbers.wasm:add", 1, 2, "--private", "--json").json
    assert found["secret"]
    receipt = found["receipt"]
    assert ipvm("receipt", "list").text.rstrip().endswith("secret")
    assert "secret       yes" in ipvm("receipt", "show", receipt).text
    assert "secret       yes" in ipvm("receipt", "verify", receipt).text
    assert ipvm("receipt", "show", receipt, "--json").json["secret"]
    assert ipvm("receipt", "verify", receipt, "--json").json["verified"][0]["secret"]
    assert "(secret)" in ipvm("why", receipt).text
    assert ipvm("why", receipt, "--json").json["why"]["secret"]
    assert ipvm("status", "--json").json["secrets"] == 3
    assert "secret    3 " in ipvm("status").text
    assert ipvm("export", "docs", "-o", "docs.car").status == 4


def test_an_open_call_becomes_secret_with_what_came_of_it(ipvm: Ipvm) -> None:
    first = ipvm("run", "numbers.wasm:add", 1, 2, "--json").json
    assert not first["secret"]
    assert ipvm("export", first["receipt"], "-o", "a.car").status == 0
    again = ipvm("run", "numbers.wasm:add", 1, 2, "--private")
    assert "was not secret" in again.err
    assert rows(ipvm) == {first["receipt"]: True}
    assert ipvm("export", first["receipt"], "-o", "b.car").status == 4
    assert "was not secret" not in ipvm("run", "numbers.wasm:add", 1, 2, "--private").err
    assert ipvm("run", "numbers.wasm:add", 1, 2, "--json").json["secret"]


def test_a_file_marked_later_takes_its_results_along(ipvm: Ipvm, here: Path) -> None:
    (here / "big.txt").write_bytes(DIARY * 1_000)
    ipvm("run", "command.wasm", "--stdin", "big.txt", "-q")
    ipvm("run", "numbers.wasm:add", 1, 2, "-q")
    marked = ipvm("add", "big.txt", "--private")
    assert "1 receipt that came of it" in marked.err
    assert sorted(rows(ipvm).values()) == [False, True]


def test_a_private_call_takes_its_own_files_along_and_leaves_those_of_others(
    ipvm: Ipvm, here: Path
) -> None:
    for name in ("own.txt", "shared.txt"):
        (here / name).write_bytes(name.encode() * 1_000)
    ipvm("run", "typed.wasm:length", "@shared.txt", "-q")
    for name in ("own.txt", "shared.txt"):
        ipvm("run", "typed.wasm:sink", f"@{name}", "--private", "-q")
    cids = {name: ipvm("add", name).text.strip() for name in ("own.txt", "shared.txt")}
    assert ipvm("export", cids["own.txt"], "-o", "own.car").status == 4
    assert ipvm("export", cids["shared.txt"], "-o", "shared.car").status == 0
    assert list(rows(ipvm).values()) == [True, True, False]


def test_the_output_of_an_open_call_becomes_secret_with_it(ipvm: Ipvm, here: Path) -> None:
    (here / "big.txt").write_bytes(DIARY * 1_000)
    ipvm("run", "typed.wasm:length", "@big.txt", "-q")  # so that the input stays open
    output = ipvm("run", "command.wasm", "--stdin", "big.txt", "--json").json["output"]
    assert ipvm("export", output, "-o", "x.car").status == 0
    ipvm("run", "command.wasm", "--stdin", "big.txt", "--private", "-q")
    assert ipvm("export", output, "-o", "x.car").status == 4


def test_the_file_of_an_open_call_becomes_secret_with_it(ipvm: Ipvm, here: Path) -> None:
    (here / "big.txt").write_bytes(DIARY * 1_000)
    cid = ipvm("add", "big.txt").text.strip()
    for flags in (["-q"], ["-q", "--private"]):
        ipvm("run", "typed.wasm:length", "@big.txt", *flags)
    assert ipvm("export", cid, "-o", "x.car").status == 4


def test_a_dry_run_marks_nothing(ipvm: Ipvm) -> None:
    assert ipvm("run", "numbers.wasm:add", 1, 2, "--private", "--dry-run").status == 0
    assert ipvm("status", "--json").json["secrets"] == 0


def test_an_invocation_does_not_carry_a_secret_file(ipvm: Ipvm, here: Path) -> None:
    (here / "diary.txt").write_bytes(DIARY)
    ipvm("add", "diary.txt", "--private")
    did = ipvm("id", "-q").text.strip()
    refused = ipvm("ucan", "invoke", "--subject", did, "command.wasm", "--stdin", "diary.txt")
    assert (refused.status, refused.out) == (4, b"")
    assert "diary.txt" in refused.err
    ipvm("run", "numbers.wasm:add", 1, 2, "--private")
    assert ipvm("ucan", "invoke", "--subject", did, "numbers.wasm:add", 1, 2).status == 4
    assert ipvm("ucan", "invoke", "--subject", did, "numbers.wasm:add", 1, 3).status == 0


def test_a_backup_has_everything_with_its_marks(ipvm: Ipvm, here: Path) -> None:
    (here / "diary.txt").write_bytes(DIARY)
    cid = ipvm("add", "diary.txt", "--private").text.strip()
    receipt = ipvm("run", "command.wasm", "--stdin", "diary.txt", "--json").json["receipt"]
    assert ipvm("backup", "home.tar").status == 0
    assert ipvm("--home", "other", "restore", "home.tar").status == 0
    assert ipvm("--home", "other", "cat", cid).out == DIARY
    assert ipvm("--home", "other", "export", receipt, "-o", "x.car").status == 4


def test_an_archive_with_secrets_comes_in_without_marks(ipvm: Ipvm, here: Path) -> None:
    (here / "diary.txt").write_bytes(DIARY)
    cid = ipvm("add", "diary.txt", "--private").text.strip()
    ipvm("export", cid, "-o", "x.car", "--with-secrets")
    assert ipvm("--home", "other", "import", "x.car").status == 0
    assert ipvm("--home", "other", "export", cid, "-o", "y.car").status == 0


def test_a_steps_secret_reaches_all_that_awaits_it(ipvm: Ipvm, here: Path) -> None:
    steps = {
        "one": {"run": "numbers.wasm:add", "args": [1, 2], "secret": True},
        "two": {"run": "numbers.wasm:add", "args": ["${one}", 40]},
        "open": {"run": "numbers.wasm:add", "args": [5, 6]},
    }
    (here / "w.json").write_text(json.dumps({"steps": steps}))
    assert ipvm("workflow", "run", "w.json").status == 0
    listed = ipvm("receipt", "list", "--json").json["receipts"]
    values = {
        ipvm("receipt", "show", r["cid"], "--json").json["receipt"]["out"]["ok"]: r["secret"]
        for r in listed
    }
    assert values == {3: True, 43: True, 11: False}


def test_a_private_workflow_marks_known_answers_with_their_outputs(ipvm: Ipvm, here: Path) -> None:
    (here / "big.txt").write_bytes(DIARY * 1_000)
    output = ipvm("run", "command.wasm", "--stdin", "big.txt", "--json").json["output"]
    steps = {"one": {"run": "command.wasm", "stdin": "@big.txt"}}
    (here / "w.json").write_text(json.dumps({"steps": steps}))
    assert ipvm("workflow", "run", "w.json", "--private").status == 0
    assert list(rows(ipvm).values()) == [True]
    assert ipvm("export", output, "-o", "x.car").status == 4


def test_a_step_that_becomes_secret_takes_along_what_is_known_of_it_and_behind_it(
    ipvm: Ipvm, here: Path
) -> None:
    steps = {
        "one": {"run": "numbers.wasm:add", "args": [1, 2]},
        "two": {"run": "numbers.wasm:add", "args": ["${one}", 40]},
        "open": {"run": "numbers.wasm:add", "args": [5, 6]},
    }
    (here / "w.json").write_text(json.dumps({"steps": steps}))
    assert ipvm("workflow", "run", "w.json").status == 0
    assert set(rows(ipvm).values()) == {False}
    steps["one"]["secret"] = True
    (here / "w.json").write_text(json.dumps({"steps": steps}))
    assert ipvm("workflow", "run", "w.json").status == 0
    assert sorted(rows(ipvm).values()) == [False, True, True]
    assert ipvm("workflow", "run", "w.json", "--private").status == 0
    assert set(rows(ipvm).values()) == {True}


def test_a_private_workflow_takes_its_own_files_along_and_leaves_those_of_others(
    ipvm: Ipvm, here: Path
) -> None:
    (here / "own.txt").write_bytes(DIARY * 1_000)
    (here / "open.txt").write_bytes(b"for all " * 1_000)
    count = Path(__file__).parents[2] / "examples/wasi/count.wasm"
    assert ipvm("run", count, "words", "--stdin", "open.txt").status == 0
    steps = {n: {"run": str(count), "args": [], "stdin": f"@{n}.txt"} for n in ("own", "open")}
    (here / "w.json").write_text(json.dumps({"steps": steps}))
    assert ipvm("workflow", "run", "w.json", "--private").status == 0
    own, free = (ipvm("add", name).text.strip() for name in ("own.txt", "open.txt"))
    assert ipvm("export", own, "-o", "x.car").status == 4
    assert ipvm("export", free, "-o", "x.car").status == 0


@pytest.mark.parametrize("secret", [True, False])
def test_a_guest_that_was_shown_a_secret_cannot_send_it(
    ipvm: Ipvm, here: Path, secret: bool
) -> None:
    url = "http://127.0.0.1:1/?diary"
    fork = [{"op": "http/get", "rsc": url, "input": {}, "nnc": ""}]
    wanted = json.dumps({"out": 1, "fx": {"fork": fork, "join": None}})
    step = {"op": "wasm/run", "rsc": f"ipfs://{ipvm('add', 'typed.wasm').text.strip()}"}
    asks = {**step, "input": {"func": "greet", "args": [wanted], "fx": True}, "secret": secret}
    (here / "w.json").write_text(json.dumps({"steps": {"asks": asks}}))
    done = ipvm("workflow", "run", "w.json", "--json").json
    steps = {step["label"]: step for step in done["steps"]}
    assert steps["asks"]["state"] == "done", steps
    assert ("would let out" in steps["asks/1"]["reason"]) is secret
    if secret:
        assert steps["asks/1"]["state"] == "queued"
        said = ipvm("workflow", "resume", done["run"]).err
        assert "⇢ asks/1: a result asked for it" in said and "--force` does that" in said
        assert "--wait until it is done" not in said
        forced = ipvm("workflow", "resume", done["run"], "--force", "--json").json
        assert "would let out" not in forced["steps"][1]["reason"]


@pytest.mark.parametrize("how", ["step", "run", "file"])
@pytest.mark.parametrize("op", ["http/post", "http/put"])
def test_what_is_secret_goes_out_over_the_network_only_with_consent(
    ipvm: Ipvm, here: Path, how: str, op: str
) -> None:
    (here / "diary.txt").write_bytes(DIARY * 1_000)
    if how == "file":
        ipvm("add", "diary.txt", "--private")
    with HttpServer() as server:
        url = f"{server.url}/diary"
        body = "@diary.txt" if how == "file" else "${one}"
        one = {"run": "numbers.wasm:add", "args": [1, 2], "secret": how == "step"}
        send = {"op": op, "rsc": url, "input": {"body" if how == "file" else "json": body}}
        (here / "w.json").write_text(json.dumps({"steps": {"one": one, "send": send}}))
        asked = ("w.json", "--private") if how == "run" else ("w.json",)
        said = f"would let out what is secret to {url}, without --force"
        if how != "run":
            assert f"! send: it {said}" in ipvm("workflow", "check", "w.json").text
            told = ipvm("workflow", "check", "w.json", "--json").json["steps"]
            assert [step["telling"] for step in told] == [None, f"it {said}"]
        dry = ipvm("workflow", "run", *asked, "--dry-run")
        assert (dry.status, said in dry.text) == (3, True)
        assert ipvm("workflow", "run", *asked, "--force", "--dry-run").status == 0
        ended = ipvm("workflow", "run", *asked)
        assert (ended.status, said in ended.err) == (3, True)
        assert "--force` does that all the same" in ended.err
        assert server.count(op.partition("/")[2].upper()) == 0
        assert ipvm("workflow", "run", *asked, "--force").status == 0
        assert server.count(op.partition("/")[2].upper()) == 1


def test_a_private_run_reads_from_the_network_what_is_open(ipvm: Ipvm, here: Path) -> None:
    with HttpServer() as server:
        steps = {"get": {"op": "http/get", "rsc": f"{server.url}/status/200"}}
        (here / "w.json").write_text(json.dumps({"steps": steps}))
        assert ipvm("workflow", "run", "w.json", "--private", "--dry-run").status == 0
        ended = ipvm("workflow", "run", "w.json", "--private")
        assert "would let out" not in ended.err
        assert server.count("GET") == 1


def test_the_block_of_a_workflow_with_a_secret_step_stays(ipvm: Ipvm, here: Path) -> None:
    steps = {"one": {"run": "numbers.wasm:add", "args": [1, 2], "secret": True}}
    (here / "w.json").write_text(json.dumps({"steps": steps}))
    cid = ipvm("workflow", "run", "w.json", "--json").json["workflow"]
    assert ipvm("export", cid, "-o", "x.car").status == 4


def test_what_becomes_secret_later_is_closed_to_others(pi: Node, phone: Node) -> None:
    give(pi, phone)
    first = pi.run(add(pi, 1, 2))
    module = CID.parse(str(add(pi).module))
    pi.run(wasm(module, "add", add(pi, 1, 2).ok, 10))
    fresh = make_secret(pi.store, [first.receipt.cid])
    assert {first.receipt.cid, first.receipt.instruction} <= set(fresh)
    assert pi.store.secrets.any_secret(r.cid for r in pi.store.receipts) == {
        r.cid for r in pi.store.receipts
    }
    assert make_secret(pi.store, [first.receipt.cid]) == []
    with pytest.raises(AuthorityError):
        pi.run_invocation(ask(phone, pi, add(pi, 1, 2)))
    with pytest.raises(AuthorityError):
        pi.export([first.receipt.cid], io.BytesIO())
    assert pi.run_invocation(ask(phone, pi, add(pi, 3, 4))).out.unwrap() == 7
