"""Hands the operations of a node to a Ray cluster: each run is one Ray task.

`wasm/run` and the pure operations of other distributions run there; what reads or changes this
machine (files, programs, mail, the network) stays here. A task asks for what its step requires:
`num_cpus`, `num_gpus` and `memory`. What no machine of the cluster has is refused before anything
is sent.

`RAY_ADDRESS` names the cluster, as everywhere in Ray; without it Ray is started on this machine.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any

from ipvm_ray.demand import Demand
from ipvm_ray.task import Parcel, run_there
from lite.engine.base import Outcome
from lite.errors import Interrupted, QueuedError
from lite.ops.base import Level, Op, Ready
from lite.ops.registry import Plugin
from lite.ops.through import Machine
from lite.ops.wasm import WasmRun

__all__ = ["OnRay", "RayCluster"]

INSTALL = "`pip install 'ipvm-lite[ray]'` brings it; `ipvm config unset ops.through` does without."
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


class RayCluster:
    """The cluster engine that `ops.through = ["ray"]` names. Connects when it is first needed."""

    def __init__(self, config: Any) -> None:
        self._settings = {name: config.text(name) for name in ("engine.name", "limits.module")}
        self._lock = threading.Lock()
        self._run: Any = None

    def wrap(self, op: Op) -> Op:
        is_there = isinstance(op, WasmRun) or (isinstance(op, Plugin) and op.level == "pure")
        return OnRay(op, self) if is_there else op

    def machines(self) -> Sequence[Machine]:
        self._connected()
        return [machine for machine, _ in _machines()]

    def refusal(self, demand: Demand) -> str | None:
        """Why no machine of the cluster can run something, or None."""
        self._connected()
        return demand.lacking([resources for _, resources in _machines()])

    def submit(self, demand: Demand, parcel: Parcel) -> Any:
        """Begin a task; a reference to what it comes to."""
        self._connected()
        return self._run.options(**demand.options()).remote(parcel, self._settings)

    def _connected(self) -> None:
        """Join the cluster, once for all threads.

        Raises:
            QueuedError: it cannot be reached, or Ray itself not be loaded.
        """
        with self._lock:
            if self._run is None:
                ready: Future[Any] = Future()
                # A Ray that is started here ends with the thread that started it: one that stays.
                stays = threading.Thread(target=_join, args=(ready,), name="ray", daemon=True)
                stays.start()
                self._run = ready.result()


def _join(ready: Future[Any]) -> None:
    """Join the cluster and stay."""
    try:
        import ray

        ray.init(
            ignore_reinit_error=True,
            log_to_driver=False,
            include_dashboard=False,
            logging_level="ERROR",
        )
        # Never twice by Ray itself: whether something may be repeated is for the node to say.
        ready.set_result(ray.remote(max_retries=0)(run_there))
    except ImportError as fault:
        ready.set_exception(QueuedError(f"Ray cannot be loaded: {fault}", hint=INSTALL))
        return
    except ConnectionError as fault:
        ready.set_exception(QueuedError(f"the Ray cluster cannot be reached: {fault}"))
        return
    except Exception as fault:  # as of an address that is none: Ray has no one kind for them
        said = f"the Ray cluster cannot be used: {type(fault).__name__}: {fault}"
        ready.set_exception(QueuedError(said))
        return
    except BaseException as fault:  # for whoever waits for it
        ready.set_exception(fault)
        return
    threading.Event().wait()


class OnRay:
    """An operation whose runs are Ray tasks. Name, level and receipts are the operation's own."""

    def __init__(self, op: Op, cluster: RayCluster) -> None:
        self._op = op
        self._cluster = cluster
        self.name = op.name
        self.level: Level = op.level
        self.needs = op.needs

    def missing(self, ready: Ready) -> str | None:
        """A module that is not here, or a demand that no machine of the cluster can meet."""
        lacking = self._op.missing(ready) if isinstance(self._op, WasmRun) else None
        return lacking or self._cluster.refusal(Demand.of(ready.needs))

    def run(self, ready: Ready) -> Outcome:
        reference = self._cluster.submit(Demand.of(ready.needs), Parcel.of(self.name, ready))
        import ray

        def kill() -> None:
            ray.cancel(reference, force=True)

        if ready.stop is not None:
            ready.stop.enter(kill)
        try:
            outcome, trace = ray.get(reference)
        except (ray.exceptions.TaskCancelledError, ray.exceptions.WorkerCrashedError) as fault:
            if ready.stop is not None and ready.stop.asked:
                raise Interrupted("the run was asked to stop") from fault
            raise QueuedError(f"the Ray task ended before its time: {fault}") from fault
        except ray.exceptions.RayError as fault:
            raise QueuedError(f"Ray cannot run it now: {_last_line(fault)}") from fault
        finally:
            if ready.stop is not None:
                ready.stop.leave(kill)
        if ready.on_trace is not None and trace:
            ready.on_trace(trace)
        result: Outcome = outcome
        return result


def _machines() -> list[tuple[Machine, dict[str, float]]]:
    """Each living machine, with all that Ray says of it."""
    import ray

    found = []
    for node in ray.nodes():
        if node["Alive"]:
            resources: dict[str, float] = node["Resources"]
            kinds = [key.partition(":")[2] for key in resources if key.startswith("accelerator_t")]
            gpus = (kinds[0] if kinds else "",) * int(resources.get("GPU", 0))
            cores, memory = int(resources.get("CPU", 0)), int(resources.get("memory", 0))
            found.append((Machine(cores, memory, gpus), resources))
    return found


def _last_line(fault: Exception) -> str:
    """What a fault of Ray comes to: its text is a traceback, in colours."""
    lines = [line.strip() for line in _COLOUR.sub("", str(fault)).splitlines() if line.strip()]
    return lines[-1] if lines else type(fault).__name__
