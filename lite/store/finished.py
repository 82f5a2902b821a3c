"""What finished: an instruction with its receipt, and everything that is kept together with it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import chain

from lite.frozen import frozen
from lite.ipld import dag_cbor
from lite.ipld.block import Block
from lite.ipld.cid import CID, DAG_CBOR
from lite.model.instruction import Instruction
from lite.model.receipt import Receipt
from lite.store import sql, sql_runs
from lite.store.adding import Add
from lite.store.blocks import Ledger
from lite.store.database import Database, Transaction
from lite.store.entrusted import write_entrusted
from lite.store.instructions import write_instruction, write_names
from lite.store.receipts import write_receipt

__all__ = ["Entry", "Finished"]

_INSTRUCTION = b"\xa4\x62op"  # how the block of an instruction begins: a map of four, first "op"


@frozen
class Finished:
    """One finished task, to be kept.

    Attributes:
        blocks: of its result, and the instruction with its awaits, if it had any.
        more: of its result as well, made each time that they are asked for: a large file.
        also_under: other instructions that the receipt answers: the one with its awaits.
        claim: the accepted invocation that it answers, as it was claimed.
        step: writes what belongs to it in the same transaction, such as the row of a step. It may
            be called again when the first transaction was taken back.
        secret: the instruction, the receipt and all blocks stay on this node.
        customer: with `secret`: they are secrets of this customer, for whom it was done; what was
            here before and is none becomes none (`Add.put`).
        kept: the instruction as it was asked, when its run has kept it with its names since it
            began: it is only looked for. It may be `instruction` itself, or among the blocks.
    """

    instruction: Instruction
    receipt: Receipt
    blocks: Iterable[Block] = ()
    also_under: Sequence[CID] = ()
    claim: CID | None = None
    step: Callable[[Transaction], None] | None = None
    secret: bool = False
    kept: CID | None = None
    more: Iterable[Block] = ()
    customer: str = ""


class Entry:
    """A finished task whose blocks were put: what is left to write of it."""

    __slots__ = ("_asked", "_finished", "_kept", "_secret")

    def __init__(self, finished: Finished, add: Add, database: Database) -> None:
        """Put the blocks. Raises what `Add.put` raises."""
        self._finished = finished
        self._asked: list[Block] = []
        self._kept: Block | None = None
        self._secret: list[tuple[bytes]] = []
        for block in chain(finished.blocks, finished.more):
            if block.cid == finished.kept:
                self._kept = block
                continue
            add.put(block, secret=finished.secret, customer=finished.customer)
            if block.data.startswith(_INSTRUCTION) and block.cid.codec == DAG_CBOR:
                self._asked.append(block)
        if finished.secret and not finished.customer:
            from lite.store.secrets import pieces

            cids = [finished.instruction.cid, finished.receipt.cid]
            cids += () if finished.kept is None else (finished.kept,)
            # Of a receipt that was known before, its blocks are not among those above.
            cids += pieces(database, finished.receipt.output_links())
            self._secret = [(cid.raw,) for cid in cids]

    def write(self, transaction: Transaction, ledger: Ledger, now: int) -> Receipt:
        """Write everything but the blocks; the receipt."""
        finished = self._finished
        receipt = finished.receipt
        kept, known = self._kept, finished.kept
        is_here = known is not None and transaction.row(sql.BLOCK_EXISTS, (known.raw,)) is not None
        if finished.customer:
            names = (finished.instruction.cid.raw, receipt.cid.raw)
            absent = {raw for raw in names if transaction.row(sql.BLOCK_EXISTS, (raw,)) is None}
            pairs = [(raw, finished.customer) for raw in names]
            write_entrusted(transaction, pairs, {*absent, receipt.cid.raw})
        if kept is not None or not is_here:
            write_instruction(transaction, ledger, finished.instruction, expect_new=True)
        if kept is not None and not is_here:  # somebody removed it
            ledger.put(kept.cid.raw, kept.data)
            write_names(transaction, kept.cid, kept.data, dag_cbor.decode_trusted(kept.data))
        for block in self._asked:
            write_names(transaction, block.cid, block.data, dag_cbor.decode_trusted(block.data))
        write_receipt(transaction, receipt, finished.also_under, now)
        if finished.claim is not None:
            values = (receipt.cid.raw, finished.claim.raw)
            transaction.execute(sql.INVOCATION_ANSWERED, values)
        if finished.instruction.nnc:  # its end is known now
            transaction.execute(sql_runs.BEGUN_ENDED, (finished.instruction.cid.raw,))
        if self._secret:
            transaction.executemany(sql_runs.SECRET_ADD, self._secret)
        if finished.step is not None:
            finished.step(transaction)
        return receipt
