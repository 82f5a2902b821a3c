"""The node as a library: run, remember, queue, fail, keep thin receipts."""

from __future__ import annotations

import io
import threading
from pathlib import Path

import pytest
import wasmtime

from lite import Node, wasm
from lite.engine.base import GuestFailure, Usage
from lite.engine.job import failed
from lite.engine.pool import Workers
from lite.errors import CidError, HashMismatch, LimitError, NotFoundError, QueuedError, UsageError
from lite.ipld import dag_cbor
from lite.ipld.block import Block
from lite.ipld.cid import CID, DAG_CBOR
from lite.keys import Key
from lite.limits import INLINE_BYTES_MAX, Limits
from lite.model.instruction import Instruction
from lite.model.receipt import Receipt
from lite.model.result import Result
from tests.wat_guests import TYPED

ADD = """(module
  (func (export "add") (param i32 i32) (result i32) local.get 0 local.get 1 i32.add)
  (func (export "div") (param i32 i32) (result i32) local.get 0 local.get 1 i32.div_s)
  (func (export "spin") (loop br 0)))"""


@pytest.fixture
def node(tmp_path: Path):
    with Node.open(tmp_path / "home") as opened:
        yield opened


def module(node: Node, text: str) -> CID:
    return node.add(bytes(wasmtime.wat2wasm(text)))


def test_the_second_run_is_a_receipt_and_starts_no_worker(tmp_path: Path) -> None:
    with Node.open(tmp_path / "home") as node:
        first = node.run(wasm(module(node, ADD), "add", 2, 40))
        assert (first.source, first.out.unwrap()) == ("ran", 42)
        assert node.workers_started == 1
    with Node.open(tmp_path / "home") as node:
        again = node.run(wasm(module(node, ADD), "add", 2, 40))
        assert (again.source, again.rule, again.out.unwrap()) == ("cached", "own receipt", 42)
        assert again.receipt.cid == first.receipt.cid
        assert node.workers_started == 0


def test_fresh_runs_again_and_both_receipts_stay(node: Node) -> None:
    job = wasm(module(node, ADD), "add", 1, 1)
    first, second = node.run(job), node.run(job, fresh=True)
    assert second.source == "ran"
    assert {r.cid for r in node.store.receipts.by_instruction(job.cid)} == {
        first.receipt.cid,
        second.receipt.cid,
    }


def test_a_trap_is_a_receipt_and_an_answer_under_the_same_limits(node: Node) -> None:
    job = wasm(module(node, ADD), "div", 1, 0)
    first = node.run(job)
    assert first.out.error_code == "integer-divide-by-zero"
    assert node.run(job).source == "cached"


def test_out_of_fuel_does_not_answer_a_run_with_more_fuel(node: Node) -> None:
    job = wasm(module(node, ADD), "spin")
    assert node.run(job, limits=Limits(fuel=10_000)).out.error_code == "out-of-fuel"
    assert node.run(job, limits=Limits(fuel=10_000)).source == "cached"
    assert node.run(job, limits=Limits(fuel=5_000)).source == "cached"
    assert node.run(job, limits=Limits(fuel=20_000)).source == "ran"


def test_a_time_limit_is_never_an_answer(node: Node) -> None:
    job, limits = wasm(module(node, ADD), "spin"), Limits(fuel=10**15, time_ms=100)
    assert node.run(job, limits=limits).out.error_code == "time-limit"
    assert node.run(job, limits=limits).source == "ran"


def test_an_absent_module_queues_and_leaves_no_receipt(node: Node) -> None:
    job = wasm(CID.of(b"nowhere", 0x55), "add", 1, 2)
    with pytest.raises(QueuedError, match="module is not here"):
        node.run(job)
    assert node.store.receipts.by_instruction(job.cid) == []
    assert node.plan(job).state == "queued"


def test_an_absent_input_queues(node: Node) -> None:
    job = wasm(module(node, TYPED), "echo", CID.of(b"nowhere", 0x55))
    with pytest.raises(QueuedError, match="an input is not here"):
        node.run(job)


