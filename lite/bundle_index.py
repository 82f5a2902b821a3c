"""The index of a bundle: the first block of the file, which says what each other block is for.

Source: `lite/ARCHITECTURE.md`, section 6.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from lite.errors import CodecError, LimitError
from lite.frozen import field, frozen
from lite.ipld import dag_cbor
from lite.ipld.block import Block
from lite.ipld.cid import CID, DAG_CBOR
from lite.limits import BLOCK_BYTES_MAX
from lite.model.workflow import NAME_CHARS_MAX

VERSION: Final = 1
BLOCKS_MAX: Final = 262_144  # in one bundle, the index apart; who reads it remembers them all
ENTRIES_MAX: Final = 65_536  # CIDs in an index
DID_CHARS_MAX: Final = 256

_KEY: Final = "ipvm/bundle"
_KEYS: Final = frozenset(
    (
        _KEY,
        *("absent", "blocks", "bytes", "code", "for", "inputs", "receipts"),
        *("secret", "tokens", "workflows"),
    )
)


@frozen
class Index:
    """What is in a bundle, by role.

    Attributes:
        blocks: how many blocks come after the index. length: bytes of the file behind the index.
        workflows: stored workflows, and what to call each; may be empty.
        receipts: receipts, and the instruction that each answers.
        code, inputs: the roots of files and values.
        tokens: a container of tokens, or None.
        absent: what belongs to it and is not in it.
        secret: what is in it and has to stay secret where it comes.
        audience: the DID of the node that it was made for; empty: for any.
    """

    blocks: int
    length: int
    workflows: Mapping[CID, str] = field(default_factory=dict)
    receipts: Mapping[CID, CID] = field(default_factory=dict)
    code: tuple[CID, ...] = ()
    inputs: tuple[CID, ...] = ()
    tokens: CID | None = None
    absent: tuple[CID, ...] = ()
    secret: tuple[CID, ...] = ()
    audience: str = ""

    def block(self) -> Block:
        """The block of the index.

        Raises:
            LimitError: more is in it than one index may name.
        """
        data = dag_cbor.encode(
            {
                _KEY: VERSION,
                "absent": list(self.absent),
                "blocks": self.blocks,
                "bytes": self.length,
                "code": list(self.code),
                "for": self.audience or None,
                "inputs": list(self.inputs),
                "receipts": [list(pair) for pair in self.receipts.items()],
                "secret": list(self.secret),
                "tokens": self.tokens,
                "workflows": [list(pair) for pair in self.workflows.items()],
            }
        )
        if self.blocks > BLOCKS_MAX or self._entries > ENTRIES_MAX or len(data) > BLOCK_BYTES_MAX:
            raise LimitError(
                f"{self.blocks} blocks and {self._entries} names are too much for one bundle; it "
                f"takes {BLOCKS_MAX} and {ENTRIES_MAX}",
                hint="Make several, each with a part of it.",
            )
        return Block.make(data, DAG_CBOR)

    @property
    def _entries(self) -> int:
        lists = (self.workflows, self.code, self.inputs, self.absent, self.secret)
        return sum(map(len, lists)) + 2 * len(self.receipts)

    @staticmethod
    def parse(data: bytes) -> Index:
        """Read an index from outside.

        Raises:
            CodecError: it is none; the message says why.
            LimitError: it announces more than one bundle may hold.
        """
        value = dag_cbor.decode(data)
        if not isinstance(value, dict) or _KEY not in value:
            raise CodecError(
                "not a bundle: its root is no index",
                hint="Other archives are for `ipvm import`.",
            )
        if value[_KEY] != VERSION or type(value[_KEY]) is not int:
            raise CodecError(f"a bundle of version {value[_KEY]!r}, only {VERSION} is read")
        if set(value) != _KEYS:
            wrong = ", ".join(sorted(set(value) ^ _KEYS))
            raise CodecError(f"the index of the bundle lacks keys, or has others: {wrong}")
        index = _read(value)
        if index.blocks > BLOCKS_MAX or index._entries > ENTRIES_MAX:
            raise LimitError(
                f"the bundle is said to have {index.blocks} blocks and names {index._entries} "
                f"things, at most {BLOCKS_MAX} and {ENTRIES_MAX} are taken"
            )
        return index


def _read(value: dict[str, Any]) -> Index:
    index = Index(
        blocks=_number(value, "blocks"),
        length=_number(value, "bytes"),
        workflows=_pairs(value, "workflows", _is_name),
        receipts=_pairs(value, "receipts", _is_link),
        code=_links(value, "code"),
        inputs=_links(value, "inputs"),
        tokens=value["tokens"],
        absent=_links(value, "absent"),
        secret=_links(value, "secret"),
        audience=_audience(value["for"]),
    )
    if not (index.tokens is None or _is_link(index.tokens)):
        raise CodecError('the index of the bundle: "tokens" is neither a link nor null')
    _check_roles(index)
    return index


def _check_roles(index: Index) -> None:
    """No block is of two kinds; what is here is not absent."""
    kinds = [set(index.workflows), set(index.receipts), set(index.receipts.values())]
    kinds.append({index.tokens} if index.tokens else set())
    if sum(map(len, kinds)) != len(set().union(*kinds)):
        raise CodecError("the index of the bundle gives one block two kinds")
    if not set(index.absent).isdisjoint((*index.workflows, *index.receipts, *kinds[3])):
        raise CodecError("the index of the bundle names as absent what has to be in it")


def _number(value: dict[str, Any], key: str) -> int:
    found = value[key]
    if type(found) is not int or found < 0:
        raise CodecError(f'the index of the bundle: "{key}" is not a number')
    return found


def _links(value: dict[str, Any], key: str) -> tuple[CID, ...]:
    found = value[key]
    if type(found) is not list or not all(map(_is_link, found)):
        raise CodecError(f'the index of the bundle: "{key}" is not a list of links')
    if len(set(found)) != len(found):
        raise CodecError(f'the index of the bundle: "{key}" names something twice')
    return tuple(found)


def _pairs(value: dict[str, Any], key: str, fits: Any) -> dict[CID, Any]:
    found = value[key]
    if type(found) is not list or not all(_is_pair(one, fits) for one in found):
        raise CodecError(f'the index of the bundle: "{key}" is not a list of pairs')
    pairs = dict(found)
    if len(pairs) != len(found):
        raise CodecError(f'the index of the bundle: "{key}" names something twice')
    return pairs


def _is_pair(one: Any, fits: Any) -> bool:
    return type(one) is list and len(one) == 2 and _is_link(one[0]) and fits(one[1])


def _is_link(one: Any) -> bool:
    return isinstance(one, CID)


def _is_name(one: Any) -> bool:
    return type(one) is str and len(one) <= NAME_CHARS_MAX and (not one or one.isprintable())


def _audience(found: Any) -> str:
    if found is None:
        return ""
    if type(found) is not str or not found.startswith("did:") or len(found) > DID_CHARS_MAX:
        raise CodecError('the index of the bundle: "for" is neither a DID nor null')
    return found
