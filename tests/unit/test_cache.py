"""The compile cache: loads only what this node wrote, unchanged, for this engine."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from lite.engine import cache
from lite.engine.base import GuestFailure, Kind
from lite.engine.cache import CodeCache, CompileCache
from lite.engine.spool import Spooled, gathered
from lite.engine.wit import FuncType
from lite.ipld.cid import CID, RAW
from lite.limits import MIB, EngineCaps

EMPTY_MODULE = b"\0asm\x01\0\0\0"


def module(number: int = 0, padding: int = 0) -> bytes:
    """A valid module that differs by number: a custom section."""
    text = b"\x01n" + number.to_bytes(4, "big") + bytes(padding)
    size = len(text)
    assert size < 128
    return EMPTY_MODULE + b"\0" + bytes([size]) + text


@dataclass
class FakeCode:
    text: bytes
    kind: Kind = "core"

    def exports(self) -> dict[str, FuncType]:
        return {}


class FakeEngine:
    """Compiles to the module's bytes in reverse, and counts."""

    name = "fake"
    config_id = "c0"
    features: frozenset[str] = frozenset()

    def __init__(self, version: str = "1", *, code_bytes: int = 0) -> None:
        self.version = version
        self.compiled = 0
        self.loaded = 0
        self._padding = bytes(code_bytes)

    def compile(self, wasm: bytes, caps: EngineCaps) -> FakeCode:
        self.compiled += 1
        return FakeCode(wasm[::-1] + self._padding)

    def serialize(self, code: Any, path: Path) -> None:
        path.write_bytes(code.text)

    def deserialize(self, wasm: bytes, path: Path) -> FakeCode:
        self.loaded += 1
        return FakeCode(path.read_bytes())

    def open(self, *_: Any) -> Any:
        raise NotImplementedError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def get(engine: FakeEngine, disk: CompileCache | None, wasm: bytes = EMPTY_MODULE) -> FakeCode:
    """Through a fresh memory cache, so that the disk has to answer."""
    codes = CodeCache(disk)
    code = codes.get(engine, CID.of(wasm, RAW), lambda: wasm, EngineCaps(), lambda: None).code
    assert isinstance(code, FakeCode)
    return code


def code_file(folder: Path) -> Path:
    (path,) = folder.glob("*.cwasm")
    return path


def test_second_process_loads_what_the_first_compiled(folder: Path) -> None:
    first, second = FakeEngine(), FakeEngine()
    made = get(first, CompileCache(folder))
    assert get(second, CompileCache(folder)) == made
    assert (first.compiled, second.compiled, second.loaded) == (1, 0, 1)


def test_folder_and_key_are_private(folder: Path) -> None:
    folder.mkdir(mode=0o755)
    get(FakeEngine(), CompileCache(folder))
    assert folder.stat().st_mode & 0o777 == 0o700
    assert (folder / "key").stat().st_mode & 0o777 == 0o600
    assert not list(folder.glob("tmp-*"))


def test_no_flipped_byte_is_ever_loaded(folder: Path) -> None:
    get(FakeEngine(), CompileCache(folder))
    for path in (code_file(folder), code_file(folder).with_suffix(".mac")):
        good = path.read_bytes()
        for at in range(len(good)):
            bad = bytearray(good)
            bad[at] ^= 1 << (at % 8)
            path.write_bytes(bad)
            engine = FakeEngine()
            assert get(engine, CompileCache(folder)).text == EMPTY_MODULE[::-1]
            assert (engine.compiled, engine.loaded) == (1, 0)
        engine = FakeEngine()
        get(engine, CompileCache(folder))
        assert engine.loaded == 1, "the damaged file was replaced"


@pytest.mark.parametrize("keep", [0, 1, 7])
def test_truncated_file_is_compiled_again_and_replaced(folder: Path, keep: int) -> None:
    get(FakeEngine(), CompileCache(folder))
    os.truncate(code_file(folder), keep)
    engine = FakeEngine()
    get(engine, CompileCache(folder))
    assert (engine.compiled, engine.loaded) == (1, 0)
    assert code_file(folder).read_bytes() == EMPTY_MODULE[::-1]


def test_code_without_its_mac_is_not_loaded(folder: Path) -> None:
    get(FakeEngine(), CompileCache(folder))
    code_file(folder).with_suffix(".mac").unlink()
    engine = FakeEngine()
    get(engine, CompileCache(folder))
    assert engine.compiled == 1