def test_homestars_rules_queue_for_an_absent_input_too(node: Node) -> None:
    job = wasm(module(node, TYPED), "echo", CID.of(b"later", 0x55))
    with pytest.raises(QueuedError, match="an input is not here"):
        node.run(job, homestar=True)
    node.add(b"later")
    assert node.run(job, homestar=True).out.unwrap() == b"later"


def test_an_error_too_large_for_a_receipt_keeps_its_code(node: Node) -> None:
    flood = """(module
      (import "wasi_snapshot_preview1" "fd_write"
        (func $write (param i32 i32 i32 i32) (result i32)))
      (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
      (memory (export "memory") 96)
      (func (export "_start")
        (i32.store (i32.const 0) (i32.const 16)) (i32.store (i32.const 4) (i32.const 6000000))
        (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
        (call $exit (i32.const 3))))"""
    error = node.run(wasm(module(node, flood), "_start")).out.body
    assert (error["code"], error["truncated"]) == ("exit", True)


def test_the_memo_key_does_not_depend_on_how_bytes_came_in(node: Node) -> None:
    echo, data = module(node, TYPED), bytes(range(256)) * 20
    first = node.run(wasm(echo, "echo", node.add(data)))
    again = node.run(wasm(echo, "echo", data))
    assert (again.source, again.receipt.cid) == ("cached", first.receipt.cid)
    assert node.run(wasm(echo, "echo", data)).source == "cached"


def test_a_float_too_large_to_be_exact_is_no_integer(node: Node) -> None:
    tools = module(node, ADD)
    assert node.run(wasm(tools, "add", 2.0, 1)).out.unwrap() == 3
    inexact = """(module (func (export "same") (param i64) (result i64) local.get 0))"""
    result = node.run(wasm(module(node, inexact), "same", 9007199254740994.0)).out
    assert result.error_code == "bad-argument"


def test_one_name_cannot_stand_for_another_cid(node: Node) -> None:
    one, other = node.add(b"one"), node.add(b"other")
    with pytest.raises(UsageError, match="always means itself"):
        node.store.names.set(str(one), other)
    assert node.resolve(f"{str(one)[:4]}…{str(one)[-7:]}") == one


def test_the_best_receipt_of_an_instruction_is_shown(node: Node) -> None:
    job = wasm(module(node, ADD), "add", 1, 2)
    good = node.run(job).receipt
    node.run(wasm(module(node, ADD), "spin"), limits=Limits(fuel=10**15, time_ms=50))
    failed = node.run(job, limits=Limits(fuel=1), fresh=True).receipt
    assert failed.cid != good.cid
    assert node.receipt(str(job.cid)).cid == good.cid
    spun = wasm(module(node, ADD), "spin")
    assert node.receipt(str(spun.cid)).out.error_code == "time-limit"
    assert node.why(job.cid).cid == good.cid


def test_an_unknown_operation_queues(node: Node) -> None:
    job = Instruction("https://example.com", "dns/look-up", {}, "")
    with pytest.raises(QueuedError, match="dns/look-up"):
        node.run(job)


def test_links_are_resolved_by_the_parameters_type(node: Node) -> None:
    echo = module(node, TYPED)
    file = node.add("über".encode())
    text = Block.make(dag_cbor.encode("über"), DAG_CBOR)
    with node.store.adding() as put:
        put(text)
    assert node.run(wasm(echo, "echo", file)).out.unwrap() == "über".encode()
    assert node.run(wasm(echo, "length", file)).out.unwrap() == 5
    assert node.run(wasm(echo, "length", text.cid)).out.unwrap() == 5
    odd = node.add(b"\xff")
    assert node.run(wasm(echo, "length", odd)).out.error_code == "bad-argument"


@pytest.mark.parametrize("size", [INLINE_BYTES_MAX - 3, INLINE_BYTES_MAX - 2, 3_000_000])
def test_receipts_stay_thin_whatever_the_output(node: Node, size: int) -> None:
    data = bytes(i * 7 & 255 for i in range(size))
    answer = node.run(wasm(module(node, TYPED), "echo", node.add(data)))
    assert answer.out.unwrap() == data
    assert b"".join(answer.chunks()) == data
    assert (answer.output_link is None) == (size <= INLINE_BYTES_MAX - 3)
    assert len(answer.receipt.token.data) < 6000


