"""Standard input that lies in a file: the guest reads the same as of bytes in memory."""

from __future__ import annotations

import random
import struct
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from lite.engine.base import GuestFailure, Host
from lite.engine.job import Content, Job
from lite.engine.spool import PIECE_BYTES
from lite.engine.streams import Input, Output, Random, Trace
from lite.engine.wasi_p1 import WasiP1
from lite.engine.wasi_p2 import READ_BYTES_MAX, Stdin
from lite.engine.wire import Blobs, job_from, job_message
from lite.engine.worker import _input_bytes
from lite.ipld.cid import CID, RAW

DATA = random.Random(7).randbytes(3 * PIECE_BYTES + 17)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    made = tmp_path / "stdin"
    made.write_bytes(DATA)
    return made


@pytest.fixture(params=["memory", "file"])
def source(request: pytest.FixtureRequest, path: Path) -> bytes | Path:
    return path if request.param == "file" else DATA


def test_reads_of_any_size_give_all_of_it_in_order(source: bytes | Path) -> None:
    chosen, given, found = random.Random(1), Input(source), bytearray()
    while len(found) < len(DATA):
        size = chosen.choice([0, 1, 1_000, PIECE_BYTES, 2 * PIECE_BYTES + 1])
        if chosen.random() < 0.5:
            part = given.read(size)
        else:
            target = bytearray(size)
            part = bytes(target[: given.into(memoryview(target), lambda: None)])
        assert len(part) == min(size, len(DATA) - len(found))  # fewer only at the end
        found += part
    assert found == DATA
    assert (given.read(5), given.into(memoryview(bytearray(5)), lambda: None)) == (b"", 0)


def test_a_long_read_can_be_stopped(source: bytes | Path) -> None:
    def stop() -> None:
        raise GuestFailure("time-limit", "enough")

    with pytest.raises(GuestFailure, match="enough"):
        Input(source).into(memoryview(bytearray(len(DATA))), stop)


def test_preview_1_fills_vectors(source: bytes | Path) -> None:
    memory = bytearray(len(DATA) + 65_536)
    wasi = WasiP1(
        Host(stdin=source),
        stdout=Output(1, Trace()),
        stderr=Trace(),
        random=Random(b""),
        check=lambda: None,
    )
    half = len(DATA) // 2
    struct.pack_into("<IIII", memory, 0, 100, half, 100 + half, len(DATA))
    assert wasi.call("fd_read", memoryview(memory), (0, 0, 2, 64)) == 21  # beyond the memory
    struct.pack_into("<I", memory, 12, len(DATA) - half + 9)
    assert wasi.call("fd_read", memoryview(memory), (0, 0, 2, 64)) == 0
    assert struct.unpack_from("<I", memory, 64) == (len(DATA),)
    assert memory[100 : 100 + len(DATA)] == DATA


def test_preview_2_reads_up_to_its_bound(source: bytes | Path) -> None:
    stream = Stdin(cast(Any, SimpleNamespace(host=Host(stdin=source))))
    assert stream.read(0) == b""
    found = b""
    while (part := stream.read(10**9)) is not None:
        assert 0 < len(part) <= READ_BYTES_MAX
        found += part
    assert found == DATA


def test_a_file_crosses_to_the_worker_by_its_name_and_takes_no_room_there(path: Path) -> None:
    link = CID.of(DATA, RAW)
    job = Job(link, None, content={link: Content("file", path)}, host=Host(stdin=path))
    blobs = Blobs()
    again = job_from(job_message(job, blobs), blobs)
    assert (again.host.stdin, len(blobs)) == (path, 0)
    assert _input_bytes(again, blobs) == 0
    other = Job(link, None, content={link: Content("file", path)})
    assert _input_bytes(other, blobs) == len(DATA)


def test_a_large_argument_is_seen_through_the_pages_of_its_file(path: Path) -> None:
    view = Content("file", path).view()
    assert isinstance(view, memoryview) and view.readonly
    assert view == DATA
