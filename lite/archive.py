"""Receipts and files in CAR files: export, import, verify.

An exported receipt is a CAR v1 whose root is the receipt. It holds the receipt's token, its
instruction, the invocation that asked for it with its proofs, as far as they are here, and every
block of linked outputs; on request also the code and the inputs.
Nothing else may be in it: `verify` refuses blocks that no root reaches, so that any changed byte
shows.
"""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import BinaryIO

from lite.delegations import read_delegation
from lite.errors import CodecError, IntegrityError, NotFoundError, UsageError
from lite.files import bounded
from lite.frozen import field, frozen, replace
from lite.ipld import car, dag_cbor, unixfs
from lite.ipld.block import Block
from lite.ipld.cid import CID, DAG_CBOR, IDENTITY
from lite.limits import MIB, STREAM_BYTES_MAX
from lite.model.instruction import Instruction
from lite.model.receipt import Receipt, own_task_id
from lite.parcel import kind, read_invocation
from lite.store import Store
from lite.ucan import envelope
from lite.ucan.invocation import Invocation
from lite.ucan.refusals import Refusal

Get = Callable[[CID], bytes]
TOKEN_PREFIX = b"\x82\x58\x40"  # a list of two whose first item is 64 bytes: a signed token
SPOOL_BYTES_MAX = 16 * MIB


@frozen
class Verified:
    """A receipt that holds: its signature, its instruction, and every block it links to.

    Attributes:
        blocks, bytes: what was hashed for it, each block once: the token, the instruction and its
            linked output, the invocation with its proofs; in an archive also the code and inputs
            that came along. What an identity CID holds is no block.
        invocation: the one that it answers; None when nobody invoked it, or it is not at hand.
    """

    receipt: Receipt
    instruction: Instruction
    blocks: int
    bytes: int
    invocation: Invocation | None = None

    @property
    def note(self) -> str:
        """What could not be checked, in one line; often empty."""
        if self.invocation is not None or self.receipt.invocation is None:
            return ""
        asked = self.receipt.invocation
        return f"the Task ID was not checked: this is for the invocation {asked}, which is not here"


@frozen
class ImportReport:
    """What came in with an archive."""

    roots: tuple[CID, ...]
    blocks: int
    bytes: int
    receipts: tuple[Receipt, ...] = field(default=())


def export(
    store: Store,
    refs: Sequence[CID],
    out: BinaryIO,
    *,
    with_code: bool = False,
    with_inputs: bool = False,
    with_secrets: bool = False,
) -> int:
    """Write the receipts or blocks `refs` and what belongs to them; the number of bytes written.

    Args:
        with_secrets: also what was marked secret.

    Raises:
        NotFoundError: a block that has to be in it is not in the store.
        AuthorityError: something of it is secret; nothing was written.
    """
    wanted: dict[CID, bytes | None] = {}  # None: in the store, too many to be held
    for ref in refs:
        receipt = store.receipts.get(ref)
        if receipt is None:
            wanted |= dict.fromkeys(_closure([ref], store.blocks.get))
        else:
            wanted |= _receipt_blocks(store, receipt, with_code, with_inputs)
    if not with_secrets:
        store.secrets.refuse((*refs, *wanted), "the export")
    return car.write_car(out, refs, (_block(store, cid, held) for cid, held in wanted.items()))


def at_hand(store: Store) -> Get:
    """The blocks of a store, and the delegations that it keeps."""

    def get(cid: CID) -> bytes:
        try:
            return store.blocks.get(cid)
        except NotFoundError:
            token = store.tokens.get(cid)
            if token is None:
                raise
            return token

    return get


def _block(store: Store, cid: CID, held: bytes | None) -> Block:
    return Block.trusted(cid, store.blocks.get(cid) if held is None else held)


def _receipt_blocks(
    store: Store, receipt: Receipt, with_code: bool, with_inputs: bool
) -> dict[CID, bytes | None]:
    """Everything that travels with a receipt, the token first."""
    get = store.blocks.get
    instruction = load_instruction(receipt, get)
    roots = receipt.output_links()
    if with_code and instruction.module is not None:
        roots.append(instruction.module)
    if with_inputs:
        roots.extend(dag_cbor.links(instruction.input))
    first: dict[CID, bytes | None] = {receipt.cid: receipt.data, instruction.cid: None}
    tokens = _asked(receipt, at_hand(store))
    return {**first, **tokens, **dict.fromkeys(_closure(roots, get))}


def _closure(roots: Iterable[CID], get: Get) -> Iterator[CID]:
    """The roots and everything below them, each once; every one of them must be here. Identity CIDs
    are followed, but hold their bytes themselves."""
    seen: set[CID] = set()
    todo = list(roots)[::-1]
    while todo:
        cid = todo.pop()
        if cid in seen:
            continue
        seen.add(cid)
        held = cid.hash_code == IDENTITY
        if not held:
            yield cid
        todo.extend(unixfs.block_links(cid, cid.digest if held else get(cid))[::-1])


