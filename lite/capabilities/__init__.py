"""What this node has for steps, measured: the processor, memory, disk, GPUs, engine, operations.

GPUs that their owner has written down (`node.gpus`) are not looked for. Measuring starts short
processes (an interpreter that loads the engine, `nvidia-smi`) and takes up to a second, on machines
with slow drivers more; whoever needs it often keeps the value (`lite.capabilities.here`).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from lite.capabilities import gpus, machine
from lite.config import Config
from lite.errors import QueuedError
from lite.frozen import replace
from lite.limits import Limits
from lite.needs.capabilities import UNBOUNDED, Capabilities, Gpu
from lite.ops.base import Op
from lite.ops.registry import Ops, Unusable

__all__ = ["engine_features", "measure", "usable_ops"]

ENGINE_S: Final = 60.0  # an engine library of 30 MB on a slow card takes its time
ENGINE_MEMORY_BYTES: Final = 4 << 30
_SETTINGS: Final = {
    "crud/destroy": "ops.crud_root",
    "crud/read": "ops.crud_root",
    "crud/update": "ops.crud_root",
    "exec/run": "ops.exec",
    "msg/send": "ops.smtp",
}
"""Operations that do nothing before their owner has set something."""


def measure(
    did: str,
    config: Config,
    ops: Mapping[str, Op],
    *,
    stored_bytes: int = 0,
) -> Capabilities:
    """What this node has for steps of its owner, who bounds himself: `lite.needs.capabilities.
    for_others` says what of it others may count on.

    Args:
        did: of the node.
        ops: its operations by name.
        stored_bytes: what is stored in the home already, counted against `store.quota`.
    """
    uname = os.uname()
    own = Capabilities(
        did,
        arch=uname.machine,
        system=uname.sysname.lower(),
        cores=machine.cores(),
        memory_bytes=machine.memory_bytes(),
        disk_bytes=_disk_bytes(config, stored_bytes),
        gpus=gpus.find().gpus if config["node.gpus"] is None else _configured_gpus(config),
        engine=engine_features(config.engine),
        ops=usable_ops(config, ops),
        tags=tuple(sorted(set(config["node.tags"]))),
        limits=_bounds(config),
        module_bytes=config.engine_caps.module_bytes,
        fetch_bytes=config["peers.fetch_bytes"],
    )
    return _with_cluster(own, ops, has_gpus=config["node.gpus"] is not None)


def _with_cluster(own: Capabilities, ops: Mapping[str, Op], *, has_gpus: bool) -> Capabilities:
    """The same with the most that any machine has to which operations are handed (`ops.through`).

    Args:
        has_gpus: the owner wrote down which GPUs there are.
    """
    try:
        machines = ops.machines() if isinstance(ops, Ops) else None
    except QueuedError:
        return own  # nor are there operations
    if not machines:
        return own
    found = replace(
        own,
        cores=max(one.cores for one in machines),
        memory_bytes=max(one.memory_bytes for one in machines),
    )
    most = max((one.gpus for one in machines), key=len)
    return found if has_gpus else replace(found, gpus=tuple(Gpu(_maker(n), n) for n in most))


def _bounds(config: Config) -> Limits:
    cap = config["limits.fuel_cap"]
    return UNBOUNDED if cap is None else replace(UNBOUNDED, fuel=cap)


def _configured_gpus(config: Config) -> tuple[Gpu, ...]:
    """Those that the owner has written down; the first word of a name is taken for the maker."""
    written: tuple[tuple[str, int | None], ...] = config["node.gpus"]
    return tuple(Gpu(_maker(name), name, memory_bytes) for name, memory_bytes in written)


def _maker(name: str) -> str:
    return name.partition(" ")[0].lower()


def usable_ops(config: Config, ops: Mapping[str, Op]) -> tuple[str, ...]:
    """The names of the operations that this node can do: neither switched off nor broken, and with
    the setting without which they do nothing."""
    return tuple(
        name
        for name in sorted(ops)
        if not isinstance(ops[name], Unusable)
        and (name not in _SETTINGS or config[_SETTINGS[name]] is not None)
    )


def engine_features(name: str) -> tuple[str, ...]:
    """The name of the WebAssembly engine and what it can do, sorted; empty where none runs.

    It is loaded in a process of its own, because this one may be a daemon that stays small.

    Args:
        name: as the setting `engine.name`.
    """
    import time

    from lite.ops.arguments import Bytes
    from lite.ops.child import run_child

    if not sys.executable:
        return ()
    ended = run_child(
        [sys.executable, "-I", "-S", "-c", _program(name)],
        env={},
        stdin=Bytes.of(b""),
        folder=None,
        ends_at=time.monotonic() + ENGINE_S,
        memory_bytes=ENGINE_MEMORY_BYTES,
        stdout_bytes_max=1024,
    )
    whole = ended.status == 0 and not ended.stopped
    return tuple(sorted(ended.stdout.decode("ascii", "replace").split())) if whole else ()


def _program(name: str) -> str:
    """Prints the features of an engine, or fails."""
    parent = str(Path(__file__).absolute().parents[2])
    paths = [parent, *(path for path in sys.path if Path(path).is_absolute())]
    return (
        "import sys\n"
        f"sys.path += [p for p in {paths!r} if p not in sys.path]\n"
        "from lite.engine.select import choose\n"
        f"engine = choose({name!r})\n"
        "print(engine.name, *engine.features)\n"
    )


def _disk_bytes(config: Config, stored_bytes: int) -> int:
    free = machine.disk_bytes(config.home)
    quota = config.quota_bytes
    return free if quota is None else max(0, min(free, quota - stored_bytes))
