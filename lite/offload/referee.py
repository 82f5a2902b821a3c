"""What this node itself says of a step: what it knows by now, that it fits here, or what it runs as
the referee."""

from __future__ import annotations

from lite.capabilities.sizes import holds
from lite.engine.stop import Stop
from lite.errors import IpvmError
from lite.frozen import replace
from lite.ipld import dag_cbor
from lite.limits import Limits
from lite.model.instruction import Instruction
from lite.model.receipt import Receipt
from lite.needs.requirements import Requirements
from lite.node import Node
from lite.offload.confirming import settles
from lite.offload.groups import Runs, limits_of_step
from lite.ops.base import InDoubt
from lite.settled import Watch
from lite.store import Store
from lite.store.outbox_rows import Item

__all__ = ["can_say", "fits_here", "own_answer"]


def _is_answered(node: Node, store: Store, item: Item) -> bool:
    """Whether the answer to a step is known by now, as its run would take it.

    Args:
        store: a handle of the thread that asks.
    """
    if not store.receipts.has_any(item.instruction):
        return False
    base = node.config.limits
    limits = limits_of_step(item, Runs(store, base)) or base
    return node.executor.confirmed(item.confirm).lookup(item.instruction, limits) is not None


def fits_here(node: Node, store: Store, item: Item, needs: Requirements) -> bool:
    """Whether a step can run here now after all, or its answer is known by now. What is merely to
    be fetched does not fit.

    Args:
        store: a handle of the thread that asks.
    """
    if item.level in ("", "pure") and _is_answered(node, store, item):
        return True
    if item.code in ("along", "op", "module-size", "module") or item.secret:
        return False
    here = all(holds(store, cid) for cid, _ in needs.inputs)
    return here and node.here.fit(needs).ok


def can_say(node: Node, store: Store, item: Item) -> bool:
    """Whether a step can run here at all.

    Args:
        store: a handle of the thread that asks.
    """
    return _task(node, store, item) is not None


def own_answer(node: Node, item: Item, stop: Stop | None = None) -> Receipt | None:
    """The receipt of running it here, if that is possible at all; in a thread.

    Args:
        stop: ends it; then there is none.
    """
    task = _task(node, node.store, item)
    if task is None:
        return None
    instruction, limits = task
    try:
        watch = Watch(stop=stop)
        receipt = node.executor.run(instruction, limits, fresh=True, watch=watch).receipt
    except (IpvmError, InDoubt):
        return None
    return receipt if settles(receipt) else None


def _task(node: Node, store: Store, item: Item) -> tuple[Instruction, Limits] | None:
    """What there is to run, and within what; None: it cannot run here."""
    instruction = store.instructions.get(item.instruction)
    needs = Requirements.from_value(dag_cbor.decode_trusted(item.needs))
    if instruction is None or item.code == "op":
        return None
    machine = replace(needs, affinity=(), anti_affinity=(), key="")  # a referee is anywhere
    if not node.here.fit(machine).ok:
        return None
    limits = limits_of_step(item, Runs(store, node.config.limits))
    return None if limits is None else (instruction, limits)
