"""Adding what the user names, within a bound where one is given."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest

from lite.errors import LimitError, UsageError
from lite.files import add_source
from lite.ipld.block import Block
from lite.ipld.cid import CID, RAW
from lite.ipld.unixfs import UNIXFS_V1_2025

BOUND = 3_000_000


def add(source: str | Path | bytes | io.BytesIO) -> CID:
    return add_source(source, taken.append, UNIXFS_V1_2025, BOUND)


taken: list[Block] = []


@pytest.fixture(autouse=True)
def _nothing_taken() -> None:
    taken.clear()


def test_what_is_within_the_bound_is_added_as_ever(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"abc")
    assert add(tmp_path / "f") == add(b"abc") == add(io.BytesIO(b"abc")) == CID.of(b"abc", RAW)
    whole = bytes(BOUND)
    assert add(whole) == add_source(whole, taken.append, UNIXFS_V1_2025)


def test_a_larger_file_is_refused_before_it_is_read(tmp_path: Path) -> None:
    (tmp_path / "f").touch()
    os.truncate(tmp_path / "f", 10**12)
    with pytest.raises(LimitError, match="f has more than 3000000 bytes"):
        add(tmp_path / "f")
    assert taken == []


def test_a_stream_is_read_no_further_than_the_bound() -> None:
    stream = io.BytesIO(bytes(3 * BOUND))
    with pytest.raises(LimitError, match="more than 3000000 bytes"):
        add(stream)


def test_devices_pipes_and_folders_are_no_files(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (Path("/dev/zero"), tmp_path / "pipe", tmp_path):
        with pytest.raises(UsageError, match="not a file"):
            add(path)
    assert taken == []
