"""The list of peers in a node's database."""

from __future__ import annotations

from pathlib import Path

import pytest

from lite.peering.book import open_book
from lite.store import Store
from sync.peers import READ, STRANGERS_MAX
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
