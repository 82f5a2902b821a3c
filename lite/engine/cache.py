"""Compiled code, kept so that a module is compiled once on this machine.

Native code runs unchecked, so a file is loaded only if this node wrote it: beside each file stands
an HMAC-SHA256 of its name and content under a key that never leaves the cache folder. Anything
unexpected (another engine version, another processor, a flipped bit, a truncated file) means that
the module is compiled again and the file is replaced. Files are never changed in place, because a
running engine may have them mapped.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import stat
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path

from lite.engine.base import Code, Engine, GuestFailure
from lite.engine.module import ModuleInfo, describe
from lite.engine.spool import Blob, mapped, pieces_of
from lite.frozen import frozen, replace
from lite.ipld import dag_cbor
from lite.ipld.cid import CID
from lite.limits import CACHE_BYTES, DESCRIPTION_BYTES_MAX, GIB, MIB, EngineCaps

MEMORY_CODES_MAX = 32
MEMORY_WASM_BYTES_MAX = 64 * MIB
"""Bounds on the modules that one process keeps compiled, by number and by size of the module."""

KEY_BYTES = 32
MAC_BYTES = 32
CODE_BYTES_MAX = GIB  # of one compiled module; a larger file was not made here
CODE_SUFFIX = ".cwasm"
MAC_SUFFIX = ".mac"
TEMPORARY_PREFIX = "tmp-"
TEMPORARY_STALE_S = 3600.0


class CompileCache:
    """The cache folder. Several processes may use one folder at once.

    Attributes:
        note: why compiled code is not kept, or None. Never an error: everything still runs.
    """

    def __init__(self, folder: Path, *, bytes_max: int = CACHE_BYTES) -> None:
        self._folder = folder
        self._bytes_max = bytes_max
        self._key: bytes | None = None
        self.note: str | None = None
        try:
            self._key = _open(folder)
        except OSError as error:
            self._failed(error)

    def load(self, engine: Engine, wasm: Blob) -> Code | None:
        """The code of `wasm` if this node compiled it before with this very engine, else None."""
        if self._key is None:
            return None
        path = self._path(engine, wasm)
        try:
            mac_path = path.with_suffix(MAC_SUFFIX)
            if not (_readable(mac_path, MAC_BYTES) and _readable(path, CODE_BYTES_MAX)):
                return None
            mac = mac_path.read_bytes()
            if not hmac.compare_digest(mac, _mac(self._key, path, path.name)):
                return None
        except FileNotFoundError:
            return None
        except OSError as error:
            self._failed(error)
            return None
        with suppress(OSError):  # a read-only folder still serves, its files only seem older
            os.utime(path)
        try:
            return engine.deserialize(mapped(wasm), path)
        except GuestFailure:
            return None

    def store(self, engine: Engine, wasm: Blob, code: Code) -> None:
        """Keep `code` for the next process. A folder that cannot take it only sets `note`."""
        if self._key is None:
            return
        path = self._path(engine, wasm)
        fresh = self._folder / f"{TEMPORARY_PREFIX}{os.urandom(8).hex()}"
        fresh_mac = fresh.with_suffix(MAC_SUFFIX)
        try:
            engine.serialize(code, fresh)
            fresh_mac.write_bytes(_mac(self._key, fresh, path.name))
            fresh.replace(path)
            fresh_mac.replace(path.with_suffix(MAC_SUFFIX))
            self._evict(path)
        except OSError as error:
            self._failed(error)
            with suppress(OSError):
                fresh.unlink(missing_ok=True)
                fresh_mac.unlink(missing_ok=True)

    def _failed(self, error: OSError) -> None:
        self.note = f"compiled modules are not kept in {self._folder}: {error.strerror or error}"

    def _path(self, engine: Engine, wasm: Blob) -> Path:
        made_by = f"{engine.name}-{engine.version}-{engine.config_id}-{machine_id()}"
        safe = re.sub(r"[^A-Za-z0-9_+-]", "_", made_by)
        return self._folder / f"{_digest(wasm)}.{safe}{CODE_SUFFIX}"

    def _evict(self, newest: Path) -> None:
        """Drop what was not used for longest until the rest fits, and what a crash left behind."""
        now = newest.stat().st_mtime
        files: list[tuple[float, int, Path]] = []
        for entry in os.scandir(self._folder):
            with suppress(FileNotFoundError):
                found = entry.stat()
                if entry.name.endswith(CODE_SUFFIX):
                    files.append((found.st_mtime, found.st_size, Path(entry.path)))
                elif _stale(entry.name, now - found.st_mtime):
                    Path(entry.path).unlink()
        total = sum(size for _, size, _ in files)
        for _, size, path in sorted(files):
            if total <= self._bytes_max or path == newest:
                break
            path.unlink(missing_ok=True)
            path.with_suffix(MAC_SUFFIX).unlink(missing_ok=True)
            total -= size


def _stale(name: str, age_s: float) -> bool:
    return name.startswith(TEMPORARY_PREFIX) and age_s > TEMPORARY_STALE_S


def _open(folder: Path) -> bytes:
    """Make the folder private and read its key, or make one."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if folder.stat().st_mode & 0o077:
        folder.chmod(0o700)
    path = folder / "key"
    with suppress(FileNotFoundError):
        if _readable(path, KEY_BYTES):
            key = path.read_bytes()
            if len(key) == KEY_BYTES:
                return key
    fresh = folder / f"{TEMPORARY_PREFIX}{os.urandom(8).hex()}"
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(os.urandom(KEY_BYTES))
    fresh.replace(path)
    # Of several processes that get here at once the last one's key stays; what the others sign
    # until they end is merely compiled again.
    return path.read_bytes()


