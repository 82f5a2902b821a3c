"""What is to happen once: a plain mutation with a nonce, whoever asks for it and wherever.

Without a nonce an instruction acts each time that it is asked for, in every run and by every call:
nothing tells the second wish from the first. A nonce makes it that one act. How it ended here then
is the answer, its failures included, unless the operation said that nothing was done; and while it
was begun and nobody knows what became of it, it is in doubt for all. Whoever does it again by
`redo`, and comes to nothing, leaves the doubt as it was.
Source: UCAN Invocation 0.2.0 (`nnc`); the talk on IPVM (a nonce for what must be unique).
"""

from __future__ import annotations

from collections.abc import Callable

from lite.engine.base import Outcome
from lite.errors import QueuedError
from lite.ipld.cid import CID
from lite.model.instruction import Instruction
from lite.model.receipt import Receipt
from lite.model.trust import OWN_RULE
from lite.ops.base import InDoubt, is_transient
from lite.settled import Settled
from lite.store import Store
from lite.store.runs_rows import Beginning

__all__ = ["do_once", "earlier_end", "is_once", "was_done", "why_in_doubt"]

_ID_SHOWN = 8


def is_once(instruction: Instruction, level: str | None) -> bool:
    """Whether it is one act, and not one a call."""
    return level == "mutation" and bool(instruction.nnc)


def was_done(receipt: Receipt) -> bool:
    """Whether a receipt of a mutation says that it acted, or may have."""
    error = receipt.out.body
    if receipt.out.is_ok:
        return True
    return receipt.error_code != "branch-mismatch" and not (
        type(error) is dict and is_transient(error)
    )


def earlier_end(store: Store, did: str, instruction: CID) -> Settled | None:
    """How it ended here, under whatever value rules and limits: a value before an error.

    Args:
        instruction: with the values filled in.
    """
    known = store.receipts.by_instruction(instruction, {did})
    own = [one for one in known if one.issuer == did and was_done(one)]
    best = min(own, key=lambda one: (not one.out.is_ok, one.issued_at), default=None)
    return None if best is None else Settled(best, "cached", OWN_RULE)


def why_in_doubt(store: Store, instruction: CID) -> str | None:
    """Why nobody knows whether it happened, or None. Asked while its lease is held: then nobody is
    at it any more."""
    found = store.begun.get(instruction)
    if found is None:
        return None
    who = f"step {found.label} of run {found.run[:_ID_SHOWN]}" if found.run else "an earlier call"
    if found.reason:
        return f"{found.reason} ({who})"
    return f"{who} began it, and its process ended; it may or may not have happened"


def do_once(
    store: Store,
    did: str,
    ready: Instruction,
    level: str | None,
    act: Callable[[], Outcome],
    *,
    anew: bool = False,
    redo: bool = False,
) -> Outcome | Settled:
    """Act, unless it is to happen once and was done before: then how it ended.

    The caller holds its lease, and keeps the receipt before giving it back: until then a record on
    the disk says that it was begun.

    Args:
        ready: with the values filled in.
        anew: act although it was done. redo: act although it is in doubt.

    Raises:
        InDoubt: it was begun before and its end is not known, or now it is not known.
        QueuedError: nothing was done; what was in doubt before is so still.
    """
    if not is_once(ready, level):
        return act()
    instruction = ready.cid
    if not anew and (known := earlier_end(store, did, instruction)):
        return known
    if not redo and (reason := why_in_doubt(store, instruction)):
        raise InDoubt(reason)
    earlier = store.begun.get(instruction)
    store.begun.note(instruction, Beginning())
    try:
        return _doubt_left(act(), earlier)
    except QueuedError:
        store.begun.undo(instruction, earlier)
        raise
    except InDoubt as doubt:
        store.begun.note(instruction, Beginning(reason=str(doubt)))
        raise


def _doubt_left(outcome: Outcome, earlier: Beginning | None) -> Outcome:
    """The outcome, unless it says that nothing was done: an earlier doubt is not ended by that.

    Raises:
        QueuedError: it does.
    """
    error = outcome.error
    if earlier is not None and error is not None and is_transient(error):
        raise QueuedError(f"{error['code']}: {error['message']}")
    return outcome
