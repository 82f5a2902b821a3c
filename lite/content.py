"""What the links in an instruction's input stand for, resolved before a guest starts.

Guests never see CIDs. A link to a file (raw or dag-pb) stands for its bytes, a link to a dag-cbor
or dag-json block for its value; the parameter's type decides what the guest gets of it.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from lite.engine.base import GuestFailure
from lite.engine.job import Content
from lite.engine.spool import Blob, gathered
from lite.errors import NotFoundError, StoreError, StoreFull
from lite.ipld import dag_cbor, unixfs
from lite.ipld.block import Block
from lite.ipld.cid import CID, DAG_CBOR, DAG_JSON, IDENTITY, RAW
from lite.ipld.unixfs.node import load_block
from lite.limits import (
    BLOCK_BYTES_MAX,
    CONTENT_BYTES_MAX,
    CONTENT_LINKS_MAX,
    CONTENT_MEMORY_BYTES_MAX,
    CONTENT_VALUES_BYTES_MAX,
    Limits,
)
from lite.model.instruction import WASM_RUN, Instruction
from lite.model.promise import Await
from lite.model.receipt import Receipt
from lite.model.result import Result
from lite.ops.base import Ready
from lite.store import Store
from lite.store.faults import check_room

__all__ = ["Content", "Links", "StoreFiles", "as_file", "whole_result"]


class StoreFiles:
    """The files of a store, as operations read them."""

    def __init__(self, store: Store) -> None:
        self._get = store.blocks.get
        self._length = store.blocks.size

    def resolve(self, cid: CID, path: str) -> CID:
        return unixfs.resolve_path(cid, path, self._get) if path else cid

    def size(self, cid: CID) -> int:
        if cid.codec == RAW and cid.hash_code != IDENTITY:
            return self._length(cid)  # without reading and hashing it: `read` does
        return unixfs.file_size(cid, self._get)

    def read(self, cid: CID) -> bytes:
        return b"".join(unixfs.read_file(cid, self._get))

    def gather(self, cid: CID) -> Blob:
        return gathered(unixfs.read_file(cid, self._get))


class Links:
    """The resolved links of one run, with the temporary files of the large ones.

    A context manager: the files go when the run is over.
    """

    ready: Ready

    def __init__(self, store: Store, files: StoreFiles) -> None:
        self._get = store.blocks.get
        self._receipts = store.receipts
        self._files = files
        self._folder: Path | None = None
        self._scratch = ExitStack()
        self._memory_bytes_left = CONTENT_MEMORY_BYTES_MAX
        self._value_bytes_left = CONTENT_VALUES_BYTES_MAX
        self._file_bytes_left = CONTENT_BYTES_MAX
        self._guest_bytes_left: int | None = None
        self._streamed: Any = None

    def __enter__(self) -> Links:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        self._scratch.close()
        self._folder = None

    def content(
        self, instruction: Instruction, limits: Limits, *, skip_absent: bool = False
    ) -> dict[CID, Content]:
        """Content of every link in an input, and in the values that those links stand for. A file
        is looked at by the size that it declares before anything of it is read.

        Args:
            limits: arguments of a guest with more bytes than its memory are not read ("large").
            skip_absent: leave out what is not here (Homestar passes such links on as text).

        Raises:
            NotFoundError: a block is not in the store.
            GuestFailure: `bad-argument`, for more links or bytes than one run may reach.
            StoreFull, StoreError: a temporary file cannot be made.
        """
        if instruction.op == WASM_RUN:
            self._guest_bytes_left = limits.memory_bytes
            self._streamed = instruction.input.get("stdin")
        found: dict[CID, Content] = {}
        todo = list(dag_cbor.links(instruction.input))
        while todo:
            cid = todo.pop()
            if cid in found:
                continue
            if len(found) == CONTENT_LINKS_MAX:
                raise _too_much(f"more than {CONTENT_LINKS_MAX} links")
            try:
                found[cid] = here = self._one(cid)
            except NotFoundError:
                if not skip_absent:
                    raise
                continue
            if here.kind == "value" and isinstance(here.data, bytes) and not self._is_receipt(cid):
                todo.extend(dag_cbor.links(dag_cbor.decode_trusted(here.data)))
        return found

    def _is_receipt(self, cid: CID) -> bool:
        """Errors name the receipt that they come from. What that links to is not looked for."""
        return cid.codec == DAG_CBOR and self._receipts.has(cid)

    def _one(self, cid: CID) -> Content:
        if cid.codec in (DAG_CBOR, DAG_JSON):
            data = self._value(cid)
            self._value_bytes_left -= len(data)
            if self._value_bytes_left < 0:
                raise _too_much(f"values of more than {CONTENT_VALUES_BYTES_MAX} bytes together")
            return Content("value", data)
        size = self._files.size(cid)
        if self._guest_bytes_left is not None and cid != self._streamed:
            if size > self._guest_bytes_left:
                return Content("large", b"")
            self._guest_bytes_left -= size
        self._file_bytes_left -= size
        if self._file_bytes_left < 0:
            raise _too_much(f"files of more than {CONTENT_BYTES_MAX} bytes together")
        if size <= self._memory_bytes_left:
            self._memory_bytes_left -= size
            return Content("file", self._files.read(cid))
        return Content("file", self._copied(cid, size))

    def _value(self, cid: CID) -> bytes:
        if cid.codec == DAG_JSON:
            from lite.ipld import dag_json

            return dag_cbor.encode(dag_json.decode(load_block(cid, self._get)))
        if cid.hash_code == IDENTITY:
            return dag_cbor.encode(dag_cbor.decode(cid.digest))  # no check of blocks looked into it
        try:
            return self._get(cid)
        except NotFoundError:
            receipt = self._receipts.get(cid)
            if receipt is None:
                raise
            return receipt.data

    def _copied(self, cid: CID, size: int) -> Path:
        """A file in the folder for temporary files."""
        from lite.ops.scratch import scratch_folder

        try:
            if self._folder is None:
                self._folder = Path(self._scratch.enter_context(scratch_folder("ipvm-input-")))
            path = self._folder / str(cid)
            check_room(path, size, "Let the variable TMPDIR name a folder with room.")
            with path.open("xb") as out:
                for chunk in unixfs.read_file(cid, self._get):
                    out.write(chunk)
        except OSError as fault:
            kind = StoreFull if fault.errno in (errno.ENOSPC, errno.EDQUOT) else StoreError
            raise kind(
                f"a temporary file for {size} bytes of input cannot be written: {fault.strerror}",
                hint="Let the variable TMPDIR name a folder with room.",
            ) from fault
        return path


def _too_much(what: str) -> GuestFailure:
    return GuestFailure("bad-argument", f"the input links to {what}, and no run takes that")


def as_file(
    store: Store, rsc: str | Await, values: dict[Await, Any], is_secret: Callable[[], bool]
) -> None:
    """Store the bytes that an awaited `rsc` became, however few they are: it is a link.

    Args:
        is_secret: whether they stay on this node.
    """
    if isinstance(rsc, Await) and type(values[rsc]) is bytes:
        block = Block.make(values[rsc], RAW)
        store.blocks.put(block, secret=is_secret())
        values[rsc] = block.cid


def whole_result(store: Store, receipt: Receipt, mode: str = "") -> Result:
    """A result as an await sees it: a linked value by its link, a linked error in full. Homestar's
    rules take a link for itself, so in that mode what the node linked is there in full as well."""
    if receipt.linked is None or (receipt.out.is_ok and not mode):
        return receipt.out
    make = Result.of_ok if receipt.out.is_ok else Result.of_error
    if receipt.linked == "dag-cbor":
        return make(dag_cbor.decode_trusted(load_block(receipt.out.body, store.blocks.get)))
    files = StoreFiles(store)
    if files.size(receipt.out.body) > BLOCK_BYTES_MAX:
        return receipt.out
    return make(files.read(receipt.out.body))
