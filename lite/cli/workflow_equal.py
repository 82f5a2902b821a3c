"""What is said of equal steps whose limits differ."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lite.model.equal_steps import SharedRun
    from lite.model.graph import Graph
    from lite.model.workflow import Workflow
    from lite.node import Node

_SHOWN = 5


def shared(node: Node, workflow: Workflow, graph: Graph) -> list[SharedRun]:
    """Equal steps whose limits differ, under this node's own limits."""
    if not graph.duplicates:
        return []
    from lite.model.equal_steps import shared_runs

    return shared_runs(workflow, graph.duplicates, node.config.limits)


def words(one: SharedRun) -> str:
    """`a, b: equal steps run once, within the wider limits: fuel 5M, time 10s`."""
    from lite.quantities import render_duration, render_fuel, render_size

    render = {"fuel": render_fuel, "time": render_duration}
    limits = ", ".join(
        f"{name} {render.get(name, render_size)(amount)}" for name, amount in one.taken.items()
    )
    labels = ", ".join(one.labels[:_SHOWN])
    if len(one.labels) > _SHOWN:
        labels += f" and {len(one.labels) - _SHOWN} more"
    return f"{labels}: equal steps run once, within the wider limits: {limits}"


def fields(one: SharedRun) -> dict[str, Any]:
    """The same for programs."""
    return {"labels": list(one.labels), "limits": one.taken}
