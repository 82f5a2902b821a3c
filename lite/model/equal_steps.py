"""Equal steps of a workflow: they run once, within the wider of their limits.

Limits are no part of an instruction, so steps that differ only in them are the same work. Taking
the wider one lets each of them have what it asks for; whoever wrote a narrow one should know.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce

from lite.frozen import frozen
from lite.limits import Limits
from lite.model.limits_map import limits_from_meta
from lite.model.workflow import Workflow

_FIELDS = {"fuel": "fuel", "memory": "memory_bytes", "time": "time_ms", "output": "output_bytes"}


@frozen
class SharedRun:
    """Equal steps that ask for different limits.

    Attributes:
        labels: in the order of the workflow; the first one runs.
        taken: those of the limits fuel, memory (bytes), time (ms) and output (bytes) in which they
            differ, each as wide as the widest.
    """

    labels: tuple[str, ...]
    taken: dict[str, int]


def shared_runs(workflow: Workflow, duplicates: Mapping[str, str], base: Limits) -> list[SharedRun]:
    """The groups of equal steps whose limits differ.

    Args:
        duplicates: as in the workflow's `Graph`.
        base: limits where neither a step nor the workflow names any.
    """
    groups: dict[str, list[str]] = {}
    for label, first in duplicates.items():
        groups.setdefault(first, [first]).append(label)
    found = []
    for labels in groups.values():
        asked = [
            limits_from_meta(workflow[label].meta, workflow.defaults, base) for label in labels
        ]
        widest = reduce(Limits.widen, asked)
        taken = {
            name: getattr(widest, field)
            for name, field in _FIELDS.items()
            if len({getattr(one, field) for one in asked}) > 1
        }
        if taken:
            found.append(SharedRun(tuple(labels), taken))
    return found
