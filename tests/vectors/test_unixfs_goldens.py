"""CIDs and trees made by another importer: ours must be the same, and theirs must read here.

`unixfs/goldens.json` says how they were made.
"""

from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path
from typing import Any

import pytest

from lite.ipld import unixfs
from lite.ipld.block import Block
from lite.ipld.car import read_car
from lite.ipld.cid import CID
from lite.ipld.unixfs import Profile

FOLDER = Path(__file__).parent / "unixfs"
GOLDENS: dict[str, Any] = json.loads((FOLDER / "goldens.json").read_text(encoding="utf-8"))
PROFILES = unixfs.PROFILES | {"tiny": Profile("tiny", chunk_bytes=16, links_per_node=4)}


def content(length: int) -> bytes:
    return hashlib.shake_128(b"unixfs").digest(length)


class Repeated(io.RawIOBase):
    """The first MiB of the content again and again, up to a length."""

    def __init__(self, length: int) -> None:
        self._unit = content(1 << 20)
        self._left = length

    def read(self, size: int = -1) -> bytes:
        chunk = self._unit[: min(size, self._left)]
        self._left -= len(chunk)
        return chunk


@pytest.mark.parametrize("profile", ["tiny", "legacy-256k", "unixfs-v1-2025"])
def test_files_get_the_cids_of_the_other_importer_and_read_back(profile: str) -> None:
    for length, golden in GOLDENS["files"][profile].items():
        data = content(int(length))
        blocks: dict[CID, bytes] = {}

        def put(block: Block, blocks: dict[CID, bytes] = blocks) -> None:
            blocks[block.cid] = block.data

        cid = unixfs.write_file(io.BytesIO(data), put, PROFILES[profile])
        assert str(cid) == golden["cid"], length
        assert unixfs.cumulative_size(cid, blocks.__getitem__) == golden["tsize"]
        assert unixfs.file_size(cid, blocks.__getitem__) == len(data)
        assert b"".join(unixfs.read_file(cid, blocks.__getitem__)) == data


@pytest.mark.full
@pytest.mark.parametrize("length", list(GOLDENS["files"]["wide"]))
def test_a_file_that_fills_a_node_of_1024_links_gets_the_same_cid(length: str) -> None:
    stream: Any = Repeated(int(length))
    cid = unixfs.write_file(stream, lambda block: None)
    assert str(cid) == GOLDENS["files"]["wide"][length]["cid"]


@pytest.fixture(scope="module")
def shapes() -> dict[CID, bytes]:
    with (FOLDER / "shapes.car").open("rb") as file:
        return {block.cid: block.data for block in read_car(file)}


FILES = {
    "trickle, raw UnixFS leaves, CIDv0": 500,
    "trickle, plain leaves": 300,
    "balanced, UnixFS file leaves, CIDv0": 300,
    "one UnixFS leaf, CIDv0": 20,
    "one plain leaf": 20,
    "empty, CIDv0": 0,
    "data before links": 100,
}


@pytest.mark.parametrize(("name", "length"), FILES.items())
def test_files_of_other_shapes_read_whole_and_in_parts(
    shapes: dict[CID, bytes], name: str, length: int
) -> None:
    cid, data, get = CID.parse(GOLDENS["shapes"][name]), content(length), shapes.__getitem__
    assert unixfs.file_size(cid, get) == length
    assert b"".join(unixfs.read_file(cid, get)) == data
    for offset in range(0, length + 9, 7):
        part = unixfs.read_file(cid, get, offset=offset, length=33)
        assert b"".join(part) == data[offset : offset + 33]


@pytest.mark.parametrize("slots", [256, 16])
def test_sharded_directories_list_all_their_files(shapes: dict[CID, bytes], slots: int) -> None:
    cid = CID.parse(GOLDENS["shapes"][f"sharded directory, {slots} slots"])
    entries = unixfs.list_directory(cid, shapes.__getitem__)
    names = sorted(f"file-{n}.txt" for n in range(40))
    assert [entry.name for entry in entries] == names
    for entry in entries:  # each file holds its own name
        assert b"".join(unixfs.read_file(entry.cid, shapes.__getitem__)).decode() == entry.name


def test_a_directory_is_written_to_the_cid_of_the_other_importer(
    shapes: dict[CID, bytes],
) -> None:
    cid = CID.parse(GOLDENS["shapes"]["directory"])
    entries = unixfs.list_directory(cid, shapes.__getitem__)
    assert [entry.name for entry in entries] == ["Z.txt", "a", "a.txt", "b.txt", "é.txt"]
    again = [(entry.name, entry.cid, entry.tsize) for entry in reversed(entries)]
    assert unixfs.write_directory(again, lambda block: None) == cid
    below = unixfs.resolve_path(cid, "a/y.txt", shapes.__getitem__)
    assert b"".join(unixfs.read_file(below, shapes.__getitem__)) == b"a/y.txt"