def test_a_receipt_whose_output_was_lost_is_a_miss(node: Node) -> None:
    job = wasm(module(node, TYPED), "echo", node.add(bytes(100_000)))
    first = node.run(job)
    link = first.output_link
    assert link is not None
    assert node.plan(job).state == "cached"
    node.store.blocks.delete(link)  # which is the input as well, so that it waits
    assert node.plan(job).state == "queued"
    node.add(bytes(100_000))
    assert node.run(job).source == "cached"


def test_an_await_is_filled_in_from_a_receipt_and_indexed_under_both_addresses(node: Node) -> None:
    tools = module(node, ADD)
    first = wasm(tools, "add", 2, 3)
    second = wasm(tools, "add", first.ok, 10)
    with pytest.raises(QueuedError, match="awaits"):
        node.run(second)
    node.run(first)
    answer = node.run(second)
    assert answer.out.unwrap() == 15
    assert node.run(wasm(tools, "add", 5, 10)).receipt.cid == answer.receipt.cid
    assert node.run(second).source == "cached"


def test_an_await_under_sha3_is_found(node: Node) -> None:
    tools = module(node, ADD)
    first = wasm(tools, "add", 2, 3)
    node.run(first)
    second = Instruction(
        first.rsc,
        "wasm/run",
        {"func": "add", "args": [{"await/ok": first.sha3}, 1]},
        "",
    )
    assert node.run(second).out.unwrap() == 6


def test_the_wrong_branch_is_an_error_receipt_that_links_its_cause(node: Node) -> None:
    tools = module(node, ADD)
    failing = wasm(tools, "div", 1, 0)
    cause = node.run(failing)
    answer = node.run(wasm(tools, "add", failing.ok, 1))
    error = answer.out.body
    assert (error["code"], error["from"]) == ("branch-mismatch", cause.receipt.cid)


