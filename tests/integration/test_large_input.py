"""Input that is larger than the memory of its guest: streamed, or refused by what it declares."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import wasmtime

from lite import Node, content
from lite.answer import Answer
from lite.cli.present import size, visible
from lite.cli.results import _is_text, _texts, show_trace, show_value
from lite.cli.shell import Shell
from lite.engine.base import GuestFailure
from lite.engine.job import Content
from lite.ipld import dag_pb
from lite.ipld.block import Block
from lite.ipld.cid import CID, DAG_PB, RAW
from lite.ipld.dag_pb import PbLink, PbNode
from lite.ipld.unixfs.node import encode_file_node
from lite.limits import MIB, TRACE_BYTES_MAX, Limits
from lite.model.instruction import Instruction, wasm
from lite.model.receipt import Receipt
from lite.model.result import Result
from lite.store import Store
from tests.integration.conftest import Ipvm
from tests.store_support import KEY, START, keep, node_block, raw_block

DISK = "size=4m"
LARGE = 160 * MIB
EXIT_7 = """(module (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 1) (func (export "_start") (call $exit (i32.const 7))))"""
# Reads all of its standard input; exits with the number of whole MiB, by which it was.
COUNT = """(module (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 33)
  (func (export "_start") (local $sum i32)
    (i32.store (i32.const 0) (i32.const 65536)) (i32.store (i32.const 4) (i32.const 2097152))
    (loop $more
      (drop (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)))
      (local.set $sum (i32.add (local.get $sum) (i32.load (i32.const 8))))
      (br_if $more (i32.load (i32.const 8))))
    (call $exit (i32.shr_u (local.get $sum) (i32.const 20)))))"""
# Runs a command; prints its exit status and the largest process of it, in KiB.
PEAK = """import resource, subprocess, sys
ended = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
print(ended.returncode, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"""


@pytest.fixture
def large(here: Path) -> Path:
    """A file of many blocks, of which the store needs one."""
    for name, text in (("exit7", EXIT_7), ("count", COUNT)):
        (here / f"{name}.wasm").write_bytes(wasmtime.wat2wasm(text))
    path = here / "large"
    with path.open("wb") as file:
        file.truncate(LARGE)
    return path


@pytest.fixture
def copied(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of the files that were copied out for guests."""
    found: list[int] = []
    copy = content.Links._copied

    def counted(self: content.Links, cid: CID, size: int) -> Path:
        found.append(size)
        return copy(self, cid, size)

    monkeypatch.setattr(content.Links, "_copied", counted)
    return found


def bomb(home: Path, levels: int = 4) -> CID:
    """A file of 100 to the power of so many times 1,000 bytes, in a few kilobytes of blocks."""
    with Store.open(home, durability="normal") as store:
        leaf = raw_block(bytes(1_000))
        keep(store, leaf)
        cid, size, total = leaf.cid, 1_000, 1_000
        for _ in range(levels):
            links = tuple(PbLink(cid, "", total) for _ in range(100))
            block = Block.make(dag_pb.encode(PbNode(links, encode_file_node([size] * 100))), DAG_PB)
            keep(store, block)
            cid, size, total = block.cid, size * 100, total * 100 + len(block.data)
    return cid


@pytest.mark.parametrize(("guest", "status"), [("exit7", 7), ("count", LARGE // MIB)])
def test_standard_input_larger_than_the_memory_is_read_bit_by_bit(
    here: Path, large: Path, guest: str, status: int
) -> None:
    limits = ["--memory", "16M", "--no-cache", "--json"]
    words = [sys.executable, "-m", "lite", "run", f"{guest}.wasm", "--stdin", large.name, *limits]
    told = subprocess.run([sys.executable, "-c", PEAK, *words], capture_output=True, check=True)
    ended, peak_kib = map(int, told.stdout.split())
    assert ended == 1
    assert peak_kib < 116 * 1024  # the limit and 100 MB
    again = subprocess.run(words, capture_output=True, check=False)
    assert json.loads(again.stdout)["error"]["status"] == status


def test_an_argument_larger_than_the_memory_is_an_error_and_is_not_copied(
    ipvm: Ipvm, large: Path, copied: list[int]
) -> None:
    ended = ipvm("run", "typed.wasm:echo", f"@{large.name}", "--memory", "16M", "--json")
    assert (ended.status, copied) == (8, [])
    assert ended.json["error"]["code"] == "memory-limit"
    assert ended.json["error"]["limit"] == 16 * MIB


def linked(home: Path, called: Instruction, memory_bytes: int = 16 * MIB) -> dict[CID, Content]:
    """What a run of `called` would get."""
    with (
        Store.open(home, durability="normal") as store,
        content.Links(store, content.StoreFiles(store)) as links,
    ):
        return links.content(called, Limits(memory_bytes=memory_bytes))


def test_of_arguments_that_are_too_large_together_one_is_not_copied(
    ipvm: Ipvm, here: Path, home: Path, copied: list[int]
) -> None:
    for name in "abc":
        (here / name).write_bytes(name.encode() * 7 * MIB)
    cids = [CID.parse(ipvm("add", name).text.strip()) for name in "abc"]
    found = linked(home, wasm(CID.of(b"", RAW), "f", cids))
    assert sorted(one.kind for one in found.values()) == ["file", "file", "large"]
    assert copied == [7 * MIB]  # the first stays in memory


def test_a_file_that_declares_100_gb_is_refused_by_that(
    ipvm: Ipvm, here: Path, home: Path, large: Path, copied: list[int]
) -> None:
    ipvm("id")
    cid = bomb(home)
    ended = ipvm("run", "typed.wasm:echo", str(cid), "--json")
    assert (ended.status, ended.json["error"]["code"]) == (8, "memory-limit")
    with Node.open(home) as node:
        done = node.run(wasm(node.add(here / "count.wasm"), None, stdin=cid)).out.body
    assert (done["code"], "more than 4294967296 bytes" in done["message"]) == ("bad-argument", True)
    with pytest.raises(GuestFailure, match="more than 4294967296 bytes"):
        linked(home, Instruction(rsc="file:///x", op="crud/update", input={"body": cid}))
    assert copied == []


def test_values_are_bounded_together(
    ipvm: Ipvm, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(content, "CONTENT_VALUES_BYTES_MAX", 25_000)
    values = [node_block(str(n) * 10_000) for n in range(3)]
    with Store.open(home, durability="normal") as store:
        keep(store, *values)
    cids = [value.cid for value in values]
    assert len(linked(home, wasm(CID.of(b"", RAW), "f", cids[:2]))) == 2
    with pytest.raises(GuestFailure, match="values of more than 25000 bytes together"):
        linked(home, wasm(CID.of(b"", RAW), "f", cids))


def test_no_room_for_input_is_said_of_the_folder_for_temporary_files(
    ipvm: Ipvm, large: Path, disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(disk))
    words = ("run", "count.wasm", "--stdin", large.name, "--json")
    early = ipvm(*words)
    monkeypatch.setattr(content, "check_room", lambda *_: None)
    late = ipvm(*words)
    for ended in (early, late):
        assert ended.status == 6
        assert ended.json["error"]["code"] == "store-full"
    assert "No space left" in late.json["error"]["message"]
    assert "TMPDIR" in late.json["error"]["hint"]
    assert list(disk.iterdir()) == []
    monkeypatch.setattr(tempfile, "tempdir", str(disk / "absent"))
    ended = ipvm(*words)
    assert (ended.status, "TMPDIR" in ended.err) == (6, True)


WORDY = """(module (import "wasi_snapshot_preview1" "fd_write"
    (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 17)
  (func (export "_start") (local $n i32)
    (i32.store (i32.const 0) (i32.const 64)) (i32.store (i32.const 4) (i32.const 1048576))
    (loop $on (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
      (local.set $n (i32.add (local.get $n) (i32.const 1)))
      (br_if $on (i32.lt_u (local.get $n) (i32.const 40))))))"""


@pytest.mark.parametrize("where", [[], ["--in-process"]], ids=["worker", "in-process"])
def test_no_room_for_output_is_no_fault_of_the_guest(
    ipvm: Ipvm, here: Path, disk: Path, where: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (here / "wordy.wasm").write_bytes(wasmtime.wat2wasm(WORDY))
    words = ("run", "wordy.wasm", *where, "--json")
    with monkeypatch.context() as full:
        full.setattr(tempfile, "tempdir", str(disk))
        full.setenv("TMPDIR", str(disk))  # of the worker
        ended = ipvm(*words)
    assert (ended.status, ended.json["error"]["code"]) == (6, "store-full"), ended.err
    assert "No space left" in ended.json["error"]["message"]
    assert "TMPDIR" in ended.json["error"]["hint"]
    assert list(disk.iterdir()) == []
    assert ipvm(*words, "--out", "all").status == 0, "nothing of it is remembered"
    assert (here / "all").stat().st_size == 40 * MIB


def told_by_others(home: Path, cid: CID, **said: object) -> Receipt:
    """A receipt that links to what is larger than anybody reads."""
    asked = wasm(CID.of(b"", RAW), "f")
    out = Result.of_ok(cid if said.get("linked") else 1)
    meta = {"trace": cid, "path": said.get("path", "core")}
    return Receipt.issue(KEY, asked, out, now=START, linked=said.get("linked"), meta=meta)  # type: ignore[arg-type]


def test_of_a_trace_no_more_is_read_than_a_trace_may_have(
    ipvm: Ipvm, home: Path, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    ipvm("id")
    receipt = told_by_others(home, bomb(home))
    with Node.open(home) as node:
        node.store.receipts.add(receipt)
        show_trace(Shell(), node, Answer(receipt, "cached", "", node.store))
        shown = len(visible("\0")) * TRACE_BYTES_MAX + 1
        assert len(capsysbinary.readouterr().err) == shown
    assert len(ipvm("logs", str(receipt.cid)).out) == shown


@pytest.mark.parametrize("path", ["core", "wasi"])
def test_a_linked_result_is_named_on_a_terminal_without_reading_it_whole(
    ipvm: Ipvm,
    home: Path,
    path: str,
    monkeypatch: pytest.MonkeyPatch,
    capsysbinary: pytest.CaptureFixture[bytes],
) -> None:
    ipvm("id")
    cid = bomb(home)
    if path == "wasi":  # the first byte that is no text ends the look at it
        with Store.open(home, durability="normal") as store:
            odd, large = raw_block(b"\xff"), store.blocks.get(cid)
            first = PbLink(odd.cid, "", 1)
            links = (first, PbLink(cid, "", len(large)))
            data = dag_pb.encode(PbNode(links, encode_file_node([1, 10**11])))
            keep(store, odd, block := Block.make(data, DAG_PB))
            cid = block.cid
    receipt = told_by_others(home, cid, linked="file", path=path)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    with Node.open(home) as node:
        answer = Answer(receipt, "cached", "", node.store)
        show_value(Shell(), node, answer, None)
        assert capsysbinary.readouterr().out.decode() == f"{cid}  {size(node.size(cid))}\n"


def test_text_is_told_from_bytes_across_its_pieces() -> None:
    class Pieces:
        def __init__(self, *pieces: bytes) -> None:
            self.chunks = lambda: iter(pieces)

    grinning = "😀 ü".encode()
    whole = Pieces(grinning[:2], grinning[2:6], grinning[6:])
    assert _is_text(whole) and "".join(_texts(whole)) == "😀 ü"  # type: ignore[arg-type]
    assert not _is_text(Pieces(b"a", grinning[:2]))  # type: ignore[arg-type]