def load_instruction(receipt: Receipt, get: Get) -> Instruction:
    """The instruction that a receipt answers, checked against the receipt's own Task ID: that of
    the invocation which asked for it, if there was one and it is at hand.

    Raises:
        NotFoundError: the instruction is not at hand.
        IntegrityError: the receipt, its instruction and its invocation do not belong together.
    """
    instruction = Instruction.from_value(dag_cbor.decode(get(receipt.instruction)))
    if instruction.cid != receipt.instruction:
        raise IntegrityError(f"the instruction {receipt.instruction} is not in its one true form")
    if receipt.invocation is not None:
        _check_answers(receipt, instruction, _invocation(receipt, get))
    elif own_task_id(receipt.issuer, instruction) != receipt.ran:
        raise IntegrityError(
            f"the receipt says that it ran {receipt.ran}, which is not the task of its instruction"
        )
    return instruction


def _invocation(receipt: Receipt, get: Get) -> Invocation | None:
    """The invocation that a receipt names, signed by its issuer; None when it is not at hand."""
    data = None if receipt.invocation is None else _token(receipt.invocation, get)
    if data is None:
        return None
    try:
        return read_invocation(data)
    except Refusal as refusal:
        raise IntegrityError(f"what the receipt says that it answers: {refusal}") from None


def _token(cid: CID, get: Get) -> bytes | None:
    try:
        return Block(cid, get(cid)).data
    except NotFoundError:
        return None


def _check_answers(receipt: Receipt, instruction: Instruction, asked: Invocation | None) -> None:
    if asked is None:
        return
    if asked.task != receipt.ran:
        raise IntegrityError(
            f"the receipt says that it ran {receipt.ran}, which is not the task of its invocation"
        )
    if asked.executor != receipt.issuer:
        raise IntegrityError(f"the receipt answers an invocation addressed to {asked.executor}")
    value = instruction.value()
    told = [asked.command, asked.args.get("rsc"), asked.args.get("input", {})]
    data = dag_cbor.encode(told)
    # Awaits were filled in, so only what has none is as it was asked.
    if b"await/" not in data and data != dag_cbor.encode(
        [f"/{instruction.op}", value["rsc"], value["input"]]
    ):
        raise IntegrityError("the receipt answers another instruction than its invocation asks for")


def _asked(receipt: Receipt, get: Get) -> dict[CID, bytes]:
    """The invocation that a receipt answers and the delegations behind both, as far as they are at
    hand: others keep receipts without them."""
    invocation = _invocation(receipt, get)
    proofs = [*receipt.proofs, *(() if invocation is None else invocation.proofs)]
    found = {} if invocation is None else {invocation.cid: invocation.data}
    for cid in proofs:
        data = _token(cid, get)
        if data is not None:
            found[cid] = _proof(data)
    return found


def _proof(data: bytes) -> bytes:
    try:
        return read_delegation(data).data
    except Refusal as refusal:
        raise IntegrityError(f"a proof of the receipt: {refusal}") from None


def verify_receipt(receipt: Receipt, get: Get) -> Verified:
    """Check a receipt and everything it links to, hashing each block again.

    Raises:
        IntegrityError: a signature, a hash or a relation is wrong.
        NotFoundError: a block it links to is absent.
    """
    checked = Receipt.parse(receipt.token.data)

    def hashed(cid: CID) -> bytes:
        return Block(cid, get(cid)).data

    instruction = load_instruction(checked, hashed)
    sizes = {checked.cid: len(checked.token.data), instruction.cid: len(instruction.data)}
    sizes |= {cid: len(data) for cid, data in _asked(checked, hashed).items()}
    for cid in _closure(checked.output_links(), hashed):
        sizes[cid] = len(get(cid))
    if checked.linked == "file":
        _check_file(checked.out.body, get)
    invocation = _invocation(checked, hashed)
    return Verified(checked, instruction, len(sizes), sum(sizes.values()), invocation)


def _check_file(cid: CID, get: Get) -> None:
    """Whether the linked output that is to be a file is one, whose parts fit."""
    try:
        for _ in unixfs.read_file(cid, get):
            pass
    except UsageError as error:
        raise IntegrityError(f"the output that the receipt calls a file is none: {error}") from None


class Archive:
    """A CAR file whose blocks were all hashed, read again by CID on demand.

    Raises:
        CodecError, HashMismatch: the file is not a sound CAR v1.
        LimitError: it is a pipe with more than `stream_bytes_max`.
    """

    def __init__(self, file: BinaryIO, stream_bytes_max: int = STREAM_BYTES_MAX) -> None:
        self._file = file if file.seekable() else spooled(bounded(file, stream_bytes_max))
        reader = car.read_car(self._file)
        self.roots = tuple(reader.roots)
        self._where: dict[CID, tuple[int, int]] = {}
        self.bytes = 0
        for block in reader:
            end = reader.offset
            self._where.setdefault(block.cid, (end - len(block.data), len(block.data)))
            self.bytes += len(block.data)

    def __len__(self) -> int:
        return len(self._where)

    def __iter__(self) -> Iterator[CID]:
        return iter(self._where)

    def __contains__(self, cid: CID) -> bool:
        return cid in self._where

    def get(self, cid: CID) -> bytes:
        """A block's bytes; `NotFoundError` when the archive does not hold it."""
        if cid not in self._where:
            raise NotFoundError(f"the archive has no block {cid}")
        offset, length = self._where[cid]
        self._file.seek(offset)
        return self._file.read(length)

    def size(self, cid: CID) -> int:
        """The length of a block that it holds."""
        return self._where[cid][1]

    def receipts(self) -> Iterator[Receipt]:
        """Every receipt in it, verified."""
        for cid in self:
            if cid.codec != DAG_CBOR:
                continue
            data = self.get(cid)
            if _is_receipt(data):
                yield Receipt.parse(data)


