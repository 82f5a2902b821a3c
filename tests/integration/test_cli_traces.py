"""What a guest wrote beside its value is shown where it can be, and never stands in the way."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from lite.config import Config
from lite.ipld.block import Block
from lite.ipld.car import write_car
from lite.ipld.cid import CID, DAG_CBOR, RAW
from lite.keys import Key
from lite.model.instruction import wasm
from lite.model.receipt import own_task_id
from lite.ucan import envelope
from tests.integration.conftest import Ended, Ipvm
from tests.wat_guests import wat

WRITTEN = 2_000  # more than stands in a receipt
NOISY = f"""(module
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 200) "42\\n")
  (func (export "_start")
    (memory.fill (i32.const 1000) (i32.const 120) (i32.const {WRITTEN}))
    (i32.store (i32.const 0) (i32.const 1000))
    (i32.store (i32.const 4) (i32.const {WRITTEN}))
    (drop (call $write (i32.const 2) (i32.const 0) (i32.const 1) (i32.const 100)))
    (i32.store (i32.const 0) (i32.const 200))
    (i32.store (i32.const 4) (i32.const 3))
    (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 100)))))"""


def in_database(home: Path, statement: str) -> None:
    with closing(sqlite3.connect(home / "ipvm.db")) as database, database:
        assert database.execute(statement, (WRITTEN,)).rowcount == 1


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM blocks WHERE length(data) BETWEEN ?1 AND ?1 + 99",
        f"UPDATE blocks SET data = zeroblob({WRITTEN}) WHERE length(data) BETWEEN ?1 AND ?1 + 99",
    ],
    ids=["absent", "damaged"],
)
def test_a_known_answer_is_given_also_without_what_its_guest_wrote(
    ipvm: Ipvm, here: Path, home: Path, statement: str
) -> None:
    (here / "noisy.wasm").write_bytes(wat(NOISY))
    first = ipvm("run", "noisy.wasm")
    assert first.status == 0 and first.out == b"42\n" and "x" * 100 in first.err
    in_database(home, statement)
    again = ipvm("run", "noisy.wasm")
    assert (again.status, again.out) == (0, b"42\n"), again.err
    assert "cached" in again.err and "what the guest wrote beside its result" in again.err
    assert ipvm("run", "noisy.wasm", "--json").status == 0


def test_the_log_of_a_run_has_what_there_is_of_other_steps(
    ipvm: Ipvm, here: Path, home: Path
) -> None:
    (here / "noisy.wasm").write_bytes(wat(NOISY))
    (here / "flow.json").write_text('{"steps": {"one": {"run": "noisy.wasm"}}}')
    assert ipvm("run", "noisy.wasm").status == 0
    assert ipvm("workflow", "run", "flow.json").status == 0
    assert b"x" * 100 in ipvm("logs").out
    in_database(home, "DELETE FROM blocks WHERE length(data) BETWEEN ?1 AND ?1 + 99")
    told = ipvm("logs")
    assert told.status == 0 and "what one wrote cannot be shown" in told.err


def signed(folder: Path, module: CID, meta: dict[str, Any]) -> tuple[str, Path]:
    """A receipt for add(3, 4) of another node, which says 7; its issuer, and an archive of it."""
    key = Key.from_seed(bytes(31) + b"z")
    instruction = wasm(module, "add", 3, 4)
    args = {"ran": own_task_id(key.did, instruction), "ins": instruction.cid, "out": {"ok": 7}}
    said = {"iss": key.did, "sub": key.did, "cmd": "/ucan/assert/receipt", "args": args}
    more = {"prf": [], "nonce": b"", "exp": None, "iat": 1_700_000_000, "meta": meta}
    token = envelope.sign(envelope.TAG_INVOCATION, {**said, **more}, key)
    path = folder / "theirs.car"
    with path.open("wb") as file:
        blocks = [Block(token.cid, token.data), Block(instruction.cid, instruction.data)]
        write_car(file, [token.cid], blocks)
    return key.did, path


@pytest.mark.parametrize(
    "trace",
    [
        *(5, "x", 1.5, [1, 2], {"a": b"b"}, True),
        CID.of(b"\xa0", DAG_CBOR),
        CID.of(b"not here", RAW),
    ],
    ids=str,
)
def test_a_receipt_of_another_node_may_say_anything_as_its_trace(
    ipvm: Ipvm, here: Path, trace: Any
) -> None:
    module = CID(ipvm("add", "numbers.wasm").out.decode().split()[0])
    issuer, path = signed(here, module, {"trace": trace, "trace_stdout": trace})
    assert ipvm("import", path).status == 0
    for words in ([], ["--json"], ["-q"]):
        ended: Ended = ipvm("run", "numbers.wasm:add", 3, 4, "--trust", issuer, *words)
        assert ended.status == 0, ended.err
        assert b"7" in ended.out and "\x01" not in ended.err


def test_the_name_of_a_function_cannot_look_like_a_line_about_another(
    ipvm: Ipvm, here: Path
) -> None:
    forged = "add  done  0.1 ms  fuel 4  receipt bafy…aaaaaaa\\0a✓ transfer"
    (here / "odd.wasm").write_bytes(
        wat(f'(module (func (export "{forged}") (result i32) i32.const 1))')
    )
    cid = ipvm("add", "odd.wasm").out.decode().split()[0]
    for words in ([], ["--dry-run"], ["--no-cache"]):
        ended = ipvm("run", cid, *words)
        assert ended.status == 0
        lines = (ended.err + ended.out.decode()).splitlines()
        assert sum("transfer" in line for line in lines) == 1
        assert not any(line.startswith("✓ transfer") for line in lines)
        assert not any("add  done  0.1 ms" in line for line in lines)


@pytest.mark.parametrize(
    "name",
    [
        *("key", "key-20260101.old", "key.before-restore-1", "ipvm.db", "ipvm.db-wal"),
        *("config.toml", "daemon.json", "daemon.lock", "sync.lock", ".restoring", "leases"),
    ],
)
def test_nothing_that_a_node_keeps_is_replaced_by_an_output(
    ipvm: Ipvm, home: Path, name: str, snapshot: Callable[[], dict[str, bytes]]
) -> None:
    cid = ipvm("add", "numbers.wasm").out.decode().split()[0]
    assert ipvm("run", "numbers.wasm:add", 6, 7).status == 0
    before = snapshot()
    for words in (
        ["run", "numbers.wasm:add", 6, 7, "--out", home / name],
        ["export", cid, "-o", home / name],
        ["cat", cid, "--out", home / name],
        ["backup", home / name, "--force"],
    ):
        ended = ipvm(*words)
        assert ended.status == 2, (words, ended.err)
    assert snapshot() == before
    assert Config.load(home)


def test_an_output_that_cannot_be_written_is_one_object(ipvm: Ipvm) -> None:
    call = ("run", "numbers.wasm:add", 2, 40, "--json")
    assert ipvm(*call, "--dry-run").json["state"] == "run"
    for _ in ("done", "cached"):
        ended = ipvm(*call, "--out", "/dev/full")
        assert ended.status == 6 and ended.json["error"]["code"] == "store-full"
    assert ipvm(*call, "--dry-run").json["secret"] is False


def test_a_key_that_a_restore_put_aside_is_no_file_to_add(
    ipvm: Ipvm, here: Path, home: Path
) -> None:
    assert ipvm("backup", "home.backup").status == 0
    assert ipvm("key", "new", "--force").status == 0
    assert ipvm("restore", "home.backup").status == 0
    (kept,) = home.glob("key.before-restore-*")
    refused = ipvm("add", kept)
    assert refused.status == 2 and "secret key" in refused.err
    for words in (["typed.wasm:length", f"@{home / 'key'}"], ["command.wasm", "--stdin", kept]):
        taken = ipvm("run", *words)
        assert taken.status == 2 and "secret key" in taken.err, taken.err
    (home / "config.toml").write_text("# mine\n")
    assert ipvm("add", home / "config.toml").status == 0  # which is no secret


@pytest.fixture
def snapshot(home: Path) -> Callable[[], dict[str, bytes]]:
    """What is kept in the home: the key, and all receipts."""

    def look() -> dict[str, bytes]:
        with closing(sqlite3.connect(home / "ipvm.db")) as database:
            rows = database.execute("SELECT count(*) FROM receipts").fetchall()
        return {"key": (home / "key").read_bytes(), "receipts": repr(rows).encode()}

    return look
