"""What this node itself says of a step about which providers disagree."""

from __future__ import annotations

from lite.errors import IpvmError
from lite.frozen import replace
from lite.ipld import dag_cbor
from lite.model.receipt import Receipt
from lite.needs.requirements import Requirements
from lite.node import Node
from lite.offload.groups import limits_of_run
from lite.ops.base import InDoubt
from lite.store.outbox_rows import Item

__all__ = ["own_answer"]


def own_answer(node: Node, item: Item) -> Receipt | None:
    """The receipt of running it here, if that is possible at all; in a thread."""
    instruction = node.store.instructions.get(item.instruction)
    needs = Requirements.from_value(dag_cbor.decode_trusted(item.needs))
    if instruction is None or item.code == "op":
        return None
    machine = replace(needs, affinity=(), anti_affinity=(), key="")  # a referee is anywhere
    if not node.here.fit(machine).ok:
        return None
    try:
        limits = limits_of_run(node.store.runs.get(item.run), node.config.limits)
        return node.executor.run(instruction, limits, fresh=True).receipt
    except (IpvmError, InDoubt):
        return None
