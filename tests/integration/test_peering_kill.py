"""A daemon that is killed while it takes over receipts goes on where it was."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from random import Random

import pytest

from lite.keys import Key
from lite.model.receipt import Receipt
from lite.nudge import RECORDS as WROTE
from lite.nudge import nudge
from lite.peering.names import RECORDS
from lite.peering.records import CID_HEAD
from lite.store import Store
from lite.store.receipts import write_receipt
from sync.index import SetIndex
from tests.integration.conftest import NUMBERS
from tests.meeting_support import Home, befriend, homes
from tests.peering_support import receipts
from tests.waiting_support import until
from tests.wat_guests import wat

EACH = 700  # receipts between two kills
MOMENT_S = 0.08


def write(home: Home, some: list[Receipt]) -> None:
    """Store receipts as runs do, all at once."""
    with Store.open(home.path, durability="normal") as store, store.database.write() as transaction:
        for one in some:
            write_receipt(transaction, one, (), 1)
    nudge(home.path, WROTE)


def key_of(home: Home) -> Key:
    from lite.identity import KEY_FILE

    return Key.load(home.path / KEY_FILE)


class Look:
    """What another process sees in a home."""

    def __init__(self, home: Home) -> None:
        self.db = sqlite3.connect(home.path / "ipvm.db", isolation_level=None)

    def receipts(self) -> set[bytes]:
        """Their CIDs as bytes."""
        return {raw for (raw,) in self.db.execute("SELECT cid FROM receipts")}

    def count(self) -> int:
        (number,) = self.db.execute("SELECT count(*) FROM receipts").fetchone()
        return int(number)

    def has_more_than(self, count: int) -> bool:
        return self.count() > count


def taken_over(giver: Home, taker: Home) -> set[bytes]:
    """What the taker has told the giver, or could have, to be safe: all behind its cursor."""
    with closing(Look(giver).db) as theirs, closing(Look(taker).db) as ours:
        cursor = SetIndex(ours, RECORDS).cursor(giver.did)
        if cursor is None:
            return set()
        log = SetIndex(theirs, RECORDS).log_after(0, cursor.at.seq)
        return {CID_HEAD + row.id for row in log}


@pytest.mark.timeout(1_200)  # 200 rounds on a slow machine
def test_nothing_acknowledged_is_lost_when_it_is_killed_at_any_moment(
    here: Path, tmp_path: Path, scaled: Callable[[int, int], int]
) -> None:
    random, written, turns = Random(9), list[Receipt](), scaled(3, 200)
    each = scaled(EACH, EACH // 2)
    with homes(tmp_path, wat(NUMBERS), "a", "b") as (a, b):
        a.start()
        b.start()
        befriend([b, a])
        key, within = key_of(a), 0
        with closing(Look(b).db) as db:
            look = Look(b)
            for turn in range(turns):
                before = look.count()
                written += receipts(key, each, turn * each)
                write(a, written[-each:])
                until(partial(look.has_more_than, before))
                time.sleep(random.random() * MOMENT_S)
                seen = look.receipts()
                b.end()  # kill -9
                kept = look.receipts()
                assert seen | taken_over(a, b) <= kept
                assert db.execute("PRAGMA quick_check").fetchone() == ("ok",)
                within += len(kept) < len(written)
                b.start()
        assert within >= turns // 4  # so many times it was in the middle
        assert b.sync()["in_sync"]
        whole = {one.cid.raw for one in written}
        assert look.receipts() == Look(a).receipts() == whole
        with Store.open(b.path, durability="normal") as store:
            assert store.check(deep=True) == []
