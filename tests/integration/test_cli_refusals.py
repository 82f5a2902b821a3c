"""What the command line refuses, and in which words; what it leaves as it was."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import wasmtime

from lite.cli import why
from lite.ipld.cid import CID, RAW
from lite.node import Node
from tests.integration.conftest import Ipvm

ABSENT = str(CID.of(b"nowhere", RAW))


def test_what_is_not_here_cannot_be_pinned(ipvm: Ipvm) -> None:
    ended = ipvm("pin", "add", ABSENT)
    assert ended.status == 5
    assert f"{ABSENT} is not here" in ended.err
    assert ipvm("pin", "list", "--json").json["pins"] == []


def test_receipts_can_be_pinned_and_the_doctor_does_not_mind(ipvm: Ipvm) -> None:
    receipt = ipvm("run", "numbers.wasm:add", 1, 2, "--json").json["receipt"]
    assert ipvm("pin", "add", receipt).status == 0
    assert ipvm("name", "set", "sum", receipt).status == 0
    checked = ipvm("doctor", "--deep")
    assert (checked.status, "! store" in checked.text) == (0, False), checked.text


def test_a_name_of_what_is_not_here_is_a_warning_with_its_remedy(ipvm: Ipvm) -> None:
    assert ipvm("name", "set", "later", ABSENT).status == 0
    checked = ipvm("doctor", "--deep")
    assert checked.status == 0
    assert "! store" in checked.text
    assert "`ipvm name rm NAME`" in checked.text


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"garbage", "not WebAssembly"),
        (b"\0asm\x01\0\0\0\x01\x09", "are left"),
        (b"(module)", "WAT"),
    ],
)
def test_what_is_no_module_gets_an_error_receipt_as_file_and_as_cid(
    ipvm: Ipvm, here: Path, content: bytes, said: str
) -> None:
    (here / "bad.wasm").write_bytes(content)
    cid = ipvm("add", "bad.wasm").text.strip()
    for what in ("bad.wasm:f", "bad.wasm", f"{cid}:f", cid, f"ipfs://{cid}"):
        ended = ipvm("run", what, "x", "--json")
        assert (ended.status, ended.json["error"]["code"]) == (1, "bad-module"), ended
        assert said in ended.json["error"]["message"]
        assert ipvm("receipt", "show", ended.json["receipt"]).status == 0
        assert f"failed  bad-module: {ended.json['error']['message']}" in ipvm("run", what, "x").err


def test_an_empty_path_is_not_the_current_folder(ipvm: Ipvm) -> None:
    assert ipvm("add", "").status == 2
    assert ipvm("status", "--json").json["blocks"] == 0


def test_a_backup_replaces_nothing_unless_told_and_makes_no_folders(ipvm: Ipvm, here: Path) -> None:
    assert ipvm("backup", "new/folder/saved").status == 2
    assert not (here / "new").exists()
    (here / "saved").write_bytes(b"an older one")
    ended = ipvm("backup", "saved")
    assert (ended.status, "--force" in ended.err) == (2, True)
    assert (here / "saved").read_bytes() == b"an older one"
    assert ipvm("backup", "saved", "--force").status == 0
    assert (here / "saved").read_bytes() != b"an older one"


def test_verifying_a_file_that_is_not_there_makes_no_home(ipvm: Ipvm, home: Path) -> None:
    ended = ipvm("receipt", "verify", "nofile")
    assert (ended.status, "there is no file nofile" in ended.err) == (5, True)
    assert not home.exists()


def test_a_database_that_is_gone_is_mentioned(ipvm: Ipvm, home: Path) -> None:
    assert "made a new home" in ipvm("id").err
    for file in home.glob("ipvm.db*"):
        file.unlink()
    said = ipvm("id").err
    assert "had a key and no database; made a new one" in said
    assert "`ipvm restore BACKUP`" in said
    assert ipvm("id").err == ""
    ipvm("pin", "add", ipvm("add", "numbers.wasm").text.strip())
    (home / "cache" / "code").mkdir(parents=True)
    for file in home.glob("ipvm.db*"):
        file.unlink()
    assert "was gone, and with it what was kept; made a new one" in ipvm("id").err


@pytest.mark.parametrize("name", ["bafkrei", "bafyreiabc", "bafybeix", "Qmabcdef", "bagurex"])
def test_a_name_does_not_look_like_the_beginning_of_a_cid(ipvm: Ipvm, name: str) -> None:
    cid = ipvm("add", "numbers.wasm").text.strip()
    ended = ipvm("name", "set", name, cid)
    assert (ended.status, "looks like the beginning of a CID" in ended.err) == (2, True)
    assert ipvm("name", "set", "bafflegab", cid).status == 0
    assert ipvm("name", "set", "Qmail", cid).status == 0


def test_a_missing_module_is_named_without_its_function(ipvm: Ipvm) -> None:
    assert "there is no file nofile.wasm, and" in ipvm("run", "nofile.wasm:add", 1).err
    assert "no file nofile.wasm, and" in ipvm("run", "nofile.wasm:ns:pkg/face#add", 1).err


def test_a_number_that_is_too_large_is_named_by_its_place(ipvm: Ipvm) -> None:
    assert "argument 2: 1e400 is too large" in ipvm("run", "numbers.wasm:add", 1, "1e400").err
    assert "argument 1: " in ipvm("run", "numbers.wasm:add", "9" * 25, 1).err


def test_a_text_file_is_no_archive(ipvm: Ipvm, here: Path) -> None:
    (here / "text").write_text("hi, this is a text")
    ended = ipvm("import", "text")
    assert (ended.status, "not a CAR file" in ended.err) == (7, True)


def test_an_argument_over_the_memory_limit_names_both_remedies(ipvm: Ipvm, here: Path) -> None:
    os.mkfifo(here / "endless")
    reader = os.open(here / "endless", os.O_RDWR)  # holds it open, so that writing does not block
    os.write(reader, bytes(60_000))
    ended = ipvm("run", "command.wasm", "--stdin", "endless", "--memory", "50k")
    os.close(reader)
    assert ended.status == 8, ended
    assert "`--memory SIZE` allows more for one run" in ended.err


def test_a_module_named_by_cid_is_shown_by_its_function_or_cut(ipvm: Ipvm) -> None:
    many = ipvm("add", "numbers.wasm").text.strip()
    assert ipvm("run", f"{many}:add", 1, 2).err.startswith("✓ add  ")
    command = ipvm("add", "command.wasm").text.strip()
    cut = f"{command[:4]}…{command[-7:]}"
    assert f"✓ {cut}  done" in ipvm("run", command).err


def test_what_used_a_file_is_said_in_words(ipvm: Ipvm) -> None:
    ipvm("run", "numbers.wasm:add", 1, 2)
    code = ipvm("add", "numbers.wasm").text.strip()
    assert "└─ run by add  bafy" in ipvm("why", "--from", code).text
    assert set(why._OF) == {"runs", "reads", "awaits", "names", "fork", "join"}


def test_one_thing_is_not_several(ipvm: Ipvm) -> None:
    receipt = ipvm("run", "numbers.wasm:add", 1, 2, "--json").json["receipt"]
    assert ipvm("export", receipt, "-o", "one.car").status == 0
    assert ", 1 receipt\n" in ipvm("import", "one.car").err


def test_a_command_is_guessed_only_when_it_is_near(ipvm: Ipvm) -> None:
    assert "Did you mean `ipvm receipt`?" in ipvm("receip").err
    assert "Did you mean" not in ipvm("banana").err


def test_a_deep_recursion_is_told_in_a_few_lines(ipvm: Ipvm, here: Path) -> None:
    deep = """(module (func $r (export "r") (param i32) (result i32)
      (i32.add (i32.const 1) (call $r (local.get 0)))))"""
    (here / "deep.wasm").write_bytes(wasmtime.wat2wasm(deep))
    ended = ipvm("run", "deep.wasm:r", 1)
    assert ended.status in (1, 8), ended
    log, summary = ended.err.splitlines()[-2:]  # where in the guest it was is for who debugs it
    assert log.startswith("stack-overflow: ")
    assert summary.startswith("✗ r  failed  stack-overflow: used all of its ")
    whole = ipvm("logs", summary.rpartition("receipt ")[2].strip()).text.splitlines()
    assert 3 <= len(whole) <= 12
    assert whole[-1].strip().endswith(" more")


def test_an_empty_name_of_a_file_and_what_is_no_archive_are_said_so(ipvm: Ipvm) -> None:
    ended = ipvm("run", "numbers.wasm:add", 1, 2, "--out", "")
    assert (ended.status, "is empty" in ended.err) == (2, True)
    ended = ipvm("import", "numbers.wasm")
    assert (ended.status, "not a CAR file" in ended.err) == (7, True)


def test_the_api_says_what_it_takes(tmp_path: Path) -> None:
    with Node.open(tmp_path / "node") as node:
        for wrong in ("x", None, 5):
            with pytest.raises(TypeError, match=r"no (str|NoneType|int)$"):
                node.run(wrong)  # type: ignore[call-overload]
        with pytest.raises(TypeError, match="not int"):
            node.add(5)  # type: ignore[arg-type]


@pytest.mark.parametrize("soft", [128, 256])
def test_a_small_stack_of_the_system_is_no_crash_of_a_guest(here: Path, soft: int) -> None:
    deep = """(module (func $r (export "r") (param i32) (result i32)
      (i32.add (i32.const 1) (call $r (local.get 0)))))"""
    (here / "deep.wasm").write_bytes(wasmtime.wat2wasm(deep))
    for more in ("", "--in-process"):
        line = f'ulimit -Ss {soft}; "{sys.executable}" -m lite run {more} deep.wasm:r 1'
        ended = subprocess.run(["bash", "-c", line], capture_output=True, text=True, timeout=60)
        assert ended.returncode == 8, ended.stderr
        assert "stack-overflow" in ended.stderr