def _readable(path: Path, bytes_max: int) -> bool:
    """Whether reading the file comes to an end soon: reading from a pipe or a device may not."""
    found = path.stat()
    return stat.S_ISREG(found.st_mode) and found.st_size <= bytes_max


def _digest(wasm: Blob) -> str:
    """SHA-256, in hexadecimal digits."""
    made = hashlib.sha256()
    for piece in pieces_of(wasm):
        made.update(piece)
    return made.hexdigest()


def _mac(key: bytes, path: Path, name: str) -> bytes:
    """Over the name as well, so that one file cannot stand in for another."""
    mac = hmac.new(key, name.encode() + b"\0", hashlib.sha256)
    with path.open("rb", buffering=0) as file:
        while chunk := file.read(MIB):
            mac.update(chunk)
    return mac.digest()


@cache
def machine_id() -> str:
    """Architecture and a short hash of the processor's feature flags.

    Code compiled for one processor may use instructions that another one lacks; a home on a disk
    that moves between machines must not mix them.
    """
    flags = ""
    with suppress(OSError), Path("/proc/cpuinfo").open(errors="replace") as lines:
        flags = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    return f"{os.uname().machine}-{hashlib.sha256(flags.encode()).hexdigest()[:12]}"


@frozen
class Loaded:
    """A module that is ready to be opened."""

    info: ModuleInfo
    code: Code
    wasm_bytes: int


class CodeCache:
    """Compiled modules of one engine: those in memory, then those on disk, else compile."""

    def __init__(self, disk: CompileCache | None) -> None:
        self._disk = disk
        self._loaded: OrderedDict[CID, Loaded] = OrderedDict()

    @property
    def note(self) -> str | None:
        """Why compiled code is not kept, or None."""
        return self._disk.note if self._disk is not None else None

    def __contains__(self, module: CID) -> bool:
        """Whether it is in memory."""
        return module in self._loaded

    def get(
        self,
        engine: Engine,
        module: CID,
        load_wasm: Callable[[], Blob],
        caps: EngineCaps,
        compiling: Callable[[], None],
    ) -> Loaded:
        """The compiled module. `load_wasm` is called only when it is not in memory, and `compiling`
        just before a compilation.

        Raises:
            GuestFailure: `module-too-large`, `bad-module`, `denied-import`…
        """
        found = self._loaded.get(module)
        if found is not None:
            check_size(found.wasm_bytes, caps)
            self._loaded.move_to_end(module)
            return found
        wasm = load_wasm()
        check_size(len(wasm), caps)
        info = describe(mapped(wasm))
        code = self._disk.load(engine, wasm) if self._disk is not None else None
        if code is None:
            compiling()
            code = engine.compile(mapped(wasm), caps)
            if self._disk is not None:
                self._disk.store(engine, wasm, code)
        if not info.typed:
            info = replace(info, exports=code.exports(), typed=True)
            check_description(info)
        loaded = Loaded(info, code, len(wasm))
        self._keep(module, loaded)
        return loaded

    def _keep(self, module: CID, loaded: Loaded) -> None:
        self._loaded[module] = loaded
        total = sum(entry.wasm_bytes for entry in self._loaded.values())
        while len(self._loaded) > MEMORY_CODES_MAX or (
            total > MEMORY_WASM_BYTES_MAX and len(self._loaded) > 1
        ):
            _, dropped = self._loaded.popitem(last=False)
            total -= dropped.wasm_bytes


def check_size(wasm_bytes: int, caps: EngineCaps) -> None:
    """Refuse a module over the node's bound. Raises `GuestFailure` (`module-too-large`)."""
    if wasm_bytes > caps.module_bytes:
        raise GuestFailure(
            "module-too-large",
            f"has {wasm_bytes} bytes; this node takes modules of up to {caps.module_bytes}",
            limit=caps.module_bytes,
        )


def check_description(info: ModuleInfo) -> None:
    """Refuse what an engine has found in a module when it is too much to be kept and to be sent to
    the node. Raises `GuestFailure` (`module-too-large`)."""
    size = len(dag_cbor.encode(info.to_data()))
    if size > DESCRIPTION_BYTES_MAX:
        raise GuestFailure(
            "module-too-large",
            f"declares functions that take {size} bytes to describe",
            limit=DESCRIPTION_BYTES_MAX,
        )
