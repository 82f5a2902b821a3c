"""Instructions: ordinary blocks, found under each hash function that others name them by."""

from __future__ import annotations

from collections.abc import Sequence

from lite.clock import Clock
from lite.ipld.cid import CID, DAG_CBOR, SHA2_256, SHA3_256
from lite.model.instruction import Instruction
from lite.store import sql
from lite.store.blocks import Ledger
from lite.store.commits import Commits
from lite.store.database import Database, Transaction
from lite.store.faults import changed, stored_bytes, stored_cid

__all__ = ["Instructions", "canonical", "write_instruction"]


def canonical(database: Database | Transaction, cid: CID) -> CID:
    """The sha2-256 CID of the instruction that `cid` names, or `cid` itself if it is unknown."""
    if cid.hash_code == SHA2_256:
        return cid
    found = database.row(sql.ALIAS, (cid.raw,))
    return stored_cid(found[0]) if found else cid


def write_instruction(
    transaction: Transaction,
    ledger: Ledger,
    instruction: Instruction,
    hash_codes: Sequence[int] = (SHA3_256,),
) -> None:
    """Write an instruction and its other names; receipts that came under those are its own."""
    raw = instruction.cid.raw
    ledger.put(raw, instruction.data)
    for code in hash_codes:
        alias = CID.of(instruction.data, DAG_CBOR, code).raw
        if transaction.execute(sql.ALIAS_INSERT, (alias, raw)).rowcount:
            transaction.execute(sql.ALIAS_MIRROR, (raw, alias))


class Instructions:
    """The instructions of a store."""

    def __init__(self, database: Database, commits: Commits, clock: Clock) -> None:
        self._database = database
        self._commits = commits
        self._clock = clock

    def add(self, instruction: Instruction, *, hash_codes: Sequence[int] = (SHA3_256,)) -> None:
        """Keep an instruction, to be found also under its CIDs with these hash functions.

        Quotas do not stop it.
        """

        def work(transaction: Transaction) -> None:
            ledger = Ledger(transaction, self._clock.now())
            write_instruction(transaction, ledger, instruction, hash_codes)
            ledger.close()

        self._commits.run(work)

    def get(self, cid: CID) -> Instruction | None:
        """The instruction that `cid` names, under any hash function known for it, or None.

        Raises:
            CodecError: `cid` names a block that is not an instruction.
            HashMismatch: the bytes changed on the disk.
        """
        cid = self.canonical(cid)
        found = self._database.row(sql.BLOCK, (cid.raw,))
        if found is None:
            return None
        data = stored_bytes(found[0])
        if not cid.matches(data):
            raise changed(str(cid))
        return Instruction.parse(data)

    def canonical(self, cid: CID) -> CID:
        """The sha2-256 CID of the instruction that `cid` names; `cid` itself if none is known."""
        return canonical(self._database, cid)
