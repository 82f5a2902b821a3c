"""Instructions: ordinary blocks, found under each hash function that others name them by."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from lite.clock import Clock
from lite.ipld.cid import CID, DAG_CBOR, SHA3_256
from lite.model.instruction import Instruction
from lite.store import sql
from lite.store.aliases import canonical
from lite.store.blocks import Ledger
from lite.store.commits import Commits
from lite.store.database import Database, Transaction, among
from lite.store.faults import changed, stored_bytes
from lite.store.uses import using, write_uses

__all__ = ["Instructions", "canonical", "write_instruction", "write_many", "write_names"]


def write_instruction(
    transaction: Transaction,
    ledger: Ledger,
    instruction: Instruction,
    hash_codes: Sequence[int] = (SHA3_256,),
    *,
    expect_new: bool = False,
) -> None:
    """Write an instruction, its other names, and what it uses; `expect_new` as in `Ledger.put`."""
    ledger.put(instruction.cid.raw, instruction.data, expect_new=expect_new)
    write_names(transaction, instruction.cid, instruction.data, instruction.value(), hash_codes)


def write_names(
    transaction: Transaction,
    cid: CID,
    data: bytes,
    value: Any,
    hash_codes: Sequence[int] = (SHA3_256,),
) -> None:
    """Write the other names of an instruction, and what it uses unless it had those names already.
    Receipts that came under the names are its own."""
    is_new = not hash_codes
    for code in hash_codes:
        alias = CID.of(data, DAG_CBOR, code).raw
        if transaction.execute(sql.ALIAS_INSERT, (alias, cid.raw)).rowcount:
            if transaction.row(sql.ANSWERED, (alias,)):
                transaction.execute(sql.ALIAS_MIRROR, (cid.raw, alias))
            is_new = True
    if is_new:
        write_uses(transaction, [(cid, value)])


def write_many(
    transaction: Transaction, ledger: Ledger, instructions: Sequence[Instruction]
) -> None:
    """`write_instruction` for many of which most are new, with few statements."""
    by_raw = {one.cid.raw: one for one in instructions}
    ledger.put_many([(raw, one.data) for raw, one in by_raw.items()])
    names = {one.sha3.raw: raw for raw, one in by_raw.items()}
    known = {name for (name,) in among(transaction, sql.ALIASES_AMONG, list(names))}
    new = [(name, raw) for name, raw in names.items() if name not in known]
    transaction.executemany(sql.ALIAS_INSERT, new)
    for (name,) in among(transaction, sql.ANSWERED_AMONG, [name for name, _ in new]):
        transaction.execute(sql.ALIAS_MIRROR, (names[name], name))
    write_uses(transaction, [(by_raw[raw].cid, by_raw[raw].value()) for _, raw in new])


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

    def using(self, cid: CID, limit: int | None = None) -> Iterator[CID]:
        """The instructions that name `cid` as code, as input, or as one that they await (under any
        CID of it); in the order of their bytes, at most `limit`."""
        return using(self._database, cid, limit)
