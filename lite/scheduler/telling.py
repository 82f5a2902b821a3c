"""Which steps would let out what is secret, and so wait for consent (`force`).

    what a result asked for     anything that is not pure: a guest that was shown a secret has no
                                word in where it goes
    what the workflow names     what leaves this node: a mutation over the network that is secret or
                                uses a secret, a query over the network that uses one. That a query
                                is asked at all is what a private run consents to.

Files and programs of this machine are the workflow's own affair.
"""

from __future__ import annotations

from collections.abc import Container
from typing import Protocol

from lite.errors import AuthorityError
from lite.model.instruction import Instruction
from lite.model.promise import Await
from lite.scheduler.book import Entry
from lite.settled import Reified
from lite.store import Store
from lite.store.secrets import Secrets

__all__ = ["needs_consent", "refuse_telling", "said", "why_it_waits"]

_WHERE_CHARS_MAX = 120


class Known(Protocol):
    """What knows operations: an outlook."""

    def needs_of(self, instruction: Instruction) -> frozenset[str]: ...
    def level_of(self, instruction: Instruction) -> str | None: ...


def needs_consent(
    level: str, needs: Container[str], *, asked: bool, is_secret: bool, uses_secret: bool
) -> bool:
    """Whether a step tells a secret to somebody who may not know it.

    Args:
        needs: what its operation needs.
        asked: a result asked for it.
        is_secret: it is marked itself. uses_secret: something that it is made from is.
    """
    if level == "pure" or not (is_secret or uses_secret):
        return False
    if asked:
        return True
    return "network" in needs and (uses_secret or level != "query")


def said(instruction: Instruction, *, asked: bool) -> str:
    """Why such a step waits; it names where the secret would go."""
    told = f"it would let out what is secret to {_where(instruction)}, without --force"
    return f"a result asked for it, and {told}" if asked else told


def _where(instruction: Instruction) -> str:
    rsc = instruction.rsc
    if isinstance(rsc, Await):
        return "where an awaited result says"
    where = str(rsc)
    return where if len(where) <= _WHERE_CHARS_MAX else f"{where[:_WHERE_CHARS_MAX]}…"


def why_it_waits(entry: Entry, reified: Reified, needs: Container[str], marks: Secrets) -> str:
    """Why a step that could start waits for consent, or nothing. What its inputs link to, at any
    depth, may go out with it."""
    own, asked = entry.instruction.cid, bool(entry.depth)
    sources = {receipt.cid for receipt in reified.sources}
    found = marks.any_secret({own, *sources})
    ready = reified.instruction
    uses = not found.isdisjoint(sources) or marks.any_below(ready.links())
    uses = uses or marks.holds_content(ready.data)
    waits = needs_consent(
        entry.level,
        needs,
        asked=asked,
        is_secret=entry.private or own in found,
        uses_secret=uses,
    )
    return said(ready, asked=asked) if waits else ""


def refuse_telling(
    runner: Known,
    store: Store,
    instruction: Instruction,
    *,
    private: bool = False,
    given: bool = False,
    consent: str,
) -> None:
    """Stop a single call that would let a secret out, as a step of a workflow waits for consent.

    Args:
        private: it is to be secret itself. given: it holds the content of a secret file.
        consent: how to ask for it all the same, for the hint: "--force".

    Raises:
        AuthorityError: it would.
    """
    needs = runner.needs_of(instruction)
    if "network" not in needs or (store.secrets.is_empty() and not (private or given)):
        return
    awaited = [store.instructions.canonical(wait.instruction) for wait in instruction.awaits()]
    known = [receipt.cid for cid in awaited for receipt in store.receipts.by_instruction(cid)]
    uses = given or store.secrets.any_below([*instruction.links(), *awaited, *known])
    uses = uses or store.secrets.holds_content(instruction.data)
    own = private or store.secrets.is_secret(instruction.cid)
    level = runner.level_of(instruction) or "mutation"
    if needs_consent(level, needs, asked=False, is_secret=own, uses_secret=uses):
        raise AuthorityError(
            f"{instruction.op} would let out what is secret to {_where(instruction)}",
            hint=f"Ask for it with {consent} if whoever gets it may know.",
        )
