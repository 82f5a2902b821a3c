"""Names that are not UTF-8, or that hold what moves a cursor, are refused or written out."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lite.errors import quoted
from tests.integration.conftest import Ipvm
from tests.terminal_support import Terminal

ODD = os.fsdecode(b"odd\xff")  # as Python hands on an argument that is not UTF-8

VERBS = [
    ["cat", ODD],
    ["run", ODD],
    ["run", ODD + ":add", 1],
    ["run", "numbers.wasm:add", 1, ODD],
    ["run", "typed.wasm:greet", ODD],
    ["run", "command.wasm", "--env", f"A={ODD}"],
    ["run", "numbers.wasm:add", 1, 2, "--nonce", ODD],
    ["inspect", ODD],
    ["ls", ODD],
    ["pin", "add", ODD],
    ["pin", "rm", ODD],
    ["pin", "add", "numbers", "--label", ODD],
    ["name", "set", ODD, "numbers"],
    ["name", "set", "a", ODD],
    ["name", "rm", ODD],
    ["receipt", "show", ODD],
    ["receipt", "verify", ODD],
    ["receipt", "forget", ODD],
    ["why", ODD],
    ["why", "--from", ODD],
    ["logs", ODD],
    ["export", ODD, "-o", "-"],
    ["import", ODD],
    ["restore", ODD],
    ["add", ODD],
    ["add", "odd"],
    ["add", "numbers.wasm", "--name", ODD],
    ["config", "get", ODD],
    ["config", "set", "limits.fuel", ODD],
    ["workflow", "show", ODD],
    ["workflow", "resume", ODD],
    ["schedule", "rm", ODD],
    ["schedule", "add", ODD, "numbers"],
    ["schedule", "add", "* * * * *", "numbers", "--name", ODD],
    ["cat", f"folder/{ODD}"],
    ["run", f"folder/{ODD}"],
    ["run", "numbers.wasm:add", 1, 2, "--trust", ODD],
    ["ucan", "delegate", "--to", ODD, "--cmd", "/x"],
    ["peers", "add", ODD],
    ["queue", "show", ODD],
]


@pytest.mark.parametrize(
    "words", VERBS, ids=lambda words: " ".join(map(str, words)).split("odd")[0]
)
def test_an_argument_that_is_not_utf8_is_refused_in_words(
    ipvm: Ipvm, here: Path, words: list[str]
) -> None:
    (here / "odd").mkdir()
    assert ipvm("add", "odd", "--name", "folder").status == 0
    (here / "odd" / ODD).write_bytes(b"")
    assert ipvm("add", "numbers.wasm", "--name", "numbers").status == 0
    for as_json in ([], ["--json"]):
        ended = ipvm(*words, *as_json)
        assert ended.status in (2, 5), ended
        assert "bug" not in ended.err
    error = ended.json["error"]
    assert error["code"] in ("usage", "cid-invalid", "not-found", "config-invalid")
    assert error["message"].encode()  # and it has a UTF-8 form
    assert "udcff" not in ended.err + error["message"]


def test_a_name_in_a_message_is_written_in_one_way(ipvm: Ipvm, here: Path) -> None:
    (here / "odd").mkdir()
    (here / "odd" / ODD).write_bytes(b"")
    ended = ipvm("add", "odd", "--json")
    told = "'odd\\xff' cannot be a name in a directory: it has no UTF-8 form"
    assert (ended.status, ended.json["error"]["message"]) == (2, told)
    assert told in ended.err or told in ipvm("add", "odd").err
    for value, said in (
        (ODD, r"'odd\xff'"),
        (r"\udcff", r"'\\udcff'"),
        ("it's \udc80", "\"it's " + r'\x80"'),
        ("\ud800", r"'\ud800'"),  # not from a byte
    ):
        assert quoted(value) == said


def test_files_with_odd_names_are_stored_and_named_in_one_way(ipvm: Ipvm, here: Path) -> None:
    (here / ODD).write_bytes(b"1")
    (here / "two\nlines").write_bytes(b"2")
    ended = ipvm("add", ODD, "two\nlines", "--json")
    assert ended.status == 0, ended
    assert [one["path"] for one in ended.json["added"]] == ["odd\\xff", "two\nlines"]
    lines = ipvm("add", ODD, "two\nlines").text.splitlines()
    assert [line.split("  ")[1] for line in lines] == ["odd\\xff", "two\\nlines"]


def test_a_file_for_an_argument_may_be_called_anything(ipvm: Ipvm, here: Path) -> None:
    (here / ODD).write_bytes(b"42")
    for words, told in (
        (("typed.wasm:greet", f"@{ODD}"), b"42\n"),
        (("typed.wasm:echo", f"@{ODD}"), b"42"),
        (("command.wasm", "--stdin", ODD), b"42"),
    ):
        assert ipvm("run", *words).out == told
    assert ipvm("run", "command.wasm", f"@{ODD}", "--json").json["error"]["status"] == 1
    gone = ipvm("run", "typed.wasm:greet", f"@no{ODD}", "--json")
    assert (gone.status, gone.json["error"]["code"]) == (5, "not-found")
    assert "no file and no name “noodd\\xff”" in gone.json["error"]["message"]
    for text in (ODD, f"@@{ODD}", f"\\@{ODD}"):
        assert "not valid UTF-8" in ipvm("run", "typed.wasm:greet", text).err


def test_archives_and_backups_may_be_called_anything(ipvm: Ipvm, here: Path) -> None:
    cid = ipvm("add", "numbers.wasm").text.strip()
    exported = ipvm("export", cid, "-o", ODD, "--json")
    assert (exported.status, exported.json["file"]) == (0, "odd\\xff")
    assert "wrote" in ipvm("export", cid, "-o", "a\nb").err
    assert len(ipvm("export", cid, "-o", "a\nb").err.splitlines()) == 1
    assert ipvm("import", ODD, "--json").status == 0
    backup = ipvm("backup", ODD + ".tar", "--json")
    assert (backup.status, backup.json["file"]) == (0, "odd\\xff.tar")
    assert ipvm("import", "no\nfile").err.splitlines() == ["ipvm: no such file: no\\nfile"]


def test_what_a_guest_says_does_not_drive_the_terminal(ipvm: Ipvm, here: Path) -> None:
    nasty = "\x1b[2J\x07" + "x"
    assert ipvm("run", "typed.wasm:greet", nasty).status == 0
    assert nasty.encode() in ipvm("run", "typed.wasm:greet", nasty).out  # a pipe gets it raw
    terminal = Terminal()
    assert terminal.run("run", "typed.wasm:greet", nasty) == 0
    assert "\x1b[2J" not in terminal.screen.raw
    assert "\\x1b[2J\\x07x" in terminal.screen.raw


def test_cat_shows_text_on_a_terminal_and_the_size_of_anything_else(ipvm: Ipvm, here: Path) -> None:
    (here / "text").write_text("grüße \x1b[2J")
    text = ipvm("add", "text").text.strip()
    code = ipvm("add", "numbers.wasm").text.strip()
    assert ipvm("cat", text).out == "grüße \x1b[2J".encode()
    shown = Terminal()
    assert shown.run("cat", text) == 0
    assert "grüße \\x1b[2J" in shown.screen.raw
    (here / "binary").write_bytes(b"\xff" * 100)
    binary = ipvm("add", "binary").text.strip()
    shown = Terminal(columns=150)
    assert shown.run("cat", binary) == 0
    assert f"{binary}  100 B, not text" in shown.screen.lines[0]
    assert ipvm("cat", code).out == (here / "numbers.wasm").read_bytes()
