"""Adding what the user names, within a bound where one is given."""

from __future__ import annotations

import io
import os
import threading
from contextlib import suppress
from pathlib import Path

import pytest

from lite.errors import LimitError, UsageError
from lite.files import add_source, bounded
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


class Endless:
    """A stream without an end, and not one of the system's."""

    def read(self, size: int) -> bytes:
        return bytes(size)


def refused(source: object) -> None:
    with pytest.raises(LimitError, match=r"the setting limits\.stream") as caught:
        add_source(source, taken.append, UNIXFS_V1_2025, stream_bytes_max=BOUND)  # type: ignore[arg-type]
    assert "ipvm config set limits.stream" in str(caught.value.hint)


def test_an_object_that_may_have_no_end_is_bounded() -> None:
    refused(Endless())


@pytest.mark.parametrize("opened", [True, False])
def test_a_pipe_may_have_no_end_and_is_bounded(tmp_path: Path, opened: bool) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    writer = threading.Thread(target=flood, args=(fifo,))
    writer.start()
    if opened:
        with fifo.open("rb") as source:
            refused(source)
    else:
        refused(fifo)
    writer.join()


def flood(fifo: Path) -> None:
    """Write to a pipe until its reader goes."""
    with suppress(BrokenPipeError), fifo.open("wb", buffering=0) as out:
        while True:
            out.write(bytes(1 << 20))


def test_what_has_an_end_is_not_bounded(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(bytes(BOUND + 1))
    with (tmp_path / "f").open("rb") as file:
        assert bounded(file, BOUND) is file
        whole = add_source(file, taken.append, UNIXFS_V1_2025, stream_bytes_max=BOUND)
    sources = (tmp_path / "f", bytes(BOUND + 1), io.BytesIO(bytes(BOUND + 1)))
    for source in sources:
        assert whole == add_source(source, taken.append, UNIXFS_V1_2025, stream_bytes_max=BOUND)


def test_devices_pipes_and_folders_are_no_files(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (Path("/dev/zero"), tmp_path / "pipe", tmp_path):
        with pytest.raises(UsageError, match="not a file"):
            add(path)
    assert taken == []


def test_a_file_of_text_is_no_binary_file() -> None:
    for bound in (None, BOUND):
        with pytest.raises(TypeError, match="an open binary file, not one of text"):
            add_source(io.StringIO("a"), taken.append, UNIXFS_V1_2025, bound)  # type: ignore[arg-type]
    assert not taken
