"""`ipvm ucan import` and `ipvm ucan list`: the tokens that this node keeps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from lite.cli.command import verb
from lite.cli.shell import Shell, TaskEnded, complain

if TYPE_CHECKING:
    from lite.authority import Imports, Stored
    from lite.cli.ucan_items import Item
    from lite.cli.ucan_judge import Judged
    from lite.node import Node


@verb(
    "import",
    example="""
    ipvm ucan import laptop.ucan
    ssh pi ipvm ucan delegate --to "$(ipvm id)" --cmd /wasm/run | ipvm ucan import -
    """,
)
@click.argument("token", metavar="FILE|TEXT|-")
@click.pass_obj
def import_(shell: Shell, token: str) -> None:
    """Keep delegations and revocations that another made. Every signature is checked first.

    What is bad in a container is named and left out; the exit status is then that of the first one.
    """
    from lite.cli.ucan_source import load
    from lite.cli.ucan_words import say

    node = shell.node()
    found = node.authority.import_(load(node, token))
    if shell.json:
        shell.emit(_import_fields(found))
    else:
        for one in found.taken:
            say(shell, f"{one.cid}  {one.kind}  {one.note}".rstrip())
        if not found.taken and not found.refused:
            say(shell, "an empty container: there is no token in it")
        for bad in found.refused:
            complain(f"{bad.cid}  {bad.kind}, not taken in: {bad.error}", bad.error.hint)
    if found.refused:
        raise TaskEnded(found.refused[0].error.exit_code)


def _import_fields(found: Imports) -> dict[str, Any]:
    return {
        "imported": [
            {"cid": str(one.cid), "kind": one.kind, "note": one.note} for one in found.taken
        ],
        "refused": [
            {
                "cid": str(one.cid),
                "kind": one.kind,
                "code": one.error.code,
                "reason": str(one.error),
                "hint": one.error.hint,
            }
            for one in found.refused
        ],
    }


@verb("list", example="ipvm ucan list\nipvm ucan list --json")
@click.pass_obj
def list_(shell: Shell) -> None:
    """List the delegations and revocations kept here: from whom, to whom, what, until when."""
    from lite.cli.ucan_items import read
    from lite.cli.ucan_judge import Judge
    from lite.cli.ucan_words import say
    from lite.store.faults import changed

    node = shell.node()
    tokens = node.authority.tokens()
    items = [_damaged(one) if one.token is None else read(one.token.data) for one in tokens]
    judge = Judge(node)
    rows = [(item, judge.one(item)) for item in items]
    if shell.json:
        shell.emit({"tokens": [_row(item, judged) for item, judged in rows]})
    else:
        for item, judged in rows:
            say(shell, _line(node, item, judged))
        if judge.skipped:
            say(shell, judge.left_out())
    if damaged := [one for one in tokens if one.token is None]:
        first = changed(f"the {damaged[0].kind} {damaged[0].cid}")
        complain(str(first), first.hint)
        raise TaskEnded(first.exit_code)


def _damaged(one: Stored) -> Item:
    from lite.cli.ucan_items import Item
    from lite.store.faults import changed

    fault = changed(f"the {one.kind} {one.cid}")
    return Item("broken", one.cid, b"", None, str(fault), fault.code)


def _row(item: Item, judged: Judged) -> dict[str, Any]:
    from lite.cli.ucan_inspect import token_fields

    fields: dict[str, Any] = {
        "cid": str(item.cid),
        "kind": item.kind,
        "holds": judged.holds,
        "until": judged.until,
        "reason": judged.refusal,
        "code": judged.code,
    }
    return fields if item.token is None else {**fields, **token_fields(item.token)}


def _line(node: Node, item: Item, judged: Judged) -> str:
    from lite.cli.ucan_words import link, until
    from lite.ucan.delegation import Delegation
    from lite.ucan.show import value as shown

    token = item.token
    if token is None:
        return f"✗ {item.cid}  {item.kind}: {item.problem}"
    mark = {True: "✓", False: "✗", None: "?"}[judged.holds]
    issuer = _who(token.issuer, node)
    if not isinstance(token, Delegation):
        return f"{mark} {item.cid}  {item.kind} by {issuer} of {link(token.args.get('revoke'))}"
    what = f"{issuer} → {_who(token.audience, node)}  {shown(token.command)[1:-1]}"
    if token.subject != token.issuer:
        powerline = "every subject at which the issuer may (a powerline)"
        about = powerline if token.subject is None else _who(token.subject, node)
        what += f" at {about}"
    why = "" if not judged.refusal or judged.holds is None else f"  ({judged.refusal})"
    return f"{mark} {item.cid}  {what}, {until(token.expires_at, node.clock.now())}{why}"


def _who(did: str, node: Node) -> str:
    from lite.ucan.show import short

    return "this node" if did == node.did else short(did)
