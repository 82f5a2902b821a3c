"""What a workflow file names beside it, and what is no file."""

from __future__ import annotations

from pathlib import Path

import pytest

from lite.errors import CodecError, NotFoundError, UsageError
from lite.ipld.cid import CID, RAW
from lite.model.instruction import Instruction, wasm
from lite.workflow_content import LocalContent

NAMED = CID.of(b"named", RAW)
KNOWN = wasm(NAMED, "f")


@pytest.fixture
def content(tmp_path: Path) -> LocalContent:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/file").write_bytes(b"data")

    def add(path: Path) -> CID:
        return CID.of(path.read_bytes(), RAW)

    def known(cid: CID) -> Instruction | None:
        if cid == NAMED:
            raise CodecError("not an instruction")
        return KNOWN if cid in (KNOWN.cid, KNOWN.sha3) else None

    return LocalContent(tmp_path / "sub", add, {"tools": NAMED}.get, known)


def test_paths_start_at_the_folder_of_the_workflow(content: LocalContent, tmp_path: Path) -> None:
    expected = CID.of(b"data", RAW)
    for path in ("file", "./file", "../sub/file", str(tmp_path / "sub/file")):
        assert content.file(path) == expected
        assert content.files[path] == expected


@pytest.mark.parametrize("path", ["none", "sub/file", "", "x" * 5000, "a\0b", "..", "file/below"])
def test_what_is_no_file_is_not_found(content: LocalContent, path: str) -> None:
    with pytest.raises(NotFoundError):
        content.file(path)
    assert content.files == {}


def test_a_folder_says_so(content: LocalContent) -> None:
    with pytest.raises(NotFoundError, match="is a folder, not a file"):
        content.file("../sub")


def test_names_are_those_of_the_node(content: LocalContent) -> None:
    assert content.name("tools") == NAMED
    with pytest.raises(NotFoundError, match="nothing here is called 'file'"):
        content.name("file")


def test_instructions_are_those_of_the_node(content: LocalContent) -> None:
    assert content.instruction(KNOWN.sha3) == KNOWN
    assert content.instruction(CID.of(b"other", RAW)) is None
    with pytest.raises(UsageError, match="names a block that is no instruction"):
        content.instruction(NAMED)
