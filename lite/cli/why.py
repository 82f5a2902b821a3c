"""`ipvm why`: where a result comes from, down to the code and the inputs; and what came of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from lite.cli.command import offers, verb
from lite.cli.files import resolve_path
from lite.cli.other_receipts import issuer, other_fields, other_lines
from lite.cli.present import moment, one_line, short
from lite.cli.results import source
from lite.cli.shell import Shell
from lite.errors import UsageError
from lite.limits import PROVENANCE_DEPTH_MAX
from lite.model.effects import Wanted
from lite.model.trust import passed_on, trusted_rule

if TYPE_CHECKING:
    from lite.ipld.cid import CID
    from lite.model.receipt import Receipt
    from lite.node import Node
    from lite.provenance import Provenance

_RUN_SHOWN = 8
_WIDTH = 100  # of a line about a result or an input
_CALL = ("func", "fx")  # of an input: how it is called, not what with
# What stands in front of the function that uses, or was asked for by, what is above it.
_OF = {
    "runs": "run by",
    "reads": "read by",
    "awaits": "awaited by",
    "names": "named by",
    "fork": "asked for",
    "join": "went on with",
}


@verb("why", example="ipvm why q4wz7ka\nipvm why blurred --json\nipvm why --from photo")
@click.argument("ref", required=False, shell_complete=offers("names"))
@click.option(
    "--from",
    "source",
    metavar="REF",
    help="Show all that was computed from it.",
    shell_complete=offers("names"),
)
@click.pass_obj
def why(shell: Shell, ref: str | None, source: str | None) -> None:
    """Show where a receipt or a value comes from: who computed it, with what code, from what.

    With it, the step of a workflow that it is of, who signed, and by which rule that counts here as
    an answer. --from shows the other way round: everything that was computed from a module, a file,
    a value or a receipt.
    """
    if (ref is None) == (source is None):
        raise UsageError(
            "`ipvm why` needs one REF, or --from REF", hint="For example: ipvm why q4wz7ka"
        )
    node = shell.node()
    if source is not None:
        tree = node.came_of(_source(node, source))
    else:
        tree = node.why(_source(node, ref or ""))
    view = _View(node, tree, down=source is None)
    if shell.json:
        shell.emit({"why": view.as_json(tree)})
        return
    for line in view.lines(tree):
        shell.line(line)
    if source is not None and not tree.children:
        shell.note("ipvm: nothing here was computed from it")


def _source(node: Node, text: str) -> CID:
    """What is named; also a file of this machine, which is only hashed."""
    from lite.files import is_file

    if not is_file(text) or node.store.names.get(text) is not None:
        return resolve_path(node, text)
    from lite.files import add_source
    from lite.ipld import unixfs

    found = [add_source(text, lambda _: None, way) for way in unixfs.PROFILES.values()]
    return next((cid for cid in found if node.store.blocks.has(cid)), found[0])


class _View:
    """A tree with what the store knows about its receipts: steps of workflows, marks, trust."""

    def __init__(self, node: Node, tree: Provenance, *, down: bool) -> None:
        """`down`: it leads to inputs, not to what came of them."""
        self._node = node
        self._down = down
        everything = list(_walk(tree))
        self._secret = node.store.secrets.any_secret(p.cid for p in everything)
        receipts = [p.receipt for p in everything if p.receipt is not None]
        self._steps = node.store.runs.steps_of(dict.fromkeys(r.cid for r in receipts))
        self._shown: set[CID] = set()  # so far, with what is below it
        peers = node.config["trust.peers"]
        self._names = node.store.peer_names()
        self._answering = node.store.answering() if peers else frozenset[str]()

    # Text.

    def lines(self, p: Provenance, first: str = "", rest: str = "") -> Iterator[str]:
        """A tree in box characters: `first` leads the node's own line, `rest` those below."""
        yield first + self._headline(p)
        if p.cut == "shown":
            return
        self._shown.add(p.cid)
        left_out = self._left_out(p)
        if p.receipt is not None:
            bar = rest + ("│  " if p.children or left_out else "   ")
            yield from (bar + line for line in self._details(p, p.receipt))
            yield from (bar + line for line in other_lines(self._node, p.receipt))
        for i, child in enumerate(p.children):
            last = i == len(p.children) - 1 and not left_out
            yield from self.lines(
                child, rest + ("└─ " if last else "├─ "), rest + ("   " if last else "│  ")
            )
        if left_out:
            yield f"{rest}└─ … {left_out}"

    def _left_out(self, p: Provenance) -> str:
        """The line about what is cut off below a node, or ""."""
        if p.cut not in ("deep", "many"):
            return ""
        why = f"{PROVENANCE_DEPTH_MAX} steps are shown" if p.cut == "deep" else "there is too much"
        again = "ipvm why" if self._down else "ipvm why --from"
        return f"cut, {why}: `{again} {short(p.cid)}` goes on from here"

    def _headline(self, p: Provenance) -> str:
        label = one_line(p.role, 60)
        if p.receipt is not None and (what := _what(p.receipt)):
            label = _OF.get(label, label if label.endswith(" by") else f"{label} of")
            label += f" {one_line(what, 60)}"
        parts = [label, str(p.cid)]
        parts += [f"“{one_line(p.name, 60)}”"] if p.name else []
        parts += [_absent(p)] if not p.here else []
        parts += ["(secret)"] if p.cid in self._secret else []
        if p.cut == "shown":
            parts.append("… see above" if p.cid in self._shown else "… see below")
        return "  ".join(parts)

    def _details(self, p: Provenance, receipt: Receipt) -> Iterator[str]:
        yield _result(receipt)
        if given := _given(p):
            yield one_line(f"given {', '.join(map(_text, given))}", _WIDTH)
        yield f"by {self._issuer(receipt)} at {moment(receipt.issued_at)}"
        told = (one_line(issuer(self._node, did), 60) for did in passed_on(receipt))
        if chain := list(filter(None, told)):
            yield f"which passed it on to {', and that one to '.join(chain)}"
        step = self._steps.get(receipt.cid)
        if step is not None:
            named = one_line(step.name, 60) if step.name else short(step.workflow)
            yield f"step {step.label} of {named}, run {step.run[:_RUN_SHOWN]}"
        wanted = self._wanted(receipt)
        if wanted.fork:
            yield f"asked for {', '.join(map(short, wanted.fork))}"
        if wanted.join is not None:
            yield f"went on with {short(wanted.join)}"
        if self._down and p.instruction is None:
            yield "its instruction is not here: what it was made from is not known"
        elif self._may_lack_steps(p, receipt):
            yield "how it was asked is not known here: if it awaited steps, they are not shown"

    def _may_lack_steps(self, p: Provenance, receipt: Receipt) -> bool:
        """Whether nobody here can say what it awaited: it is from elsewhere, or gc took that."""
        elsewhere = receipt.issuer != self._node.did
        return self._down and p.asked is None and (p.lost or elsewhere)

    def _issuer(self, receipt: Receipt) -> str:
        """Who signed, and by which rule that counts here as an answer."""
        did = receipt.issuer
        if did == self._node.did:
            return "this node"
        if rule := self._rule(receipt):
            told = source(self._node.did, did, rule, lambda: self._names)
            return told if did in told else f"{told}, {short(did)}"
        trusted = self._node.config.trust_issuers
        if not self._node.store.discredited([receipt], trusted):
            if did in trusted or did in self._answering:
                told = source(self._node.did, did, trusted_rule(did), lambda: self._names)
                return f"{told}, {short(did)}, whose receipts count here"
            return f"{did}, whose receipts do not count here"
        return f"{did}, which had it done by who gave a wrong answer: it does not count here"

    def _rule(self, receipt: Receipt) -> str:
        """The trust rule under which this receipt is the answer to its instruction, or ""."""
        answer = self._node.known(receipt.instruction)
        return answer.rule if answer is not None and answer.receipt.cid == receipt.cid else ""

    def _wanted(self, receipt: Receipt) -> Wanted:
        """What it asks for, as far as that counts."""
        return Wanted.told(receipt, self._node.store.instructions.get)

    # --json.

    def as_json(self, p: Provenance) -> dict[str, Any]:
        fields: dict[str, Any] = {
            "kind": p.kind,
            "role": p.role,
            "cid": str(p.cid),
            "name": p.name,
            "here": p.here,
            "secret": p.cid in self._secret,
            "more": p.cut != "",
            "cut": p.cut,
            "children": [self.as_json(child) for child in p.children],
        }
        return fields if p.receipt is None else {**fields, **self._receipt_json(p, p.receipt)}

    def _receipt_json(self, p: Provenance, receipt: Receipt) -> dict[str, Any]:
        step, wanted = self._steps.get(receipt.cid), self._wanted(receipt)
        return {
            "ins": str(receipt.instruction),
            "asked": None if p.asked is None else str(p.asked.cid),
            "given": _given(p),
            "iss": receipt.issuer,
            "rule": self._rule(receipt),
            "others": other_fields(self._node, receipt),
            "at": receipt.issued_at,
            "func": receipt.meta.get("func"),
            "ok": receipt.out.is_ok,
            "fork": list(map(str, wanted.fork)),
            "join": None if wanted.join is None else str(wanted.join),
            "step": None
            if step is None
            else {
                "label": step.label,
                "run": step.run,
                "name": step.name,
                "workflow": str(step.workflow),
            },
        }


