"""Reconciliation finds exactly the difference of any two sets, and no bytes can upset it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync.base import Bound, Entry, RangeSource
from sync.errors import ReconcileError
from sync.index import SetIndex, create
from sync.reconcile import (
    FINE,
    INFINITY,
    REFERENCE,
    Reconciler,
    Split,
    Vector,
    fingerprint,
    varint,
)
from tests.memory_database import in_memory

TIMES = st.integers(0, 40) | st.integers(0, 2**20) | st.just(2**53 - 1)
ITEMS = st.tuples(TIMES, st.integers(0, 2**20)).map(
    lambda pair: (pair[0], hashlib.sha256(b"%d" % pair[1]).digest())
)
SETS = st.lists(ITEMS, max_size=150, unique_by=lambda item: item[1])


def stored(members: list[Bound]) -> RangeSource:
    db = in_memory()
    create(db, bytes)
    index = SetIndex(db, bytes(32))
    for at in range(0, len(members), 7):
        index.add(Entry(0, id, time, 0, 1, "") for time, id in members[at : at + 7])
    return index.ranges()


def learned(
    one: RangeSource,
    other: RangeSource,
    limit: int,
    mine: Split = REFERENCE,
    theirs: Split = REFERENCE,
    compared_max: int = 0,
) -> tuple[set[bytes], set[bytes]]:
    initiator = Reconciler(one, limit, split=mine, compared_max=compared_max)
    responder = Reconciler(other, limit, split=theirs)
    have, need = set[bytes](), set[bytes]()
    message: bytes | None = initiator.initiate()
    for _ in range(1_000):
        assert message is not None
        answer = responder.reconcile(message).reply
        assert answer is not None
        outcome = initiator.reconcile(answer)
        have |= set(outcome.have)
        need |= set(outcome.need)
        message = outcome.reply
        if message is None:
            return have, need
    raise AssertionError("it does not end")


@given(SETS, SETS, SETS, st.sampled_from([0, 4_096]))
def test_the_difference_is_found(
    both: list[Bound], mine: list[Bound], theirs: list[Bound], limit: int
) -> None:
    one = list({id: (time, id) for time, id in both + mine}.values())
    known = {id: time for time, id in one}
    other = list({id: (known.get(id, time), id) for time, id in both + theirs}.values())
    left, right = {id for _, id in one}, {id for _, id in other}
    expected = (left - right, right - left)
    assert learned(Vector(one), Vector(other), limit) == expected
    assert learned(stored(one), Vector(other), limit) == expected
    assert learned(Vector(one), stored(other), limit) == expected
    for splits in ((FINE, FINE), (FINE, REFERENCE), (REFERENCE, FINE)):
        assert learned(Vector(one), Vector(other), limit, *splits) == expected


@given(
    st.integers(0, 3_000), st.integers(0, 900), st.integers(0, 900), st.integers(1, 40),
    st.sampled_from([0, 4_096]),
)  # fmt: skip
def test_what_is_new_is_found_whoever_has_it(
    both: int, mine: int, theirs: int, shared: int, limit: int
) -> None:
    """Each `shared`-th of the new items is known to both."""
    ids = [hashlib.sha256(b"%d" % number).digest() for number in range(both + mine + theirs)]
    items = [(number // 3, id) for number, id in enumerate(ids)]
    common = {item for n, item in enumerate(items) if n < both or n % shared == 0}
    left = common | set(items[both : both + 2 * mine : 2])
    right = common | set(items[both + 1 : both + 2 * theirs : 2])
    expected = tuple({id for _, id in one} for one in (left - right, right - left))
    for splits in ((FINE, FINE), (FINE, REFERENCE), (REFERENCE, FINE)):
        assert learned(Vector(left), Vector(right), limit, *splits) == expected
        for most in (10, 200):
            assert learned(Vector(left), Vector(right), limit, *splits, most) == expected


@given(SETS, st.data())
def test_the_database_and_memory_are_the_same_set(
    members: list[Bound], data: st.DataObject
) -> None:
    memory, database = Vector(members), stored(members)
    count = len(memory)
    assert len(database) == count
    start = data.draw(st.integers(0, count))
    end = data.draw(st.integers(start, count))
    bound = data.draw(st.tuples(TIMES, st.binary(max_size=32)))
    assert database.fingerprint(start, end) == memory.fingerprint(start, end)
    assert list(database.ids(start, end)) == list(memory.ids(start, end))
    assert database.lower(start, bound) == memory.lower(start, bound)
    if count:
        assert database.item(min(start, count - 1)) == memory.item(min(start, count - 1))


@pytest.mark.parametrize("make", [Vector, stored])
@given(junk=st.binary(max_size=200))
def test_no_bytes_raise_anything_but_their_own_error(
    make: Callable[[list[Bound]], RangeSource], junk: bytes
) -> None:
    members = [(number, hashlib.sha256(b"%d" % number).digest()) for number in range(70)]
    for initiator in (False, True):
        side = Reconciler(make(members), 4_096, initiator=initiator)
        for message in (junk, b"\x61" + junk):
            try:
                outcome = side.reconcile(message)
            except ReconcileError:
                continue
            assert outcome.reply is None or len(outcome.reply) <= 4_096


def test_another_version_is_answered_with_ours_and_ends_an_initiator() -> None:
    assert Reconciler(Vector([])).reconcile(b"\x62abc").reply == b"\x61"
    with pytest.raises(ReconcileError, match="version 2"):
        Reconciler(Vector([]), initiator=True).reconcile(b"\x62")
    with pytest.raises(ReconcileError, match="0x41"):
        Reconciler(Vector([])).reconcile(b"A")


def test_numbers_are_as_short_as_they_can_be() -> None:
    assert [varint(n).hex() for n in (0, 127, 128, 16_384, INFINITY)] == [
        "00", "7f", "8100", "818000", "81ffffffffffffffff7f",
    ]  # fmt: skip


def test_a_fingerprint_counts_ids_that_cancel_each_other_out() -> None:
    assert fingerprint(0, 0) != fingerprint(1 << 256, 2)
    assert fingerprint(5, 1) == fingerprint((1 << 256) + 5, 1)


def test_a_limit_has_to_leave_room() -> None:
    with pytest.raises(ValueError, match="4096"):
        Reconciler(Vector([]), 4_095)
