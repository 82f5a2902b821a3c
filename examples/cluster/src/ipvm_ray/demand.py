"""What a step requires, as resources of Ray."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Demand:
    """Of one machine; without a demand a task takes one core."""

    cpus: int = 1
    gpus: int = 0
    memory_bytes: int = 0

    @staticmethod
    def of(needs: Mapping[str, Any]) -> Demand:
        """From `Ready.needs`. Ray only counts GPUs; the node compares their kind and memory."""
        gpu = needs.get("gpu") or {}
        return Demand(needs.get("cpu", 1), gpu.get("count", 0), needs.get("memory", 0))

    def options(self) -> dict[str, Any]:
        """As `ray.remote` takes them."""
        options: dict[str, Any] = {"num_cpus": self.cpus, "num_gpus": self.gpus}
        return options | ({"memory": self.memory_bytes} if self.memory_bytes else {})

    def lacking(self, machines: Sequence[Mapping[str, float]]) -> str | None:
        """What no machine has, in one line; None: one has it all, when it is free."""
        wanted = {"CPU": self.cpus, "GPU": self.gpus, "memory": self.memory_bytes}
        if any(all(has.get(key, 0) >= n for key, n in wanted.items()) for has in machines):
            return None
        words = {"CPU": "cores", "GPU": "GPUs", "memory": "bytes of memory"}
        for key, amount in wanted.items():
            most = int(max((has.get(key, 0) for has in machines), default=0))
            if most < amount:
                return f"needs {amount} {words[key]}; no machine of the cluster has over {most}"
        return "no machine of the cluster has all that it needs at once"
