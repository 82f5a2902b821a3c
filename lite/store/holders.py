"""Which blocks lead to a block by their links, at any depth: folders, files, and values.

There is no index for it: all blocks that may link are read once, when it is first asked for.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from lite.errors import IpvmError
from lite.ipld import dag_cbor
from lite.ipld.cid import CID, DAG_CBOR
from lite.store import sql
from lite.store.database import Database
from lite.store.faults import stored_cid
from lite.store.reach import links_of

__all__ = ["Holders"]

_RANGES: Final = (  # of binary CIDs: dag-pb and dag-cbor, dag-json
    (b"\x01\x70", b"\x01\x72"),
    (b"\x01\xa9\x02", b"\x01\xa9\x03"),
)
_PAGE: Final = 256
_OP_FIRST: Final = b"\xa4\x62op"  # how the block of an instruction begins
_KEYS: Final = frozenset({"rsc", "op", "input", "nnc"})


class Holders:
    """The way up from blocks of a store, as it was when it was first asked for. Instructions are
    left out: what they use is in the table `uses`."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._by_part: dict[bytes, list[bytes]] | None = None

    def above(self, cid: CID) -> Iterator[CID]:
        """The blocks from which links lead to `cid`, each once, the nearest first."""
        if self._by_part is None:
            self._by_part = self._read()
        met = {cid.raw}
        level = [cid.raw]
        while level:
            parents = (raw for part in level for raw in self._by_part.get(part, ()))
            level = [raw for raw in dict.fromkeys(parents) if raw not in met]
            met.update(level)
            yield from map(stored_cid, level)

    def _read(self) -> dict[bytes, list[bytes]]:
        found: dict[bytes, list[bytes]] = {}
        for raw, data in self._linking():
            cid = stored_cid(raw)
            if cid.codec == DAG_CBOR and _is_instruction(data):
                continue
            for link in dict.fromkeys(links_of(cid, data)):
                found.setdefault(link.raw, []).append(raw)
        return found

    def _linking(self) -> Iterator[tuple[bytes, bytes]]:
        for last, end in _RANGES:
            while rows := self._database.rows(sql.BLOCKS_WITHIN, (last, end, _PAGE)):
                yield from rows
                last = rows[-1][0]


def _is_instruction(data: bytes) -> bool:
    if not data.startswith(_OP_FIRST):
        return False
    try:
        return bool(dag_cbor.decode_trusted(data).keys() == _KEYS)
    except IpvmError:  # the disk changed it: it leads nowhere
        return False
