"""The code of an invitation: short, exact, and good for one node, a short time and few guesses."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lite.errors import LimitError, UsageError
from lite.peering.book import open_book
from lite.peering.pairing import (
    OPEN_MAX,
    SECRET_BYTES,
    TRIES_MAX,
    Invitation,
    Invitations,
    best_addresses,
)
from lite.store import Store
from sync.keys import nonce
from sync.peers import RIGHTS, MemoryPeerStore, PeerBook
from tests.peering_support import key_of
from tests.store_support import FakeClock

HOST, GUEST, OTHER = (key_of(name).did for name in ("host", "guest", "other"))
UNUSED = PeerBook(MemoryPeerStore(), HOST, FakeClock(), nonce)
SECRET = bytes(range(SECRET_BYTES))
HERE = Invitation(HOST, SECRET, frozenset({"read", "blocks"}), ("192.168.1.20:4747",))
DIGITS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"

ips = st.one_of(st.ip_addresses(v=4).map(str), st.ip_addresses(v=6).map(lambda ip: f"[{ip}]"))
places = st.builds("{}:{}".format, ips, st.integers(0, 65_535))


@given(
    st.binary(min_size=SECRET_BYTES, max_size=SECRET_BYTES),
    st.frozensets(st.sampled_from(RIGHTS)),
    st.lists(places, max_size=2),
)
def test_a_code_says_again_what_was_put_into_it(
    secret: bytes, rights: frozenset[str], addresses: list[str]
) -> None:
    made = Invitation(HOST, secret, rights, tuple(addresses))
    assert Invitation.parse(made.code()) == made


def test_a_code_fits_on_a_line_and_may_be_written_as_people_write() -> None:
    code = HERE.code()
    assert len(code.replace("-", "")) <= 86 and len(code) <= 104
    for written in (code.lower(), code.replace("-", " "), code.replace("-", ""), f" {code}\n"):
        assert Invitation.parse(written) == HERE
    assert Invitation.parse(code.replace("0", "O").replace("1", "l")) == HERE


@settings(max_examples=200)
@given(st.data())
def test_one_wrong_or_two_swapped_characters_are_noticed(data: st.DataObject) -> None:
    code = HERE.code().replace("-", "")
    at = data.draw(st.integers(0, len(code) - 1))
    if data.draw(st.booleans()):
        wrong = (
            code[:at] + data.draw(st.sampled_from(DIGITS.replace(code[at], ""))) + code[at + 1 :]
        )
    else:
        wrong = code[:at] + code[at : at + 2][::-1] + code[at + 2 :]
    if wrong != code:
        with pytest.raises(UsageError, match="not the code"):
            Invitation.parse(wrong)


@pytest.mark.parametrize(
    "text", ["", "2", "hello", "U" * 40, "0" * 86, "2" * 300, HERE.code()[:-7]]
)
def test_what_is_no_code_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="not the code") as refused:
        Invitation.parse(text)
    assert refused.value.hint


def test_addresses_that_others_reach_go_first() -> None:
    found = ["127.0.0.1:1", "[2001:db8::1]:2", "169.254.3.4:3", "192.168.1.5:4", "192.168.1.5:4"]
    assert best_addresses(found) == ("192.168.1.5:4", "[2001:db8::1]:2")
    assert best_addresses(["127.0.0.1:1"]) == ("127.0.0.1:1",)


class Desk:
    """A node with invitations, and a node that shows proofs."""

    def __init__(self, folder: Path) -> None:
        self.clock = FakeClock()
        self.store = Store.open(folder / "home", clock=self.clock)
        self.invitations = Invitations(self.store, self.clock)
        self._book: PeerBook | None = None

    @property
    def book(self) -> PeerBook:
        if self._book is None:
            self._book = open_book(self.store, HOST, self.clock)
        return self._book

    def shows(self, secret: bytes, who: str = GUEST, proof: bytes | None = None) -> set[str] | None:
        made = Invitation(HOST, secret, frozenset())
        _, _, id, right = made.path(who).rsplit("/", 3)
        shown = bytes.fromhex(right) if proof is None else proof
        taken = self.invitations.take(bytes.fromhex(id), shown, who, HOST, self.book)
        return None if taken is None else set(taken.rights)


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    made = Desk(tmp_path)
    yield made
    made.store.close()


def test_a_code_is_good_for_one_node(desk: Desk) -> None:
    secret = desk.invitations.make(["read", "run"], 60, "guest")
    assert desk.invitations.taken_by(secret) == ""
    assert desk.shows(secret) == {"read", "run"}
    assert desk.invitations.taken_by(secret) == GUEST
    assert desk.shows(secret, OTHER) is None
    peer = desk.book.peer(GUEST)
    assert peer is not None and (peer.rights, peer.name) == ({"read", "run"}, "guest")
    desk.book.rename(GUEST, "pi")
    assert desk.shows(secret) == {"read", "run"}  # it did not hear the answer, and asks again
    peer = desk.book.peer(GUEST)
    assert peer is not None and peer.name == "pi"


@pytest.mark.parametrize("taken_away", [["run"], None])
def test_a_used_code_gives_nothing_back_that_was_taken_away(
    desk: Desk, taken_away: list[str] | None
) -> None:
    secret = desk.invitations.make(["read", "run"], 60)
    assert desk.shows(secret) == {"read", "run"}
    left = desk.book.untrust(GUEST, taken_away).rights
    assert desk.shows(secret) is None
    peer = desk.book.peer(GUEST)
    assert peer is not None and peer.rights == left


def test_a_used_code_does_not_bring_a_forgotten_peer_back(desk: Desk) -> None:
    secret = desk.invitations.make(["read"], 60)
    assert desk.shows(secret) == {"read"}
    desk.book.remove(GUEST)
    assert desk.shows(secret) is None and desk.book.peer(GUEST) is None


def test_a_closed_code_stays_closed_when_its_rights_are_given_again(desk: Desk) -> None:
    secret, other = desk.invitations.make(["read"], 60), desk.invitations.make(["read"], 60)
    assert desk.shows(secret) == {"read"}
    desk.invitations.close(GUEST)
    assert desk.invitations.taken_by(secret) == ""
    assert desk.shows(secret) is None
    assert desk.shows(other, OTHER) == {"read"}


def test_a_proof_is_of_one_node_alone(desk: Desk) -> None:
    secret = desk.invitations.make(["read"], 60)
    copied = Invitation(HOST, secret, frozenset()).proof(GUEST)
    assert desk.shows(secret, OTHER, copied) is None
    assert desk.shows(secret) == {"read"}


def test_a_code_is_over_in_time_and_when_it_is_withdrawn(desk: Desk) -> None:
    late, gone = desk.invitations.make(["read"], 60), desk.invitations.make(["read"], 600)
    desk.clock.seconds += 60
    assert desk.shows(late) is None
    desk.invitations.withdraw(gone)
    assert desk.shows(gone) is None


def test_wrong_proofs_end_a_code_and_no_other(desk: Desk) -> None:
    guessed, other = desk.invitations.make(["read"], 60), desk.invitations.make(["read"], 60)
    for _ in range(TRIES_MAX):
        assert desk.shows(guessed, OTHER, bytes(32)) is None
    assert desk.shows(guessed) is None
    assert desk.shows(other) == {"read"}


def test_a_node_that_never_invited_writes_nothing_for_a_guess(desk: Desk) -> None:
    desk.invitations.close(GUEST)
    assert desk.invitations.take(bytes(8), bytes(32), GUEST, HOST, UNUSED) is None
    assert desk.store.database.row("SELECT 1 FROM sqlite_master WHERE name LIKE 'peering%'") is None


def test_open_invitations_are_bounded(desk: Desk) -> None:
    for _ in range(OPEN_MAX):
        desk.invitations.make(["read"], 60)
    with pytest.raises(LimitError):
        desk.invitations.make(["read"], 60)
    desk.clock.seconds += 60
    assert desk.invitations.make(["read"], 60)
