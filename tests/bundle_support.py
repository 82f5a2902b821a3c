"""Bundles put together block by block, as an honest node would or as nobody should."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lite import Node
from lite.bundle import Merged, Wish, import_, prepare, write
from lite.ipld import car, dag_cbor, varint
from lite.ipld.block import Block
from lite.ipld.cid import CID, DAG_CBOR
from lite.model.receipt import Receipt
from tests.store_support import FakeClock


def open_node(folder: Path, name: str, *, trusting: Sequence[str] = ()) -> Node:
    """A node whose owner trusts these issuers."""
    home = folder / name
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    listed = ", ".join(f'"{did}"' for did in trusting)
    (home / "config.toml").write_text(
        f'[trust]\nissuers = [{listed}]\n[store]\ndurability = "normal"\n'
    )
    return Node.open(home, in_process=True, clock=FakeClock())


def bundle_of(node: Node, wish: Wish) -> bytes:
    """What `bundle create` writes."""
    out = io.BytesIO()
    write(node, prepare(node, wish), out)
    return out.getvalue()


def taken(node: Node, data: bytes, **told: Any) -> Merged:
    """What `bundle import` does."""
    return import_(node, io.BytesIO(data), **told)


def as_block(receipt: Receipt) -> Block:
    return Block(receipt.cid, receipt.data)


def sections(blocks: Sequence[Block]) -> int:
    """How long blocks are in a CAR file."""
    sizes = [len(one.cid.raw) + len(one.data) for one in blocks]
    return sum(len(varint.encode(size)) + size for size in sizes)


def forged(blocks: Sequence[Block], /, **says: Any) -> bytes:
    """A bundle of these blocks whose index says so much; it is true unless told otherwise."""
    index = {
        "ipvm/bundle": 1,
        **{name: [] for name in ("absent", "code", "inputs", "receipts", "secret", "workflows")},
        "blocks": len(blocks),
        "bytes": sections(blocks),
        "for": None,
        "tokens": None,
        **says,
    }
    index = {key: value for key, value in index.items() if value is not ...}
    root = Block.make(dag_cbor.encode(index), DAG_CBOR)
    out = io.BytesIO()
    car.write_car(out, [root.cid], [root, *blocks])
    return out.getvalue()


def contents(node: Node) -> tuple[Any, ...]:
    """All that a bundle could have brought."""
    rows = node.store.database.rows
    tables = ("blocks", "receipts", "delegations", "revocations", "secrets", "aliases")
    return tuple(rows(f"SELECT count(*) FROM {name}") for name in tables)


def blocks_in(data: bytes) -> list[CID]:
    """The CIDs in a CAR file, in their order."""
    return [block.cid for block in car.read_car(io.BytesIO(data))]
