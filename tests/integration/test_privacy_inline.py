"""A file that is marked later takes along what holds its content itself, without any link."""

from __future__ import annotations

from pathlib import Path

import pytest

from lite import Node
from lite.ipld import dag_cbor
from lite.ipld.block import Block
from lite.ipld.cid import CID, DAG_CBOR, RAW
from lite.limits import INLINE_BYTES_MAX
from lite.privacy import make_secret
from lite.store.inline import forms_of
from tests.integration.conftest import Ipvm

DIARY = b"dear diary, nobody is to read this\n"


def secrets(ipvm: Ipvm) -> list[bool]:
    """Of the receipts here, newest first, which are marked."""
    return [r["secret"] for r in ipvm("receipt", "list", "--json").json["receipts"]]


@pytest.mark.parametrize("size", [1, 7, 8, 35, INLINE_BYTES_MAX - 3, INLINE_BYTES_MAX + 1])
def test_a_small_file_marked_later_takes_its_results_along(
    ipvm: Ipvm, here: Path, size: int
) -> None:
    data = (b"ZQX" + DIARY * (size // len(DIARY) + 1))[:size]
    (here / "diary.txt").write_bytes(data)
    ipvm("add", "diary.txt")
    found = ipvm("run", "command.wasm", "--stdin", "diary.txt", "--json").json
    ipvm("run", "numbers.wasm:add", 1, 2, "-q")
    for cid in (found["ins"], found["receipt"]):
        assert ipvm("export", cid, "-o", "out.car").status == 0
    marked = ipvm("add", "diary.txt", "--private")
    assert "1 receipt that came of it" in marked.err
    assert secrets(ipvm) == [False, True]
    for cid in (found["ins"], found["receipt"]):
        assert ipvm("export", cid, "-o", "out.car").status == 4


def test_texts_and_values_of_a_file_and_files_of_a_folder_count(ipvm: Ipvm, here: Path) -> None:
    (here / "docs").mkdir()
    (here / "docs/point").write_text('{"y": 7, "x": 123456}\n')
    (here / "docs/text").write_bytes(DIARY)
    for words in (
        ("typed.wasm:swap", "@docs/point"),
        ("typed.wasm:length", "@docs/text"),
        ("typed.wasm:greet", DIARY.decode().strip()),
        ("numbers.wasm:add", 3, 4),
    ):
        ended = ipvm("run", *words, "-q")
        assert ended.status == 0, ended.err
    assert secrets(ipvm) == [False] * 4
    ipvm("add", "docs", "--private")
    assert secrets(ipvm) == [False, True, True, True]


def test_what_holds_it_by_chance_in_a_few_bytes_stays_open(ipvm: Ipvm, here: Path) -> None:
    ipvm("run", "typed.wasm:length", "a b c", "-q")
    for content in ("", "\n", "b", "a", "true"):
        (here / "word").write_text(content)
        ipvm("add", "word", "--private")
    assert secrets(ipvm) == [False]
    (here / "word").write_text("a b c\n")
    ipvm("add", "word", "--private")
    assert secrets(ipvm) == [True]


def test_a_workflow_and_a_value_that_hold_it_are_secret(pi: Node) -> None:
    blocks = [
        Block.make(dag_cbor.encode({"tasks": [{"given": DIARY.decode()}]}), DAG_CBOR),
        Block.make(dag_cbor.encode([b"before " + DIARY + b" after"]), DAG_CBOR),
        Block.make(dag_cbor.encode(["something else"]), DAG_CBOR),
    ]
    file = Block.make(DIARY, RAW)
    pi.store.blocks.put_many([*blocks, file])
    assert set(make_secret(pi.store, [file.cid])) == {file.cid, blocks[0].cid, blocks[1].cid}
    assert make_secret(pi.store, [file.cid]) == []
    assert make_secret(pi.store, [CID.of(b"not here", RAW)]) == [CID.of(b"not here", RAW)]


def test_the_forms_of_a_content() -> None:
    assert forms_of(b"") == forms_of(b" \n") - {b" \n"} == set()
    assert forms_of(b"x\n") == {b"x", b"x\n"}
    assert forms_of(b"1000\n") == {b"1000\n", b"1000", b"\x19\x03\xe8"}
    assert forms_of(b'"hello"') == {b'"hello"', b"hello", b"\x65hello"}
    assert forms_of(b"true") == {b"true"}
    assert forms_of(b"\xff") == {b"\xff"}


def test_the_help_says_what_becomes_private(ipvm: Ipvm) -> None:
    told = " ".join(ipvm("add", "--help").text.split())
    assert "anything that holds the content of a small one" in told
