"""What `ipvm run` does with a call of an operation that this node does not have."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from lite.cli.shell import Shell
from lite.cli.workflow_files import short_id

if TYPE_CHECKING:
    from lite.model.instruction import Instruction
    from lite.node import Node

__all__ = ["queue_elsewhere"]


def queue_elsewhere(shell: Shell, node: Node, instruction: Instruction) -> str | None:
    """Queue a call for the nodes that gave this one the right to its operation, as a run of one
    step; what the user may do now. None when the operation is here, and waits for something else.
    """
    if node.executor.level_of(instruction) is not None:
        return None
    from lite.offload.invoking import Rights, command_of

    command = command_of(instruction)
    if not Rights(node.store, node.key, node.clock).providers(command):
        return (
            f"No node has given this one the right to {command}; one that has it does so by "
            f"`ipvm provider enable --op {instruction.op} --for {node.did}`."
        )
    run = _queued(shell, node, instruction)
    if run is None:
        return None
    shell.done["run"] = run
    return (
        f"It waits in the queue for a node that may do it. `ipvm workflow show {short_id(run)}` "
        "tells what came of it, `ipvm queue list` why it is no further."
    )


def _queued(shell: Shell, node: Node, instruction: Instruction) -> str | None:
    """The run in whose name a call waits: that of an equal call, or a new one. None: it has to stay
    here."""
    from lite.model.workflow import Workflow

    asked = Workflow(call=instruction)
    for item in node.store.outbox.asking(instruction.cid):
        run = node.store.runs.get(item.run)
        if run is not None and run.workflow == asked.cid:  # what else asks for it may differ
            return run.id
    secret = bool(node.store.secrets.instructions_among([instruction]))
    begin = partial(node.workflows.begin, name=instruction.op, new=True, private=secret)
    begun = begin(asked, offline=shell.offline).go()
    return begun.id if node.store.outbox.has_pending(begun.id) else None
