"""Input that has no end, and a disk that would be used up: refused, with nothing left behind."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from lite.limits import MIB
from lite.store import faults
from tests.integration.conftest import Ipvm

Start = Callable[..., "subprocess.Popen[bytes]"]
LINE = b"y\n" * (MIB // 2)


@pytest.fixture
def fed(process: Start) -> Iterator[Callable[..., tuple[int, str]]]:
    """Run a command whose standard input never ends; its status and what it said."""
    writers: list[threading.Thread] = []

    def run(*args: object, begin: bytes = b"") -> tuple[int, str]:
        child = process(*args, stdin=subprocess.PIPE)
        stdin: Any = child.stdin
        child.stdin = None  # the thread closes it
        writers.append(threading.Thread(target=flood, args=(stdin, begin)))
        writers[-1].start()
        _, err = child.communicate(timeout=60)
        return child.returncode, err.decode()

    yield run
    for writer in writers:
        writer.join()


def flood(pipe: Any, begin: bytes) -> None:
    with suppress(BrokenPipeError), pipe:
        pipe.write(begin)
        while True:
            pipe.write(LINE)


def test_an_endless_stream_is_not_stored(
    fed: Callable[..., tuple[int, str]], ipvm: Ipvm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IPVM_LIMITS_STREAM", "40M")
    status, err = fed("add", "-")
    assert status == 8
    assert "the input has more than 41943040 bytes, the setting limits.stream" in err
    assert "ipvm config set limits.stream" in err
    assert ipvm("status", "--json").json["blocks"] == 0


@pytest.mark.parametrize(
    "run", [("command.wasm", "--stdin", "-"), ("typed.wasm:echo", "-"), ("typed.wasm:greet", "-")]
)
def test_an_endless_input_of_a_guest_is_bounded_by_its_memory(
    fed: Callable[..., tuple[int, str]], ipvm: Ipvm, run: tuple[str, ...]
) -> None:
    status, err = fed("run", *run, "--memory", "20M")
    assert status == 8
    assert "the input has more than 20971520 bytes, the setting limits.memory" in err
    assert ipvm("receipt", "list", "--json").json["receipts"] == []


def test_a_file_is_not_bounded_by_the_guests_memory(ipvm: Ipvm, here: Path) -> None:
    (here / "large").write_bytes(bytes(3 * MIB))
    ended = ipvm("run", "command.wasm", "--stdin", "large", "--memory", "2M")
    assert (ended.status, len(ended.out)) == (0, 3 * MIB)


def test_an_endless_archive_is_refused(
    fed: Callable[..., tuple[int, str]], ipvm: Ipvm, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cid = ipvm("add", "numbers.wasm").text.strip()
    assert ipvm("export", cid, "-o", "a.car").status == 0
    monkeypatch.setenv("IPVM_LIMITS_STREAM", "40M")
    status, err = fed("import", "-")
    assert (status, "not a CAR file" in err) == (7, True)
    status, err = fed("import", "-", begin=(here / "a.car").read_bytes())
    assert (status, "the setting limits.stream" in err) == (8, True)


def test_a_large_add_leaves_some_of_the_disk_free(
    ipvm: Ipvm, here: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (here / "small").write_bytes(os.urandom(MIB))
    (here / "large").write_bytes(os.urandom(40 * MIB))
    assert ipvm("id").status == 0
    before = ipvm("status", "--json").json["bytes"]
    real = os.statvfs(home)
    nearly_full = os.statvfs_result(
        (real.f_bsize, real.f_frsize, 2**30, 2**20, 120 * MIB // real.f_frsize, *real[5:])
    )
    monkeypatch.setattr(faults.os, "statvfs", lambda _: nearly_full)
    monkeypatch.setattr(faults, "DISK_FREE_BYTES_MIN", 110 * MIB)
    ended = ipvm("add", "large")
    assert ended.status == 6
    assert "would be full: 115343360 bytes of it stay free; nothing of this was kept" in ended.err
    assert "ipvm gc" in ended.err
    assert ipvm("status", "--json").json["bytes"] == before
    assert ipvm("add", "small").status == 0
    monkeypatch.setattr(faults, "DISK_FREE_BYTES_MIN", 90 * MIB)
    assert ipvm("add", "large").status == 0
