"""`ipvm workflow prefetch`: is everything here that a workflow needs when there is no network?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import click

from lite.cli.command import verb
from lite.cli.present import one_line, short, size
from lite.cli.shell import Shell, TaskEnded
from lite.cli.workflow_files import Named, read_named
from lite.errors import NotFoundError, QueuedError
from lite.frozen import frozen
from lite.ipld.cid import CID, IDENTITY

if TYPE_CHECKING:
    from lite.model.graph import Graph
    from lite.model.workflow import Step
    from lite.node import Node
    from lite.store import Store
    from lite.workflow_forecast import StepForecast

_WILL = {"run": "will run", "known": "is known", "failed": "has failed", "wait": "will wait"}
_COUNTED = {"run": "will run", "known": "known", "failed": "failed", "wait": "will wait"}
_MARKS = {"run": "▸", "known": "✓", "failed": "✗", "wait": "⇢"}


@frozen
class _Prospect:
    """What becomes of a step without a network.

    Attributes:
        state: "run", "known" (its answer is here), "failed" (and is an error), or "wait".
        missing: blocks, delegations and awaited receipts that it needs and that are not here.
    """

    step: Step
    state: str
    reason: str
    missing: tuple[CID, ...] = ()


@verb(
    "prefetch",
    example="ipvm workflow prefetch thumbs.yaml\n"
    "ipvm workflow prefetch thumbs.yaml --no-pin --json",
)
@click.argument("file")
@click.option("--no-pin", is_flag=True, help="Do not keep it when `ipvm gc` collects.")
@click.pass_obj
def prefetch(shell: Shell, file: str, no_pin: bool) -> None:
    """Make ready for being offline: add the files that a workflow names, and look for the rest.

    Every block of the modules and inputs is read and hashed, delegations and awaited receipts are
    looked for; what is missing is fetched from peers, where a daemon runs, else named, to be added
    or imported. Then each step is judged: whether it will run offline, or wait, and why. Runs
    nothing. Exit status 3 when a step will wait.
    """
    from lite.ipld.block import Block
    from lite.ipld.cid import DAG_CBOR

    node = shell.node()
    named = read_named(node, file)
    workflow = named.workflow
    secret = named.keep(node)
    node.store.blocks.put(Block.make(workflow.data, DAG_CBOR), secret=secret)
    if not no_pin:
        from lite.store.names import LABEL_CHARS_MAX

        node.store.pins.add(workflow.cid, f"workflow {named.title}"[:LABEL_CHARS_MAX])
    closure = _Closure(node.store)
    found = _judge(node, named, closure)
    if _fetch(shell, node, found):
        closure = _Closure(node.store)
        found = _judge(node, named, closure)
    counts = Counter(one.state for one in found)
    outlook = node.workflows.outlook
    refused = outlook.refused(workflow, outlook.graph(workflow))
    if shell.json:
        shell.emit(
            {
                "workflow": str(workflow.cid),
                "name": workflow.name,
                "pinned": not no_pin,
                "blocks": len(closure.here),
                "bytes": sum(closure.here.values()),
                "refused": None if refused is None else str(refused),
                "steps": [_fields(one) for one in found],
            }
        )
    else:
        _show(shell, found, forced=refused is not None)
    blocks = "1 block" if len(closure.here) == 1 else f"{len(closure.here)} blocks"
    parts = [f"{counts[state]} {word}" for state, word in _COUNTED.items() if counts[state]]
    held = f"{blocks}, {size(sum(closure.here.values()))} here"
    shell.note(f"ipvm: {' · '.join(parts)}; {held}" + ("" if no_pin else ", pinned"))
    if refused is not None:
        shell.note(f"ipvm: nothing of it runs without --force: {refused}")
    if counts["wait"]:
        raise TaskEnded(QueuedError.exit_code)


def _fetch(shell: Shell, node: Node, found: list[_Prospect]) -> bool:
    """Ask peers for answers, and for what the other steps lack; whether that may have helped."""
    from lite.cli.fetching import ask_peers, fetch_from_peers
    from lite.cli.peers_find import daemon_of

    open_ones = [one for one in found if one.state in ("run", "wait")]
    if shell.offline or not open_ones or daemon_of(shell) is None:
        return False
    missing = list(dict.fromkeys(cid for one in open_ones for cid in one.missing))
    ask_peers(shell, node, [*(one.step.instruction.cid for one in open_ones), *missing])
    if why := fetch_from_peers(shell, node, missing):
        shell.note(f"ipvm: not everything could be fetched: {why}")
    return True


def _judge(node: Node, named: Named, closure: _Closure) -> list[_Prospect]:
    """The steps in the order of the workflow, then those that known results ask for. A step is
    judged behind those that it awaits."""
    outlook = node.workflows.outlook
    graph = outlook.graph(named.workflow)
    forecasts = outlook.forecast(named.workflow, graph, offline=True, new=True)
    by_label = {one.label: one for one in forecasts}
    steps = {one.label: one.step for one in forecasts if one.step is not None}
    added = [step for label, step in steps.items() if label not in graph.levels]
    if added:  # what known results ask for
        graph = outlook.graph(named.workflow, added)
    found: dict[str, _Prospect] = {}
    for label in graph.order:
        found[label] = _prospect(node, steps[label], by_label[label], graph, closure, found)
    return [found[label] for label in steps]


def _prospect(
    node: Node,
    step: Step,
    forecast: StepForecast,
    graph: Graph,
    closure: _Closure,
    found: dict[str, _Prospect],
) -> _Prospect:
    instruction = step.instruction
    roots = list(instruction.links())
    if instruction.module is not None:
        roots.insert(0, instruction.module)
    missing = closure.missing(roots)
    if forecast.state in ("done", "cached"):
        return _Prospect(step, "known", forecast.reason or forecast.rule)
    if forecast.state == "failed":
        return _Prospect(step, "failed", forecast.reason)
    reasons = [f"{short(cid)} is not here" for cid in missing]
    proofs = [proof for proof in step.task.prf if not _has_proof(node.store, proof)]
    awaited = [wait.instruction for wait in graph.waiting.get(step.label, ())]
    reasons += [f"no receipt of {short(cid)} is here" for cid in awaited]
    missing += awaited
    if "network" in node.workflows.outlook.needs_of(instruction):
        reasons.insert(0, "it needs the network")
    elif not missing and forecast.state in ("queued", "in-doubt"):
        reasons = [forecast.reason]
    before = [edge.label for edge in graph.needs[step.label]]
    if late := [label for label in before if found[label].state == "wait"]:
        reasons.append(f"for {', '.join(dict.fromkeys(late))}")
    if reasons:
        return _Prospect(step, "wait", "; ".join(reasons), (*missing, *proofs))
    # A step runs here by its owner's own right; what is missing is looked for all the same.
    lacking = [f"without its delegation {short(proof)}" for proof in proofs]
    told = "; ".join([*filter(None, [forecast.reason]), *lacking])
    return _Prospect(step, "run", told, tuple(proofs))


def _has_proof(store: Store, cid: CID) -> bool:
    return store.tokens.delegation(cid) is not None or store.blocks.has(cid)


class _Closure:
    """What some roots reach; each block is read once.

    Attributes:
        here: sizes in bytes of the blocks that are here.
    """

    def __init__(self, store: Store) -> None:
        self.here: dict[CID, int] = {}
        self._store = store
        self._links: dict[CID, list[CID]] = {}

    def missing(self, roots: Iterable[CID]) -> list[CID]:
        """The blocks at or below the roots that are not here.

        Raises:
            HashMismatch: the disk changed one.
        """
        absent: list[CID] = []
        seen: set[CID] = set()
        todo = list(roots)
        while todo:
            cid = todo.pop()
            if cid in seen:
                continue
            seen.add(cid)
            if cid not in self._links and not self._read(cid):
                absent.append(cid)
                continue
            todo.extend(self._links[cid])
        return absent

    def _read(self, cid: CID) -> bool:
        from lite.store.reach import links_below, links_of

        if cid.hash_code == IDENTITY:  # it is in its CID
            self._links[cid] = links_below(self._store.database, cid)
            return True
        try:
            data = self._store.blocks.get(cid)
        except NotFoundError:
            receipt = self._store.receipts.get(cid)
            if receipt is not None:
                self._links[cid] = []
            return receipt is not None
        self.here[cid] = len(data)
        self._links[cid] = links_of(cid, data)
        return True


def _show(shell: Shell, found: list[_Prospect], *, forced: bool) -> None:
    """`forced`: it runs with --force alone."""
    from lite.cli.workflow_table import pad, width

    columns = max(width(one.step.label) for one in found)
    will = {**_WILL, "run": "would run with --force"} if forced else _WILL
    words = max(len(will[one.state]) for one in found)
    for one in found:
        head = f"{_MARKS[one.state]} {pad(one.step.label, columns)}  {will[one.state]:<{words}}"
        shell.line(f"{head}  {one_line(one.reason)}".rstrip())
    for cid in dict.fromkeys(cid for one in found for cid in one.missing):
        shell.line(f"! {cid} is missing: add or import it")


def _fields(one: _Prospect) -> dict[str, Any]:
    return {
        "label": one.step.label,
        "ins": str(one.step.instruction.cid),
        "state": one.state,
        "reason": one.reason,
        "missing": [str(cid) for cid in one.missing],
    }
