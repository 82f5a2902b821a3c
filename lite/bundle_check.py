"""Reading a bundle once from its beginning: every block hashed, and nothing in it but what its
index, or content that it names, asks for.

What is remembered of a block is its CID, so that memory is bounded however long the file is. The
first look also checks every signature; the second one takes in what the first one saw.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import BinaryIO, Final, Literal

from lite.bundle_index import BLOCKS_MAX, ENTRIES_MAX, Index
from lite.errors import CodecError, IntegrityError, LimitError
from lite.frozen import frozen
from lite.ipld import car, unixfs
from lite.ipld.block import Block
from lite.ipld.cid import CID, DAG_CBOR, IDENTITY
from lite.model.instruction import Instruction
from lite.model.receipt import Receipt, own_task_id
from lite.model.workflow import Workflow

NAMED_MAX: Final = 1 + BLOCKS_MAX + ENTRIES_MAX  # what is asked for comes, or is named as absent

Kind = Literal["tokens", "workflow", "instruction", "receipt", "content"]


@frozen
class Piece:
    """One block of a bundle, hashed, and what it is for.

    Attributes:
        receipt: of kind "receipt".
    """

    kind: Kind
    block: Block
    receipt: Receipt | None = None


class Reading:
    """One look at a bundle; iterate over it for its pieces. The index is read at once.

    Args:
        check_receipt: told of each block that is said to be a receipt before it is read; raises
            IpvmError unless it is one, in its strict form and signed.

    Attributes:
        index: what the bundle says of itself; whether it is true shows at the end of the iteration.
        root: the CID of the index.
        seen: the binary CIDs of the blocks so far.

    Raises, also in iteration:
        CodecError, HashMismatch, IntegrityError: not a sound bundle; what, and at which byte.
        LimitError: it asks for more than is remembered.
    """

    def __init__(self, file: BinaryIO, check_receipt: Callable[[Block], object]) -> None:
        self._file = file
        self._check_receipt = check_receipt
        self._reader = car.read_car(file)
        self._blocks = iter(self._reader)
        block = next(self._blocks, None)
        if block is None:
            raise CodecError(
                f"truncated bundle: it ends at byte {self._reader.offset}, at its index"
            )
        if self._reader.roots != (block.cid,) or block.cid.codec != DAG_CBOR:
            raise CodecError(
                "not a bundle: its first block is not its only root",
                hint="Other archives are for `ipvm import`.",
            )
        self.root = block.cid
        self.index = Index.parse(block.data)
        self.seen: set[bytes] = {block.cid.raw}
        self._begins = self._reader.offset
        self._instructions = frozenset(self.index.receipts.values())
        self._absent = {cid.raw for cid in self.index.absent}
        self._due: set[bytes] = set()
        self._in_content = False
        self._ask_for_roots()

    def __iter__(self) -> Iterator[Piece]:
        for number in range(self.index.blocks):
            at = self._reader.offset
            block = next(self._blocks, None)
            if block is None:
                raise CodecError(
                    f"truncated bundle: it ends at byte {at}, after {number} of its "
                    f"{self.index.blocks} blocks"
                )
            try:
                piece = self._take(block)
            except IntegrityError as error:
                raise IntegrityError(f"in the bundle at byte {at}: {error}") from error
            yield piece
        self._check_end()

    def _take(self, block: Block) -> Piece:
        raw = block.cid.raw
        if raw in self.seen:
            raise IntegrityError(f"{block.cid} is in it twice")
        if raw not in self._due:
            raise IntegrityError(f"it holds {block.cid}, which nothing before it asks for")
        if raw in self._absent:
            raise IntegrityError(f"it holds {block.cid}, which its index says is absent")
        self._due.remove(raw)
        self.seen.add(raw)
        kind = self._kind(block.cid)
        if kind == "content":
            self._in_content = True
            for link in unixfs.block_links(block.cid, block.data):
                self._ask_for(link)
            return Piece(kind, block)
        if self._in_content:
            raise IntegrityError(f"the {kind} {block.cid} comes behind content")
        return Piece(kind, block, self._receipt(block) if kind == "receipt" else None)

    def _receipt(self, block: Block) -> Receipt:
        if CID.of(block.data, DAG_CBOR) != block.cid:
            raise IntegrityError(f"the receipt {block.cid} is not under its sha2-256 name")
        self._check_receipt(block)
        receipt = Receipt.from_store(block.data, block.cid)
        if receipt.instruction != self.index.receipts[block.cid]:
            raise IntegrityError(f"its index is wrong about what the receipt {block.cid} answers")
        for link in receipt.output_links():
            self._ask_for(link)
        return receipt

    def _kind(self, cid: CID) -> Kind:
        index = self.index
        if cid in index.receipts:
            return "receipt"
        if cid in self._instructions:
            return "instruction"
        if cid in index.workflows:
            return "workflow"
        return "tokens" if cid == index.tokens else "content"

    def _ask_for_roots(self) -> None:
        index = self.index
        for cid in (*index.workflows, *self._instructions, *index.receipts):
            self._ask_for(cid, leaf=True)
        if index.tokens is not None:
            self._ask_for(index.tokens, leaf=True)
        for cid in (*index.code, *index.inputs):
            self._ask_for(cid)

    def _ask_for(self, cid: CID, *, leaf: bool = False) -> None:
        """From now on the block may come, and has to. What an identity CID holds is no block."""
        todo = [cid]
        while todo:
            cid = todo.pop()
            if cid.hash_code == IDENTITY and not leaf:
                todo.extend(unixfs.block_links(cid, cid.digest))
            elif cid.raw not in self.seen:
                self._due.add(cid.raw)
        if len(self._due) + len(self.seen) > NAMED_MAX:
            raise LimitError(f"the bundle asks for more than {NAMED_MAX} blocks")

    def _check_end(self) -> None:
        end = self._reader.offset
        if self._file.read(1):
            raise CodecError(f"the bundle ends at byte {end}, but the file goes on")
        if end - self._begins != self.index.length:
            raise IntegrityError(
                f"the bundle has {end - self._begins} bytes of blocks, its index says "
                f"{self.index.length}"
            )
        lacking = self._due - self._absent
        if lacking:
            cid = CID.from_bytes(min(lacking))
            raise IntegrityError(
                f"the bundle lacks {cid}, which belongs to it, and does not say so"
                + (f"; and {len(lacking) - 1} more" if len(lacking) > 1 else "")
            )
        for cid in self.index.absent:
            if cid.raw not in self._due:
                raise IntegrityError(f"its index says that {cid} is absent, which nothing asks for")
        for cid in self.index.secret:
            if cid.raw not in self.seen:
                raise IntegrityError(f"its index says that {cid} is secret, which is not in it")


class Relations:
    """Whether receipts answer their instructions: each follows its own, which is all that is kept.

    Raises:
        CodecError: the block is none.
        IntegrityError: the two do not belong together.
    """

    def __init__(self, index: Index) -> None:
        self._absent = frozenset(index.absent)
        self._latest: Instruction | None = None

    def instruction(self, block: Block) -> None:
        """One came."""
        self._latest = Instruction.parse(block.data)
        if self._latest.cid != block.cid:
            raise IntegrityError(f"the instruction {block.cid} is not under its sha2-256 name")

    def receipt(self, receipt: Receipt) -> None:
        """A receipt came."""
        latest = self._latest
        if receipt.instruction in self._absent:
            return
        if latest is None or latest.cid != receipt.instruction:
            raise IntegrityError(f"the receipt {receipt.cid} does not follow its instruction")
        if receipt.invocation is not None:
            return  # its Task ID is that of the invocation, which does not travel with it
        if own_task_id(receipt.issuer, latest) != receipt.ran:
            raise IntegrityError(
                f"the receipt {receipt.cid} says that it ran {receipt.ran}, which is not the task "
                "of its instruction"
            )


def check_workflow(index: Index, block: Block) -> None:
    """That a block is a workflow, as workflows are stored, and called what the index says.

    Raises:
        CodecError, IntegrityError: it is not.
    """
    found = Workflow.parse(block.data)
    if found.name not in ("", index.workflows[block.cid]):
        raise IntegrityError(f"its index calls the workflow {block.cid} by another name")
