"""Two nodes of `sync` and what passes between them, without a socket: bytes, trips, CPU time."""

from __future__ import annotations

import hashlib
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from random import Random

from sync import codec
from sync.base import Accepted, Entry, Item, Verifier
from sync.items import SqliteItems
from sync.session import Session

SET = hashlib.sha256(b"the set of the benchmarks").digest()
BORN_S = 1_767_225_600
EVERY_S = 60  # between two items of a set, on average
BODY_BYTES = 300
REST_S = 0.1


class StepClock:
    """Goes on when it is told to."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def monotonic(self) -> float:
        return self.now


class Trusting:
    """Believes everything: what signatures cost is measured by rows of their own."""

    def verify(self, id: bytes, raw: bytes, peer: str) -> Accepted:
        return Accepted(codec.decode(raw)["at"])


@dataclass(frozen=True)
class Met:
    """What a meeting cost.

    Attributes:
        told: bytes of all frames, less those of the items in them.
        moved: items that were stored, on both sides.
        trips: round trips until the last item was stored, or else until both sides were silent.
        seconds: CPU time of both ends.
    """

    told: int
    moved: int
    trips: float
    seconds: float


class End:
    """A node: a name, a store, and who judges what comes."""

    def __init__(self, number: int, store: SqliteItems, verifier: Verifier | None = None) -> None:
        name = hashlib.sha256(b"node %d" % number).hexdigest()
        self.did = f"did:key:z6Mk{name[:44]}"  # as long as a real one
        self.store = store
        self.verifier = verifier or Trusting()


def item(random: Random, at: int) -> Item:
    raw = codec.encode({"at": at, "body": random.randbytes(BODY_BYTES)})
    return Item(hashlib.sha256(raw).digest(), raw, at)


def opened(path: Path | None, random: Random) -> SqliteItems:
    db = sqlite3.connect(path or ":memory:", isolation_level=None)
    return SqliteItems(db, SET, random.randbytes)


def end_of(number: int, path: Path, verifier: Verifier | None = None) -> End:
    """A node whose set is on the disk, and durable there."""
    store = opened(path, Random(number))
    store.db.execute("PRAGMA journal_mode = WAL")
    store.db.execute("PRAGMA synchronous = FULL")
    return End(number, store, verifier)


def shared_set(path: Path, size: int) -> None:
    """A database whose set has `size` ids without bytes: nobody asks for what both have."""
    random = Random(size)
    store = opened(path, random)
    store.db.execute("PRAGMA synchronous = OFF")
    store.db.execute("BEGIN")
    store.index.add(
        Entry(0, random.randbytes(32), BORN_S + number * EVERY_S, BODY_BYTES, 1, "")
        for number in range(size)
    )
    store.db.execute("COMMIT")
    store.db.close()


@contextmanager
def two(path: Path, size: int, apart: int, how: str) -> Iterator[tuple[End, End]]:
    """Two nodes with the set of `shared_set`, and half of `apart` items that only one has each.

    Args:
        how: "recent" items are newer than the shared ones, "spread" ones anywhere among them.
    """
    ends = []
    for number in range(2):
        random = Random(number)
        store = opened(None, random)
        source = sqlite3.connect(path)
        source.backup(store.db)
        source.close()
        late = BORN_S + size * EVERY_S
        times = (
            (late + turn * EVERY_S + random.randrange(EVERY_S) for turn in count())
            if how == "recent"
            else (BORN_S + random.randrange(size * EVERY_S) for _ in count())
        )
        store.add([item(random, next(times)) for _ in range(apart // 2)])
        ends.append(End(number, store))
    yield ends[0], ends[1]
    for end in ends:
        end.store.db.close()


def meet(one: End, other: End) -> Met:
    """Let two nodes exchange everything that they lack."""
    clock = StepClock()
    began, before = time.process_time(), total((one, other))
    sessions = [
        Session(me.did, peer.did, SET, me.store, me.verifier, clock)
        for me, peer in ((one, other), (other, one))
    ]
    told = trips = last = 0
    known = before
    idle = False
    while not idle or not all(session.status().in_sync for session in sessions):
        frames = [list(iter(session.to_send, None)) for session in sessions]
        idle = not any(frames)
        if idle:
            clock.now += REST_S
            for session in sessions:
                session.tick()
            continue
        trips += 1
        for side, batch in enumerate(frames):
            for frame in batch:
                assert frame is not None, "iter() ended at None"
                told += len(frame) - sum(map(len, codec.decode(frame).get("r", ())))
                sessions[1 - side].receive(frame)
        if (now := total((one, other))) != known:
            known, last = now, trips
    seconds = time.process_time() - began
    return Met(told, known - before, (last or trips) / 2, seconds)


def total(ends: Sequence[End]) -> int:
    return sum(end.store.summary().count for end in ends)


def mesh(nodes: int, meetings: int, each: int) -> Met:
    """Many nodes; before each meeting of a random pair, items are made anywhere.

    Returns:
        The sum of all meetings.
    """
    random, clock_s = Random(nodes), BORN_S
    ends = [End(number, opened(None, random)) for number in range(nodes)]
    sums: list[Met] = []
    for _ in range(meetings):
        for _ in range(each):
            clock_s += 1
            random.choice(ends).store.add([item(random, clock_s)])
        sums.append(meet(*random.sample(ends, 2)))
    for end in ends:
        end.store.db.close()
    return Met(
        sum(one.told for one in sums),
        sum(one.moved for one in sums),
        sum(one.trips for one in sums) / len(sums),
        sum(one.seconds for one in sums),
    )
