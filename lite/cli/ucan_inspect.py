"""`ipvm ucan inspect` and `ipvm ucan verify`: what tokens say, and whether it holds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import click

from lite.cli.command import verb
from lite.cli.shell import Shell

if TYPE_CHECKING:
    from lite.cli.ucan_items import Branch, Item
    from lite.cli.ucan_judge import Judged
    from lite.gate import Verdict
    from lite.ipld.cid import CID
    from lite.node import Node
    from lite.ucan.delegation import Delegation
    from lite.ucan.invocation import Invocation

LABEL_CHARS = 7
POWERLINE = "every subject at which the issuer may do it (a powerline)"


@verb(
    "inspect",
    example="""
    ipvm ucan inspect laptop.ucan
    ipvm ucan inspect q4wz7ka
    ipvm ucan inspect - --json < laptop.ucan
    """,
)
@click.argument("token", metavar="FILE|TEXT|CID|-")
@click.pass_obj
def inspect(shell: Shell, token: str) -> None:
    """Show the tokens of a file as a tree: who may do what, if what, until when, and does it hold.

    A token stands below the one that gave its issuer the right. Nothing is stored.
    """
    from lite.cli.ucan_items import forest, read, walk
    from lite.cli.ucan_judge import Judge
    from lite.cli.ucan_source import load
    from lite.cli.ucan_words import say
    from lite.ucan.checks import unpack

    node = shell.node()
    tokens = unpack(load(node, token))
    items = [read(data) for data in tokens]
    judge = Judge(node, tokens)
    judged = judge.all(items)
    trees = forest(items, {cid: one.chain for cid, one in judged.items()})
    if shell.json:
        shell.emit({"tokens": [_as_json(one, judged[one.item.cid]) for one in walk(trees)]})
        return
    for tree in trees:
        for line in _lines(tree, node, judged, "", ""):
            say(shell, line)
    if not trees:
        say(shell, "an empty container: there is no token in it")
    if judge.skipped:
        say(shell, judge.left_out())


def _lines(
    branch: Branch, node: Node, judged: Mapping[CID, Judged], first: str, rest: str
) -> Iterator[str]:
    """`first` leads the token's own line, `rest` those below it."""
    yield f"{first}{branch.item.kind}  {branch.item.cid}"
    bar = rest + ("│ " if branch.below else "  ")
    for label, text in _facts(branch.item, node, judged[branch.item.cid]):
        yield f"{bar}{label:<{LABEL_CHARS}} {text}"
    for i, child in enumerate(branch.below):
        last = i == len(branch.below) - 1
        lead, under = ("└─ ", "   ") if last else ("├─ ", "│  ")
        yield from _lines(child, node, judged, rest + lead, rest + under)


def _facts(item: Item, node: Node, judged: Judged) -> Iterator[tuple[str, str]]:
    from lite.cli.ucan_words import ends
    from lite.ucan.delegation import Delegation
    from lite.ucan.show import moment

    token = item.token
    if token is None:
        yield "broken", item.problem
        return
    yield "from", _who(token.issuer, node)
    if isinstance(token, Delegation):
        yield from _delegated(token, node)
    else:
        yield from _invoked(item, token, node)
    if token.not_before is not None:
        yield "since", moment(token.not_before)
    yield "until", ends(token.expires_at, node.clock.now())
    holds = {"revocation": "it counts", "receipt": "it is whole"}.get(item.kind, "it holds")
    yield (
        "now",
        holds + (f"; {judged.note}" if judged.note else "") if judged.holds else judged.reason,
    )


def _delegated(token: Delegation, node: Node) -> Iterator[tuple[str, str]]:
    from lite.cli.ucan_words import conditions

    yield "to", _who(token.audience, node)
    yield "may", f"do {_command(token.command)}"
    yield "at", POWERLINE if token.subject is None else _who(token.subject, node)
    for number, text in enumerate(conditions(token.policy)):
        yield "and if" if number else "if", text


def _invoked(item: Item, token: Invocation, node: Node) -> Iterator[tuple[str, str]]:
    from lite.cli.ucan_words import link
    from lite.ucan.show import value as shown

    if item.kind == "revocation":
        yield "revokes", link(token.args.get("revoke"))
        return
    if item.kind == "receipt":
        what = "ins" if "ins" in token.args else "ran"
        yield "says", f"{shown(token.args.get(what))} gave {shown(token.args.get('out'))}"
        yield "ran", link(token.args.get("ran"))
        return
    yield "asks", _who(token.executor, node)
    if token.subject != token.executor:
        yield "about", _who(token.subject, node)
    yield "to do", shown(token.command)[1:-1]
    yield "with", shown(token.args, 400)
    yield "by", _count(len(token.proofs), "proof")


