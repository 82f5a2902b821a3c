"""Large bytes in a file without a name, and in memory where there can be none."""

from __future__ import annotations

import errno
import mmap
import os
import tempfile
from pathlib import Path
from typing import Any

import pytest

from lite.engine.base import GuestFailure, Outcome
from lite.engine.spool import (
    SPOOL_BYTES_MIN,
    Spool,
    Spooled,
    gathered,
    kept,
    mapped,
    pieces_of,
)
from lite.engine.streams import Output, Trace
from lite.errors import StoreFull
from lite.ipld import unixfs
from lite.limits import MIB
from lite.ops.wasm_effects import with_effects
from lite.outputs import link_large

LARGE = bytes(range(256)) * ((SPOOL_BYTES_MIN + 3 * MIB) // 256) + b"the end"


def spooled(data: bytes = LARGE, step: int = 300_001) -> bytes | Spooled:
    made = Spool()
    for at in range(0, len(data), step):
        made.write(data[at : at + step])
    return made.end()


def descriptors() -> int:
    return len(list(Path("/dev/fd").iterdir()))


@pytest.mark.parametrize("size", [0, 1, SPOOL_BYTES_MIN])
def test_what_is_not_large_stays_in_memory(size: int) -> None:
    assert spooled(LARGE[:size]) == kept(memoryview(LARGE)[:size]) == LARGE[:size]


def test_what_is_large_is_read_from_its_file_by_each_reader_alone() -> None:
    before = descriptors()
    made = spooled()
    assert isinstance(made, Spooled) and len(made) == len(LARGE)
    first, second = made.open(), made.open()
    assert first.read(10) == LARGE[:10] and second.read() == LARGE and first.read(5) == LARGE[10:15]
    assert second.read(1) == b"" == second.read()
    assert b"".join(made.pieces()) == made.bytes() == LARGE
    assert made.part(len(LARGE) - 3, 3) == b"end"
    copy = kept(memoryview(LARGE))
    assert isinstance(copy, Spooled) and copy.bytes() == LARGE
    assert descriptors() == before + 2
    del made, first, second, copy
    assert descriptors() == before


def test_pieces_are_gathered_and_a_file_is_mapped_without_a_copy() -> None:
    before = descriptors()
    pieces = [LARGE[at : at + MIB] for at in range(0, len(LARGE), MIB)]
    made, few = gathered(pieces), gathered(pieces[:2])
    assert isinstance(made, Spooled) and few == LARGE[: 2 * MIB] == mapped(few)
    view = mapped(made)
    del made  # the mapping keeps the file
    assert isinstance(view, mmap.mmap) and (len(view), view[1], view[-3:]) == (
        len(LARGE), 1, b"end"
    )  # fmt: skip
    view[1] = 7
    view.close()
    assert descriptors() == before
    again = gathered(pieces)
    assert mapped(again)[1] == 1
    assert b"".join(pieces_of(again)) == LARGE == b"".join(pieces_of(LARGE))


def test_a_file_that_cannot_be_mapped_lacks_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOMEM, "no memory")

    made = spooled()
    monkeypatch.setattr(mmap, "mmap", full)
    with pytest.raises(MemoryError, match="no memory"):
        mapped(made)


def test_a_file_that_was_cut_off_is_an_error() -> None:
    made = spooled()
    assert isinstance(made, Spooled)
    os.truncate(made._fd, 100)
    with pytest.raises(OSError, match="cut off"):
        made.bytes()


def test_where_no_file_can_be_had_it_stays_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: Any) -> None:
        raise OSError(errno.ENOSPC, "no space")

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    assert spooled() == LARGE


@pytest.mark.parametrize("room", [0, MIB, SPOOL_BYTES_MIN + 500_000])
def test_where_the_disk_is_full_it_comes_back_into_memory(
    monkeypatch: pytest.MonkeyPatch, room: int
) -> None:
    left, write, before = [room], os.write, descriptors()

    def until_full(fd: int, data: memoryview) -> int:
        if not left[0]:
            raise OSError(errno.ENOSPC, "no space")
        done = write(fd, data[: left[0]])
        left[0] -= done
        return done

    monkeypatch.setattr(os, "write", until_full)
    assert spooled() == LARGE
    monkeypatch.undo()
    assert descriptors() == before


def test_where_the_disk_is_full_much_is_an_error_and_not_taken_for_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(**_: Any) -> None:
        raise OSError(errno.ENOSPC, "no space")

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    spool = Spool()
    for _ in range(32):
        spool.write(bytes(MIB))
    with pytest.raises(StoreFull, match="no space") as caught:
        spool.write(b"1")
    assert "TMPDIR" in str(caught.value.hint)


def test_output_over_its_limit_is_refused_wherever_it_is() -> None:
    output = Output(len(LARGE), Trace())
    output.write(LARGE)
    with pytest.raises(GuestFailure, match="wrote more than"):
        output.write(b"x")


def test_a_receipt_links_to_the_same_file_as_for_bytes_in_memory() -> None:
    made = spooled()
    assert isinstance(made, Spooled)
    here, there = link_large(Outcome(LARGE)), link_large(Outcome(made))
    assert (here.out.body, here.kind) == (there.out.body, there.kind)
    assert not there.blocks
    for _ in range(2):  # as often as a transaction is begun
        assert list(there.more) == here.blocks
    blocks = {block.cid: block.data for block in there.more}
    assert b"".join(unixfs.read_file(there.out.body, blocks.__getitem__)) == LARGE


def test_large_bytes_are_no_effects() -> None:
    made = spooled()
    error = with_effects(Outcome(made)).error
    assert error == with_effects(Outcome(LARGE)).error
    assert error is not None and error["code"] == "bad-effects"
