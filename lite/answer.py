"""What a node answers to an instruction."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

from lite.frozen import frozen
from lite.ipld import dag_cbor, unixfs
from lite.ipld.cid import CID
from lite.ipld.unixfs.node import load_block
from lite.model.receipt import Receipt
from lite.model.result import Result
from lite.model.trust import PassedOver
from lite.store import Store


@frozen
class Answer:
    """A signed receipt, how it came to be the answer, and access to what it links to.

    Attributes:
        receipt: who says what came out of which instruction.
        source: "ran" when it was computed just now, "cached" when it was known.
        rule: the trust rule that let a cached one in.
        passed_over: receipts of others that would have been the answer when it was run, but for
            their results, which were not here.
    """

    receipt: Receipt
    source: Literal["ran", "cached"]
    rule: str
    store: Store
    passed_over: tuple[PassedOver, ...] = ()

    @property
    def out(self) -> Result:
        """The result with linked output loaded: `{"ok": value}` or `{"error": {...}}`.

        Raises:
            NotFoundError: the output's blocks were collected or never came here.
        """
        receipt = self.receipt
        out = receipt.out
        link = out.body
        if receipt.linked is None or not isinstance(link, CID):
            return out
        get = self.store.blocks.get
        if receipt.linked == "file":
            value: Any = b"".join(unixfs.read_file(link, get))
        else:
            value = dag_cbor.decode_trusted(load_block(link, get))
        return Result.of_ok(value) if receipt.out.is_ok else Result.of_error(value)

    @property
    def output_link(self) -> CID | None:
        """The CID of an output that is too large for the receipt, else None."""
        link = self.receipt.out.body
        return link if self.receipt.linked is not None and isinstance(link, CID) else None

    def chunks(self) -> Iterator[bytes]:
        """The bytes of a file output, a block at a time; the value must be bytes."""
        link = self.output_link
        if link is not None and self.receipt.linked == "file":
            yield from unixfs.read_file(link, self.store.blocks.get)
        else:
            yield self.out.unwrap()
