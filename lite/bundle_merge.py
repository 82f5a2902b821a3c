"""Taking a bundle in: looked through once without writing, then taken in as from a live peer.

Blocks come first, all or none; then receipts behind their instructions, then tokens. After a crash
in between the same bundle goes on where it was, because what is here already is left as it is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import BinaryIO, Final, cast

from lite.archive import spooled
from lite.bundle_check import Piece, Reading, Relations, check_workflow
from lite.bundle_index import Index
from lite.bundle_tokens import Taken, check_block, take, unfit
from lite.errors import IntegrityError, StoreCorrupt
from lite.files import bounded
from lite.frozen import field, frozen
from lite.ipld.block import Block
from lite.ipld.cid import CID, DAG_CBOR
from lite.model.instruction import Instruction
from lite.model.receipt import Receipt
from lite.node import Node
from lite.nudge import RECORDS, nudge
from lite.parcel import Parcel
from lite.peering.book import open_book
from lite.peering.issuers import wanted_issuers
from lite.peering.record_verifier import RecordVerifier
from lite.peering.records import RecordStore
from lite.store import tombstones
from lite.store.blocks import Ledger
from lite.store.instructions import write_many
from lite.store.receipts import write_receipt
from lite.ucan.invocation import Invocation
from lite.ucan.revocation import COMMAND as REVOKE
from sync.errors import ItemInvalid, ItemUnwanted

AT_ONCE: Final = 256  # receipts in one transaction
AT_ONCE_BYTES: Final = 8 << 20  # of their instructions
_REVOKE: Final = REVOKE.encode()


@frozen
class Merged:
    """What a bundle brought, or would bring.

    Attributes:
        root: the CID of its index.
        blocks, bytes: that were not here before, of workflows and content.
        receipts: that were not here before and are taken. known: that were here.
        unwanted: how many receipts were left out, by reason.
        tokens: what became of the tokens; of a dry run, what is expected.
    """

    root: CID
    index: Index
    blocks: int
    bytes: int
    receipts: int
    known: int
    unwanted: Mapping[str, int]
    tokens: Taken = field(default_factory=Taken)


class _Issuers:
    """Whose receipts count; of a set of records, the part that its verifier asks. A bundle is no
    peer that would send again what it was refused, so nothing of that is noted."""

    def __init__(self, wanted: frozenset[str]) -> None:
        self.wanted = wanted

    def refuse(self, _id: bytes, issuer: str, _time: int, _peer: str) -> ItemUnwanted:
        return ItemUnwanted(f"by {issuer}, who is neither a peer nor trusted here")


class Merge:
    """One bundle on its way into a node; a context manager that drops the copy of a pipe.

    Args:
        everything: take receipts of issuers who are nobody here, and forgotten ones, too.
    """

    def __init__(self, node: Node, file: BinaryIO, *, everything: bool = False) -> None:
        self._is_copy = not file.seekable()
        bound = node.config.stream_bytes
        self._file = spooled(bounded(file, bound)) if self._is_copy else file
        self._start = self._file.tell()
        self._node = node
        self._store = node.store
        self._everything = everything
        trusted = node.config.trust_issuers
        self._wanted = wanted_issuers(
            node.did, open_book(node.store, node.did, node.clock), trusted
        )
        issuers = cast(RecordStore, _Issuers(self._wanted))
        self._verifier = RecordVerifier(node.store, issuers, node.clock)
        self._seen: set[bytes] = set()
        self._new: dict[CID, CID] = {}  # receipts to be stored, and their instructions
        self._unwanted: Counter[str] = Counter()
        self._known = 0
        self._blocks = self._bytes = 0
        self._secret: list[CID] = []
        self._parcel: Parcel | None = None

    def __enter__(self) -> Merge:
        return self

    def __exit__(self, *_: object) -> None:
        if self._is_copy:
            self._file.close()

    def look(self) -> Merged:
        """Check all of it. Nothing is written.

        Raises:
            IntegrityError: any byte is not what it should be; it says at which byte.
            LimitError: it is larger than may be.
        """
        reading = Reading(self._file, self._judge)
        relations = Relations(reading.index)
        secret = frozenset(reading.index.secret)
        for piece in reading:
            self._look_at(reading.index, relations, piece, secret)
        self._seen = reading.seen
        return self._merged(reading, self._expected())

    def store(self, looked: Merged) -> Merged:
        """Take in what `look` found good.

        Raises:
            StoreError: it does not fit, or cannot be written.
            IntegrityError: the file has changed meanwhile.
        """
        if self._secret:
            with self._store.database.write() as transaction:
                self._store.secrets.write_marks(transaction, self._secret)
        with self._store.adding() as put:
            for piece in self._again():
                if piece.kind in ("content", "workflow"):
                    put(piece.block)
        self._store_receipts()
        nudge(self._node.home, RECORDS)
        tokens = Taken()
        if self._parcel is not None:
            tokens = take(self._node, self._parcel, self._wanted)
        values = {name: getattr(looked, name) for name in ("root", "index", "blocks", "bytes")}
        return Merged(
            **values,
            receipts=looked.receipts,
            known=looked.known,
            unwanted=looked.unwanted,
            tokens=tokens,
        )

    # The first look.

    def _look_at(
        self, index: Index, relations: Relations, piece: Piece, secret: frozenset[CID]
    ) -> None:
        cid, is_new = piece.block.cid, False
        if piece.kind == "tokens":
            self._parcel = check_block(piece.block.data)
            return
        if piece.kind == "instruction":
            relations.instruction(piece.block)
            is_new = not self._store.blocks.has(cid)
        elif piece.receipt is not None:
            relations.receipt(piece.receipt)
            is_new = cid in self._new
        else:
            if piece.kind == "workflow":
                check_workflow(index, piece.block)
            is_new = not self._store.blocks.has(cid)
            self._blocks += is_new
            self._bytes += len(piece.block.data) if is_new else 0
        if is_new and cid in secret:
            self._secret.append(cid)

    def _judge(self, block: Block) -> None:
        """Whether the block of a receipt is good, and to be stored."""
        cid = block.cid
        if self._is_known(cid):
            self._known += 1
            return
        try:
            if self._everything or _REVOKE in block.data:  # the verifier takes revocations too
                Receipt.parse(block.data)
            if not self._everything:
                self._verifier.verify(cid.digest, block.data, "")
        except ItemInvalid as error:
            raise IntegrityError(f"the receipt {cid}: {error}") from error
        except ItemUnwanted as error:
            self._unwanted[str(error)] += 1
        else:
            self._new[cid] = Receipt.from_store(block.data, cid).instruction

    def _is_known(self, cid: CID) -> bool:
        """Whether a receipt is here; one that the disk changed is to come again."""
        try:
            return self._store.receipts.get(cid) is not None
        except (IntegrityError, StoreCorrupt):
            return False

    def _expected(self) -> Taken:
        """What would become of the tokens, as far as that shows without keeping them."""
        if self._parcel is None:
            return Taken()
        kept = [(cid, "delegation", "") for cid in self._parcel.delegations]
        kept += [(CID.of(data, DAG_CBOR), "revocation", "") for data in self._parcel.revocations]
        asked = [Invocation.parse(data) for data in self._parcel.invocations]
        reasons = {one.cid: unfit(self._node, one, self._wanted) for one in asked}
        waiting = [cid for cid, why in reasons.items() if not why]
        return Taken(kept, waiting, [(cid, why) for cid, why in reasons.items() if why])

    def _merged(self, reading: Reading, tokens: Taken) -> Merged:
        return Merged(
            root=reading.root,
            index=reading.index,
            blocks=self._blocks,
            bytes=self._bytes,
            receipts=len(self._new),
            known=self._known,
            unwanted=dict(self._unwanted),
            tokens=tokens,
        )

    # The second.

    def _recognise(self, block: Block) -> None:
        if block.cid.raw not in self._seen:
            raise IntegrityError("the bundle has changed while it was read")

    def _again(self) -> Iterator[Piece]:
        """The pieces once more; each has to be one of those that were looked at."""
        self._file.seek(self._start)
        for piece in Reading(self._file, self._recognise):
            self._recognise(piece.block)
            yield piece

    def _store_receipts(self) -> None:
        needed = set(self._new.values())
        instructions: list[Instruction] = []
        receipts: list[Receipt] = []
        size = 0
        for piece in self._again():
            if piece.kind == "content":
                break
            if piece.kind == "instruction" and piece.block.cid in needed:
                instructions.append(Instruction.parse(piece.block.data))
                size += len(piece.block.data)
            elif piece.receipt is not None and piece.receipt.cid in self._new:
                receipts.append(piece.receipt)
            if len(receipts) >= AT_ONCE or size >= AT_ONCE_BYTES:
                self._write(instructions, receipts)
                instructions, receipts, size = [], [], 0
        self._write(instructions, receipts)

    def _write(self, instructions: list[Instruction], receipts: list[Receipt]) -> None:
        if not instructions and not receipts:
            return
        now = self._node.clock.now()
        with self._store.database.write() as transaction:
            ledger = Ledger(transaction, now)
            write_many(transaction, ledger, instructions)
            ledger.close()
            for receipt in receipts:
                write_receipt(transaction, receipt, (), now)
                if self._everything:
                    tombstones.lift(transaction, receipt.cid)
