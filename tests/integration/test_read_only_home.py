"""A home that cannot be written: a medium mounted so, and a folder of somebody else."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lite import Node
from lite.cli.main import main
from lite.errors import StoreBusy, StoreError
from lite.store import Store
from lite.store.home import DATABASE
from tests.integration.conftest import Ipvm
from tests.store_support import keep, raw_block
from tests.unprivileged_support import in_a_child

NOBODY = 65_534
AGE = re.compile(r"just now|\d+ s ago")
STEPS = {
    "one": {"run": "numbers.wasm:add", "args": [1, 2]},
    "two": {"run": "numbers.wasm:add", "args": ["${one}", 40]},
}
READING = [
    "receipt list --json",
    "receipt show {receipt}",
    "receipt verify {receipt} --json",
    "cat numbers",
    "ls tree",
    "why {receipt}",
    "why --from numbers",
    "status",
    "id",
    "workflow list --json",
    "workflow show {run} --json",
    "logs {run}",
    "name list",
    "pin list",
    "inspect numbers",
    "run numbers:add 1 2",
    "export {receipt} -o -",
]
WRITING = [
    "add numbers.wasm",
    "run numbers:add 5 6",
    "run numbers:add 1 2 --no-cache",
    "workflow run w.json --new",
    "pin add numbers",
    "name set other numbers",
    "receipt forget {receipt}",
    "import x.car",
    "gc",
    "config set engine.workers 1",
]


@pytest.fixture
def filled(ipvm: Ipvm, here: Path) -> dict[str, str]:
    """A home with a file, a folder and a run; the names for the command lines above."""
    (here / "tree").mkdir()
    (here / "tree" / "a.txt").write_text("a")
    (here / "w.json").write_text(json.dumps({"name": "sums", "steps": STEPS}))
    ipvm("add", "numbers.wasm", "--name", "numbers", "--pin")
    ipvm("add", "tree", "--name", "tree")
    done = ipvm("workflow", "run", "w.json", "--json").json
    receipt = done["steps"][1]["receipt"]
    ipvm("export", receipt, "-o", "x.car")
    return {"receipt": receipt, "run": done["run"]}


@pytest.fixture
def mounted() -> Iterator[Callable[..., None]]:
    """Makes a folder read-only by mounting it, or another one there, so."""
    done: list[Path] = []

    def mount(folder: Path, source: Path | None = None) -> None:
        try:
            for options in (["--bind", source or folder], ["-o", "remount,ro,bind"]):
                subprocess.run(["mount", *options, folder], check=True, capture_output=True)
                done[:] = [folder]
        except (OSError, subprocess.CalledProcessError) as fault:
            pytest.skip(f"needs the right to mount: {fault}")

    yield mount
    for folder in done:
        subprocess.run(["umount", folder], check=True)


def test_what_only_reads_says_the_same_on_a_read_only_medium(
    ipvm: Ipvm, home: Path, filled: dict[str, str], mounted: Callable[..., None]
) -> None:
    lines = [text.format(**filled).split() for text in READING]
    before = [ipvm(*line) for line in lines]
    files = sorted(path.name for path in home.rglob("*"))
    mounted(home)
    for line, earlier in zip(lines, before, strict=True):
        ended = ipvm(*line)
        assert (ended.status, AGE.sub("", ended.err)) == (0, AGE.sub("", earlier.err)), line
        assert ended.out.replace(b" (read only)", b"") == earlier.out, line
    assert "(read only)" in ipvm("status").text
    assert ipvm("status", "--json").json["read_only"]
    assert sorted(path.name for path in home.rglob("*")) == files


def test_what_writes_is_refused_on_a_read_only_medium(
    ipvm: Ipvm, home: Path, filled: dict[str, str], mounted: Callable[..., None]
) -> None:
    mounted(home)
    for text in WRITING:
        ended = ipvm(*text.format(**filled).split())
        assert (ended.status, "cannot be written" in ended.err) == (6, True), (text, ended.err)
    assert ipvm("ucan", "delegate", "--to", ipvm("id").text.strip(), "--cmd", "/a").status == 6


def test_a_medium_that_was_pulled_out_is_read_with_its_log(
    home: Path, tmp_path: Path, mounted: Callable[..., None]
) -> None:
    pulled = tmp_path / "pulled"
    with Store.open(home) as store:
        keep(store, raw_block("in the log"))
        shutil.copytree(home, pulled)
    assert (pulled / f"{DATABASE}-wal").stat().st_size
    without = shutil.copytree(pulled, tmp_path / "without")
    (without / f"{DATABASE}-shm").unlink()
    mounted(tmp_path)
    with Store.open(pulled) as store:
        assert store.read_only
        assert store.blocks.get(raw_block("in the log").cid) == b"in the log"
    with pytest.raises(StoreError, match="not in the database yet"):
        Store.open(without)


def unprivileged(work: Callable[[], None]) -> None:
    """Do something in a child of another user, who may read what everybody may; it fails here with
    what failed there."""
    if os.getuid() != 0:
        pytest.skip("needs to be root, to become somebody else")

    def as_nobody() -> None:
        os.setgid(NOBODY)
        os.setuid(NOBODY)
        work()

    in_a_child(as_nobody)


@pytest.fixture
def shared_home(
    ipvm: Ipvm, home: Path, filled: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Path]:
    """The home where everybody may look in, but for its key."""
    import tempfile

    for text in READING:  # so that all that is imported is imported by who may read it
        assert ipvm(*text.format(**filled).split()).status == 0
    folder = Path(tempfile.mkdtemp())
    shared = folder / "home"
    shutil.copytree(home, shared)
    for path in (folder, shared, *shared.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    (shared / "key").chmod(0o600)
    monkeypatch.setenv("IPVM_HOME", str(shared))
    monkeypatch.chdir(folder)
    yield shared
    shutil.rmtree(folder)


def test_a_home_of_somebody_else_can_be_read(
    shared_home: Path, filled: dict[str, str], home: Path
) -> None:
    with Node.open(home) as node:
        did = node.did
    main(["version"])

    def look() -> None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
        with Node.open(shared_home) as node:
            assert node.store.read_only
            assert (node.did, node.first_use) == (did, False)
            assert node.receipt(filled["receipt"]).issuer == did
            with pytest.raises(StoreError, match="cannot open it"):
                node.key.sign(b"anything")
            with pytest.raises(StoreError, match="cannot be written"):
                node.add(b"new")
        for text in READING:
            if "run " not in text or text.startswith("workflow"):
                assert main(text.format(**filled).split()) == 0, text
        assert main(["key", "export"]) == 6
        assert main(["name", "set", "n", filled["receipt"]]) == 6

    unprivileged(look)


def test_what_its_owner_changes_meanwhile_is_noticed(
    home: Path, tmp_path: Path, mounted: Callable[..., None]
) -> None:
    with Store.open(home) as store:
        keep(store, raw_block("old"))
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    mounted(elsewhere, home)
    with Store.open(elsewhere) as reader:
        assert reader.read_only
        assert reader.blocks.has(raw_block("old").cid)
        with Store.open(home) as store:
            keep(store, raw_block("new"))
        with pytest.raises(StoreBusy, match="was changed while it was read"):
            reader.blocks.has(raw_block("old").cid)


def test_a_database_that_may_not_be_read_says_so(shared_home: Path) -> None:
    (shared_home / DATABASE).chmod(0o600)

    def look() -> None:
        with pytest.raises(StoreError, match="cannot be read"):
            Store.open(shared_home)

    unprivileged(look)
