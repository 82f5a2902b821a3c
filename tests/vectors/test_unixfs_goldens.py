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
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20

from lite.ipld import unixfs
from lite.ipld.block import Block
from lite.ipld.car import read_car
from lite.ipld.cid import CID, RAW
from lite.ipld.dag_pb import PbLink
from lite.ipld.unixfs import Profile
from lite.ipld.unixfs.hamt import write_shards

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
    links = {e.name.encode(): PbLink(e.cid, e.name, e.tsize) for e in reversed(entries)}
    assert write_shards(links, lambda block: None, slots) == cid


def kubo_names(last: int) -> list[str]:
    """4,766 names of 11 letters, the last of other length, as Kubo's test of profiles makes them:
    letters by the ChaCha20 stream under the hash of a text."""
    letters = "abcdefghijklmnopqrstuvwxyz01234567890-_"
    cipher = Cipher(ChaCha20(hashlib.sha256(b"hamt-unixfs-v1-2025").digest(), bytes(16)), None)
    stream = cipher.encryptor().update(bytes(1 << 20))
    text = "".join(letters[byte % len(letters)] for byte in stream[: 4_765 * 11 + last])
    return [*(text[at : at + 11] for at in range(0, 4_765 * 11, 11)), text[-last:]]


@pytest.mark.parametrize(
    ("last", "golden"),
    [
        (21, "bafybeic3h7rwruealwxkacabdy45jivq2crwz6bufb5ljwupn36gicplx4"),  # 262,144 bytes
        (22, "bafybeiegvuterwurhdtkikfhbxcldohmxp566vpjdofhzmnhv6o4freidu"),  # one more: sharded
    ],
)
def test_large_directories_get_the_cids_of_kubo(last: int, golden: str) -> None:
    """Source: Kubo 0.40, test/cli/cid_profiles_test.go, profile unixfs-v1-2025."""
    leaf = CID.of(b"x", RAW)
    entries = [(name, leaf, 1) for name in kubo_names(last)]
    assert str(unixfs.write_directory(entries, lambda block: None)) == golden


def test_the_older_profile_measures_names_and_cids() -> None:
    leaf, legacy = CID.of(b"x", RAW), unixfs.LEGACY_256K
    names = [f"{n:028d}" for n in range(4_096)]  # of 28 + 36 bytes each: 256 KiB
    counts = []
    for last in ("", "+"):
        blocks: list[Block] = []
        entries = [(name, leaf, 1) for name in (*names[:-1], names[-1] + last)]
        unixfs.write_directory(entries, blocks.append, legacy)
        counts.append(len(blocks))
    assert counts[0] == 1 < counts[1]


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