def test_two_threads_with_one_instruction_run_it_once(node: Node) -> None:
    job = wasm(module(node, ADD), "add", 20, 22)
    sources: list[str] = []
    threads = [
        threading.Thread(target=lambda: sources.append(node.run(job).source)) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(sources) == ["cached"] * 7 + ["ran"]


def test_wrong_arguments_are_receipts(node: Node) -> None:
    tools = module(node, ADD)
    for args in ([1], [1, 2, 3], ["x", 1], [2**31, 1], [None, 1], [1.5, 1]):
        assert node.run(wasm(tools, "add", *args)).out.error_code == "bad-argument", args
    assert node.run(wasm(tools, "sub", 1, 2)).out.error_code == "no-such-function"
    odd = Instruction(f"ipfs://{tools}", "wasm/run", {"func": "add", "argz": []}, "")
    assert node.run(odd).out.error_code == "bad-argument"
    elsewhere = Instruction("https://example.com/x.wasm", "wasm/run", {"func": "f"}, "")
    assert node.run(elsewhere).out.error_code == "bad-argument"


def test_a_file_that_is_no_module_is_a_receipt_and_inspecting_it_a_usage_error(node: Node) -> None:
    junk = node.add(b"(module)")
    assert node.run(wasm(junk, "f")).out.error_code == "bad-module"
    with pytest.raises(UsageError, match="not a module"):
        node.info(junk)


def test_a_module_that_is_too_much_to_read_is_over_a_limit(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    def describe(*_: object) -> None:
        raise GuestFailure("compile-limit", "compiling took more than 1 ms of processor time")

    monkeypatch.setattr(Workers, "describe", describe)
    with pytest.raises(LimitError, match="processor time"):
        node.info(node.add(b"\0asm of another kind"))


def test_references_are_cids_names_paths_and_pieces(node: Node, tmp_path: Path) -> None:
    (tmp_path / "d/e").mkdir(parents=True)
    (tmp_path / "d/e/f.txt").write_text("hi")
    folder = node.add(tmp_path / "d", name="docs", pin=True)
    file = CID.of(b"hi", 0x55)
    assert node.resolve("docs") == folder
    assert node.resolve(f"ipfs://{folder}/e/f.txt") == file
    assert node.resolve(str(file)[-8:]) == file
    assert b"".join(node.cat(folder, "e/f.txt")) == b"hi"
    assert [entry.name for entry in node.ls(folder)] == ["e"]
    with pytest.raises(NotFoundError):
        node.resolve("zzzzzzzz")
    with pytest.raises(NotFoundError, match="neither a name here nor a CID"):
        node.resolve("x")
    with pytest.raises(CidError):
        node.resolve("x y")


def test_many_strangers_receipts_hide_no_own_answer(node: Node) -> None:
    job = wasm(module(node, ADD), "add", 1, 1)
    own = node.run(job).receipt
    stranger = Key.from_seed(bytes(32))
    for number in range(1_000):
        receipt = Receipt.issue(stranger, job, Result.of_ok(number), now=own.issued_at)
        node.store.receipts.add(receipt)
    again = node.run(job)
    assert (again.source, again.rule, again.receipt) == ("cached", "own receipt", own)
    assert node.best_receipt(job.cid) == own


def test_importing_a_good_receipt_mends_a_damaged_one(node: Node) -> None:
    receipt = node.run(wasm(module(node, ADD), "add", 2, 40)).receipt
    archive = io.BytesIO()
    node.export([receipt.cid], archive)
    node.store._database.connection.execute("UPDATE receipts SET data = x'8200'")
    with pytest.raises(HashMismatch):
        node.receipt(receipt.cid)
    archive.seek(0)
    node.import_(archive)
    assert node.receipt(receipt.cid) == receipt
    assert node.store.check(deep=True) == []


def test_a_guest_that_was_killed_has_no_memory_in_its_receipt(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = wasm(module(node, ADD), "add", 1, 1)
    assert isinstance(node.run(job).receipt.meta["memory_bytes"], int)
    lost = failed(GuestFailure("engine-crash", "the engine process died"), Usage(time_ms=2.0))
    monkeypatch.setattr(node._workers, "run", lambda *_: lost)
    killed = node.run(job, fresh=True).receipt
    assert killed.error_code == "engine-crash"
    assert killed.meta["time_us"] == 2_000
    assert "memory_bytes" not in killed.meta


@pytest.mark.parametrize("in_process", [True, False])
def test_why_compiled_code_is_not_kept_is_noted(tmp_path: Path, in_process: bool) -> None:
    home = tmp_path / "home"
    with Node.open(home, in_process=in_process) as node:
        assert node.note is None
        (home / "cache").write_bytes(b"in the way")
        assert node.run(wasm(module(node, ADD), "add", 1, 1)).out.unwrap() == 2
        assert "compiled modules are not kept in" in str(node.note)


def test_an_exported_receipt_verifies_and_imports_elsewhere(tmp_path: Path) -> None:
    archive = io.BytesIO()
    with Node.open(tmp_path / "a") as a:
        data = bytes(range(256)) * 64
        job = wasm(module(a, TYPED), "echo", a.add(data))
        answer = a.run(job)
        a.export([answer.receipt.cid], archive, with_code=True, with_inputs=True)
    with Node.open(tmp_path / "b") as b:
        archive.seek(0)
        (checked,) = b.verify(archive)
        assert checked.receipt.cid == answer.receipt.cid
        archive.seek(0)
        report = b.import_(archive)
        assert [r.cid for r in report.receipts] == [answer.receipt.cid]
        # A stranger's receipt is kept but is no answer; the code and input came along.
        again = b.run(job)
        assert (again.source, again.out.unwrap()) == ("ran", data)


def test_a_module_that_changed_on_the_disk_is_not_loaded_into_a_worker(tmp_path: Path) -> None:
    with Node.open(tmp_path / "home") as node:
        code = module(node, ADD)
        node.store._database.connection.execute(
            "UPDATE blocks SET data = CAST(replace(data, x'6a', x'6b') AS BLOB) WHERE cid = ?",
            (code.raw,),
        )
        for _ in range(2):
            with pytest.raises(HashMismatch, match="changed on the disk"):
                node.run(wasm(code, "add", 50, 8))
        assert node.store.receipts.count() == 0
        assert module(node, ADD) == code
        assert node.run(wasm(code, "add", 50, 8)).out.unwrap() == 58
