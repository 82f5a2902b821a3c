"""`ipvm run` and `ipvm inspect`: arguments in, values and statuses out."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from lite.ipld.cid import CID, RAW
from tests.integration.conftest import Ended, Ipvm
from tests.wat_guests import wat

Start = Callable[..., "subprocess.Popen[bytes]"]
RECEIPT = r"receipt bafy…[a-z2-7]{7}"


def test_the_first_run_is_done_and_the_second_cached(here: Path) -> None:
    command = [sys.executable, "-m", "lite", "run", "numbers.wasm:add", "2", "40"]
    first = subprocess.run(command, capture_output=True, text=True)
    second = subprocess.run(command, capture_output=True, text=True)
    assert (first.returncode, first.stdout) == (0, "42\n")
    made, done = first.stderr.splitlines()
    assert made.startswith("ipvm: made a new home with a new key in ")
    assert re.fullmatch(rf"✓ add  done  [\d.]+ m?s  fuel \d+  {RECEIPT}", done)
    assert (second.returncode, second.stdout) == (0, "42\n")
    assert re.fullmatch(
        rf"✓ add  cached  {RECEIPT}  \(this node, (just now|\d+ s ago)\)\n", second.stderr
    )
    assert done[-8:] in second.stderr


def test_negative_numbers_are_arguments_and_options_stand_anywhere(ipvm: Ipvm) -> None:
    for args in (
        ("numbers.wasm:add", "-2", "-40"),
        ("-q", "numbers.wasm:add", "-2", "--fuel", "1M", "-40"),
        ("--fuel=1M", "--time", "10s", "numbers.wasm:add", "-2", "-40", "--quiet"),
        ("numbers.wasm:add", "--", "-2", "-40"),
        ("--no-cache", "numbers.wasm:add", "--args", "-2", "-40"),
        ("--", "numbers.wasm:add", "-2", "-40"),
        ("numbers.wasm:add", "-0x2", "-40"),
    ):
        assert ipvm("run", *args).text == "-42\n", args


def test_quiet_silences_the_summary_of_what_went_well_and_nothing_else(ipvm: Ipvm) -> None:
    ended = ipvm("-q", "run", "numbers.wasm:add", 1, 2)
    assert (ended.out, ended.err) == (b"3\n", "")
    failed = ipvm("run", "numbers.wasm:div", 1, 0, "-q")
    assert (failed.status, failed.out) == (1, b"")
    assert re.fullmatch(rf"✗ div  failed  integer-divide-by-zero: .*  {RECEIPT}\n", failed.err)
    assert ipvm("run", "numbers.wasm:div", 1, 0, "-q", "--json").err == ""


@pytest.mark.parametrize(
    ("args", "printed"),
    [
        (["typed.wasm:greet", "hello"], "hello\n"),
        (["typed.wasm:greet", "42"], "42\n"),
        (["typed.wasm:greet", "line\n"], "line\n"),
        (["typed.wasm:greet", "@words.txt"], "some words\n"),
        (["typed.wasm:greet", "@@words.txt"], "@words.txt\n"),
        (["typed.wasm:length", "ü"], "2\n"),
        (["typed.wasm:swap", '{"y": 2, "x": -1}'], '{"x":2,"y":-1}\n'),
        (["typed.wasm:sink", ""], "{}\n"),
        (["numbers.wasm:half", "3"], "1.5\n"),
        (["numbers.wasm:half", "4"], "2.0\n"),
    ],
)
def test_a_value_is_printed_by_its_kind(
    ipvm: Ipvm, here: Path, args: list[str], printed: str
) -> None:
    (here / "words.txt").write_text("some words\n")
    ended = ipvm("run", *args)
    assert (ended.status, ended.text) == (0, printed)


@pytest.mark.parametrize("size", [0, 10, 4093, 4094, 3_000_000])
def test_bytes_go_in_and_out_raw_at_any_size(ipvm: Ipvm, here: Path, size: int) -> None:
    data = bytes(i * 7 & 255 for i in range(size))
    (here / "data").write_bytes(data)
    by_file = ipvm("run", "typed.wasm:echo", "@data")
    by_pipe = ipvm("run", "typed.wasm:echo", "-", stdin=data)
    assert (by_file.out, by_pipe.out) == (data, data)
    assert "cached" in by_pipe.err
    into = ipvm("run", "typed.wasm:echo", "@data", "--out", "copy")
    assert (into.out, (here / "copy").read_bytes()) == (b"", data)


def test_a_link_and_a_name_stand_for_the_file(ipvm: Ipvm, here: Path) -> None:
    (here / "words").write_bytes(b"words")
    cid = ipvm("add", "words", "--name", "w").text.strip()
    assert cid == str(CID.of(b"words", RAW))
    for text in (cid, f"ipfs://{cid}", "@w"):
        assert ipvm("run", "typed.wasm:echo", text).out == b"words"
    assert ipvm("run", "typed.wasm:greet", cid).text == f"{cid}\n"


def test_the_module_may_be_a_cid_a_path_in_a_folder_a_name_or_a_piece(
    ipvm: Ipvm, here: Path
) -> None:
    (here / "tools").mkdir()
    (here / "numbers.wasm").rename(here / "tools/n:1.wasm")
    folder = ipvm("add", "tools", "--name", "tools").text.strip()
    module = ipvm("add", "tools/n:1.wasm", "--name", "numbers").text.strip()
    for ref in (
        "tools/n:1.wasm",
        f"ipfs://{folder}/n:1.wasm",
        f"{folder}/n:1.wasm",
        module,
        f"ipfs://{module}",
        "numbers",
        module[-9:],
    ):
        ended = ipvm("run", f"{ref}:add", 2, 40)
        assert ended.text == "42\n", (ref, ended.err)
    assert "cached" in ended.err


def test_a_failed_task_exits_with_1_and_its_receipt_says_why(ipvm: Ipvm) -> None:
    ended = ipvm("run", "numbers.wasm:div", 1, 0)
    assert (ended.status, ended.out) == (1, b"")
    assert re.search(rf"^✗ div  failed  integer-divide-by-zero: .*  {RECEIPT}$", ended.err, re.M)
    again = ipvm("run", "numbers.wasm:div", 1, 0, "--json")
    assert again.status == 1
    assert (again.json["ok"], again.json["cached"]) == (False, True)
    assert again.json["error"]["code"] == "integer-divide-by-zero"


def test_an_error_of_any_type_is_shown(ipvm: Ipvm, here: Path) -> None:
    wasm = wat("""(component
      (core module $m (memory (export "memory") 1) (data (i32.const 0) "\\01\\00\\00\\00\\4d")
        (func (export "f") (result i32) (i32.const 0)))
      (core instance $i (instantiate $m))
      (func (export "f") (result (result u32 (error u32)))
        (canon lift (core func $i "f") (memory (core memory $i "memory")))))""")
    (here / "bad.wasm").write_bytes(wasm)
    ended = ipvm("run", "bad.wasm")
    assert ended.status == 1
    assert "guest-error: the function returned an error: 77 " in ended.err


def test_a_module_without_functions_asks_for_none(ipvm: Ipvm, here: Path) -> None:
    (here / "none.wasm").write_bytes(wat("(module)"))
    ended = ipvm("run", "none.wasm")
    assert ended.status == 2
    assert "none.wasm exports no function, so that none can be called" in ended.err


def test_an_error_that_the_guest_returns_is_a_failed_task(ipvm: Ipvm) -> None:
    ended = ipvm("run", "typed.wasm:fail", "no \x1b[31mluck", "--json")
    assert ended.status == 1
    assert ended.json["error"]["code"] == "guest-error"
    assert ended.json["error"]["value"] == "no \x1b[31mluck"
    assert "\x1b" not in ended.err


def test_a_limit_that_was_reached_exits_with_8(ipvm: Ipvm) -> None:
    ended = ipvm("run", "numbers.wasm:spin", "--fuel", "10k")
    assert ended.status == 8
    assert "failed  out-of-fuel" in ended.err


def test_a_value_that_does_not_fit_its_type_is_a_receipt(ipvm: Ipvm) -> None:
    for args in (("numbers.wasm:add", "1", "99999999999"), ("typed.wasm:swap", '{"x": 1}')):
        ended = ipvm("run", *args, "--json")
        assert (ended.status, ended.json["error"]["code"]) == (1, "bad-argument")
        assert ended.json["receipt"].startswith("bafyrei")


def test_json_says_all_about_the_run(ipvm: Ipvm) -> None:
    found = ipvm("run", "--json", "numbers.wasm:add", 2, 40).json
    assert found["value"] == 42
    assert (found["ok"], found["cached"], found["func"]) == (True, False, "add")
    assert found["iss"] == ipvm("id").text.strip()
    assert found["receipt"].startswith("bafyrei") and found["ins"].startswith("bafyrei")
    assert found["fuel"] > 0 and found["time_us"] >= 0 and found["at"] > 1_700_000_000
    data = ipvm("--json", "run", "typed.wasm:echo", '{"/":{"bytes":"aGk"}}').json
    assert data["value"] == {"/": {"bytes": "aGk"}}


def test_a_large_value_is_a_link_in_json(ipvm: Ipvm, here: Path) -> None:
    (here / "data").write_bytes(bytes(10_000))
    found = ipvm("run", "typed.wasm:echo", "@data", "--json").json
    assert "value" not in found
    assert ipvm("cat", found["output"]).out == bytes(10_000)


def test_fresh_runs_again_and_dry_runs_do_not_run(ipvm: Ipvm) -> None:
    would = ipvm("run", "numbers.wasm:add", 1, 1, "--dry-run")
    assert (would.status, would.text) == (0, "⇢ add  would run\n")
    assert ipvm("receipt", "list").out == b""
    first = ipvm("run", "numbers.wasm:add", 1, 1, "--json").json
    known = ipvm("run", "numbers.wasm:add", 1, 1, "--dry-run", "--json").json
    assert (known["state"], known["receipt"]) == ("cached", first["receipt"])
    again = ipvm("run", "numbers.wasm:add", 1, 1, "--no-cache", "--json").json
    assert again["cached"] is False
    assert again["receipt"] != first["receipt"]


def test_the_only_export_needs_no_name(ipvm: Ipvm, here: Path) -> None:
    import wasmtime

    (here / "one.wasm").write_bytes(
        wasmtime.wat2wasm('(module (func (export "f") (result i32) i32.const 7))')
    )
    assert ipvm("run", "one.wasm").text == "7\n"


def test_a_command_reads_stdin_and_its_streams_and_status_are_kept(ipvm: Ipvm) -> None:
    ended = ipvm("run", "command.wasm", "--stdin", "-", stdin=b"all of it\n")
    assert (ended.status, ended.out) == (0, b"all of it\n")
    assert ended.err.splitlines()[-2] == "warning"
    failed = ipvm("run", "command.wasm", "--stdin", "-", "--", "-x", "--y", stdin=b"partly")
    assert (failed.status, failed.out) == (1, b"partly")
    assert "failed  exit: " in failed.err
    assert ipvm("run", "command.wasm").out == b""


def test_environment_and_stdin_are_part_of_what_is_asked(ipvm: Ipvm, here: Path) -> None:
    (here / "in.txt").write_text("text")
    base = ("run", "command.wasm", "--stdin", "in.txt", "--json")
    first = ipvm(*base, "--env", "A=1", "--env", "B=x=y").json
    assert ipvm(*base, "--env", "B=x=y", "--env", "A=1").json["cached"] is True
    assert ipvm(*base, "--env", "A=2").json["ins"] != first["ins"]


@pytest.mark.parametrize("module", ["numbers.wasm", "typed.wasm", "command.wasm"])
def test_the_examples_of_inspect_run_when_pasted(ipvm: Ipvm, module: str) -> None:
    found = ipvm("inspect", module, "--json").json
    assert found["cid"].startswith("bafkrei")
    assert found["exports"]
    for export in found["exports"]:
        name, *args = shlex.split(export["example"])
        if "spin" not in export["name"]:
            ended = ipvm(*args)
            assert name == "ipvm"
            assert ended.status == (1 if "fail" in export["name"] else 0), (args, ended.err)


@pytest.mark.parametrize("module", ["numbers.wasm", "command.wasm"])
@pytest.mark.parametrize("called", ["-dash.wasm", "--json", "- a.wasm"])
def test_a_file_called_like_an_option_has_an_example_that_runs(
    ipvm: Ipvm, here: Path, module: str, called: str
) -> None:
    (here / module).rename(here / called)
    for export in ipvm("inspect", "--json", "--", called).json["exports"]:
        if export["name"] != "spin":
            _, *args = shlex.split(export["example"])
            assert ipvm(*args).status == 0, args
    if module == "numbers.wasm":
        hints = [
            ipvm("run", "--", called).err.partition("`ipvm ")[2],
            ipvm("run", "--", f"{called}:none").err.partition("`ipvm ")[2],
        ]
        for hint in hints:
            assert ipvm(*shlex.split(hint.partition("`")[0])).status == 0, hint


def test_inspect_shows_types_for_people(ipvm: Ipvm) -> None:
    shown = ipvm("inspect", "typed.wasm").text
    assert "  greet: func(who: string) -> string\n" in shown
    assert "typed.wasm  component, " in shown
    one = ipvm("inspect", "typed.wasm:swap", "--json").json["exports"]
    assert [export["name"] for export in one] == ["swap"]
    assert ipvm("inspect", "typed.wasm:none").status == 2
    assert "wasi_snapshot_preview1#fd_write" in ipvm("inspect", "command.wasm").text


def test_a_worker_and_this_process_give_the_same(here: Path, ipvm: Ipvm) -> None:
    inside = ipvm("run", "typed.wasm:swap", '{"x":1,"y":2}', "--json").json
    command = [sys.executable, "-m", "lite", "run", "typed.wasm:swap", '{"x":1,"y":2}']
    outside = subprocess.run(
        [*command, "--no-cache", "--json"],
        env={**os.environ, "IPVM_ENGINE_IN_PROCESS": "false"},
        capture_output=True,
    )
    assert outside.returncode == 0, outside.stderr
    found = json.loads(outside.stdout)
    assert (found["value"], found["ins"]) == (inside["value"], inside["ins"])


def test_out_replaces_a_file_whole_and_dash_is_stdout(ipvm: Ipvm, here: Path) -> None:
    (here / "out.txt").write_text("before")
    assert ipvm("run", "typed.wasm:greet", "after", "--out", "out.txt").out == b""
    assert (here / "out.txt").read_text() == "after"
    assert ipvm("run", "typed.wasm:greet", "after", "--out", "-").out == b"after"
    assert sorted(p.name for p in here.iterdir()) == [
        "command.wasm", "numbers.wasm", "out.txt", "typed.wasm"
    ]  # fmt: skip


@pytest.mark.parametrize(
    "words",
    [("typed.wasm:greet", "hällo"), ("command.wasm", "--stdin", "-")],
)
def test_a_text_and_bytes_count_their_length_towards_the_output_limit(
    ipvm: Ipvm, words: tuple[str, ...]
) -> None:
    """Six bytes each, without anything around them."""
    stdin = "hällo".encode()
    assert ipvm("run", *words, "--output", 6, stdin=stdin).status == 0
    over = ipvm("run", *words, "--output", 5, "--no-cache", "--json", stdin=stdin)
    assert (over.status, over.json["error"]["code"]) == (8, "output-limit")


def test_colour_follows_the_variables(ipvm: Ipvm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert "\x1b[32m✓\x1b[0m add" in ipvm("run", "numbers.wasm:add", 1, 1).err
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in ipvm("run", "numbers.wasm:add", 1, 1).err


def test_a_setting_of_the_home_bounds_a_run_and_a_flag_goes_before_it(ipvm: Ipvm) -> None:
    assert ipvm("config", "set", "limits.fuel", "10").status == 0
    bounded: Ended = ipvm("run", "numbers.wasm:spin")
    assert (bounded.status, "out-of-fuel" in bounded.err) == (8, True)
    assert ipvm("run", "numbers.wasm:add", 2, 2, "--fuel", "1M").text == "4\n"


def on_terminal(*args: str) -> str:
    """What a command shows when both its streams are a terminal."""
    ours, theirs = pty.openpty()
    child = subprocess.Popen(
        [sys.executable, "-m", "lite", *args], stdout=theirs, stderr=theirs, stdin=theirs
    )
    os.close(theirs)
    shown = b""
    with contextlib.suppress(OSError):  # the end of a terminal is an error
        while part := os.read(ours, 65536):
            shown += part
    os.close(ours)
    assert child.wait() == 0, shown
    return shown.decode().replace("\r\n", "\n")


def test_on_a_terminal_bytes_are_a_cid_and_a_size_and_text_is_text(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    (here / "in.txt").write_text("some \x1b[2Jtext\n")
    shown = on_terminal("run", "typed.wasm:echo", "@in.txt")
    cid = CID.of(b"some \x1b[2Jtext\n", RAW)
    assert shown.endswith(f"\n{cid}  14 B\n")
    assert "\x1b[32m✓\x1b[0m echo  done  " in shown
    command = on_terminal("run", "command.wasm", "--stdin", "in.txt", "-q")
    assert command == "some \\x1b[2Jtext\n"
