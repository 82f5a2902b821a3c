"""Which blocks some roots reach, at one bit per block."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from lite.errors import CidError, CodecError
from lite.ipld import dag_cbor
from lite.ipld.cid import CID, DAG_CBOR, DAG_JSON, DAG_PB, IDENTITY
from lite.ipld.links import block_links
from lite.store import sql
from lite.store.aliases import canonical
from lite.store.database import Database
from lite.store.faults import changed, stored_bytes

__all__ = ["LINKING", "Reach", "links_below", "links_of", "through"]

LINKING = frozenset({DAG_PB, DAG_CBOR, DAG_JSON})
DENSE_ROWS = 1 << 31  # a row with another number was not numbered by this program
_IPFS = "ipfs://"
_RSC_KEY = b"\x63rsc"


class Reach:
    """A growing set of row numbers of blocks.

    Memory is one bit per row number ever used, and the links yet to follow: at most those of the
    blocks on one path.
    """

    def __init__(self, database: Database, *, hashing: bool = False) -> None:
        """With `hashing`, a block that the disk changed ends the walk; else it leads nowhere."""
        self._database = database
        self._hashing = hashing
        self._bits = bytearray()
        self._far: set[int] = set()
        self._kept: set[int] = set()

    def __contains__(self, row: int) -> bool:
        return self._is_walked(row) or row in self._kept

    def keep(self, cids: Iterable[CID]) -> None:
        """Add single blocks, and not what is below them."""
        for cid in cids:
            found = self._database.row(sql.BLOCK_ID, (cid.raw,))
            if found is not None:
                self._kept.add(found[0])

    def walk(self, roots: Iterable[CID], absent: Callable[[CID], None] | None = None) -> None:
        """Add the roots and everything below them, as far as it is here.

        Args:
            absent: called with each CID that is linked to and not here. What an identity CID holds
                is here.

        Raises:
            HashMismatch: with `hashing`, a block is not what its CID says.
        """
        todo = list(through(roots))
        while todo:
            cid = todo.pop()
            found = self._database.row(sql.BLOCK_ID, (cid.raw,))
            if found is not None:
                if self._add(found[0]) and cid.codec in LINKING:
                    todo.extend(self._links(cid))
            elif (named := canonical(self._database, cid)) != cid:
                todo.append(named)
            elif absent is not None and cid.hash_code != IDENTITY:
                absent(cid)

    def _is_walked(self, row: int) -> bool:
        if not 0 <= row < DENSE_ROWS:
            return row in self._far
        return row >> 3 < len(self._bits) and bool(self._bits[row >> 3] & 1 << (row & 7))

    def _add(self, row: int) -> bool:
        """Whether it is new."""
        if self._is_walked(row):
            return False
        if not 0 <= row < DENSE_ROWS:
            self._far.add(row)
            return True
        byte = row >> 3
        if byte >= len(self._bits):
            self._bits.extend(bytes(byte + 1 - len(self._bits) + 4_096))
        self._bits[byte] |= 1 << (row & 7)
        return True

    def _links(self, cid: CID) -> list[CID]:
        found = self._database.row(sql.BLOCK, (cid.raw,))
        if not found:
            return []
        if self._hashing and not cid.matches(stored_bytes(found[0])):
            raise changed(f"the block {cid}")
        return links_of(cid, found[0])


def through(cids: Iterable[CID]) -> Iterator[CID]:
    """CIDs and, behind each identity CID, what the bytes in it link to, at any depth.

    Such a block has no row, and readers take it from its CID: who walks from row to row without
    this does not see what they see.
    """
    seen: set[CID] = set()
    todo = list(cids)[::-1]
    while todo:
        cid = todo.pop()
        yield cid
        if cid.hash_code == IDENTITY and cid.codec in LINKING and cid not in seen:
            seen.add(cid)
            todo.extend(_held(cid)[::-1])


def _held(cid: CID) -> list[CID]:
    try:
        return block_links(cid, cid.digest)
    except (CodecError, CidError):  # nobody can read it either
        return []


def links_below(database: Database, cid: CID) -> list[CID]:
    """The links of a block that is in the store or in its CID: `links_of`; none of any other."""
    if cid.codec not in LINKING:
        return []
    if cid.hash_code == IDENTITY:
        return list(through([cid]))[1:]
    found = database.row(sql.BLOCK, (cid.raw,))
    return links_of(cid, found[0]) if found else []


def links_of(cid: CID, data: bytes) -> list[CID]:
    """The links of a block, also `through` identity CIDs, and, when it is an instruction or a
    workflow, its modules. None if its bytes are not of the codec that its CID names."""
    try:
        if cid.codec != DAG_CBOR:
            return list(through(block_links(cid, data)))
        value = dag_cbor.decode_trusted(data)
        links = list(dag_cbor.links(value))
        if _RSC_KEY in data and type(value) is dict:
            links.extend(_modules(value))
    except (CodecError, CidError):
        return []
    return list(through(links))


def _modules(value: dict[str, Any]) -> Iterator[CID]:
    """The modules that an instruction, or the tasks of a workflow, name in their `rsc`."""
    tasks = value.get("tasks")
    runs = [task.get("run") for task in tasks if type(task) is dict] if type(tasks) is list else []
    for run in (value, *runs):
        rsc = run.get("rsc") if type(run) is dict else None
        if type(rsc) is str and rsc.startswith(_IPFS):
            try:
                yield CID.parse(rsc[len(_IPFS) :].partition("/")[0])
            except CidError:
                continue  # what else is linked to still counts
