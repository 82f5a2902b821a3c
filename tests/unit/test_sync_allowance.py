"""What one peer may make a node spend, and all of them together."""

from __future__ import annotations

from random import Random

from sync.allowance import (
    COMPARE_S_MAX,
    FREE_S,
    FREE_SHARE,
    HELD_UP_S_MAX,
    SHARE,
    Allowance,
    Allowances,
)
from sync.base import Entry, Position, Summary
from sync.index import SetIndex, create
from sync.messages import BUSY, BY_COMPARISON, NO_LIMIT, Compare, Hello, Mode, encode, parse
from sync.meter import Meter
from sync.reconcile import FINE, Reconciler, varint
from tests.memory_database import in_memory
from tests.sync_support import SET, Node, StepClock, make_items

READS = 2_000


def test_a_meter_says_when_it_holds_again() -> None:
    meter = Meter(10, 2)
    assert meter.full_s(0) == 0
    assert not meter.add(16, 0)
    assert meter.full_s(0) == 3
    assert meter.full_s(2) == 1
    assert meter.full_s(3) == 0


def test_who_takes_little_is_never_held_up_whatever_others_do() -> None:
    clock = StepClock()
    allowances = Allowances(clock)
    for _ in range(100):
        clock.now += 0.01
        allowances.spent("did:loud", 0.1)
    assert allowances.spent("did:loud", 0.1) == HELD_UP_S_MAX
    assert allowances.spent("did:quiet", FREE_S / 2) == 0.0


def test_all_who_take_much_get_one_share_together() -> None:
    """Each acts again when it may: over a minute they get no more than the share, and the burst."""
    clock, spent = StepClock(), 0.0
    allowances, end = Allowances(clock), clock.now + 60
    may_at = {f"did:{number}": clock.now for number in range(12)}
    while min(may_at.values()) < end:
        peer = min(may_at, key=lambda one: may_at[one])
        clock.now = max(clock.now, may_at[peer])
        may_at[peer] = clock.now + 0.01 + allowances.spent(peer, 0.01)
        spent += 0.01
    assert spent <= 60 * (SHARE + len(may_at) * FREE_SHARE) + 2.0
    assert spent >= 60 * SHARE / 2


def test_a_new_connection_brings_no_new_time_to_compare() -> None:
    clock, allowance = StepClock(), Allowance()
    node = Node("did:m", clock)
    node.store.add(make_items(200, 1))
    allowance.comparing.add(COMPARE_S_MAX + 1, clock.now)
    reads = 0

    def ranges() -> object:
        nonlocal reads
        reads += 1
        return original()

    original, node.store.ranges = node.store.ranges, ranges  # type: ignore[method-assign, assignment]
    session = node.session("did:a", allowance=allowance)
    summary = Summary(bytes(8), Position(9, bytes(32)), 9, bytes(16))
    everything = b"\x61" + varint(0) + varint(0) + varint(1) + bytes(16)
    for message in (
        Hello(SET, summary, None, NO_LIMIT, 7),
        Mode(BY_COMPARISON),
        Compare(everything),
    ):
        session.receive(encode(message))
    said = []
    while (frame := session.to_send()) is not None:
        said.append(parse(frame))
    assert getattr(said[-1], "code", None) == BUSY
    assert reads == 0, "it is refused before anything is read"


def test_one_message_makes_the_responder_read_so_many_rows_and_the_rest_comes_later() -> None:
    """20,000 items in 400 stretches of time: a message that cuts all of them would read all."""
    db = in_memory()
    create(db, Random(1).randbytes)
    index, random = SetIndex(db, SET), Random(2)
    times = [number // 50 << 12 | random.randrange(1 << 12) for number in range(20_000)]
    index.add(Entry(0, random.randbytes(32), time, 300, 1, "") for time in times)
    body, before = bytearray(b"\x61"), 0
    for bucket in range(400):
        time = bucket << 12 | 2_000
        body += varint(time - before + 1) + varint(0) + varint(1) + bytes(16)
        before = time
    source = index.ranges()
    outcome = Reconciler(source, 60_000, split=FINE, reads_max=READS).reconcile(bytes(body))
    assert READS < source.reads <= READS + 1_000
    assert outcome.reply is not None

    # Whoever compares honestly gets there all the same, in more messages.
    other_db = in_memory()
    create(other_db, Random(3).randbytes)
    other = SetIndex(other_db, SET)
    here = [index.ranges().item(at) for at in range(20_000)]
    left_out = {id for _, id in here[::200]}
    other.add(Entry(0, id, time, 300, 1, "") for time, id in here if id not in left_out)
    asking = Reconciler(other.ranges(), 60_000, initiator=True, split=FINE)
    message: bytes | None = asking.initiate()
    found, messages = set[bytes](), 0
    while message is not None:
        messages += 1
        assert messages < 60
        answer = Reconciler(index.ranges(), 60_000, split=FINE, reads_max=READS)
        reply = answer.reconcile(message).reply
        assert reply is not None
        told = asking.reconcile(reply)
        found |= set(told.need)
        message = told.reply
    assert found == left_out