def _is_receipt(data: bytes) -> bool:
    """Whether it is to be read as a receipt: a token that says that it is none is another kind."""
    if not data.startswith(TOKEN_PREFIX):
        return False
    try:
        return kind(envelope.parse(data)) == "receipt"
    except IntegrityError:
        return True  # whoever reads it will say what is wrong


def spooled(file: BinaryIO) -> BinaryIO:
    """The rest of a pipe in a temporary file, so that it can be read twice."""
    chunk = file.read(MIB)
    car.read_car(io.BytesIO(chunk))  # what does not begin like an archive is not kept at all
    spool = tempfile.SpooledTemporaryFile(max_size=SPOOL_BYTES_MAX)  # noqa: SIM115
    try:
        while chunk:
            spool.write(chunk)
            chunk = file.read(MIB)
    except BaseException:
        spool.close()
        raise
    spool.seek(0)
    return spool  # type: ignore[return-value]


def verify(file: BinaryIO) -> list[Verified]:
    """Check every receipt among the roots of an archive, and that nothing stray is in it.

    Raises:
        IntegrityError: any byte is not what it should be, or a linked block is absent.
        UsageError: the archive has no receipt among its roots.
    """
    archive = Archive(file)
    try:
        reached: set[CID] = set()
        found: list[Verified] = []
        for root in archive.roots:
            data = archive.get(root)
            below = _reachable(root, archive)
            if root.codec == DAG_CBOR and _is_receipt(data):
                checked = verify_receipt(Receipt.parse(data), archive.get)
                sizes = [archive.size(cid) for cid in below if cid in archive]
                found.append(replace(checked, blocks=len(sizes), bytes=sum(sizes)))
            reached |= below
    except NotFoundError as absent:
        raise IntegrityError(f"{absent}, but a receipt in it or its header names it") from absent
    stray = next((cid for cid in archive if cid not in reached), None)
    if stray is not None:
        raise IntegrityError(f"the archive holds {stray}, which nothing in it links to")
    if not found:
        raise UsageError(
            "the archive has no receipt among its roots",
            hint="Write one with `ipvm export RECEIPT -o FILE.car`.",
        )
    return found


def _reachable(root: CID, archive: Archive) -> set[CID]:
    """What a root reaches inside the archive; an instruction also reaches its module."""
    seen: set[CID] = set()
    todo = [root]
    while todo:
        cid = todo.pop()
        if cid in seen:
            continue
        seen.add(cid)
        try:
            data = cid.digest if cid.hash_code == IDENTITY else archive.get(cid)
        except NotFoundError:
            continue  # code and inputs may stay behind
        todo.extend(unixfs.block_links(cid, data))
        module = _module_of(cid, data)
        if module is not None:
            todo.append(module)
    return seen


def _module_of(cid: CID, data: bytes) -> CID | None:
    """The module of a block that is an instruction, else None."""
    if cid.codec != DAG_CBOR:
        return None
    value = dag_cbor.decode(data)
    if not isinstance(value, dict) or set(value) != {"rsc", "op", "input", "nnc"}:
        return None
    try:
        return Instruction.from_value(value).module
    except UsageError:
        return None


def import_(store: Store, file: BinaryIO, stream_bytes_max: int = STREAM_BYTES_MAX) -> ImportReport:
    """Take in an archive. All of it is checked before anything is stored.

    Raises:
        LimitError: it is a pipe with more than `stream_bytes_max`.
        IntegrityError: a hash, a signature or the structure is wrong; nothing was stored.
        StoreError: it does not fit.
    """
    archive = Archive(file, stream_bytes_max)
    absent = next((root for root in archive.roots if root not in archive), None)
    if absent is not None:
        raise CodecError(f"the archive names {absent} as a root but does not hold it")
    for cid in archive:
        if cid.codec == DAG_CBOR:
            dag_cbor.decode(archive.get(cid))
    receipts = list(archive.receipts())
    tokens = {receipt.cid for receipt in receipts}
    instructions = [
        load_instruction(receipt, archive.get)
        for receipt in receipts
        if receipt.instruction in archive
    ]
    with store.adding() as put:
        for cid in archive:
            if cid not in tokens:
                put(Block.trusted(cid, archive.get(cid)))
    for instruction in instructions:
        store.instructions.add(instruction)
    for receipt in receipts:
        store.receipts.add(receipt)
    return ImportReport(archive.roots, len(archive), archive.bytes, tuple(receipts))
