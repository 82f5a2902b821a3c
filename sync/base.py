"""What the core needs of its surroundings, as protocols, and the values that pass through them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple, Protocol, runtime_checkable

from sync.errors import ItemInvalid, ItemUnwanted

ID_BYTES: Final = 32
EPOCH_BYTES: Final = 8
TIME_MAX: Final = 2**53 - 1
ITEM_BYTES_MAX: Final = 16 * 1024

CONTROL: Final = 0  # lane: revocations, invocations and what answers them
RECORDS: Final = 1  # lane: everything else in the set
BLOCKS: Final = 2  # lane: blocks of at most `ITEM_BYTES_MAX` bytes, by want-list alone
ALL_LANES: Final = 0b111

Bound = tuple[int, bytes]  # seconds since 1970, id or the first bytes of one
Random = Callable[[int], bytes]  # as many random bytes as are asked for


@dataclass(frozen=True, slots=True)
class Position:
    """A place in an arrival log: rows are numbered from 1; (0, b"") is before the first."""

    seq: int
    id: bytes


START: Final = Position(0, b"")


@dataclass(frozen=True, slots=True)
class Cursor:
    """How far this node has taken over a peer's arrival log.

    Attributes:
        epoch: 8 bytes that name the log; its owner replaces them when the log begins anew.
    """

    epoch: bytes
    at: Position


@dataclass(frozen=True, slots=True)
class Summary:
    """A set at one moment.

    Attributes:
        head: the newest row of the arrival log.
        fingerprint: 16 bytes, as negentropy forms it over the whole set.
    """

    epoch: bytes
    head: Position
    count: int
    fingerprint: bytes

    @property
    def content(self) -> tuple[int, bytes]:
        """Equal for equal sets, whatever their logs."""
        return self.count, self.fingerprint


class Entry(NamedTuple):
    """One row of the arrival log. A tuple, because many are made: it costs a fifth.

    Attributes:
        id: sha2-256 of the item's bytes.
        time: seconds since 1970, from inside the signed item; 0: it has none.
        size: bytes.
        source: the peer that it came from; empty: made here.
    """

    seq: int
    id: bytes
    time: int
    size: int
    lane: int
    source: str


@dataclass(frozen=True, slots=True)
class Item:
    """Bytes that were verified, and what the index has to know of them.

    Attributes:
        value: what the verifier read in them, for the store; it adds nothing to the bytes.
    """

    id: bytes
    raw: bytes
    time: int
    lane: int = RECORDS
    value: object = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Accepted:
    """What a verifier says of good bytes: their signed time in seconds, their lane, and what it
    read in them, so that the store need not read them again."""

    time: int
    lane: int = RECORDS
    value: object = field(default=None, compare=False, repr=False)


class RangeSource(Protocol):
    """A set in the order of (time, id), by position."""

    @property
    def reads(self) -> int:
        """Rows that had to be read until now; 0 where all is in memory."""

    def __len__(self) -> int: ...

    def item(self, at: int) -> Bound: ...

    def lower(self, start: int, bound: Bound) -> int:
        """The first position, from `start` on, whose item is not below the bound."""

    def ids(self, start: int, end: int) -> Sequence[bytes]: ...

    def fingerprint(self, start: int, end: int) -> bytes: ...


class ItemStore(Protocol):
    """One sync set: a grow-only set of items with its aggregates, arrival log and cursors.

    A forgotten item stays in the set as an id without bytes, so that no peer brings it back. Every
    method raises `StoreError`; `put` also `StoreFull`.
    """

    def summary(self) -> Summary: ...

    def ranges(self) -> AbstractContextManager[RangeSource]:
        """A view that does not change while it is open."""

    def held(self, ids: Collection[bytes]) -> set[bytes]:
        """Those that are in the set, forgotten ones too."""

    def entries(self, ids: Collection[bytes]) -> Sequence[Entry]:
        """The rows of those that are in the set, in any order."""

    def urgent(self) -> Collection[bytes]:
        """All ids of the lane `CONTROL`, of which there are few."""

    def read(self, ids: Collection[bytes]) -> Mapping[bytes, bytes]:
        """The bytes of those that are here."""

    def log_after(self, seq: int, limit: int) -> Sequence[Entry]:
        """Rows with greater numbers, in order."""

    def id_at(self, seq: int) -> bytes | None: ...

    def cursor(self, peer: str) -> Cursor | None: ...

    def put(self, items: Sequence[Item], source: str, cursor: Cursor | None) -> None:
        """Keep items, and move the cursor on `source`, in one durable transaction."""

    def answers(self, question: bytes, limit: int) -> Sequence[bytes]:
        """The bytes of items that answer a question: a digest that the application knows."""


class Verifier(Protocol):
    """Judges an item before it is stored; size and digest are already checked."""

    def verify(self, id: bytes, raw: bytes, peer: str) -> Accepted:
        """Check shape, issuer and signature.

        Raises:
            ItemInvalid: not strict, forged or altered: whoever sent it is to blame.
            ItemUnwanted: valid, but not for this set.
        """


@runtime_checkable
class BatchVerifier(Verifier, Protocol):
    """A verifier that judges many items while its caller does something else, as
    `verdicts.InThreads` does."""

    def begin_all(
        self, items: Sequence[tuple[bytes, bytes]], peer: str
    ) -> Callable[[], Sequence[Accepted | ItemInvalid | ItemUnwanted]]:
        """Begin to judge items, (id, raw) each.

        Returns:
            What waits for the verdicts: what `verify` says or raises of each, in this order. It is
            called once, in the thread that called `begin_all`, and before the items are stored.
        """


class BlockSource(Protocol):
    """Blocks that a peer may have."""

    def block(self, digest: bytes, peer: str) -> bytes | None:
        """The block with this sha2-256 digest; None: not here, or not for this peer."""


class Clock(Protocol):
    def monotonic(self) -> float:
        """Seconds that only grow."""


@runtime_checkable
class Identity(Protocol):
    """A node's key."""

    @property
    def did(self) -> str: ...

    def sign(self, message: bytes) -> bytes: ...


Phase = Literal["hello", "mode", "compare", "live", "closed"]
