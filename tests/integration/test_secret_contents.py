"""What holds a secret is one by what stands in it, whenever that was marked and wherever it is
from: an instruction, a workflow that was stored before, a step that runs just now."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lite import Node, wasm
from lite.ipld import dag_cbor
from lite.ipld.block import Block
from lite.ipld.cid import DAG_CBOR, RAW
from lite.limits import CHUNK_BYTES
from lite.model.instruction import Instruction
from lite.model.workflow import Workflow
from lite.privacy import make_secret
from lite.store import Store
from lite.store.secret_contents import SecretContents
from tests.integration.conftest import Ipvm
from tests.ops_support import HttpServer
from tests.secrecy_support import MARK, watched

TEXT = MARK.decode()


@pytest.fixture
def server() -> Iterator[HttpServer]:
    with HttpServer() as made:
        yield made


@pytest.fixture
def sending(here: Path, server: HttpServer) -> Path:
    """A workflow that makes something of a text and sends it to the server."""
    make = {"run": "typed.wasm:greet", "args": [TEXT]}
    send = {"op": "http/post", "rsc": f"{server.url}/", "input": {"json": "${make}"}}
    path = here / "w.json"
    path.write_text(json.dumps({"name": "w", "steps": {"make": make, "send": send}}))
    (here / "plan.txt").write_bytes(MARK + b"\n")
    return path


def unmarked(home: Path) -> list[str]:
    """What holds the text and may leave."""
    with Store.open(home) as store:
        marked = {raw for (raw,) in store.database.rows("SELECT cid FROM secrets")}
        query = "SELECT '{0}', cid FROM {0} WHERE instr(data, ?) > 0"
        rows = [
            row
            for of in ("blocks", "receipts")
            for row in store.database.rows(query.format(of), (MARK,))
        ]
    assert rows
    return [of for of, raw in rows if raw not in marked]


def test_a_stored_workflow_that_holds_a_file_marked_later_sends_nothing(
    ipvm: Ipvm, home: Path, sending: Path, server: HttpServer
) -> None:
    ipvm("workflow", "prefetch", "w.json")
    assert ipvm("add", "--private", "plan.txt").status == 0
    told = ipvm("workflow", "check", "w.json").text
    assert "! send: it would let out what is secret" in told
    forecast = ipvm("workflow", "run", "w.json", "--dry-run", "--json").json
    assert [step["state"] for step in forecast["steps"]][1] == "queued"
    ended = ipvm("workflow", "run", "w.json", "--json")
    assert [step["state"] for step in ended.json["steps"]] == ["done", "queued"]
    assert (ended.status, server.count("POST"), unmarked(home)) == (3, 0, [])
    receipt = ended.json["steps"][0]["receipt"]
    assert ipvm("export", receipt, "-o", "out.car").status == 4


def test_a_schedule_of_what_was_marked_later_sends_nothing(
    ipvm: Ipvm, home: Path, sending: Path, server: HttpServer
) -> None:
    ipvm("schedule", "add", "* * * * *", "w.json")
    ipvm("add", "--private", "plan.txt")
    with Store.open(home) as store, store.database.write() as transaction:
        transaction.execute("UPDATE schedules SET next_due_at = next_due_at - 600")
    assert ipvm("schedule", "run").status == 3
    assert (server.count("POST"), unmarked(home)) == (0, [])


@pytest.mark.parametrize("named", ["w.json", "wfb", "-"])
def test_all_of_a_workflow_whose_file_is_secret_is(
    ipvm: Ipvm, home: Path, sending: Path, server: HttpServer, named: str
) -> None:
    text = sending.read_text().replace("typed.wasm:greet", f"{sending.parent}/typed.wasm:greet")
    sending.write_text(text)
    assert ipvm("add", "--private", "--name", "wfb", "w.json").status == 0
    stdin = text.encode() if named == "-" else b""
    forecast = ipvm("workflow", "run", named, "--dry-run", "--json", stdin=stdin).json
    assert [step["state"] for step in forecast["steps"]][1] == "queued"
    ended = ipvm("workflow", "run", named, "--json", stdin=stdin)
    assert [step["state"] for step in ended.json["steps"]] == ["done", "queued"]
    assert (server.count("POST"), unmarked(home)) == (0, [])
    ipvm("workflow", "prefetch", named, stdin=stdin)
    ipvm("schedule", "add", "* * * * *", named, stdin=stdin)
    assert unmarked(home) == []


def test_what_ran_of_a_workflow_file_is_secret_when_it_is_marked(
    ipvm: Ipvm, home: Path, sending: Path, server: HttpServer
) -> None:
    ran = ipvm("workflow", "run", "w.json", "--json").json
    assert (server.count("POST"), len(unmarked(home)) > 2) == (1, True)
    assert "receipts that came of it" in ipvm("add", "--private", "w.json").err
    assert unmarked(home) == []
    assert ipvm("export", ran["workflow"], "-o", "out.car").status == 4
    (sending.parent / "other.json").write_text('{"steps": 5}')
    assert ipvm("add", "--private", "other.json").status == 0


def test_standard_input_with_a_secret_makes_a_call_secret(
    ipvm: Ipvm, home: Path, here: Path, server: HttpServer
) -> None:
    (here / "plan.txt").write_bytes(MARK)
    ipvm("add", "--private", "plan.txt")
    ipvm("run", "command.wasm", "--stdin", "-", "-q", stdin=MARK)
    assert unmarked(home) == []
    posted = ipvm("run", "--op", "http/post", f"{server.url}/", f"body={TEXT}")
    assert (posted.status, server.count("POST")) == (4, 0)


def test_what_is_known_by_its_content_stays_so_after_a_collection(
    ipvm: Ipvm, home: Path, here: Path, sending: Path, server: HttpServer
) -> None:
    """Standard input, an argument, a workflow, and all of it once more in a restored home."""
    ipvm("add", "--private", "plan.txt")
    (here / "plan.txt").unlink()
    assert ipvm("gc", "--grace", "0s").status == 0
    for given in range(2):
        for words, stdin in (
            (("command.wasm", "--stdin", "-", "--", *"x" * given), MARK),
            (("typed.wasm:length", "-"), MARK + b"\n" * given),
            (("typed.wasm:greet", TEXT + " and more" * given), b""),
        ):
            ran = ipvm("run", "--json", *words, stdin=stdin)
            assert ran.json.get("secret") is True, ran
            assert ipvm("export", ran.json["receipt"], "-o", "out.car").status == 4
        posted = ipvm("run", "--op", "http/post", f"{server.url}/", f"body={TEXT}")
        assert (posted.status, server.count("POST"), unmarked(home)) == (4, 0, [])
        assert ipvm("workflow", "run", "w.json").status == 3
        ipvm("backup", f"b{given}.tar")
        assert ipvm("restore", f"b{given}.tar").status == 0
    assert (server.count("POST"), unmarked(home)) == (0, [])


class Meanwhile:
    """An operation during which something happens."""

    name, level, needs = "lab/meanwhile", "query", frozenset[str]()

    def __init__(self, happens: Callable[[], None]) -> None:
        self._happens = happens

    def missing(self, ready: Any) -> str | None:
        return None

    def run(self, ready: Any) -> Any:
        from lite.ops.base import Outcome

        self._happens()
        return Outcome(ok=f"made of {ready.instruction.input['text']}")


@pytest.mark.parametrize("others", [False, True])
def test_what_is_marked_while_a_step_runs_is_secret_with_all_after(
    pi: Node, guests: Path, monkeypatch: pytest.MonkeyPatch, others: bool
) -> None:
    """`others`: the home holds other secrets, so that no instruction was stored when it began."""
    module = pi.add(guests / "typed.wasm")
    if others:
        make_secret(pi.store, [pi.add(b"something else that is secret")])

    def happens() -> None:
        make_secret(pi.store, [pi.add(MARK, secret=True)])

    monkeypatch.setitem(pi.workflows._executor._ops._made, "lab/meanwhile", Meanwhile(happens))  # type: ignore[attr-defined]
    first = Instruction("x:y", "lab/meanwhile", {"text": TEXT})
    then = wasm(module, "greet", first.ok)
    ended = pi.workflows.begin(Workflow(first=first, then=then)).go()
    assert ended.state == "done", [view.reason for view in ended.steps]
    marks = pi.store.secrets
    for view in ended.steps:
        assert view.receipt is not None and marks.is_secret(view.receipt.cid)
        assert marks.is_secret(view.receipt.instruction)


def test_what_is_marked_between_signing_and_keeping_is_secret(
    pi: Node, guests: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = pi.add(b"%d greetings " % 7 * 1_000)
    step = wasm(pi.add(guests / "typed.wasm"), "greet", TEXT)
    executor = pi.workflows._executor
    sign = executor.sign

    def then_marked(*args: Any, **options: Any) -> Any:
        finished = sign(*args, **options)
        assert not finished.secret
        make_secret(pi.store, [pi.add(MARK, secret=True), file])
        return finished

    monkeypatch.setattr(executor, "sign", then_marked)
    with watched(monkeypatch) as found:
        ended = pi.workflows.begin(Workflow(step=step)).go()
    receipt = ended["step"].receipt
    assert pi.store.secrets.is_secret(receipt.cid)
    assert [one for one in found if one.startswith("receipt")] == []


def test_contents_are_read_again_when_a_file_is_marked_or_comes(pi: Node) -> None:
    contents = SecretContents(pi.store.database)
    asked = Instruction("x:y", "lab/x", {"text": TEXT}).data
    short = Instruction("x:y", "lab/x", {"text": "ab"}).data
    assert not contents.are_in(asked)
    file, small = Block.make(MARK + b"\n", RAW), Block.make(b"ab\n", RAW)
    pi.store.secrets.mark([file.cid])  # it is not here yet
    assert not contents.are_in(asked)
    pi.store.blocks.put(file)
    assert contents.are_in(asked) and not contents.are_in(short)
    pi.store.blocks.put(small, secret=True)
    assert contents.are_in(short)
    assert not contents.are_in(Instruction("x:y", "lab/x", {"text": "abc"}).data)
    pi.store.secrets.unmark([file.cid, small.cid])
    assert not contents.are_in(asked) and not contents.are_in(short)


def test_of_many_small_secrets_each_is_found(pi: Node) -> None:
    files = [b"secret number %05d" % number for number in range(200)]
    pi.store.blocks.put_many([Block.make(one, RAW) for one in files], secret=True)
    contents = SecretContents(pi.store.database)
    for one in (files[0], files[117], files[-1]):
        assert contents.are_in(dag_cbor.encode(["before", one, "after"]))
    assert not contents.are_in(dag_cbor.encode(["secret number 00200"]))


def test_the_last_piece_of_a_large_file_is_no_small_file(pi: Node) -> None:
    """A few bytes at the end of a large secret are anywhere; a large one is found by its links."""
    pi.add(b"z" * CHUNK_BYTES * 2 + b"ab", secret=True)
    assert not pi.store.secrets.holds_content(Instruction("x:y", "lab/x", {"text": "ab"}).data)


def test_a_value_that_comes_from_the_net_with_a_secret_in_it_is_secret(
    pi: Node, server: HttpServer
) -> None:
    server.kept["/thing"] = b"it says " + MARK
    make_secret(pi.store, [pi.add(MARK, secret=True)])
    got = pi.run(Instruction(f"{server.url}/thing", "http/get", {"only": "body"})).receipt
    assert pi.store.secrets.is_secret(got.cid)


def test_a_block_that_links_to_it_is_not_searched(pi: Node) -> None:
    cid = pi.add(MARK, secret=True)
    assert not pi.store.secrets.holds_content(Block.make(dag_cbor.encode([cid]), DAG_CBOR).data)
