"""What the executor is given and gives, as values."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal

from lite.engine.stop import Stop
from lite.errors import CodecError, IntegrityError, NotFoundError, QueuedError, UsageError
from lite.frozen import field, frozen
from lite.ipld import unixfs
from lite.ipld.block import Block
from lite.ipld.cid import CID, DAG_CBOR, IDENTITY
from lite.keys import Key
from lite.limits import Limits
from lite.model.instruction import Instruction
from lite.model.receipt import Receipt
from lite.model.trust import PassedOver
from lite.store import Store
from lite.store.database import Transaction
from lite.store.finished import Finished

__all__ = [
    "Also",
    "NotHere",
    "Reified",
    "Results",
    "Settled",
    "Warrant",
    "Watch",
    "finished_of",
    "is_held",
    "not_here",
    "said_again",
    "way_to_module",
]


class NotHere(QueuedError):
    """Another node may have what this one lacks for an instruction.

    Attributes:
        lacks: "op", "input" or "module".
    """

    def __init__(self, message: str, lacks: str, *, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.lacks = lacks


def not_here(reason: str, lacks: str) -> NotHere:
    """The error for content that is missing."""
    return NotHere(
        reason, lacks, hint="Add the file or import an archive that holds it, then run this again."
    )


def is_held(store: Store, cid: CID) -> bool:
    """Whether a block is here; what an identity CID holds is, wherever the CID is."""
    return cid.hash_code == IDENTITY or store.blocks.has(cid)


@frozen
class Settled:
    """A receipt that answers an instruction, and how it came to be the answer.

    Attributes:
        source: "ran" just now, or "cached".
        rule: which trust rule let a cached one in ("own receipt", "2 of 3 issuers agree"…).
        passed_over: what others signed of what "ran" here, as of before it ran.
    """

    receipt: Receipt
    source: Literal["ran", "cached"]
    rule: str
    passed_over: tuple[PassedOver, ...] = ()


Also = Callable[[Transaction, Receipt, bool], None]


@frozen
class Warrant:
    """What lets an invocation of somebody else in, and what its receipt says of it.

    Attributes:
        ran: its Task ID.
        invocation: its CID.
        claim: the name under which it was claimed.
        block: the invocation itself, which is kept with its receipt.
        permit: raises the refusal when the instruction, awaits filled in, is not allowed. To be
            asked always: more than awaits may be left open.
        also: writes what belongs to the receipt in its transaction, told whether it ran just now.
        customer: whoever asked, where it is a secret of that one; else empty.
    """

    ran: CID
    invocation: CID
    claim: CID
    block: Block
    permit: Callable[[Instruction], None]
    also: Also | None = None
    customer: str = ""


@frozen
class Reified:
    """An instruction with its awaits filled in, or the error that came of filling them in.

    Attributes:
        asked: as it was written.
        instruction: what runs, large byte strings as links; `asked` itself where there is an error.
        error: a branch did not match, or a value reads as an await.
        sources: the receipts whose values it holds.
        private: it is secret, whatever it was made from.
    """

    asked: Instruction
    instruction: Instruction
    error: dict[str, Any] | None = None
    sources: tuple[Receipt, ...] = ()
    private: bool = False

    def is_of_secrets(self, store: Store, *, contents: bool = True) -> bool:
        """Whether it, or anything that it was made from, has to stay on this node: itself as it was
        asked or with values filled in, what they hold of a small secret file without a link, an
        awaited receipt, the code, an input or what lies below one.

        Args:
            contents: False for what somebody else asked, who knows what stands in it, and is not to
                learn from an answer that stays away that it is a secret here.
        """
        marks, instruction = store.secrets, self.instruction
        if self.private or marks.is_empty():
            return self.private
        used = [self.asked.cid, instruction.cid, *(receipt.cid for receipt in self.sources)]
        used += way_to_module(store, instruction)
        if marks.any_secret(used) or marks.any_below(instruction.links()):
            return True
        return contents and any(map(marks.holds_content, {self.asked.data, instruction.data}))

    def gave_secrets(
        self, store: Store, receipt: Receipt, blocks: Iterable[Block], *, ours: bool
    ) -> bool:
        """Whether it is of secrets, or what came out holds the content of a small secret file,
        wherever it had it.

        Args:
            ours: nobody else asked for it.
        """
        marks = store.secrets
        if self.private or marks.is_empty():
            return self.private
        if self.is_of_secrets(store, contents=ours):
            return True
        values = (block.data for block in blocks if block.cid.codec == DAG_CBOR)
        return ours and any(map(marks.holds_content, (receipt.data, *values)))


def way_to_module(store: Store, instruction: Instruction) -> list[CID]:
    """The code of an instruction and, where a path leads to it, all blocks on the way, as far as
    they are here. What else lies in a folder with it is not read."""
    root = instruction.module
    if root is None:
        return []
    way = [root]

    def passed(cid: CID) -> bytes:
        way.append(cid)
        return store.blocks.get(cid)

    if path := instruction.module_path:
        try:
            way.append(unixfs.resolve_path(root, path, passed))
        except (NotFoundError, UsageError, CodecError, IntegrityError):
            return way  # it does not run either
    return way


def _unheard(_limits: Limits) -> None:
    """Nobody wants to know."""


@frozen
class Watch:
    """For whom a computation runs, and how it is looked after from outside meanwhile.

    Attributes:
        deadline: when it has to have ended, on `time.monotonic`.
        on_trace: gets what the guest writes, from the thread that runs it; standard output of a
            command as `engine.spoken.Stdout`.
        stop: ends it.
        for_others: it runs for somebody else than the owner (see `Ready.for_others`).
        needs: of the machine, see `Ready.needs`.
        begins: called right before something runs, with what it may use.
    """

    deadline: float | None = None
    on_trace: Callable[[bytes], None] | None = None
    stop: Stop | None = None
    for_others: bool = False
    needs: Mapping[str, Any] = field(default_factory=dict)
    begins: Callable[[Limits], object] = _unheard


Results = Callable[[CID], Receipt | None]
"""The receipt that a run has for an awaited instruction, whatever hash names it."""


def finished_of(
    reified: Reified,
    receipt: Receipt,
    blocks: Sequence[Block],
    warrant: Warrant | None,
    *,
    lasting: bool,
    secret: bool,
    kept: bool = False,
    ran: bool = True,
) -> Finished:
    """What the store keeps of a finished task, in the words of `Executor.sign`; `ran`: it was run
    just now."""
    asked, instruction = reified.asked, reified.instruction
    claim = None if warrant is None else warrant.claim
    blocks = blocks if warrant is None else [*blocks, warrant.block]
    known = asked.cid if kept else None
    step = _step(warrant, receipt, ran)
    under: tuple[CID, ...] = ()
    if asked.cid != instruction.cid:
        blocks = [*blocks, Block.make(asked.data, DAG_CBOR)]
        under = (asked.cid,) if lasting else ()
    customer = "" if warrant is None else warrant.customer
    return Finished(
        instruction, receipt, blocks, under, claim, step, secret, known, customer=customer
    )


def _step(
    warrant: Warrant | None, receipt: Receipt, ran: bool
) -> Callable[[Transaction], None] | None:
    also = None if warrant is None else warrant.also
    return None if also is None else lambda transaction: also(transaction, receipt, ran)


def said_again(key: Key, reified: Reified, earlier: Receipt, warrant: Warrant, now: int) -> Receipt:
    """What an own receipt said, once more for another invocation. `now`: seconds since 1970."""
    return Receipt.issue(
        key,
        reified.instruction,
        earlier.out,
        linked=earlier.linked,
        meta=earlier.meta,
        fork=earlier.fork,
        join=earlier.join,
        now=now,
        invocation=warrant.invocation,
        ran=warrant.ran,
    )
