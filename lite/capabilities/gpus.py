"""The GPUs of this machine.

NVIDIA's are asked for with `nvidia-smi`, within a bound of time and of output. Where that is not
there, hangs, or says what is not understood, a GPU is one of the devices `/dev/nvidia0`… beside an
installed driver library, with nothing known of its model and memory. A GPU that is cut into parts
(MIG) is these parts: none of them may take the memory of the whole. What the driver calls lost is
left out. `CUDA_VISIBLE_DEVICES` hides GPUs from this node as it does from CUDA. GPUs of other
makers are not looked for: no operation here could use them.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from lite.environment import environment
from lite.frozen import frozen
from lite.limits import MIB
from lite.model.requires import GPUS_MAX
from lite.needs.capabilities import NAME_CHARS_MAX, Gpu

TOOL: Final = "nvidia-smi"
ANSWER_S: Final = 10.0  # drivers without persistence need seconds for each GPU
OUTPUT_BYTES_MAX: Final = 256 * 1024
MEMORY_BYTES: Final = 8 << 30  # of the tool's own process
VENDOR: Final = "nvidia"

_FIELDS: Final = "index,uuid,name,memory.total"
_QUERIES: Final = (f"{_FIELDS},mig.mode.current", _FIELDS)  # drivers before 450 know no MIG
_NONE: Final = "no devices were found"
_BROKEN: Final = re.compile(r"\blost\b|\breset\b|\berror\b|\berr!", re.IGNORECASE)
_WHOLE: Final = re.compile(r"GPU \d+: (.+) \(UUID: (GPU-[\w-]+)\)")
_PART: Final = re.compile(r"\s+MIG (\S+)\s+Device\s+\d+: \(UUID: (MIG-[\w/-]+)\)")
_PROFILE: Final = re.compile(r"(\d{1,4})gb\b")

Ask = Callable[[Sequence[str]], "tuple[int, str] | None"]
"""Runs the tool with arguments: its status and output; None: no answer."""


@frozen
class Found:
    """The GPUs, and what is to be said of them in one line, or nothing."""

    gpus: tuple[Gpu, ...] = ()
    note: str = ""


@frozen
class _Row:
    """One GPU as the tool lists it."""

    uuid: str
    gpu: Gpu
    in_parts: bool = False


def find(ask: Ask | None = None, root: Path = Path("/"), visible: str | None = None) -> Found:
    """The GPUs of this machine.

    Args:
        ask: instead of running `nvidia-smi`.
        root: what to look through in place of `/`.
        visible: instead of `CUDA_VISIBLE_DEVICES`.
    """
    visible = environment("CUDA_VISIBLE_DEVICES") if visible is None else visible
    asked = _asked(ask or _tool)
    if asked is None:
        return _by_devices(root, visible)
    rows, note = asked
    return Found(tuple(row.gpu for row in _visible(rows, visible)[:GPUS_MAX]), note)


def _asked(ask: Ask) -> tuple[list[_Row], str] | None:
    """What the tool says; None when it says nothing that is understood. When it says that it
    failed, CUDA would fail as well."""
    failed = ""
    for query in _QUERIES:
        answer = ask([f"--query-gpu={query}", "--format=csv,noheader,nounits"])
        if answer is None:
            return None
        status, text = answer
        if _NONE in text.lower():
            return [], ""
        rows, broken = _rows(text, with_mig=query != _FIELDS)
        if rows or broken:
            note = f"{broken} of the GPUs does not work, says {TOOL}" if broken else ""
            return (_in_parts(rows, ask) if any(row.in_parts for row in rows) else rows), note
        failed = _name(text.strip().partition("\n")[0]) if status else ""
    return ([], f"{TOOL}: {failed}") if failed else None


def _rows(text: str, *, with_mig: bool) -> tuple[list[_Row], int]:
    """The GPUs in a table without head, and how many others do not work. Lines that are no row of
    it are not counted."""
    rows: list[_Row] = []
    broken = 0
    for line in text.splitlines():
        start = [part.strip() for part in line.split(",", 2)]
        if len(start) != 3 or not start[0].isdecimal() or not start[1]:
            continue
        end = [part.strip() for part in start[2].rsplit(",", 2 if with_mig else 1)]
        if len(end) != (3 if with_mig else 2):
            continue
        if _BROKEN.search(line):
            broken += 1
        elif start[1].startswith("GPU-"):
            gpu = Gpu(VENDOR, _name(end[0]), _memory_bytes(end[1]))
            rows.append(_Row(start[1], gpu, with_mig and end[2] == "Enabled"))
    return rows, broken


def _in_parts(rows: list[_Row], ask: Ask) -> list[_Row]:
    """The same with the parts of a GPU in its place; a GPU without parts takes no work."""
    answer = ask(["-L"])
    parts: dict[str, list[_Row]] = {}
    model, uuid = "", ""
    for line in "" if answer is None else answer[1].splitlines():
        if whole := _WHOLE.fullmatch(line.rstrip()):
            model, uuid = whole[1], whole[2]
        elif (part := _PART.fullmatch(line.rstrip())) and uuid:
            size = _PROFILE.search(part[1])
            memory = int(size[1]) * 10**9 if size else None
            gpu = Gpu(VENDOR, _name(f"{model} MIG {part[1]}"), memory)
            parts.setdefault(uuid, []).append(_Row(part[2], gpu))
    found: list[_Row] = []
    for row in rows:
        found += parts.get(row.uuid, []) if row.in_parts else [row]
    return found


def _memory_bytes(text: str) -> int | None:
    """Of MiB, as the tool prints them without the unit; `[N/A]` where memory is shared."""
    return int(text) * MIB if text.isdecimal() and len(text) < 10 else None


def _name(text: str) -> str:
    """The model's name, printable and of bounded length; empty for `[N/A]`."""
    kept = "".join(char for char in text if char.isprintable())[:NAME_CHARS_MAX]
    return "" if kept.startswith("[") else kept


