"""Receipts and files in CAR files: export, import, verify.

An exported receipt is a CAR v1 whose root is the receipt. It holds the receipt's token, its
instruction, the proofs, and every block of linked outputs; on request also the code and the inputs.
Nothing else may be in it: `verify` refuses blocks that no root reaches, so that any changed byte
shows.
"""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import BinaryIO

from lite.errors import CodecError, IntegrityError, NotFoundError, UsageError
from lite.files import bounded
from lite.frozen import field, frozen, replace
from lite.ipld import car, dag_cbor, unixfs
from lite.ipld.block import Block
from lite.ipld.cid import CID, DAG_CBOR, IDENTITY
from lite.limits import MIB, STREAM_BYTES_MAX
from lite.model.instruction import Instruction
from lite.model.receipt import Receipt, own_task_id
from lite.store import Store

Get = Callable[[CID], bytes]
TOKEN_PREFIX = b"\x82\x58\x40"  # a list of two whose first item is 64 bytes: a signed token
SPOOL_BYTES_MAX = 16 * MIB


@frozen
class Verified:
    """A receipt that holds: its signature, its instruction, and every block it links to.

    Attributes:
        blocks, bytes: what was hashed for it, each block once: the token, the instruction and its
            linked output; in an archive also the code, inputs and proofs that came along. What an
            identity CID holds is no block.
    """

    receipt: Receipt
    instruction: Instruction
    blocks: int
    bytes: int


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
    wanted: dict[CID, None] = {}  # an ordered set
    for ref in refs:
        receipt = store.receipts.get(ref)
        if receipt is None:
            wanted |= dict.fromkeys(_closure([ref], store.blocks.get))
        else:
            wanted |= dict.fromkeys(_receipt_blocks(store, receipt, with_code, with_inputs))
    if not with_secrets:
        store.secrets.refuse((*refs, *wanted), "the export")
    return car.write_car(out, refs, (_block(store, cid) for cid in wanted))


def _block(store: Store, cid: CID) -> Block:
    receipt = store.receipts.get(cid)
    return Block.trusted(cid, receipt.token.data if receipt else store.blocks.get(cid))


def _receipt_blocks(
    store: Store, receipt: Receipt, with_code: bool, with_inputs: bool
) -> list[CID]:
    """The CIDs of everything that travels with a receipt, the token first."""
    get = store.blocks.get
    instruction = load_instruction(receipt, get)
    roots = [*receipt.proofs, *output_links(receipt)]
    if with_code and instruction.module is not None:
        roots.append(instruction.module)
    if with_inputs:
        roots.extend(dag_cbor.links(instruction.input))
    return [receipt.cid, instruction.cid, *_closure(roots, get)]


def output_links(receipt: Receipt) -> list[CID]:
    """Links to output that did not fit into the receipt: the result's and the trace's."""
    links = [receipt.out.body] if receipt.linked is not None else []
    trace = receipt.meta.get("trace")
    return links + ([trace] if isinstance(trace, CID) else [])


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
    """The instruction that a receipt answers, checked against the receipt's own Task ID."""
    instruction = Instruction.from_value(dag_cbor.decode(get(receipt.instruction)))
    if instruction.cid != receipt.instruction:
        raise IntegrityError(f"the instruction {receipt.instruction} is not in its one true form")
    if own_task_id(receipt.issuer, instruction) != receipt.ran:
        raise IntegrityError(
            f"the receipt says that it ran {receipt.ran}, which is not the task of its instruction"
        )
    return instruction


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
    for cid in _closure(output_links(checked), hashed):
        sizes[cid] = len(get(cid))
    return Verified(checked, instruction, len(sizes), sum(sizes.values()))


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
            if data.startswith(TOKEN_PREFIX):
                yield Receipt.parse(data)


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
            if root.codec == DAG_CBOR and data.startswith(TOKEN_PREFIX):
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
