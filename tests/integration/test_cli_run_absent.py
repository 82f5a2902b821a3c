"""`ipvm run` of a module that is not here: the answer, or the module, comes from peers."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lite import Node
from lite.ipld.cid import CID
from lite.store import Store
from tests.daemon_support import environment
from tests.guests import ADD
from tests.meeting_support import Home, befriend, homes


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Home, Home]]:
    """Two daemons that trust each other; `a` has modules that `b` has not."""
    with homes(tmp_path_factory.mktemp("pair"), ADD, "a", "b") as (a, b):
        a.start()
        b.start()
        befriend([a, b])
        yield a, b


def module(home: Home, name: str) -> CID:
    """Adds one like no other to a home."""
    section = name.encode()
    wasm = ADD + b"\0" + bytes([1 + len(section), len(section)]) + section
    with Node.open(home.path) as node:
        return node.add(wasm)


def ipvm(home: Home, *args: object, status: int = 0) -> tuple[str, str]:
    done = subprocess.run(
        [sys.executable, "-m", "lite", *map(str, args)],
        env=environment(home.path),
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert done.returncode == status, done.stderr
    return done.stdout, done.stderr


def has(home: Home, cid: CID) -> bool:
    with Store.open(home.path) as store:
        return store.blocks.has(cid)


def test_an_answer_that_is_here_needs_no_module(pair: tuple[Home, Home]) -> None:
    a, b = pair
    cid = module(a, "answered")
    assert ipvm(a, "run", f"{cid}:add", 3, 4)[0] == "7\n"
    assert b.sync()["in_sync"]
    out, err = ipvm(b, "--offline", "run", f"{cid}:add", 3, 4)
    assert out == "7\n" and "cached" in err
    assert ipvm(b, "--offline", "run", f"{cid}:add", 3, 4, "--dry-run")[0].startswith("✓")
    assert not has(b, cid)


def test_a_module_that_is_not_here_is_fetched_and_run(pair: tuple[Home, Home]) -> None:
    a, b = pair
    cid = module(a, "fetched")
    out, err = ipvm(b, "run", f"{cid}:add", 5, 6)
    assert out == "11\n" and "cached" not in err and "from peers" in err
    assert has(b, cid)


@pytest.mark.parametrize("scheme", ["", "ipfs://"])
def test_a_module_in_a_folder_comes_with_what_leads_to_it(
    scheme: str, pair: tuple[Home, Home], tmp_path: Path
) -> None:
    a, b = pair
    (tmp_path / "tools").mkdir()
    (tmp_path / "tools/add.wasm").write_bytes(ADD + b"\0\x03\x02fo")
    (tmp_path / "tools/other.bin").write_bytes(b"nobody asked for it" + scheme.encode())
    with Node.open(a.path) as node:
        folder = node.add(tmp_path)
        other = node.ls(folder, "tools")[1].cid
    assert ipvm(b, "run", f"{scheme}{folder}/tools/add.wasm:add", 5, 7)[0] == "12\n"
    assert not has(b, other)
    _, err = ipvm(b, "run", f"{scheme}{folder}/tools/sub.wasm:add", 5, 7, status=5)
    assert "sub.wasm" in err


def test_a_petname_of_what_is_not_here_yet(pair: tuple[Home, Home]) -> None:
    a, b = pair
    cid = module(a, "named")
    ipvm(b, "name", "set", "adder", cid)
    assert ipvm(b, "run", "adder:add", 1, 1)[0] == "2\n"


def test_inspect_fetches_the_module(pair: tuple[Home, Home]) -> None:
    a, b = pair
    cid = module(a, "inspected")
    assert "add" in ipvm(b, "inspect", cid)[0]


def test_offline_and_where_nobody_has_it_it_is_said_to_be_missing(
    pair: tuple[Home, Home],
) -> None:
    a, b = pair
    cid = module(a, "kept away")
    for args in (["--offline", "run", f"{cid}:add", 1, 2], ["run", "--dry-run", f"{cid}:add", 1]):
        _, err = ipvm(b, *args, status=3)
        assert f"queued: the module {cid} is not here" in err and "ipvm add" in err
    assert not has(b, cid)
    nowhere = CID.of(b"nowhere", 0x55)
    _, err = ipvm(b, "run", f"{nowhere}:add", 1, 2, status=3)
    assert f"queued: the module {nowhere} is not here" in err


def test_what_an_argument_looks_like_is_no_reason_to_take_another_calls_answer(
    pair: tuple[Home, Home],
) -> None:
    """A failed call is no answer: the module says what the arguments are."""
    a, b = pair
    cid = module(a, "typed")
    with Node.open(a.path) as node:
        from lite import wasm

        assert not node.run(wasm(cid, "add", "3", 4)).receipt.out.is_ok
    assert b.sync()["in_sync"]
    _, err = ipvm(b, "--offline", "run", f"{cid}:add", "3", "four", status=3)
    assert "is not here" in err
    assert ipvm(b, "run", f"{cid}:add", "3", 4)[0] == "7\n"
