"""Paths that no file can have: a link to itself, a name too long, a NUL, more digits than a number
has."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from lite import Instruction, Node
from lite.config import Config
from lite.errors import ConfigError, IpvmError, StoreError, UsageError
from lite.ops.rooted import Root
from lite.setting_texts import real
from lite.store import Store, restore
from tests.integration.conftest import Ipvm

LONG = "n" * 300
LINES = [
    ["add", "{}"],
    ["add", "{}/x"],
    ["run", "numbers.wasm:add", "1", "2", "--out", "{}"],
    ["run", "numbers.wasm:add", "1", "2", "--out", "{}/x"],
    ["run", "typed.wasm:echo", "@{}"],
    ["cat", "numbers", "--out", "{}"],
    ["export", "numbers", "-o", "{}"],
    ["bundle", "create", "--workflow", "w.json", "-o", "{}"],
    ["backup", "{}"],
    ["backup", "{}", "--force"],
    ["restore", "{}"],
    ["import", "{}"],
    ["bundle", "import", "{}"],
    ["key", "export", "-o", "{}"],
    ["key", "import", "{}", "--force"],
    ["workflow", "run", "w.json", "--out", "a={}"],
]
NAMED = [  # what may be a name or a CID as well: nothing is called that
    ["run", "{}"],
    ["inspect", "{}"],
    ["workflow", "run", "{}"],
    ["schedule", "add", "0 3 * * *", "{}"],
    ["ucan", "inspect", "{}"],
    ["receipt", "verify", "{}"],
    ["why", "{}"],
    ["cat", "{}"],
]


@pytest.fixture
def odd(ipvm: Ipvm, here: Path) -> Path:
    """The folder with a link to itself, and a name for what can be exported."""
    (here / "loop").symlink_to("loop")
    (here / "w.json").write_text('{"steps": {"a": {"run": "numbers.wasm:add", "args": [1, 2]}}}')
    assert ipvm("add", "numbers.wasm", "--name", "numbers").status == 0
    return here


@pytest.mark.parametrize("name", ["loop", LONG])
@pytest.mark.parametrize("line", LINES, ids=" ".join)
def test_every_command_says_in_one_line_what_is_wrong_with_a_path(
    ipvm: Ipvm, odd: Path, line: list[str], name: str
) -> None:
    ended = ipvm(*(word.format(name) for word in line))
    said = [one for one in ended.err.splitlines() if not one.startswith("  → ")]
    wrong = ("Too many levels of symbolic links", "File name too long", "no folder", "no file")
    assert ended.status in ((2, 5) if "@{}" in line else (2,)), ended.err
    assert len(said) == 1 and any(why in said[0] for why in wrong), ended.err
    assert (odd / "loop").is_symlink()


@pytest.mark.parametrize("name", ["loop", LONG])
@pytest.mark.parametrize("line", NAMED, ids=" ".join)
def test_what_may_be_a_name_is_looked_for_as_one(
    ipvm: Ipvm, odd: Path, line: list[str], name: str
) -> None:
    ended = ipvm(*(word.format(name) for word in line))
    assert ended.status in (2, 4, 5), ended.err


def test_a_root_for_files_that_leads_to_itself_waits_for_another(ipvm: Ipvm, odd: Path) -> None:
    assert ipvm("config", "set", "ops.crud_root", odd / "loop").status == 0
    ended = ipvm("run", "--op", "crud/read", "file:///x")
    assert (ended.status, "cannot be opened: Too many levels" in ended.err) == (3, True)
    assert ipvm("--home", "loop", "id").status == 6


def test_the_library_says_the_same(ipvm: Ipvm, home: Path, odd: Path) -> None:
    with Node.open(home) as node:
        for path in ("loop", "loop/x", LONG, "a\0b", Path("a\0b"), "~\0"):
            with pytest.raises(UsageError):
                node.add(path)
            with pytest.raises(UsageError):
                node.add(path, bytes_max=10)
        for file in (io.StringIO("text"), 5):
            with pytest.raises(TypeError, match="an open binary file, not"):
                node.add(file)  # type: ignore[arg-type]
        for target in (odd / "loop" / "x", odd / LONG, Path("a\0b")):
            with pytest.raises(StoreError):
                node.store.backup(target)
    for backup in (odd / "loop", odd / LONG, Path("a\0b")):
        with pytest.raises(IpvmError):
            restore(backup, odd / "other")
    for at in ("a\0b", "~nobody-is-called-so"):
        with pytest.raises(ConfigError):
            Node.open(at)
        with pytest.raises(ConfigError):
            Config.load(at)
    for at in (odd / "loop", odd / LONG):
        with pytest.raises(StoreError):
            Store.open(at)


def test_where_a_path_leads_is_found_without_an_error_of_pythons(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "link").symlink_to("there/x")
    assert real(tmp_path / "link") == tmp_path.resolve() / "there" / "x"
    assert real(tmp_path / "loop" / "x").name == "x"
    with pytest.raises(UsageError, match="holds a NUL"):
        real(Path("a\0"))
    with pytest.raises(IpvmError):
        Root(tmp_path / "loop", (tmp_path / "loop",)).read(("x",), 1)
    assert Instruction


@pytest.mark.parametrize(
    "line",
    [
        ["run", "numbers.wasm:add", "{}", "1"],
        ["run", "numbers.wasm:add", "1", "2", "--fuel", "{}"],
        ["cat", "{}"],
        ["cat", "numbers", "--offset", "{}"],
        ["config", "set", "limits.memory", "{}"],
        ["config", "set", "ops.crud_root", "~x{}"],
        ["--home", "~x{}", "id"],
        ["schedule", "add", "{} * * * *", "w.json"],
    ],
    ids=" ".join,
)
def test_what_nobody_reads_to_its_end_is_not_repeated_whole(
    ipvm: Ipvm, odd: Path, line: list[str]
) -> None:
    words = [word.format("1" * 5_000) for word in line]
    for more in ([], ["--json"]):
        ended = ipvm(*more, *words)
        assert ended.status in (2, 5), ended.err
        assert len(ended.err) + len(ended.out) < 1_500
