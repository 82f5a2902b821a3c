"""What instructions use: their code, their inputs, and the instructions that they await.

Written with each instruction, so that one can ask what was computed from something. An awaited
instruction counts under its sha2-256 CID when that was known, else under the CID it was named by.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import islice
from typing import Any, NoReturn

from lite.errors import CidError, CodecError, IpvmError, NotFoundError
from lite.ipld import dag_cbor
from lite.ipld.cid import CID, DAG_CBOR, IDENTITY, SHA2_256
from lite.model.instruction import Instruction, parsed_cid
from lite.store import sql_runs
from lite.store.aliases import canonical
from lite.store.database import Database, Row, Transaction
from lite.store.faults import stored_cid
from lite.store.reach import through

__all__ = ["USES_MAX", "names_of", "used_by", "used_json", "using", "write_uses"]

USES_MAX = 1_024  # of one instruction; the rest cannot be looked up
_IPFS = "ipfs://"
_PAGE = 256
_KEYS = frozenset({"rsc", "op", "input", "nnc"})


def used_by(value: Any) -> Iterator[CID]:
    """The distinct CIDs that an instruction, as a map, names: code, inputs, awaits; also through
    identity CIDs, and of a folder in one only what the path to the code leads to."""
    links = list(islice(dag_cbor.links(value), USES_MAX))
    seen = dict.fromkeys(links)
    seen.update(dict.fromkeys(islice(through(links), USES_MAX)))
    rsc = value.get("rsc")
    if type(rsc) is str and rsc.startswith(_IPFS):
        root, _, path = rsc[len(_IPFS) :].partition("/")
        yield from dict.fromkeys(_way_held(parsed_cid(root), path))
    yield from islice(seen, USES_MAX)


def _way_held(root: CID, path: str) -> Iterator[CID]:
    """A module and, as far as identity CIDs hold the way, what is on it and behind it."""
    yield root
    if root.hash_code != IDENTITY:
        return
    way: list[CID] = []

    def passed(cid: CID) -> NoReturn:
        way.append(cid)
        raise NotFoundError(str(cid))

    from lite.ipld import unixfs

    with suppress(IpvmError):  # it goes on in a block, or leads nowhere
        way.append(unixfs.resolve_path(root, path, passed))
    yield from through(way)


def used_json(data: object) -> str:
    """For the migration: what a block that is an instruction uses, as a JSON list of binary CIDs
    in hexadecimal; an empty list for any other block."""
    import json

    try:
        value = dag_cbor.decode_trusted(data) if type(data) is bytes else None
        used = used_by(value) if type(value) is dict and value.keys() == _KEYS else ()
        return json.dumps([cid.raw.hex() for cid in used])
    except (CodecError, CidError):
        return "[]"


def write_uses(transaction: Transaction, instructions: Iterable[tuple[CID, Any]]) -> None:
    """Write what instructions use (CID and value of each; what is none counts for nothing); what is
    written already stays."""
    rows: list[Row] = []
    for cid, value in instructions:
        if value.keys() == _KEYS:
            rows += _rows(transaction, cid, value)
    if len(rows) == 1:
        transaction.execute(sql_runs.USE_ADD, rows[0])
    elif rows:
        transaction.executemany(sql_runs.USE_ADD, rows)


def forget_uses(transaction: Transaction, blocks: Iterable[bytes]) -> None:
    """Take back what instructions among the blocks (binary CIDs) use, before the blocks go."""
    for raw in blocks:
        if raw[1:2] != bytes((DAG_CBOR,)):
            continue
        found = transaction.row(sql_runs.INSTRUCTION_DATA, (raw,))
        if found is None:
            continue
        try:
            value = dag_cbor.decode_trusted(found[0])
            used = list(used_by(value)) if type(value) is dict else []
        except IpvmError:
            continue
        # Under the name that was known when it was written, or the one that is known now.
        both = {name.raw for cid in used for name in (cid, canonical(transaction, cid))}
        transaction.executemany(sql_runs.USE_DELETE, [(name, raw) for name in sorted(both)])


def names_of(database: Database, cid: CID) -> list[CID]:
    """Every CID under which uses of `cid` may be written: itself and, for an instruction, its
    sha2-256 and sha3-256 CIDs."""
    own = canonical(database, cid)
    found = {cid: None, own: None}
    if own.codec == DAG_CBOR and (row := database.row(sql_runs.INSTRUCTION_DATA, (own.raw,))):
        try:
            found[Instruction.parse(row[0]).sha3] = None
        except CodecError:
            return list(found)
    return list(found)


def using(database: Database, cid: CID, limit: int | None = None) -> Iterator[CID]:
    """The instructions that name `cid`, under any CID of it, each once; at most `limit`."""
    seen: set[bytes] = set()
    for name in names_of(database, cid):
        last = b""
        while rows := database.rows(sql_runs.USING, (name.raw, last, _PAGE)):
            for (raw,) in rows:
                if raw in seen:
                    continue
                if limit is not None and len(seen) >= limit:
                    return
                seen.add(raw)
                yield stored_cid(raw)
            last = rows[-1][0]


def _rows(transaction: Transaction, instruction: CID, value: Any) -> list[Row]:
    raw = instruction.raw
    return [
        ((cid if cid.hash_code == SHA2_256 else canonical(transaction, cid)).raw, raw)
        for cid in used_by(value)
    ]
