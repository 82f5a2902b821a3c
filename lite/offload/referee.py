"""What this node itself says of a step: what it knows by now, or runs as the referee."""

from __future__ import annotations

from lite.errors import IpvmError
from lite.frozen import replace
from lite.ipld import dag_cbor
from lite.model.receipt import Receipt
from lite.needs.requirements import Requirements
from lite.node import Node
from lite.offload.confirming import settles
from lite.offload.groups import Runs, limits_of_step
from lite.ops.base import InDoubt
from lite.store import Store
from lite.store.outbox_rows import Item

__all__ = ["is_answered", "own_answer"]


def is_answered(node: Node, store: Store, item: Item) -> bool:
    """Whether the answer to a step is known by now, as its run would take it.

    Args:
        store: a handle of the thread that asks.
    """
    if not store.receipts.has_any(item.instruction):
        return False
    base = node.config.limits
    limits = limits_of_step(item, Runs(store, base)) or base
    return node.executor.confirmed(item.confirm).lookup(item.instruction, limits) is not None


def own_answer(node: Node, item: Item) -> Receipt | None:
    """The receipt of running it here, if that is possible at all; in a thread."""
    instruction = node.store.instructions.get(item.instruction)
    needs = Requirements.from_value(dag_cbor.decode_trusted(item.needs))
    if instruction is None or item.code == "op":
        return None
    machine = replace(needs, affinity=(), anti_affinity=(), key="")  # a referee is anywhere
    if not node.here.fit(machine).ok:
        return None
    limits = limits_of_step(item, Runs(node.store, node.config.limits))
    if limits is None:
        return None
    try:
        receipt = node.executor.run(instruction, limits, fresh=True).receipt
    except (IpvmError, InDoubt):
        return None
    return receipt if settles(receipt) else None