def _walk(p: Provenance) -> Iterator[Provenance]:
    yield p
    for child in p.children:
        yield from _walk(child)


def _absent(p: Provenance) -> str:
    return "(no receipt here gave this value)" if p.kind == "await" else "(not here)"


def _what(receipt: Receipt) -> str:
    """The function that ran, else the operation; "" when the receipt names none."""
    return str(receipt.meta.get("func") or receipt.meta.get("op") or "")


def _given(p: Provenance) -> list[Any]:
    """What stands in an instruction itself and is no result of another: the URI of what it acts on,
    unless that is code, and the values in its input."""
    from lite.ipld.cid import CID
    from lite.model.promise import Await, leaves

    instruction = p.asked or p.instruction
    if instruction is None:
        return []
    rsc = instruction.rsc
    parts = [] if isinstance(rsc, Await) or instruction.module is not None else [rsc]
    parts += leaves({key: value for key, value in instruction.input.items() if key not in _CALL})
    return [part for part in parts if not isinstance(part, (Await, CID))]


def _result(receipt: Receipt) -> str:
    return one_line(f"{receipt.out.branch} {_text(receipt.out.body)}", _WIDTH)


def _text(value: Any) -> str:
    from lite.ipld import dag_json

    return dag_json.shown(value).decode()