def _visible(rows: list[_Row], visible: str | None) -> list[_Row]:
    """Those that a list of numbers and UUIDs leaves visible; it ends at the first wrong one, as
    CUDA reads it."""
    if visible is None:
        return rows
    found: list[_Row] = []
    for name in visible.split(","):
        name = name.strip()
        if name.isdecimal():
            chosen = rows[int(name) : int(name) + 1] if len(name) < 6 else []
        else:
            chosen = [row for row in rows if name and row.uuid.startswith(name)]
        if len(chosen) != 1 or chosen[0] in found:
            break
        found += chosen
    return found


def _by_devices(root: Path, visible: str | None) -> Found:
    """A GPU for each device, where the driver's library is installed."""
    devices = root / "dev"
    try:
        names = sorted(
            path.name for path in devices.iterdir() if re.fullmatch(r"nvidia\d+", path.name)
        )
    except OSError:
        names = []
    if not names:
        return Found()
    if not _has_driver(root):
        return Found((), f"/dev/{names[0]} is there, but no libcuda.so.1")
    rows = [_Row(f"GPU-{name}", Gpu(VENDOR)) for name in names]
    note = f"{TOOL} does not answer: model and memory of the GPU are not known"
    return Found(tuple(row.gpu for row in _visible(rows, visible)[:GPUS_MAX]), note)


def _has_driver(root: Path) -> bool:
    """Whether the library is in the loader's cache, or in a folder where it is usually."""
    try:
        if b"libcuda.so.1" in (root / "etc/ld.so.cache").read_bytes():
            return True
    except OSError:
        pass  # systems without a cache have the folders
    folders = ("usr/lib", "usr/lib64", "usr/local/nvidia/lib64", "usr/lib/wsl/lib")
    several = sorted((root / "usr/lib").glob("*-linux-gnu")) if (root / "usr/lib").is_dir() else []
    places = [*(root / folder for folder in folders), *several]
    return any((folder / "libcuda.so.1").exists() for folder in places)


def _tool(arguments: Sequence[str]) -> tuple[int, str] | None:
    """Run `nvidia-smi`. One that hangs, or writes without end, is killed."""
    path = shutil.which(TOOL)
    if path is None:
        return None
    return run_tool([path, *arguments], ANSWER_S)


def run_tool(command: Sequence[str], answer_s: float) -> tuple[int, str] | None:
    """Status and output of a program; None when it does not end within its bounds, or cannot be
    started."""
    import time

    from lite.ops.arguments import Bytes
    from lite.ops.child import run_child

    ended = run_child(
        command,
        env={"LC_ALL": "C", "PATH": "/usr/bin:/bin"},
        stdin=Bytes.of(b""),
        folder=None,
        ends_at=time.monotonic() + answer_s,
        memory_bytes=MEMORY_BYTES,
        stdout_bytes_max=OUTPUT_BYTES_MAX,
    )
    if ended.stopped:
        return None
    return ended.status, ended.stdout.decode("utf-8", "replace")
