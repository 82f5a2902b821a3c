"""Processor, memory and disk of this machine, as far as this process may use them.

A container is bounded by its cgroup, which the numbers of the machine say nothing of: of all groups
that this process is in, and of those above them, the least bound counts (cgroup v1 and v2).
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from lite.limits import DISK_FREE_BYTES_MIN, ram_bytes

ROOT: Final = Path("/")
_READ_BYTES_MAX: Final = 64 * 1024


def cores(root: Path = ROOT) -> int:
    """Whole processor cores: those that this process may run on, and the time it gets; at least
    one.

    Args:
        root: what to read in place of `/`.
    """
    if hasattr(os, "sched_getaffinity"):
        count = len(os.sched_getaffinity(0))
    else:
        count = os.cpu_count() or 1
    quotas = [quota for folder in _groups(root, "cpu") if (quota := _quota(folder)) is not None]
    return max(1, int(min([count, *quotas])))


def memory_bytes(root: Path = ROOT) -> int:
    """Memory of the machine, or less where the cgroup gives less; 0: not known."""
    total = _total(root) or ram_bytes(unknown=0)
    bounds = [
        bound
        for folder in _groups(root, "memory")
        for name in ("memory.max", "memory.limit_in_bytes")
        if (bound := _number(folder / name)) is not None
    ]
    return min([total, *bounds]) if total else min(bounds, default=0)


def disk_bytes(home: Path) -> int:
    """Free bytes of the disk of a folder that may not be there yet, without what a node leaves."""
    while not home.exists() and home != home.parent:
        home = home.parent
    try:
        usage = shutil.disk_usage(home)
    except OSError:
        return 0
    return max(0, usage.free - min(DISK_FREE_BYTES_MIN, usage.total // 20))


def _groups(root: Path, controller: str) -> Iterator[Path]:
    """The folders of the cgroups that bound this process, the outermost last."""
    mounted = root / "sys/fs/cgroup"
    for line in (_text(root / "proc/self/cgroup") or "").splitlines():
        number, _, rest = line.partition(":")
        names, _, path = rest.partition(":")
        if number == "0" and not names:
            base = mounted
        elif controller in names.split(","):
            joined = mounted / names
            base = joined if joined.is_dir() else mounted / controller
        else:
            continue
        # From inside of a namespace a path may lead out of what is mounted, by `..`.
        parts = [part for part in path.split("/") if part not in ("", ".", "..")]
        for length in range(len(parts), -1, -1):
            yield base.joinpath(*parts[:length])


def _quota(folder: Path) -> float | None:
    """Cores' worth of time that a group gets, None: no bound."""
    both = (_text(folder / "cpu.max") or "").split()
    if len(both) == 2 and both[0].isdecimal() and both[1].isdecimal() and int(both[1]):
        return int(both[0]) / int(both[1])
    quota, period = _number(folder / "cpu.cfs_quota_us"), _number(folder / "cpu.cfs_period_us")
    return quota / period if quota and period else None


def _total(root: Path) -> int | None:
    for line in (_text(root / "proc/meminfo") or "").splitlines():
        words = line.split()
        if words[:1] == ["MemTotal:"] and len(words) == 3 and words[1].isdecimal():
            return int(words[1]) * 1024
    return None


def _number(path: Path) -> int | None:
    """The number in a file; None: it is not there, or says `max` or -1."""
    text = (_text(path) or "").strip()
    return int(text) if text.isdecimal() and len(text) < 20 else None


def _text(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            return file.read(_READ_BYTES_MAX).decode("utf-8", "replace")
    except OSError:
        return None
