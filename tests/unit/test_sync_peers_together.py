"""What the owner says of a peer stays, whatever another process sees of it in the same moment.

The world's book and the owner's use one database file over two connections. Whatever one of them
does is interrupted before each of its statements in turn, and the other acts there.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import pytest

from sync import peers
from sync.peer_rows import SqlitePeers, create
from sync.peers import (
    ADDRESSES_MAX,
    ANSWERS,
    BAN_S,
    BLOCKS,
    FOUND,
    READ,
    RUN,
    STATIC,
    TOLD,
    PeerBook,
)
from tests.memory_database import Closing
from tests.sync_net_support import HandClock, key_of

ME, A, OTHER = (key_of(name).did for name in ("me", "a", "other"))
HINT, OWN, NEW = "192.0.2.1:1", "attic.local:1", "192.0.2.2:1"
GAPS_MAX = 60

Act = Callable[[PeerBook], object]
Word = tuple[frozenset[str], str, frozenset[str]]


class Interrupted(Closing):
    """A connection that lets somebody act before one of the statements to come."""

    left = -1  # statements until then; below 0: never, or it was
    act: Callable[[], None] | None = None

    def execute(self, *asked: Any) -> sqlite3.Cursor:
        if self.act is not None:
            if self.left == 0:
                act, self.act = self.act, None
                act()
            self.left -= 1
        return super().execute(*asked)


class Pair(NamedTuple):
    """Two books over one file, and the connection of the first."""

    first: PeerBook
    second: PeerBook
    db: Interrupted
    other: sqlite3.Connection
    clock: HandClock

    def word(self, did: str = A) -> Word:
        """What the owner says of a peer."""
        peer = self.second.peer(did)
        static = {one.text for one in self.second.addresses(did) if one.source == STATIC}
        rights, name = (frozenset(), "") if peer is None else (peer.rights, peer.name)
        return rights, name, frozenset(static)


@pytest.fixture
def pairs(tmp_path: Path) -> Callable[[Act], Pair]:
    """Makes a pair on a file of its own, where the owner has prepared something."""
    made: list[int] = []

    def pair(prepared: Act) -> Pair:
        made.append(1)
        clock, path = HandClock(), tmp_path / f"{len(made)}.db"
        one: Any = {"isolation_level": None, "timeout": 0}
        db = sqlite3.connect(path, factory=Interrupted, **one)
        other = sqlite3.connect(path, factory=Closing, **one)
        for each in (db, other):
            each.execute("PRAGMA synchronous = OFF")
            each.execute("PRAGMA foreign_keys = ON")
        db.execute("PRAGMA journal_mode = WAL")
        create(db)
        books = [
            PeerBook(SqlitePeers(each), ME, clock, Random(1).randbytes) for each in (db, other)
        ]
        db.execute("BEGIN")
        prepared(books[0])
        db.execute("COMMIT")
        clock.go(3_600)
        return Pair(books[0], books[1], db, other, clock)

    return pair


def interrupted(
    pairs: Callable[[Act], Pair], prepared: Act, first: Act, second: Act
) -> list[tuple[int, Pair]]:
    """`second` in each gap of `first` where the database lets it; none is left out.

    While it does not, `second` happens after all: whoever is refused tries again.
    """
    found = []
    for gap in range(GAPS_MAX):
        pair = pairs(prepared)
        refused: list[bool] = []

        def act(pair: Pair = pair, refused: list[bool] = refused) -> None:
            refused.append(pair.db.in_transaction)
            if not pair.db.in_transaction:
                second(pair.second)
                return
            with pytest.raises(sqlite3.OperationalError, match="locked"):
                pair.other.execute("BEGIN IMMEDIATE")

        pair.db.left, pair.db.act = gap, act
        first(pair.first)
        over = not refused
        if over or refused[0]:
            pair.db.act = None
            second(pair.second)
        found.append((gap, pair))
        if over:
            assert gap, "nothing was interrupted"
            return found
    raise AssertionError("it has no end")


def known(book: PeerBook) -> None:
    book.trust(A, [READ, BLOCKS], "attic")
    book.add_static(A, OWN)
    book.heard(A, HINT, TOLD)


def a_stranger(book: PeerBook) -> None:
    book.met(A, HINT)


def nobody(book: PeerBook) -> None:
    """It was never heard of."""


def a_ban(book: PeerBook) -> None:
    known(book)
    book._clock.date += 10**6  # type: ignore[attr-defined]  # and then the clock is set right
    book.strike(A, 3)
    book._clock.date -= 10**6  # type: ignore[attr-defined]


def a_full_book(book: PeerBook) -> None:
    """`A` is the stranger that was met longest ago."""
    book.met(A, HINT)
    book._clock.go(1)  # type: ignore[attr-defined]
    book.met(key_of("later").did, None)


def many_hints(book: PeerBook) -> None:
    known(book)
    for number in range(ADDRESSES_MAX - 1):
        book.heard(A, f"198.51.100.{number}:1", TOLD)


SEEN: dict[str, Act] = {
    "met": lambda book: book.met(A, None),
    "met-there": lambda book: book.met(A, HINT),
    "met-at-the-owners": lambda book: book.met(A, OWN),
    "heard": lambda book: book.heard(A, NEW, FOUND),
    "heard-again": lambda book: book.heard(A, OWN, FOUND),
    "strike": lambda book: book.strike(A),
    "banned": lambda book: book.strike(A, 3),
    "somebody-else": lambda book: book.somebody_else(A, HINT),
}
WORDS: dict[str, Act] = {
    "trust": lambda book: book.trust(A, [ANSWERS]),
    "trust-by-name": lambda book: book.trust(A, [RUN], "cellar"),
    "untrust": lambda book: book.untrust(A),
    "untrust-one": lambda book: book.untrust(A, [READ]),
    "rename": lambda book: book.rename(A, "cellar"),
    "remove": lambda book: book.remove(A),
    "address": lambda book: book.add_static(A, NEW),
    "hint": lambda book: book.add_static(A, HINT),
}


def said_alone(pairs: Callable[[Act], Pair], prepared: Act, word: Act) -> Word:
    pair = pairs(prepared)
    word(pair.second)
    return pair.word()


@pytest.mark.parametrize("prepared", [known, a_stranger, nobody])
@pytest.mark.parametrize("word", WORDS.values(), ids=WORDS)
@pytest.mark.parametrize("seen", SEEN.values(), ids=SEEN)
def test_what_the_world_shows_takes_nothing_back_that_the_owner_says_meanwhile(
    pairs: Callable[[Act], Pair], prepared: Act, seen: Act, word: Act
) -> None:
    wanted = said_alone(pairs, prepared, word)
    for gap, pair in interrupted(pairs, prepared, seen, word):
        assert pair.word() == wanted, gap
        orphans = "SELECT count(*) FROM sync_address WHERE did NOT IN (SELECT did FROM sync_peer)"
        assert pair.other.execute(orphans).fetchone() == (0,)


@pytest.mark.parametrize(
    ("prepared", "seen"),
    [
        (a_ban, lambda book: book.banned_s(A)),
        (a_full_book, lambda book: book.met(OTHER, None)),
        (many_hints, lambda book: book.heard(A, NEW, FOUND)),
    ],
    ids=["clock-set-back", "place-of-a-stranger", "place-of-a-hint"],
)
@pytest.mark.parametrize("word", WORDS.values(), ids=WORDS)
def test_what_this_node_does_by_itself_takes_nothing_back_either(
    pairs: Callable[[Act], Pair],
    prepared: Act,
    seen: Act,
    word: Act,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(peers, "STRANGERS_MAX", 2)
    wanted = said_alone(pairs, prepared, word)
    for gap, pair in interrupted(pairs, prepared, seen, word):
        assert pair.word() == wanted, gap


@pytest.mark.parametrize("word", sorted(WORDS.keys() - {"remove"}))
def test_the_owners_word_takes_no_ban_back(pairs: Callable[[Act], Pair], word: str) -> None:
    wanted = said_alone(pairs, known, WORDS[word])
    for gap, pair in interrupted(pairs, known, WORDS[word], SEEN["banned"]):
        assert pair.word() == wanted, gap
        assert pair.second.banned_s(A) == BAN_S, gap


def test_no_strike_is_lost_between_two_processes(pairs: Callable[[Act], Pair]) -> None:
    for gap, pair in interrupted(pairs, known, SEEN["strike"], lambda book: book.strike(A, 2)):
        assert pair.second.banned_s(A) == BAN_S, gap


@pytest.mark.parametrize(
    ("one", "other", "wanted"),
    [
        ("trust", "trust-by-name", ({READ, BLOCKS, ANSWERS, RUN}, "cellar", {OWN})),
        ("untrust-one", "trust", ({BLOCKS, ANSWERS}, "attic", {OWN})),
        ("rename", "untrust", (set(), "cellar", {OWN})),
        ("address", "untrust", (set(), "attic", {OWN, NEW})),
        ("hint", "trust-by-name", ({READ, BLOCKS, RUN}, "cellar", {OWN, HINT})),
    ],
)
def test_two_words_of_the_owner_at_once_both_count(
    pairs: Callable[[Act], Pair], one: str, other: str, wanted: tuple[set[str], str, set[str]]
) -> None:
    for first, second in ((one, other), (other, one)):
        for gap, pair in interrupted(pairs, known, WORDS[first], WORDS[second]):
            assert pair.word() == wanted, (first, gap)


def test_who_was_removed_meanwhile_is_written_again_as_a_stranger(
    pairs: Callable[[Act], Pair],
) -> None:
    pair = pairs(known)
    pair.other.execute("BEGIN IMMEDIATE")
    assert pair.first.strike(A, 3) and "locked" in pair.first.problem
    pair.other.execute("COMMIT")
    pair.second.remove(A)
    pair.first.write_again()
    assert pair.word() == (set(), "", set()) and pair.second.banned_s(A) == BAN_S


def test_strikes_that_cannot_be_written_down_add_up(pairs: Callable[[Act], Pair]) -> None:
    pair = pairs(known)
    pair.other.execute("BEGIN IMMEDIATE")
    assert [pair.first.strike(A), pair.first.strike(A)] == [False, False]
    pair.other.execute("COMMIT")
    pair.second.untrust(A)
    pair.first.met(A, None)
    assert pair.first.strike(A)
    assert pair.word()[0] == set() and pair.second.banned_s(A) == BAN_S


def test_an_address_that_works_stays_so_when_the_owner_writes_it_down(
    pairs: Callable[[Act], Pair],
) -> None:
    pair = pairs(known)
    pair.first.met(A, HINT)
    pair.second.add_static(A, HINT)
    first = pair.first.addresses(A)[0]
    assert (first.text, first.source, first.worked_at) == (HINT, STATIC, pair.clock.date)
