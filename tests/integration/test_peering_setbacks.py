"""A home whose database file is older than what its peers remember of it loses nothing."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from random import Random

from lite.model.receipt import Receipt
from lite.peering.names import RECORDS
from lite.peering.record_verifier import RecordVerifier
from lite.peering.records import RecordStore
from lite.store import Store
from sync.session import Session
from sync.wall import SystemClock
from tests.peering_support import key_of, receipts
from tests.sync_support import StepClock, Wire

A, B = key_of("a"), key_of("b")


class Home:
    """A real home and its set of records, opened anew as often as a test wants."""

    def __init__(self, folder: Path, did: str) -> None:
        self.folder, self.did = folder, did
        self.open()

    def open(self) -> None:
        self.store = Store.open(self.folder, durability="normal")
        self.records = RecordStore(self.store, SystemClock(), {A.did, B.did})
        self.verifier = RecordVerifier(self.store, self.records, SystemClock())

    def close(self) -> None:
        self.verifier.close()
        self.store.close()

    def add(self, some: list[Receipt]) -> None:
        for one in some:
            self.store.receipts.add(one)
        while self.records.catch_up():
            pass

    def ids(self) -> set[bytes]:
        return {row.id for row in self.records.log_after(0, 10**9)}

    @contextmanager
    def rolled_back(self) -> Iterator[None]:
        """What is written within is lost: the files are then those from before."""
        before = self.folder.with_suffix(".before")
        self.close()
        shutil.copytree(self.folder, before)
        self.open()
        yield
        self.close()
        shutil.rmtree(self.folder)
        before.rename(self.folder)
        self.open()


def meet(a: Home, b: Home) -> None:
    clock = StepClock()
    ends = [
        Session(one.did, other.did, RECORDS, one.records, one.verifier, clock)
        for one, other in ((a, b), (b, a))
    ]
    wire = Wire(*ends)
    wire.rest(clock)
    assert all(end.status().in_sync for end in ends)


def lost_by_cursors_alone(a: Home, b: Home) -> int:
    """How many items neither side would ever hear of if only what is behind a cursor were sent."""
    lost = 0
    for taker, giver in ((a, b), (b, a)):
        cursor = taker.records.cursor(giver.did)
        assert cursor is not None, "they met"
        told = {row.id for row in giver.records.log_after(cursor.at.seq, 10**9)}
        lost += len(giver.ids() - taker.ids() - told)
    return lost


def test_a_home_rolled_back_by_any_depth_loses_nothing(
    tmp_path: Path, scaled: Callable[[int, int], int]
) -> None:
    random, numbers = Random(5), count()
    a, b = Home(tmp_path / "a", A.did), Home(tmp_path / "b", B.did)

    def some(home: Home, many: int) -> list[Receipt]:
        made = [receipts(A if home is a else B, 1, next(numbers))[0] for _ in range(many)]
        home.add(made)
        return made

    everything = some(a, 40) + some(b, 40)
    meet(a, b)
    depths = [random.randint(1, 60) for _ in range(scaled(12, 100))]
    for depth in depths:
        with a.rolled_back():
            everything += some(a, depth)
            meet(a, b)
        everything += some(a, random.randint(1, 40)) + some(b, random.randint(0, 3))
        assert lost_by_cursors_alone(a, b) > 0, depth
        meet(a, b)
        whole = {one.cid.digest for one in everything}
        assert a.ids() == b.ids() == whole, depth
    assert len(set(depths)) > 10
    for home in (a, b):
        assert all(home.store.receipts.get(one.cid) == one for one in everything)
        home.close()