def test_another_version_compiles_for_itself(folder: Path) -> None:
    get(FakeEngine("1"), CompileCache(folder))
    engine = FakeEngine("2")
    get(engine, CompileCache(folder))
    assert engine.compiled == 1
    assert len(list(folder.glob("*.cwasm"))) == 2


def test_file_renamed_to_another_version_is_not_loaded(folder: Path) -> None:
    get(FakeEngine("1"), CompileCache(folder))
    old = code_file(folder)
    for path in (old, old.with_suffix(".mac")):
        path.rename(folder / path.name.replace("fake-1-", "fake-2-"))
    engine = FakeEngine("2")
    get(engine, CompileCache(folder))
    assert (engine.compiled, engine.loaded) == (1, 0)


def test_code_from_another_nodes_cache_is_not_loaded(folder: Path, tmp_path: Path) -> None:
    get(FakeEngine(), CompileCache(folder))
    other = tmp_path / "other"
    get(FakeEngine(), CompileCache(other))
    for path in (code_file(other), code_file(other).with_suffix(".mac")):
        path.replace(folder / path.name)
    engine = FakeEngine()
    get(engine, CompileCache(folder))
    assert (engine.compiled, engine.loaded) == (1, 0)


@pytest.mark.parametrize("suffix", [".cwasm", ".mac"])
def test_pipe_in_place_of_a_file_is_not_read_but_replaced(folder: Path, suffix: str) -> None:
    get(FakeEngine(), CompileCache(folder))
    path = code_file(folder).with_suffix(suffix)
    path.unlink()
    os.mkfifo(path)
    again, third = FakeEngine(), FakeEngine()
    get(again, CompileCache(folder))
    get(third, CompileCache(folder))
    assert (again.compiled, third.compiled, path.is_file()) == (1, 0, True)


def test_pipe_in_place_of_the_key_is_not_read(folder: Path) -> None:
    get(FakeEngine(), CompileCache(folder))
    (folder / "key").unlink()
    os.mkfifo(folder / "key")
    again = FakeEngine()
    get(again, CompileCache(folder))
    assert (again.compiled, (folder / "key").stat().st_size) == (1, 32)


def test_code_larger_than_any_is_not_read(folder: Path) -> None:
    get(FakeEngine(), CompileCache(folder))
    os.truncate(code_file(folder), cache.CODE_BYTES_MAX + 1)
    again = FakeEngine()
    get(again, CompileCache(folder))
    assert again.compiled == 1


def test_damaged_key_only_means_compiling_again(folder: Path) -> None:
    get(FakeEngine(), CompileCache(folder))
    (folder / "key").write_bytes(b"short")
    engine = FakeEngine()
    get(engine, CompileCache(folder))
    assert (engine.compiled, engine.loaded) == (1, 0)
    get(engine, CompileCache(folder))
    assert (engine.compiled, engine.loaded) == (1, 1)


def test_engine_that_refuses_the_file_compiles(folder: Path) -> None:
    class Picky(FakeEngine):
        def deserialize(self, wasm: bytes, path: Path) -> FakeCode:
            raise GuestFailure("bad-module", "another configuration")

    get(FakeEngine(), CompileCache(folder))
    engine = Picky()
    get(engine, CompileCache(folder))
    assert engine.compiled == 1


def test_size_is_bounded_and_the_least_recently_used_goes(folder: Path) -> None:
    disk = CompileCache(folder, bytes_max=2_500)
    engine = FakeEngine(code_bytes=900)
    for number, age_s in ((1, 300), (2, 200)):
        get(engine, disk, module(number))
        newest = max(folder.glob("*.cwasm"), key=lambda path: path.stat().st_mtime)
        os.utime(newest, (newest.stat().st_mtime - age_s,) * 2)
    get(engine, disk, module(1))  # from disk: now the younger of the two
    assert engine.compiled == 2
    get(engine, disk, module(3))
    assert len(list(folder.glob("*.cwasm"))) == len(list(folder.glob("*.mac"))) == 2
    get(engine, disk, module(1))
    assert engine.compiled == 3, "module 1 was kept"
    get(engine, disk, module(2))
    assert engine.compiled == 4, "module 2 had gone"


def test_leftovers_of_a_killed_process_go_when_they_are_old(folder: Path) -> None:
    get(FakeEngine(), CompileCache(folder))
    old, new = folder / "tmp-old", folder / "tmp-new"
    for path in (old, new):
        path.write_bytes(b"half")
    os.utime(old, (1, 1))
    get(FakeEngine(), CompileCache(folder), module(1))
    assert new.exists() and not old.exists()


