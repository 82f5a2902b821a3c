"""Leases between threads. Between processes: tests/integration/test_store_processes.py."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from lite.errors import StoreError
from lite.ipld.cid import CID, RAW, SHA2_512
from lite.store import Store, locks
from lite.store.leases import Holder
from tests.store_support import START, FakeClock, raw_block

A, B = raw_block("a").cid, raw_block("b").cid


@pytest.fixture(params=["byte range", "file"])
def store(
    home: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Store]:
    """A store with each of the two kinds of lease."""
    if request.param == "file":
        monkeypatch.setattr(locks, "HAS_RANGES", False)
    elif not locks.HAS_RANGES:
        pytest.skip("this system has no locks of byte ranges that belong to an open file")
    with Store.open(home, clock=FakeClock()) as store:
        yield store


def test_a_free_lease_is_had_at_once(store: Store) -> None:
    for _ in range(3):
        with store.lease(A) as lease, store.lease(B) as other:
            assert not lease.waited
            assert not other.waited


def test_holders_are_named_while_they_hold(store: Store) -> None:
    with store.lease(A):
        with store.lease(B):
            assert {holder.cid for holder in store.holders()} == {A, B}
        assert store.holders() == [Holder(str(A), A, os.getpid(), START)]
    assert store.holders() == []


def test_a_second_thread_waits_and_knows_that_it_did(store: Store) -> None:
    order: list[str] = []
    lease = store.lease(A)

    def second() -> None:
        with lease:
            order.append("second")

    thread = threading.Thread(target=second)
    with store.lease(A):
        thread.start()
        while not lease.waited:
            pass
        order.append("first")
    thread.join()
    assert order == ["first", "second"]


def test_one_thread_at_a_time_has_a_lease(store: Store) -> None:
    inside: list[int] = []
    most: list[int] = []

    def work(number: int) -> None:
        for _ in range(30):
            with store.lease(A):
                inside.append(number)
                most.append(len(inside))
                inside.remove(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(most) == 180
    assert max(most) == 1


def test_a_lease_ends_with_an_error_inside(store: Store) -> None:
    with pytest.raises(KeyboardInterrupt), store.lease(A):
        raise KeyboardInterrupt
    with store.lease(A) as lease:
        assert not lease.waited


def test_a_lease_on_a_cid_of_another_length_works(store: Store) -> None:
    long = CID.of(b"x", RAW, SHA2_512)
    with store.lease(long) as lease:
        assert not lease.waited
    assert store.holders() == []


def test_leases_leave_no_files_that_add_up(store: Store, home: Path) -> None:
    for number in range(20):
        with store.lease(raw_block(str(number)).cid):
            pass
    assert len(list((home / "leases").iterdir())) <= 1


def test_a_lease_that_cannot_be_made_says_so(store: Store, home: Path) -> None:
    (home / "leases").write_text("a file")
    with pytest.raises(StoreError, match="leases"), store.lease(A):
        pass
