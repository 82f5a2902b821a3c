"""The list of peers in a node's database."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from threading import Thread

import pytest

from lite.peering.book import open_book
from lite.store import Store
from sync.peers import ANSWERS, READ, STATIC, STRANGERS_MAX, PeerBook
from sync.wall import SystemClock
from tests.peering_support import key_of

ME, NOTED, FRIEND = (key_of(name).did for name in ("me", "noted", "friend"))


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


def test_a_list_of_an_earlier_version_is_brought_up_to_date_and_loses_nobody(home: Path) -> None:
    with Store.open(home) as store:
        book = open_book(store, ME, SystemClock())
        book.add_static(NOTED, "192.0.2.1:4747")
        book.trust(FRIEND, [READ])
        book.met(key_of("met").did, None)
        store.database.connection.execute("ALTER TABLE sync_peer DROP COLUMN noted")
    with Store.open(home) as store:
        book = open_book(store, ME, SystemClock())
        found = {peer.did: peer.noted for peer in book.peers()}
        assert found == {NOTED: True, FRIEND: True, key_of("met").did: False}
        for number in range(STRANGERS_MAX + 1):
            book.met(key_of(f"stranger {number}").did, None)
        assert [one.text for one in book.addresses(NOTED)] == ["192.0.2.1:4747"]
        assert book.may(FRIEND, READ)
        assert len(book.peers()) == STRANGERS_MAX + 2


class Undone(Exception):
    pass


def waits(act: Callable[[], object]) -> Thread:
    """Begin something in a thread that cannot end before this one goes on."""
    thread = Thread(target=act)
    thread.start()
    thread.join(0.3)
    assert thread.is_alive(), "it did not wait for the transaction that is open"
    return thread


def seen_of(book: PeerBook) -> None:
    book.met(FRIEND, "192.0.2.1:4747")
    book.strike(FRIEND)


@pytest.mark.parametrize(
    ("word", "rights"),
    [
        (lambda book: book.untrust(FRIEND), set()),
        (lambda book: book.trust(FRIEND, [ANSWERS]), {READ, ANSWERS}),
        (lambda book: book.remove(FRIEND), set()),
    ],
    ids=["untrust", "trust", "remove"],
)
def test_a_daemon_that_meets_a_peer_while_the_owner_speaks_of_it_heeds_that(
    home: Path, word: Callable[[PeerBook], object], rights: set[str]
) -> None:
    with Store.open(home) as daemon, Store.open(home) as owner:
        sees, says = (open_book(one, ME, SystemClock()) for one in (daemon, owner))
        says.trust(FRIEND, [READ])
        says.add_static(FRIEND, "192.0.2.1:4747")
        with owner.database.write():  # a disk that takes its time over the commit
            word(says)
            thread = waits(lambda: seen_of(sees))
        thread.join()
        peer = says.peer(FRIEND)
        assert peer is not None and (peer.rights, peer.strikes) == (rights, 1)
        assert peer.met_at > 0 and sees.problem == ""
        static = [one.text for one in says.addresses(FRIEND) if one.source == STATIC]
        assert static == (["192.0.2.1:4747"] if peer.noted else [])
        assert sees.may(FRIEND, READ) == (READ in rights)


def test_nothing_is_taken_back_with_what_another_thread_of_the_process_gives_up(
    home: Path,
) -> None:
    with Store.open(home) as store:
        book = open_book(store, ME, SystemClock())
        with suppress(Undone), store.database.write():
            book.rename(NOTED, "part of what is given up")
            thread = waits(lambda: book.trust(FRIEND, [READ]))
            raise Undone
        thread.join()
        assert book.may(FRIEND, READ) and book.peer(NOTED) is None
