"""By whatever way a secret comes into the store, it is never there without its mark, and what is
only looked at is not stored."""

from __future__ import annotations

import base64
import io
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lite import Node, wasm
from lite.ipld import unixfs
from lite.ipld.block import Block
from lite.ipld.cid import CID, RAW
from lite.keys import Key
from lite.model.instruction import Instruction
from lite.model.promise import Await
from lite.model.receipt import Receipt
from lite.model.result import Result
from lite.model.task import Task
from lite.model.workflow import Workflow
from lite.store.finished import Finished
from tests.authority_support import give
from tests.integration.conftest import Ended, Ipvm
from tests.secrecy_support import MARK, watched

CAT = {"run": "command.wasm"}
LARGE = MARK * 1_500  # a file of its own
HUGE = MARK * 1_150_000  # more than one transaction takes


def write(here: Path, name: str = "w.json", /, **steps: Any) -> str:
    (here / name).write_text(json.dumps({"steps": steps}))
    return name


def text(data: bytes) -> str:
    return data.decode()


def run_wf(*flags: str) -> Callable[[Ipvm, Path], Ended]:
    def act(ipvm: Ipvm, here: Path) -> Ended:
        step = {**CAT, "stdin": text(MARK * 3), **({} if flags else {"secret": True})}
        return ipvm("workflow", "run", write(here, a=step), *flags)

    return act


def file_of(size: bytes, *verb: str, **more: Any) -> Callable[[Ipvm, Path], Ended]:
    def act(ipvm: Ipvm, here: Path) -> Ended:
        (here / "diary.txt").write_bytes(size)
        flags = [word for word in verb if word.startswith("--")]
        words = [word for word in verb if not word.startswith("--")]
        secret = {} if "--private" in flags else {"secret": True}
        file = write(here, a={**CAT, "stdin": "@diary.txt", **secret, **more})
        return ipvm(*words, file, *flags)

    return act


def bundled(ipvm: Ipvm, here: Path) -> Ended:
    (here / "diary.txt").write_bytes(LARGE)
    file = write(here, a={**CAT, "stdin": "@diary.txt", "secret": True})
    return ipvm("bundle", "create", "--workflow", file, "-o", "x.car", "--with-secrets")


def called(size: bytes, *flags: str) -> Callable[[Ipvm, Path], Ended]:
    def act(ipvm: Ipvm, here: Path) -> Ended:
        (here / "diary.txt").write_bytes(size)
        return ipvm("run", "command.wasm", "--stdin", "diary.txt", "--private", *flags)

    return act


def piped(ipvm: Ipvm, here: Path) -> Ended:
    return ipvm("run", "command.wasm", "--stdin", "-", "--private", stdin=LARGE)


def added(size: bytes) -> Callable[[Ipvm, Path], Ended]:
    def act(ipvm: Ipvm, here: Path) -> Ended:
        (here / "docs").mkdir()
        (here / "docs/diary.txt").write_bytes(size)
        ipvm("add", "-", "--private", stdin=size + b"!")
        return ipvm("add", "docs", "--private")

    return act


def awaited(field: str, **more: Any) -> Callable[[Ipvm, Path], Ended]:
    """A secret value becomes what the next step acts on."""

    def act(ipvm: Ipvm, here: Path) -> Ended:
        step = {**CAT, "stdin": text(MARK), "secret": True}
        last = {field: "${a}:f" if field == "run" else "${a}", **more}
        return ipvm("workflow", "run", write(here, a=step, b=last))

    return act


def inline_bytes(ipvm: Ipvm, here: Path) -> Ended:
    """Bytes that stand in the workflow, and are too many for an instruction."""
    given = {"/": {"bytes": base64.b64encode(LARGE).decode().rstrip("=")}}
    step = {"run": "typed.wasm:length", "args": [given], "secret": True}
    return ipvm("workflow", "run", write(here, a=step))


