"""What a module declares or carries along takes no memory: node and worker are measured."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lite.engine.base import GuestFailure
from lite.engine.job import Job
from lite.engine.pool import Workers
from lite.engine.spool import Blob, Spooled, gathered
from lite.ipld.cid import CID, RAW
from lite.limits import MIB, Limits
from tests.guests import ADD
from tests.unit.wasm_bytes import CORE, custom, leb, name, section, vec
from tests.wat_guests import wat

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="the peak of a process is read in /proc"
)

LIMITS = Limits(memory_bytes=MIB)
AROUND_BYTES = 100_000_000
MODULE_BYTES = 62 * MIB

TYPE = section(1, vec(b"\x60\0\0"))
FUNC = section(3, vec(b"\0"))
CODE = section(10, vec(b"\x02\0\x0b"))
# Runs a command; prints its exit status and the largest process of it, in bytes.
PEAK = """
import resource, subprocess, sys
ended = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL)
print(ended.returncode, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024)
"""


def exporting(count: int, pad: int) -> Iterator[bytes]:
    """One function under `count` names."""
    names = (name(f"{i:06}" + "x" * pad) + b"\0\0" for i in range(count))
    yield from (CORE, TYPE, FUNC, section(7, vec(*names)), CODE)


def carrying(core: bytes, size: int = MODULE_BYTES) -> Iterator[bytes]:
    """A module with a custom section of so many bytes."""
    title = name("debug")
    yield from (core, b"\0", leb(len(title) + size), title)
    for _ in range(size // MIB):
        yield bytes(MIB)


PLAIN = CORE + TYPE + FUNC + section(7, vec(name("f") + b"\0\0")) + CODE
COMPONENT = wat(
    """(component (core module $e) (core instance (instantiate $e))
      (core module $m (func (export "f") (result i32) i32.const 7))
      (core instance $i (instantiate $m))
      (func (export "f") (result u8) (canon lift (core func $i "f"))))"""
)
HOSTILE: dict[str, Callable[[], Iterator[bytes]]] = {
    "long names": lambda: exporting(100_000, 570),
    "names": lambda: exporting(100_000, 0),
    "the most names": lambda: exporting(19_990, 40),
    "carried": lambda: carrying(PLAIN),
    "component": lambda: carrying(COMPONENT),
}
REFUSED = {"long names", "names"}


def written(path: Path, kind: str) -> Path:
    with path.open("wb") as file:
        file.writelines(HOSTILE[kind]())
    return path


@pytest.mark.parametrize("kind", HOSTILE)
def test_no_process_of_a_run_holds_a_module_or_what_it_declares(tmp_path: Path, kind: str) -> None:
    wasm = written(tmp_path / "hostile.wasm", kind)
    func = "000000" + "x" * 40 if kind == "the most names" else "f"
    words = [sys.executable, "-m", "lite", "--home", str(tmp_path / "home"), "run", "--json"]
    words += [f"{wasm}:{func}", "--memory", "1M"]
    done = subprocess.run(
        [sys.executable, "-c", PEAK, *words], capture_output=True, text=True, check=True
    )
    status, peak_bytes = map(int, done.stdout.split())
    assert status == (8 if kind in REFUSED else 0), done.stderr
    assert ("declares more than" in done.stderr) == (kind in REFUSED)
    assert peak_bytes < LIMITS.memory_bytes + AROUND_BYTES


def peak_of(pid: int) -> int:
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1]) * 1024


@pytest.fixture
def pool(tmp_path: Path) -> Iterator[Workers]:
    made = Workers(cache_dir=tmp_path / "cache", engine="wasmtime", size=1)
    yield made
    made.close()


def job(kind: str, func: str = "f") -> Job:
    return Job(CID.of(kind.encode(), RAW), func, limits=LIMITS)


@pytest.mark.parametrize("kind", sorted(REFUSED))
def test_a_worker_refuses_what_the_node_did_not_look_at(pool: Workers, kind: str) -> None:
    outcome = pool.run(job(kind), lambda: gathered(HOSTILE[kind]()))
    assert outcome.error is not None and outcome.error["code"] == "module-too-large"
    (pid,) = pool.pids
    assert peak_of(pid) < AROUND_BYTES
    assert pool.run(Job(CID.of(ADD, RAW), "add", (2, 40)), lambda: ADD).ok == 42


def test_wasmer_gets_a_module_without_what_it_only_carries(tmp_path: Path) -> None:
    pytest.importorskip("wasmer")
    workers = Workers(cache_dir=tmp_path, engine="wasmer", size=1)
    try:
        assert workers.run(job("carried"), lambda: gathered(HOSTILE["carried"]())).error is None
        (pid,) = workers.pids
        assert peak_of(pid) < AROUND_BYTES
    finally:
        workers.close()


@pytest.mark.parametrize("kind", ["carried", "component"])
def test_a_large_module_is_compiled_where_it_lies_and_kept(
    pool: Workers, tmp_path: Path, kind: str
) -> None:
    def load() -> Blob:
        loaded.append(gathered(HOSTILE[kind]()))
        return loaded[-1]

    loaded: list[Blob] = []
    first = pool.run(job(kind), load)
    assert first.error is None and pool.run(job(kind), load).ok == first.ok
    assert isinstance(*loaded, Spooled)  # once
    (pid,) = pool.pids
    assert peak_of(pid) < AROUND_BYTES
    assert len(list((tmp_path / "cache").glob("*.cwasm"))) == 1
    other = Workers(cache_dir=tmp_path / "cache", engine="wasmtime", in_process=True)
    whole = b"".join(HOSTILE[kind]())
    assert other.run(job(kind), lambda: whole).ok == first.ok
    other.close()
    assert len(list((tmp_path / "cache").glob("*.cwasm"))) == 1  # the same key


def unread(count: int, pad: int) -> bytes:
    """A component that only the engine can read: `count` functions that take a record."""
    fields = " ".join(f'(field "a{"a" * pad}-b{i}" u8)' for i in range(10))
    exports = " ".join(f'(export "f{i}" (func $f))' for i in range(count))
    return wat(
        f"""(component (type (instance (core type (func))))
          (core module $m (func (export "f") (param {"i32 " * 10})))
          (core instance $c (instantiate $m))
          (type $rec (record {fields})) (export $r "r" (type $rec))
          (func $f (param "x" $r) (canon lift (core func $c "f"))) {exports})"""
    )


@pytest.mark.parametrize(("count", "pad"), [(1_000, 300), (5_000, 0)])
def test_what_only_the_engine_reads_has_bounds_too(pool: Workers, count: int, pad: int) -> None:
    wasm = unread(count, pad)
    outcome = pool.run(Job(CID.of(wasm, RAW), "f0", limits=LIMITS), lambda: wasm)
    assert outcome.error is not None and outcome.error["code"] == "module-too-large"
    with pytest.raises(GuestFailure, match="declares functions"):
        pool.describe(CID.of(wasm, RAW), lambda: wasm)
    (pid,) = pool.pids
    assert peak_of(pid) < AROUND_BYTES
    few = unread(10, pad)
    assert len(pool.describe(CID.of(few, RAW), lambda: few).exports) == 10


@pytest.mark.parametrize("engine", ["wasmtime", "wasmer"])
@pytest.mark.parametrize("in_process", [False, True], ids=["worker", "in process"])
def test_every_engine_refuses_the_same(tmp_path: Path, engine: str, in_process: bool) -> None:
    if engine == "wasmer":
        pytest.importorskip("wasmer")
        if in_process:
            pytest.skip("wasmer runs no guests inside the node")
    workers = Workers(cache_dir=tmp_path, engine=engine, in_process=in_process, size=1)
    try:
        large = CORE + custom("debug", bytes(9 * MIB)) + PLAIN[len(CORE) :]
        for wasm in (PLAIN, large):
            done = workers.run(Job(CID.of(wasm, RAW), "f"), lambda wasm=wasm: gathered([wasm]))
            assert done.error is None
        outcome = workers.run(job("names"), lambda: gathered(HOSTILE["names"]()))
        assert outcome.error is not None and outcome.error["code"] == "module-too-large"
        assert outcome.error["limit"] == 20_000 and outcome.usage.fuel in (None, 0)
    finally:
        workers.close()
