"""Nodes, items and connections for the tests of `sync`: no socket, no clock, no real randomness."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from random import Random

from sync import codec
from sync.base import CONTROL, RECORDS, Accepted, Entry, Item, ItemStore
from sync.claims import Claims
from sync.errors import CodecError, ItemInvalid, ItemUnwanted
from sync.events import Event
from sync.items import SqliteItems
from sync.rules import Rules
from sync.session import Session
from tests.memory_database import in_memory

SET = hashlib.sha256(b"the set of these tests").digest()
START_S = 1_767_225_600


class StepClock:
    """Stands still until it is told to go on."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def monotonic(self) -> float:
        return self.now


def signature(issuer: str, time: int, body: bytes, lane: int) -> bytes:
    """Stands for a signature where its cost would only slow a test down."""
    text = f"{issuer} {time} {lane} ".encode()
    return hashlib.blake2b(text + body, digest_size=16, key=b"all issuers").digest()


def make_raw(issuer: str, time: int, body: bytes, lane: int = RECORDS) -> bytes:
    sig = signature(issuer, time, body, lane)
    return codec.encode({"iss": issuer, "time": time, "body": body, "lane": lane, "sig": sig})


def digest(raw: bytes) -> bytes:
    return hashlib.sha256(raw).digest()


def make_item(issuer: str, time: int, body: bytes, lane: int = RECORDS) -> Item:
    raw = make_raw(issuer, time, body, lane)
    return Item(digest(raw), raw, time, lane)


def make_items(count: int, seed: int, *, start: int = START_S, step: int = 60) -> list[Item]:
    """Items of one issuer, `step` seconds apart on average."""
    random = Random(seed)
    return [
        make_item(
            f"issuer {seed}", start + random.randrange(count * step + 1), random.randbytes(64)
        )
        for _ in range(count)
    ]


class SealVerifier:
    """Checks `signature`; issuers whose name begins with "stranger" are not wanted."""

    def __init__(self) -> None:
        self.calls = 0

    def verify(self, id: bytes, raw: bytes, peer: str) -> Accepted:
        self.calls += 1
        try:
            item = codec.decode(raw)
            good = signature(item["iss"], item["time"], item["body"], item["lane"])
            if item["sig"] != good or item["lane"] not in (CONTROL, RECORDS):
                raise ItemInvalid("the signature does not verify")
            if item["iss"].startswith("stranger"):
                raise ItemUnwanted("its issuer has no place in this set")
        except (CodecError, KeyError, TypeError, AttributeError) as error:
            raise ItemInvalid(f"no item: {error!r}") from error
        return Accepted(item["time"], item["lane"])


def memory_store(random: Callable[[int], bytes] | None = None) -> SqliteItems:
    db = in_memory()
    return SqliteItems(db, SET, random or Random(0).randbytes)


class Node:
    """A node without a network."""

    def __init__(self, did: str, clock: StepClock, store: SqliteItems | None = None) -> None:
        self.did = did
        self.clock = clock
        self.store = store or memory_store()
        self.verifier = SealVerifier()
        self.claims = Claims()

    def session(self, peer: str, **more: object) -> Session:
        options: dict[str, object] = {"claims": self.claims, **more}
        return Session(
            self.did,
            peer,
            SET,
            self.store,
            self.verifier,
            self.clock,
            **options,  # type: ignore[arg-type]
        )

    def ids(self) -> set[bytes]:
        return {row.id for row in self.store.log_after(0, 10**9)}


def pair(shared: int = 0, one: int = 0, other: int = 0) -> tuple[Node, Node]:
    """Two nodes that share items, with later items of their own. "did:a" is the initiator."""
    clock = StepClock()
    a, b = Node("did:a", clock), Node("did:b", clock)
    items = make_items(shared, 1)
    end = START_S + shared * 60
    a.store.add(items + make_items(one, 2, start=end))
    b.store.add(items + make_items(other, 3, start=end))
    return a, b


class Wire:
    """Two sessions and the frames between them; everything that passed is kept."""

    def __init__(self, one: Session, other: Session) -> None:
        self.ends = (one, other)
        self.frames: tuple[list[bytes], list[bytes]] = ([], [])
        self.events: tuple[list[Event], list[Event]] = ([], [])
        self.trips = 0

    def flow(self) -> int:
        """Let frames pass until both sides are silent; how many did."""
        passed = 0
        while batch := [self._batch(0), self._batch(1)]:
            if not any(batch):
                return passed
            self.trips += 1
            for side, frames in enumerate(batch):
                passed += len(frames)
                for frame in frames:
                    self.events[1 - side].extend(self.ends[1 - side].receive(frame))
        return passed

    def _batch(self, side: int) -> list[bytes]:
        frames = []
        while (frame := self.ends[side].to_send()) is not None:
            frames.append(frame)
        self.frames[side].extend(frames)
        return frames

    def rest(self, clock: StepClock, seconds: float = 3.0, step: float = 0.1) -> None:
        """Let time pass."""
        self.flow()
        for _ in range(round(seconds / step)):
            clock.now += step
            for side in (0, 1):
                self.events[side].extend(self.ends[side].tick())
            self.flow()

    @property
    def bytes(self) -> int:
        return sum(len(frame) for side in self.frames for frame in side)

    def kinds(self) -> str:
        """The frames of both sides by their letters, one side after the other."""
        sides = ("".join(codec.decode(frame)["t"] for frame in side) for side in self.frames)
        return " ".join(sides)


def met(one: Node, other: Node, rules: Rules | None = None) -> Wire:
    """A connection on which everything that is to be said was said."""
    wire = Wire(one.session(other.did, rules=rules), other.session(one.did, rules=rules))
    wire.rest(one.clock)
    return wire


def entries(items: Iterable[Item], source: str = "") -> list[Entry]:
    return [Entry(0, one.id, one.time, len(one.raw), one.lane, source) for one in items]


def as_store(store: ItemStore) -> ItemStore:
    """For the type checker: `SqliteItems` is an `ItemStore`."""
    return store