def _who(did: str, node: Node) -> str:
    from lite.ucan.show import printable

    return f"{printable(did)} (this node)" if did == node.did else printable(did)


def _count(number: int, what: str) -> str:
    return f"no {what}s" if not number else f"{number} {what}{'' if number == 1 else 's'}"


def _as_json(branch: Branch, judged: Judged) -> dict[str, Any]:
    item, token = branch.item, branch.item.token
    fields: dict[str, Any] = {
        "cid": str(item.cid),
        "kind": item.kind,
        "above": [str(one.cid) for one in branch.above],
        "holds": judged.holds,
        "until": judged.until,
        "reason": judged.refusal,
        "code": judged.code,
    }
    return fields if token is None else {**fields, **token_fields(token)}


def token_fields(token: Delegation | Invocation) -> dict[str, Any]:
    """What a token says, for `--json`."""
    from lite.cli.ucan_words import as_json, conditions
    from lite.ucan.delegation import Delegation

    fields: dict[str, Any] = {
        "iss": token.issuer,
        "sub": token.subject,
        "cmd": token.command,
        "nbf": token.not_before,
        "exp": token.expires_at,
        "meta": as_json(token.meta),
    }
    if isinstance(token, Delegation):
        policy = {"pol": as_json(token.policy.value()), "policy": conditions(token.policy)}
        return {**fields, "aud": token.audience, **policy}
    proofs = [str(cid) for cid in token.proofs]
    return {**fields, "aud": token.executor, "args": as_json(token.args), "prf": proofs}


@verb(
    "verify",
    example="""
    ipvm ucan verify laptop.ucan
    ipvm ucan verify job.ucan --executor did:key:z6Mk…
    """,
)
@click.argument("token", metavar="FILE|TEXT|CID|-")
@click.option("--executor", metavar="DID", help="The node that is to execute an invocation.")
@click.pass_obj
def verify(shell: Shell, token: str, executor: str | None) -> None:
    """Check a token as a node would that is asked now, or that is to keep it.

    Proofs come from beside it or from this home. Says what it allows, or ends with 4 and the
    reason. Nothing is stored and nothing is done; that an invocation was used before is no fault.
    """
    from lite.cli.ucan_source import did, load
    from lite.cli.ucan_words import say

    me = None if executor is None else did(executor, "--executor")
    node = shell.node()
    verdict = node.authority.verify(load(node, token), executor=me)
    if verdict.refusal is not None:
        raise verdict.refusal
    if shell.json:
        shell.emit(
            {
                "holds": True,
                "kind": verdict.kind,
                "until": verdict.until,
                "note": verdict.note,
                "chain": [{"cid": str(d.cid), **token_fields(d)} for d in verdict.chain],
            }
        )
        return
    for line in _allows(node, verdict):
        say(shell, line)


def _allows(node: Node, verdict: Verdict) -> Iterator[str]:
    """What the chain lets whom do, under the policies of all its links."""
    from lite.cli.ucan_words import conditions, until

    if verdict.kind in ("revocation", "receipt"):
        counts = verdict.kind == "revocation" and verdict.sure
        what = "counts" if counts else "is whole and signed by its issuer"
        yield f"✓ the {verdict.kind} {what}" + (f"; {verdict.note}" if verdict.note else "")
        return
    count = len(verdict.chain)
    by = "" if count < 2 and verdict.kind == "delegation" else f", by {_count(count, 'delegation')}"
    by = by if count else ", issued by its subject"
    yield f"✓ the {verdict.kind} holds{by}, {until(verdict.until, node.clock.now())}"
    if verdict.note:
        yield f"  {'note':<{LABEL_CHARS}} {verdict.note}"
    if not verdict.chain:
        return
    narrowest = max((link.command for link in verdict.chain), key=len)
    yield f"  {'who':<{LABEL_CHARS}} {_who(verdict.chain[-1].audience, node)}"
    yield f"  {'may':<{LABEL_CHARS}} do {_command(narrowest)}"
    at = verdict.chain[0].subject
    yield f"  {'at':<{LABEL_CHARS}} {POWERLINE if at is None else _who(at, node)}"
    for link in verdict.chain:
        for text in conditions(link.policy):
            yield f"  {'if':<{LABEL_CHARS}} {text}"


def _command(command: str) -> str:
    from lite.ucan.show import value as shown

    return "anything" if command == "/" else f"{shown(command)[1:-1]} and all below it"
