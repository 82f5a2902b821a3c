"""`ipvm why`: where a result comes from, down to the code and the inputs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from lite.cli.command import verb
from lite.cli.files import resolve_path
from lite.cli.present import moment, one_line, short, visible
from lite.cli.shell import Shell

if TYPE_CHECKING:
    from lite.node import Node
    from lite.provenance import Provenance


@verb("why", example="ipvm why q4wz7ka\nipvm why blurred --json")
@click.argument("ref")
@click.pass_obj
def why(shell: Shell, ref: str) -> None:
    """Show where a receipt or a value comes from: who computed it, with what code, from what."""
    node = shell.node()
    tree = node.why(resolve_path(node, ref))
    if shell.json:
        shell.emit({"why": _as_json(tree)})
        return
    for line in _lines(tree, node, "", ""):
        shell.line(line)


def _lines(p: Provenance, node: Node, first: str, rest: str) -> Iterator[str]:
    """A tree in box characters: `first` leads the node's own line, `rest` those below."""
    yield first + _headline(p)
    if p.receipt is not None:
        bar = rest + ("│  " if p.children else "   ")
        yield f"{bar}{_result(p)}"
        yield f"{bar}by {_issuer(p, node)} at {moment(p.receipt.issued_at)}"
    for i, child in enumerate(p.children):
        last = i == len(p.children) - 1
        yield from _lines(
            child, node, rest + ("└─ " if last else "├─ "), rest + ("   " if last else "│  ")
        )


def _headline(p: Provenance) -> str:
    label = visible(p.role)
    if p.receipt is not None and (func := p.receipt.meta.get("func")):
        label += f" of {one_line(str(func), 60)}"
    named = f"  “{visible(p.name)}”" if p.name else ""
    return f"{label}  {p.cid}{named}{'' if p.here else '  (not here)'}"


def _result(p: Provenance) -> str:
    from lite.ipld import dag_json

    assert p.receipt is not None
    out = p.receipt.out
    return one_line(f"{out.branch} {dag_json.encode(out.body).decode()}", 100)


def _issuer(p: Provenance, node: Node) -> str:
    """Who signed, and whether that counts here as an answer."""
    assert p.receipt is not None
    issuer = p.receipt.issuer
    if issuer == node.did:
        return "this node"
    if issuer in node.config.trust_issuers:
        return f"{short(issuer)}, a trusted issuer"
    return f"{issuer}, whose receipts do not count here"


def _as_json(p: Provenance) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "kind": p.kind,
        "role": p.role,
        "cid": str(p.cid),
        "name": p.name,
        "here": p.here,
        "children": [_as_json(child) for child in p.children],
    }
    if p.receipt is not None:
        fields |= {
            "ins": str(p.receipt.instruction),
            "iss": p.receipt.issuer,
            "at": p.receipt.issued_at,
            "func": p.receipt.meta.get("func"),
            "ok": p.receipt.out.is_ok,
        }
    return fields