def test_folder_that_cannot_be_made_only_switches_the_cache_off(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    disk = CompileCache(tmp_path / "file" / "cache")
    engine = FakeEngine()
    for _ in range(2):
        get(engine, disk)
    assert engine.compiled == 2
    assert disk.note is not None and "not kept" in disk.note


def test_folder_that_takes_nothing_more_only_sets_the_note(folder: Path) -> None:
    class Full(FakeEngine):
        def serialize(self, code: Any, path: Path) -> None:
            path.write_bytes(b"half")
            raise OSError(28, "No space left on device")

    disk = CompileCache(folder)
    get(Full(), disk)
    assert disk.note is not None and "No space left" in disk.note
    assert not list(folder.glob("*.cwasm")) and not list(folder.glob("tmp-*"))


def test_memory_answers_without_the_module(folder: Path) -> None:
    codes = CodeCache(None)
    engine = FakeEngine()
    cid = CID.of(EMPTY_MODULE, RAW)
    loads: list[int] = []

    def load() -> bytes:
        loads.append(1)
        return EMPTY_MODULE

    for _ in range(3):
        codes.get(engine, cid, load, EngineCaps(), lambda: None)
    assert (len(loads), engine.compiled) == (1, 1)


def test_memory_is_bounded_by_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "MEMORY_CODES_MAX", 2)
    compiled = _compiles_with(range(3), then=(2, 1, 0))
    assert compiled == [0]


def test_memory_is_bounded_by_size_but_keeps_the_newest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "MEMORY_WASM_BYTES_MAX", 1)
    assert _compiles_with(range(2), then=(1, 0)) == [0]


def _compiles_with(first: range, then: tuple[int, ...]) -> list[int]:
    """Which of `then` had to be compiled after `first` were."""
    codes, engine = CodeCache(None), FakeEngine()

    def use(number: int) -> bool:
        wasm, before = module(number), engine.compiled
        codes.get(engine, CID.of(wasm, RAW), lambda: wasm, EngineCaps(), lambda: None)
        return engine.compiled > before

    for number in first:
        use(number)
    return [number for number in then if use(number)]


def test_compiling_is_announced_only_when_it_happens(folder: Path) -> None:
    announced: list[int] = []
    tell: Callable[[], None] = lambda: announced.append(1)  # noqa: E731
    for _ in range(2):
        CodeCache(CompileCache(folder)).get(
            FakeEngine(), CID.of(EMPTY_MODULE, RAW), lambda: EMPTY_MODULE, EngineCaps(), tell
        )
    assert len(announced) == 1


def test_module_over_the_bound_is_refused_before_anything_else() -> None:
    engine = FakeEngine()
    caps = EngineCaps(module_bytes=len(EMPTY_MODULE) - 1)
    cid = CID.of(EMPTY_MODULE, RAW)
    with pytest.raises(GuestFailure) as failure:
        CodeCache(None).get(engine, cid, lambda: EMPTY_MODULE, caps, lambda: None)
    assert failure.value.code == "module-too-large"
    assert engine.compiled == 0


def test_the_bound_also_holds_for_a_module_in_memory() -> None:
    codes, cid = CodeCache(None), CID.of(EMPTY_MODULE, RAW)
    codes.get(FakeEngine(), cid, lambda: EMPTY_MODULE, EngineCaps(), lambda: None)
    assert cid in codes
    caps = EngineCaps(module_bytes=len(EMPTY_MODULE) - 1)
    with pytest.raises(GuestFailure) as failure:
        codes.get(FakeEngine(), cid, lambda: EMPTY_MODULE, caps, lambda: None)
    assert failure.value.code == "module-too-large"


def test_a_module_in_a_file_has_the_key_of_its_bytes(folder: Path) -> None:
    wasm = EMPTY_MODULE + b"\0\xff\xff\xff\x04\x01n" + bytes(range(256)) * (10 * MIB // 256)
    wasm = wasm[: len(EMPTY_MODULE) + 5 + 0x9FFFFF]
    in_file = gathered(wasm[at : at + MIB] for at in range(0, len(wasm), MIB))
    assert isinstance(in_file, Spooled)
    engine = FakeEngine()
    codes = CodeCache(CompileCache(folder))
    loaded = codes.get(engine, CID.of(wasm, RAW), lambda: in_file, EngineCaps(), lambda: None)
    assert loaded.wasm_bytes == len(wasm) and engine.compiled == 1
    assert get(engine, CompileCache(folder), wasm).text == wasm[::-1]
    assert (engine.compiled, engine.loaded) == (1, 1)
