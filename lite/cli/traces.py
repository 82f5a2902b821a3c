"""What guests wrote, as receipts have it: those of anybody, of which nothing was checked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lite.ipld.cid import CID
from lite.limits import TRACE_BYTES_MAX

if TYPE_CHECKING:
    from lite.model.receipt import Receipt
    from lite.node import Node

__all__ = ["trace_of"]


def trace_of(node: Node, receipt: Receipt) -> bytes:
    """What the guest wrote, at most `TRACE_BYTES_MAX`; nothing where the receipt has nothing, or
    something that is no trace.

    Raises:
        IpvmError: it is a link to what is not here, or damaged, or no file.
    """
    trace = receipt.meta.get("trace")
    if isinstance(trace, CID):
        return b"".join(node.cat(trace, length=TRACE_BYTES_MAX))
    return trace if isinstance(trace, bytes) else b""
