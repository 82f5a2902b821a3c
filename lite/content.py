"""What the links in an instruction's input stand for, resolved before a guest starts.

Guests never see CIDs. A link to a file (raw or dag-pb) stands for its bytes, a link to a dag-cbor
or dag-json block for its value; the parameter's type decides what the guest gets of it.
"""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

from lite.engine.job import Content
from lite.errors import LimitError, NotFoundError
from lite.ipld import dag_cbor, unixfs
from lite.ipld.block import Block
from lite.ipld.cid import CID, DAG_CBOR, DAG_JSON, IDENTITY, RAW
from lite.limits import CONTENT_LINKS_MAX, CONTENT_MEMORY_BYTES_MAX
from lite.model.promise import Await
from lite.model.receipt import Receipt
from lite.model.result import Result
from lite.ops.base import Ready
from lite.store import Store

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

    def __enter__(self) -> Links:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        self._scratch.close()
        self._folder = None

    def content(self, value: Any, *, skip_absent: bool = False) -> dict[CID, Content]:
        """Content of every link in `value`, and in the values that those links stand for.

        Args:
            skip_absent: leave out what is not here (Homestar passes such links on as text).

        Raises:
            NotFoundError: a block is not in the store.
            LimitError: more than `CONTENT_LINKS_MAX` links.
        """
        found: dict[CID, Content] = {}
        todo = list(dag_cbor.links(value))
        while todo:
            cid = todo.pop()
            if cid in found:
                continue
            if len(found) == CONTENT_LINKS_MAX:
                raise LimitError(f"the input reaches more than {CONTENT_LINKS_MAX} links")
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
        if cid.codec == DAG_CBOR:
            try:
                return Content("value", self._get(cid))
            except NotFoundError:
                receipt = self._receipts.get(cid)
                if receipt is None:
                    raise
                return Content("value", receipt.data)
        if cid.codec == DAG_JSON:
            from lite.ipld import dag_json

            return Content("value", dag_cbor.encode(dag_json.decode(self._get(cid))))
        size = self._files.size(cid)
        if size <= self._memory_bytes_left:
            self._memory_bytes_left -= size
            return Content("file", self._files.read(cid))
        if self._folder is None:
            from lite.ops.scratch import scratch_folder

            self._folder = Path(self._scratch.enter_context(scratch_folder("ipvm-input-")))
        path = self._folder / str(cid)
        with path.open("xb") as out:
            for chunk in unixfs.read_file(cid, self._get):
                out.write(chunk)
        return Content("file", path)


def as_file(store: Store, rsc: str | Await, values: dict[Await, Any]) -> None:
    """Store the bytes that an awaited `rsc` became, however few they are: it is a link."""
    if isinstance(rsc, Await) and type(values[rsc]) is bytes:
        block = Block.make(values[rsc], RAW)
        store.blocks.put_many([block])
        values[rsc] = block.cid


def whole_result(store: Store, receipt: Receipt) -> Result:
    """A result as an await sees it: a linked value by its link, a linked error in full."""
    if receipt.linked == "dag-cbor" and not receipt.out.is_ok:
        return Result.of_error(dag_cbor.decode_trusted(store.blocks.get(receipt.out.body)))
    return receipt.out
