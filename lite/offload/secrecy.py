"""Whether a step is secret by now: its owner may mark things after it was put into the outbox, so
that is judged again right before anything is sent, by the rules by which its row was written."""

from __future__ import annotations

from typing import Final

from lite.frozen import replace
from lite.ipld import dag_cbor
from lite.ipld.cid import CID
from lite.model.instruction import Instruction
from lite.model.known_meta import is_private
from lite.needs.requirements import Requirements
from lite.offload.groups import Group, Member
from lite.offload.private_jobs import open_inputs
from lite.settled import Reified
from lite.store import Store
from lite.store.outbox_rows import Item, Job
from lite.ucan.invocation import Invocation

__all__ = ["LATE", "STAYS", "TAKEN_BACK", "is_item_secret", "is_late_secret", "judged", "stays"]

STAYS: Final = "it is secret by now, so no other node is asked"
LATE: Final = "something of what goes became secret after it was signed"
TAKEN_BACK: Final = ("void", "secret")
"""State and code of a job that its customer took back for that: its provider refused nothing."""


def judged(store: Store, group: Group) -> Group | None:
    """A group as it may leave now: what has become secret goes to the holder of a key alone, and
    nothing goes along with it; None: it stays."""
    lead = group.lead
    if lead.item is not None and not lead.item.secret and _is_member_secret(store, lead):
        lead = replace(lead, item=replace(lead.item, secret=True))
    if lead.item is not None and lead.item.secret:
        return Group((lead,)).alone if lead.needs.key else None
    along = group.members[1:]
    return group.alone if any(_is_member_secret(store, one) for one in along) else group


def stays(store: Store, item: Item) -> bool:
    """Whether what is in the outbox must not leave: it is secret, and no key was named."""
    needs = Requirements.from_value(dag_cbor.decode_trusted(item.needs))
    return not needs.key and is_item_secret(store, item)


def is_late_secret(store: Store, job: Job, item: Item) -> bool:
    """Whether what was written down must not leave as it is: it stays, or it or an input that was
    named as open has become secret since, and what was signed does not say so."""
    if stays(store, item):
        return True
    if not is_item_secret(store, item):
        return False
    signed = Invocation.parse(job.token)
    return not is_private(signed.meta) or store.secrets.any_below(open_inputs(signed))


def is_item_secret(store: Store, item: Item) -> bool:
    """Whether what is in the outbox is secret, since it was put there or by now."""
    instruction = store.instructions.get(item.instruction)
    if item.secret or instruction is None:
        return item.secret
    return _is_secret(store, item.run, item.asked, instruction)


def _is_member_secret(store: Store, member: Member) -> bool:
    return _is_secret(store, member.row.run, member.row.instruction, member.instruction)


def _is_secret(store: Store, run: str, asked: CID, instruction: Instruction) -> bool:
    """`asked`: as its workflow writes it. `instruction`: as it is sent."""
    if store.secrets.is_empty():
        return False
    if store.secrets.is_secret(asked):
        return True
    written = store.instructions.get(asked) or instruction
    names = {store.instructions.canonical(wait.instruction) for wait in written.awaits()}
    rows = store.runs.steps(run) if names else []
    kept = [row.receipt for row in rows if row.instruction in names and row.receipt is not None]
    sources = tuple(one for one in map(store.receipts.get, kept) if one is not None)
    return Reified(written, instruction, sources=sources).is_of_secrets(store)