WAYS = {
    "a result that is shown": (run_wf(), 0),
    "a result of a private run": (run_wf("--private"), 0),
    "a small file": (file_of(MARK * 2, "workflow", "run"), 0),
    "a large file": (file_of(LARGE, "workflow", "run"), 0),
    "a file of a private run": (file_of(LARGE, "workflow", "run", "--private"), 0),
    "a file of many transactions": (file_of(HUGE, "workflow", "run"), 0),
    "prefetch": (file_of(LARGE, "workflow", "prefetch"), 0),
    "a schedule": (file_of(LARGE, "schedule", "add", "0 3 * * 1"), 0),
    "a private schedule": (file_of(LARGE, "schedule", "add", "0 3 * * 1", "--private"), 0),
    "a bundle": (bundled, 0),
    "a dry run": (file_of(LARGE, "workflow", "run", "--dry-run"), 0),
    "run": (called(MARK * 2), 0),
    "run with a large file": (called(LARGE), 0),
    "a dry run of one call": (called(LARGE, "--dry-run"), 0),
    "standard input": (piped, 0),
    "add": (added(LARGE), 0),
    "an awaited rsc": (awaited("rsc", op="wasm/run", input={"func": "f", "args": []}), 1),
    "an awaited module": (awaited("run"), 1),
    "bytes in a workflow": (inline_bytes, 0),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_secret_is_never_here_without_its_mark(
    ipvm: Ipvm, here: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    act, status = WAYS[way]
    with watched(monkeypatch) as unmarked:
        ended = act(ipvm, here)
    assert status is None or ended.status == status, ended.err
    assert unmarked == []


def test_the_watch_sees_what_is_not_marked(
    ipvm: Ipvm, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (here / "open.txt").write_bytes(LARGE)
    with watched(monkeypatch) as unmarked:
        ipvm("add", "open.txt")
    assert unmarked == [f"block of {len(LARGE)} bytes"]


def test_what_is_shown_by_its_cid_does_not_leave(ipvm: Ipvm, here: Path) -> None:
    shown = ipvm("workflow", "run", write(here, a={**CAT, "stdin": "told nobody", "secret": True}))
    cid = shown.text.split()[1]
    assert ipvm("cat", cid).out == b"told nobody"
    assert ipvm("export", cid, "-o", "x.car").status == 4
    uses = {**CAT, "stdin": {"/": cid}}
    assert ipvm("workflow", "run", write(here, b=uses)).status == 0
    assert all(r["secret"] for r in ipvm("receipt", "list", "--json").json["receipts"])


def test_on_a_terminal_the_result_of_a_private_call_is_stored_as_secret(
    ipvm: Ipvm, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    (here / "diary.bin").write_bytes(b"\xff" + MARK)
    told = ["run", "command.wasm", "--stdin", "diary.bin", "--private"]
    with watched(monkeypatch) as unmarked:
        shown = ipvm(*told)
        assert unmarked == []
    cid = shown.text.split()[-3]
    assert ipvm("export", cid, "-o", "x.car").status == 4


def test_that_there_is_nothing_is_no_secret(ipvm: Ipvm, here: Path) -> None:
    shown = ipvm("workflow", "run", write(here, a={**CAT, "stdin": "", "secret": True}))
    assert ipvm("export", shown.text.split()[1], "-o", "x.car").status == 0


def test_a_value_that_was_shown_becomes_secret_with_its_receipt(ipvm: Ipvm, here: Path) -> None:
    shown = ipvm("workflow", "run", write(here, a={**CAT, "stdin": "told everybody"}))
    cid = shown.text.split()[1]
    assert ipvm("export", cid, "-o", "x.car").status == 0
    again = write(here, a={**CAT, "stdin": "told everybody", "secret": True})
    assert ipvm("workflow", "run", again).status == 0
    assert ipvm("export", cid, "-o", "x.car").status == 4


@pytest.mark.parametrize("dry", [True, False])
def test_a_dry_run_stores_no_file_and_foresees_the_run(ipvm: Ipvm, here: Path, dry: bool) -> None:
    (here / "note.txt").write_bytes(b"a note " * 100_000)  # several blocks
    step = {"run": "typed.wasm:length", "args": ["@note.txt"]}
    file = write(here, a=step, b={**CAT, "stdin": {"/": str(CID.of(b"absent", RAW))}})
    flags = ["--dry-run"] if dry else []
    ended = ipvm("workflow", "run", file, *flags, "--json")
    assert ended.status == 3
    states = {one["label"]: one["state"] for one in ended.json["steps"]}
    assert states == {"a": "run" if dry else "done", "b": "queued"}
    blocks = ipvm("status", "--json").json["blocks"]
    assert (blocks == 0) is dry


def test_a_pipe_is_no_file_of_a_workflow(ipvm: Ipvm, here: Path) -> None:
    os.mkfifo(here / "pipe")
    ended = ipvm("workflow", "run", write(here, a={**CAT, "stdin": "@pipe"}))
    assert (ended.status, "is a pipe" in ended.err) == (2, True)


def asking(ipvm: Ipvm) -> tuple[dict[str, Any], dict[str, Any]]:
    """A secret step whose result asks for what an open step of the run does as well."""
    rsc = f"ipfs://{ipvm('add', 'numbers.wasm').text.strip()}"
    wanted = {"op": "wasm/run", "rsc": rsc, "input": {"func": "add", "args": [6, 1]}, "nnc": ""}
    told = json.dumps({"out": 1, "fx": {"fork": [], "join": wanted}})
    asks = {"run": "typed.wasm:greet", "args": [told], "fx": True, "secret": True}
    return asks, {"run": "numbers.wasm:add", "args": [6, 1]}


@pytest.mark.parametrize("first", ["asks", "same", "known"])
def test_what_a_secret_result_asks_for_is_secret_also_where_an_open_step_has_its_answer(
    ipvm: Ipvm, here: Path, first: str
) -> None:
    asks, same = asking(ipvm)
    if first == "known":
        ipvm("workflow", "run", write(here, "open.json", same=same))
        steps = {"asks": asks}
    else:
        both = {"asks": asks, "same": same}
        steps = both if first == "asks" else dict(reversed(both.items()))
    assert ipvm("workflow", "run", write(here, **steps), "--workers", "1").status == 0
    found = ipvm("receipt", "list", "--json").json["receipts"]
    assert len(found) == 2
    assert all(one["secret"] for one in found)


def test_the_library_marks_what_came_before_as_the_command_line_does(
    pi: Node, guests: Path
) -> None:
    module = pi.add(guests / "numbers.wasm")
    first = wasm(module, "add", 1, 2)
    then = wasm(module, "add", Await("ok", first.cid), 1)
    known = [pi.run(one).receipt.cid for one in (first, then)]
    assert not pi.store.secrets.any_secret(known)
    pi.run(Workflow(first=Task(first, {"secret": True}), then=then))
    assert pi.store.secrets.any_secret(known) == set(known)


def test_a_known_answer_of_a_call_that_awaits_a_secret_is_secret(pi: Node, guests: Path) -> None:
    module = pi.add(guests / "numbers.wasm")
    first = wasm(module, "add", 1, 2)
    known = pi.run(wasm(module, "add", 3, 1)).receipt
    pi.store.secrets.mark([first.cid])
    pi.run(first)
    then = wasm(module, "add", Await("ok", first.cid), 1)
    assert pi.run(then).receipt.cid == known.cid
    assert pi.store.secrets.is_secret(known.cid)


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_workflow_that_holds_a_secret_call_is_secret(
    ipvm: Ipvm, here: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    (here / "diary.txt").write_bytes(MARK)
    file = write(here, a={**CAT, "stdin": {"/": {"bytes": base64.b64encode(MARK).decode()[:-2]}}})
    private = ("run", "command.wasm", "--stdin", "diary.txt", "--private")
    if when == "before":
        ipvm(*private)
        with watched(monkeypatch) as unmarked:
            run = ipvm("workflow", "run", file, "--json").json
        assert unmarked == []
    else:
        run = ipvm("workflow", "run", file, "--json").json
        ipvm(*private)
    assert ipvm("export", run["workflow"], "-o", "x.car").status == 4


def test_a_private_call_that_waits_for_another_node_is_secret_with_its_workflow(
    ipvm: Ipvm, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Node.open() as node, Node.open(here / "other") as other:
        give(other, node, "/lab/none")
    with watched(monkeypatch) as unmarked:
        ended = ipvm("run", "--op", "lab/none", "x:y", f"text={MARK.decode()}", "--private")
    assert (ended.status, unmarked) == (3, [])


def test_all_pieces_of_a_known_result_are_marked_with_it(pi: Node) -> None:
    pieces: list[CID] = []
    with pi.store.adding() as put:

        def keep(block: Block) -> None:
            pieces.append(block.cid)
            put(block)

        root = unixfs.write_file(io.BytesIO(HUGE), keep)
    asked = Instruction("x:y", "lab/none", {})
    receipt = Receipt.issue(pi.key, asked, Result.of_ok(root), linked="file", now=0)
    pi.store.receipts.add(receipt)
    pi.store.commit_runs((Finished(asked, receipt, secret=True),))
    assert len(pieces) > 2
    assert pi.store.secrets.any_secret(pieces) == set(pieces)


@pytest.mark.parametrize("first", ["root", "pieces"])
def test_a_file_that_is_marked_before_it_comes_is_so_with_all_its_pieces(
    pi: Node, first: str
) -> None:
    blocks: list[Block] = []
    root = unixfs.write_file(io.BytesIO(HUGE), blocks.append)
    pi.store.secrets.mark([root])
    for block in blocks if first == "pieces" else blocks[::-1]:
        pi.store.blocks.put(block)
    cids = {block.cid for block in blocks}
    assert pi.store.secrets.any_secret(cids) == cids


def test_an_instruction_that_waits_for_another_node_is_secret(
    pi: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = Instruction("x:y", "lab/none", {"text": MARK.decode()})
    task = Task(asked, {"secret": True, "requires": {"key": Key.generate().did}})
    with watched(monkeypatch) as unmarked:
        run = pi.run(Workflow(a=task))
    assert (run.state, len(pi.store.outbox.of_run(run.id))) == ("queued", 1)
    assert unmarked == []


@pytest.mark.parametrize("private", [True, False])
def test_bytes_that_are_taken_out_of_an_instruction_are_secret_with_it(
    pi: Node, guests: Path, monkeypatch: pytest.MonkeyPatch, private: bool
) -> None:
    asked = wasm(pi.add(guests / "typed.wasm"), "length", LARGE)
    with watched(monkeypatch) as unmarked:
        step = Task(asked, {} if private else {"secret": True})
        run = pi.workflow_run(Workflow(a=step), private=private)
    assert (run.state, unmarked) == ("done", [])
