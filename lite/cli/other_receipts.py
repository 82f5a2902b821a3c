"""What others signed about the same instruction, as `run`, `why` and `receipt` tell it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final

from lite.cli.present import counted, one_line, short
from lite.cli.results import source
from lite.model.trust import trusted_rule

if TYPE_CHECKING:
    from lite.answer import Answer
    from lite.cli.shell import Shell
    from lite.model.receipt import Receipt
    from lite.node import Node
    from lite.opinions import Opinion
    from lite.workflow_run import StepView

__all__ = ["issuer", "other_fields", "other_lines", "say_unused", "say_unused_by"]

SHOWN_MAX: Final = 8
_WIDTH: Final = 60


def issuer(node: Node, did: str) -> str:
    """Who signed, in the words of `ipvm run`: `this node`, `peer NAME`, else the end of its DID."""
    if did == node.did:
        return "this node"
    told = source(node.did, did, trusted_rule(did), node.store.peer_names)
    return short(did) if told == trusted_rule(did) else told


def other_lines(node: Node, about: Receipt) -> Iterator[str]:
    """What stands beside a receipt: who contradicts it, and who also has a result that is not
    here."""
    from lite.opinions import is_unused

    told = [one for one in _others(node, about) if one.differs or is_unused(node, one)]
    for one in told[:SHOWN_MAX]:
        who = f"{issuer(node, one.receipt.issuer)}, receipt {short(one.receipt.cid)}"
        if one.differs:
            yield f"≠ contradicted by {who}: {_said(one.receipt)}"
        else:
            yield f"not used: {who}: its result {one.absent} is not here"
    if len(told) > SHOWN_MAX:
        yield f"… and {counted(len(told) - SHOWN_MAX, 'receipt')} more that differ or are not used"


def other_fields(node: Node, about: Receipt) -> list[dict[str, Any]]:
    """The same for programs: all other receipts of the instruction."""
    return [
        {
            "receipt": str(one.receipt.cid),
            "iss": one.receipt.issuer,
            "ok": one.receipt.out.is_ok,
            "differs": one.differs,
            "counts": one.counts,
            "absent": None if one.absent is None else str(one.absent),
        }
        for one in _others(node, about)
    ]


def say_unused(shell: Shell, node: Node, answer: Answer) -> list[dict[str, Any]]:
    """Say which receipts would have answered what was just run, but for results that were not here,
    and what to do next; the same for programs."""
    from lite.opinions import unused_fields

    unused = unused_fields(answer.passed_over)
    for one in unused[:1]:
        shell.note(f"ipvm: {_ran_again(node, one)}; so it ran here")
        shell.note(f"  → `ipvm pin add {one['output']}` fetches that result all the same")
    return unused


def say_unused_by(shell: Shell, node: Node, steps: Iterable[StepView]) -> list[dict[str, Any]]:
    """The same of the steps of a run that ran just now; each with its label, for programs."""
    from lite.opinions import unused_fields

    known, found = node.executor.passed_over, list[dict[str, Any]]()
    for step in steps:
        if step.receipt is None or step.source != "ran":
            continue
        unused = unused_fields(known(step.receipt.instruction))
        for one in unused[: len(found) < SHOWN_MAX]:
            shell.note(
                f"ipvm: {one_line(step.label, _WIDTH)}: {_ran_again(node, one)}; so it ran here"
            )
        found += ({"step": step.label, **one} for one in unused)
    return found


def _ran_again(node: Node, one: dict[str, Any]) -> str:
    has = f"{issuer(node, one['iss'])} has an answer, receipt {short(one['receipt'])}"
    return f"{has}, whose result is not here: {one_line(one['why'])}"


def _others(node: Node, about: Receipt) -> list[Opinion]:
    from lite.opinions import opinions

    return opinions(node, about)


def _said(receipt: Receipt) -> str:
    from lite.ipld import dag_json

    return one_line(f"{receipt.out.branch} {dag_json.shown(receipt.out.body).decode()}", _WIDTH)
