"""Who is let in: names cost nothing, so no number of them keeps out whoever has a right."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sync.door import (
    KNOCKS_MAX,
    KNOCKS_PER_S,
    PER_PEER_MAX,
    RIGHT_LOOK_S,
    STRANGER_IDLE_S,
    STRANGERS_MAX,
    STRANGERS_PER_ADDRESS,
    UNPROVED_MAX,
    UNPROVED_PER_ADDRESS,
    WAITING_MAX,
    WAITING_PER_ADDRESS,
    WELCOME_MAX,
    Door,
    Guest,
)
from sync.errors import StoreError

HERE, THERE = "192.0.2.1", "198.51.100.7"
FRIEND = "did:friend"


class Street:
    """A door, the time, who is welcome, and who was turned out."""

    def __init__(self) -> None:
        self.now = 0.0
        self.friends = {FRIEND}
        self.cut: list[Guest] = []
        self.is_readable = True
        self.door = Door(lambda: self.now, self.has_right)

    def has_right(self, did: str) -> bool:
        if not self.is_readable:
            raise StoreError("busy")
        return did in self.friends

    def knock(self, host: str) -> Guest | None:
        made: list[Guest] = []
        guest = self.door.enter(host, lambda: self.cut.extend(made))
        made += [] if guest is None else [guest]
        return guest

    def comes(self, host: str) -> Guest:
        """One that is let in at once, a second after the one before."""
        self.now += 1
        guest = self.knock(host)
        assert guest is not None and not guest.wait_s
        return guest

    def proves(self, host: str, did: str) -> Guest:
        guest = self.comes(host)
        assert guest.prove(did)
        return guest


@pytest.fixture
def street() -> Iterator[Street]:
    made = Street()
    yield made
    assert made.door.connections <= UNPROVED_MAX + STRANGERS_MAX + WELCOME_MAX + WAITING_MAX
    for guest in [*made.door._inside]:
        guest.leave()
        guest.leave()
    assert (made.door.connections, made.door.unproved) == (0, 0)


@pytest.mark.parametrize(
    "hosts",
    [
        [HERE] * 20,
        [HERE, f"::ffff:{HERE}"] * 10,
        [f"2001:db8::{number:x}" for number in range(20)],
        ["2001:db8::1%eth0"] * 20,
    ],
)
def test_of_one_address_the_oldest_without_a_name_makes_room(
    street: Street, hosts: list[str]
) -> None:
    others = [street.comes(THERE), street.comes("2001:db8:0:1::1")]
    guests = [street.comes(host) for host in hosts]
    assert street.cut == guests[:-UNPROVED_PER_ADDRESS]
    assert not any(guest.is_inside for guest in street.cut)
    assert all(guest.is_inside for guest in (*others, *guests[-UNPROVED_PER_ADDRESS:]))
    assert not street.cut[0].prove(FRIEND)


def test_when_all_are_too_many_the_address_with_most_of_them_makes_room(street: Street) -> None:
    crowd = [street.comes(HERE) for _ in range(UNPROVED_PER_ADDRESS)]
    single = [street.comes(f"10.0.{number}.1") for number in range(UNPROVED_MAX)]
    assert street.door.unproved == UNPROVED_MAX
    assert street.cut[:7] == crowd[:7]
    assert single[-1].is_inside


def test_strangers_have_few_places_and_take_them_from_each_other_alone(street: Street) -> None:
    friends = [street.proves(HERE, FRIEND) for _ in range(4)]
    elsewhere = street.proves(THERE, "did:far")
    crowd = [street.proves(HERE, f"did:{number}") for number in range(300)]
    assert street.cut == crowd[:-STRANGERS_PER_ADDRESS]
    assert all(guest.is_inside for guest in (*friends, elsewhere))
    many = [street.proves(f"10.0.{number}.1", f"did:n{number}") for number in range(100)]
    assert street.door.connections == len(friends) + STRANGERS_MAX
    assert many[-1].is_inside
    assert street.proves(HERE, FRIEND).is_inside


def test_a_stranger_that_does_something_keeps_its_place_before_one_that_only_holds_it(
    street: Street,
) -> None:
    working, idle = street.proves(HERE, "did:working"), street.proves(HERE, "did:idle")
    answered = street.proves(HERE, "did:answered")
    with street.door.busy("did:working"):
        street.now += 1
        with street.door.busy("did:answered"):
            street.now += 1
        for number in range(STRANGERS_PER_ADDRESS - 2):
            street.proves(HERE, f"did:{number}")
        assert street.cut[:1] == [idle]
        assert working.is_inside and answered.is_inside
        for number in range(100):
            street.proves(HERE, f"did:more{number}")
        assert working.is_inside and not answered.is_inside


def test_a_stranger_that_got_a_right_has_the_place_of_a_friend(street: Street) -> None:
    joined, trusted = street.proves(HERE, "did:joined"), street.proves(HERE, "did:trusted")
    with street.door.busy("did:joined"):
        street.friends |= {"did:joined", "did:trusted"}
    for number in range(100):
        street.proves(HERE, f"did:{number}")
    assert joined.is_inside and trusted.is_inside
    assert joined.look() == RIGHT_LOOK_S


def test_a_stranger_without_a_request_is_turned_out_after_a_while(street: Street) -> None:
    guest, friend = street.proves(HERE, "did:x"), street.proves(HERE, FRIEND)
    assert friend.look() == RIGHT_LOOK_S
    assert guest.look() == STRANGER_IDLE_S - 1
    with street.door.busy("did:x"):
        street.now += 2 * STRANGER_IDLE_S
        assert guest.look() == STRANGER_IDLE_S / 2
    assert guest.look() == STRANGER_IDLE_S
    street.now += STRANGER_IDLE_S
    assert guest.look() is None
    assert street.cut == [guest]
    assert not guest.is_inside and friend.is_inside
    assert guest.look() is None


def test_who_lost_its_right_is_a_stranger_at_the_next_look_and_turned_out(street: Street) -> None:
    lost, friend = street.proves(HERE, "did:x"), street.proves(HERE, FRIEND)
    street.friends.add("did:x")
    with street.door.busy("did:x"):
        street.now += 500
    assert lost.look() == RIGHT_LOOK_S
    street.friends.remove("did:x")
    street.now += RIGHT_LOOK_S
    assert lost.look() == STRANGER_IDLE_S
    with street.door.busy("did:x"):
        street.now += STRANGER_IDLE_S
        assert lost.look() == STRANGER_IDLE_S / 2
    street.now += STRANGER_IDLE_S
    assert lost.look() is None
    assert street.cut == [lost] and friend.is_inside


def test_who_gets_its_right_back_in_time_stays(street: Street) -> None:
    guest = street.proves(HERE, FRIEND)
    street.friends.clear()
    assert guest.look() == STRANGER_IDLE_S
    street.friends.add(FRIEND)
    street.now += STRANGER_IDLE_S
    assert guest.look() == RIGHT_LOOK_S and guest.look() == RIGHT_LOOK_S
    assert guest.is_inside and guest.state == "welcome"


@pytest.mark.parametrize("told", [True, False], ids=["told", "all-taken"])
def test_those_that_lost_their_right_keep_no_friend_out_and_no_stranger(
    street: Street, told: bool
) -> None:
    names = [f"did:f{number}" for number in range(WELCOME_MAX)]
    street.friends |= set(names)
    crowd = [street.proves(HERE, name) for name in names[:-1]]
    crowd.append(street.proves("10.0.0.1", names[-1]))
    strangers = [street.proves(f"10.0.{n}.1", f"did:s{n}") for n in range(STRANGERS_MAX // 2)]
    street.friends -= set(names)
    if told:
        street.door.review()
        assert len(street.cut) == WELCOME_MAX - STRANGERS_MAX // 2
    assert street.proves(THERE, FRIEND).is_inside
    assert all(guest.is_inside for guest in strangers)
    assert not any(guest.state == "welcome" for guest in crowd)
    assert sum(guest.is_inside for guest in crowd) == STRANGERS_MAX // 2


def test_while_nobody_can_tell_who_has_a_right_all_stay_what_they_are(street: Street) -> None:
    friend, stranger = street.proves(HERE, FRIEND), street.proves(HERE, "did:x")
    street.is_readable = False
    street.now += STRANGER_IDLE_S
    street.door.review()
    assert (friend.look(), friend.state) == (RIGHT_LOOK_S, "welcome")
    late = street.proves(THERE, FRIEND)
    assert late.state == "stranger"
    assert stranger.look() is None and street.cut == [stranger]
    street.is_readable = True
    street.now += STRANGER_IDLE_S
    assert late.look() == RIGHT_LOOK_S and late.state == "welcome"


def test_a_peer_has_so_many_connections_and_all_that_are_welcome_too(street: Street) -> None:
    mine = [street.comes(THERE) for _ in range(UNPROVED_PER_ADDRESS)]
    mine += [street.comes(HERE) for _ in range(UNPROVED_PER_ADDRESS)]
    assert all(guest.prove(FRIEND) for guest in mine)
    assert len(mine) == PER_PEER_MAX
    late = street.comes(THERE)
    assert not late.prove(FRIEND)
    assert late.prove("did:another")
    assert not late.prove(FRIEND)
    names = [f"did:f{number}" for number in range(WELCOME_MAX)]
    street.friends |= set(names)
    let_in = [street.comes(HERE).prove(did) for did in names]
    assert let_in.count(True) == WELCOME_MAX - PER_PEER_MAX
    assert street.door.turned_away == 1 + let_in.count(False) + len(street.cut)


def test_who_knocks_again_and_again_waits_for_its_turn_and_others_come_in(street: Street) -> None:
    at_once = [street.knock(HERE) for _ in range(2 * KNOCKS_MAX)]
    guests = [guest for guest in at_once if guest is not None]
    waits = [guest.wait_s for guest in guests]
    assert waits == [0.0] * KNOCKS_MAX + [
        number / KNOCKS_PER_S for number in range(1, WAITING_PER_ADDRESS + 1)
    ]
    assert street.door.unproved == UNPROVED_PER_ADDRESS
    assert all(street.comes(THERE) for _ in range(UNPROVED_PER_ADDRESS))

    waiting = guests[-WAITING_PER_ADDRESS:]
    assert all(guest.is_inside and not guest.proved for guest in waiting)
    street.now = 1.0
    for guest in waiting:
        guest.come_in()
    assert street.door.unproved == 2 * UNPROVED_PER_ADDRESS
    assert waiting[0].prove(FRIEND)
    street.now = 60.0
    assert street.comes(HERE).is_inside


def test_all_who_wait_for_their_turn_are_few_too(street: Street) -> None:
    hosts = [f"10.0.{number}.1" for number in range(20)]
    for host in hosts:
        for _ in range(KNOCKS_MAX):
            guest = street.knock(host)
            assert guest is not None
            guest.leave()
    waiting = [street.knock(host) for host in hosts for _ in range(5)]
    assert len([guest for guest in waiting if guest is not None]) == WAITING_MAX
