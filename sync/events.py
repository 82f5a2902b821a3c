"""What a session tells its owner."""

from __future__ import annotations

from dataclasses import dataclass

from sync.base import Phase
from sync.messages import Hello


@dataclass(frozen=True, slots=True)
class Greeted:
    """The peer said hello; its hints and features are in there."""

    hello: Hello


@dataclass(frozen=True, slots=True)
class Stored:
    """Items were verified and are on the disk. Other sessions of the set want a `notify()`."""

    ids: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Refused:
    """An item was not stored. `blame`: the peer is at fault, and has a strike for it."""

    id: bytes
    reason: str
    blame: bool


@dataclass(frozen=True, slots=True)
class Missed:
    """The peer does not have these, or keeps them from us: items, blocks or questions."""

    ids: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Lacking:
    """Items that were offered and are not fetched by themselves, because of the budget."""

    ids: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Answered:
    """Items that the peer gives for a question; those that verified, and they are stored."""

    question: bytes
    raws: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class GotBlock:
    """A block that was asked for; its digest is right."""

    digest: bytes
    raw: bytes


@dataclass(frozen=True, slots=True)
class Synced:
    """Both sets were seen to be equal: count and fingerprint."""

    count: int


@dataclass(frozen=True, slots=True)
class Differs:
    """The sets differ although nothing is left to exchange; `reason` says why that may be."""

    reason: str


@dataclass(frozen=True, slots=True)
class Closed:
    """The end of a session.

    Attributes:
        code: as in the last frame; None: the connection was lost.
        here: this side ended it.
        blame: the peer broke a rule, so it should wait long.
    """

    code: int | None
    reason: str
    here: bool
    blame: bool
    retry_s: int | None


Event = (
    Greeted | Stored | Refused | Missed | Lacking | Answered | GotBlock | Synced | Differs | Closed
)


@dataclass(frozen=True, slots=True)
class Status:
    """The truth about a session at this moment.

    Attributes:
        in_sync: both sets were seen to be equal, neither has changed since as far as this side
            knows, and nothing is under way.
        reason: why it is not in sync; empty when it is.
        lacking: items known to be at the peer and not here.
        unacknowledged: offers to the peer that it has not taken over yet.
        count, their_count: items in this set, and in the peer's when it last said so.
        given: items and blocks sent to the peer.
        spent: items are lacking and the budget for this peer is used up.
        asking: the peer has not answered a question yet.
        withheld: items of the set that the peer lacks and was not given, having no bytes here.
        settled: both said what they have, it differs, and nothing is under way.
    """

    phase: Phase
    in_sync: bool
    reason: str
    count: int
    their_count: int | None
    lacking: int
    unacknowledged: int
    refused: int
    missed: int
    strikes: int
    bytes_in: int
    bytes_out: int
    given: int = 0
    spent: bool = False
    asking: bool = False
    withheld: int = 0
    settled: bool = False
