"""Which blocks some roots reach, at one bit per block."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from lite.errors import CidError, CodecError
from lite.ipld import dag_cbor
from lite.ipld.cid import CID, DAG_CBOR, DAG_JSON, DAG_PB
from lite.ipld.links import block_links
from lite.store import sql
from lite.store.database import Database
from lite.store.instructions import canonical

__all__ = ["Reach", "links_of"]

_LINKING = frozenset({DAG_PB, DAG_CBOR, DAG_JSON})
_IPFS = "ipfs://"
_RSC_KEY = b"\x63rsc"


class Reach:
    """A growing set of row numbers of blocks.

    Memory is one bit per row number ever used, and the links yet to follow: at most those of the
    blocks on one path.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._bits = bytearray()

    def __contains__(self, row: int) -> bool:
        return row >> 3 < len(self._bits) and bool(self._bits[row >> 3] & 1 << (row & 7))

    def walk(self, roots: Iterable[CID], absent: Callable[[CID], None] | None = None) -> None:
        """Add the roots and everything below them, as far as it is here.

        Args:
            absent: called with each CID that is linked to and not here.
        """
        todo = list(roots)
        while todo:
            cid = todo.pop()
            found = self._database.row(sql.BLOCK_ID, (cid.raw,))
            if found is not None:
                if self._add(found[0]) and cid.codec in _LINKING:
                    todo.extend(self._links(cid))
            elif (named := canonical(self._database, cid)) != cid:
                todo.append(named)
            elif absent is not None:
                absent(cid)

    def _add(self, row: int) -> bool:
        """Whether it is new."""
        if row in self:
            return False
        byte = row >> 3
        if byte >= len(self._bits):
            self._bits.extend(bytes(byte + 1 - len(self._bits) + 4_096))
        self._bits[byte] |= 1 << (row & 7)
        return True

    def _links(self, cid: CID) -> list[CID]:
        found = self._database.row(sql.BLOCK, (cid.raw,))
        return links_of(cid, found[0]) if found else []


def links_of(cid: CID, data: bytes) -> list[CID]:
    """The links of a block and, when it is an instruction, its module. None if it is damaged."""
    try:
        if cid.codec != DAG_CBOR:
            return block_links(cid, data)
        value = dag_cbor.decode_trusted(data)
        links = list(dag_cbor.links(value))
        if _RSC_KEY in data and type(value) is dict:
            links.extend(_module(value.get("rsc")))
    except (CodecError, CidError):
        return []
    return links


def _module(rsc: object) -> list[CID]:
    if type(rsc) is not str or not rsc.startswith(_IPFS):
        return []
    return [CID.parse(rsc[len(_IPFS) :].partition("/")[0])]
