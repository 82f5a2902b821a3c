"""A peer that lies, floods and stalls: nothing of it is stored, and what it costs is bounded."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Iterable
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nacl.exceptions import BadSignatureError
from nacl.signing import SigningKey, VerifyKey

from sync import codec
from sync.base import ITEM_BYTES_MAX, START, Accepted, Item, Position, Summary
from sync.errors import CodecError, ItemInvalid
from sync.events import Closed, Event, Refused
from sync.intake import BATCHES_MAX, LACKING_MAX, PUSH_BYTES_MAX
from sync.messages import (
    BUSY,
    BY_COMPARISON,
    BY_CURSOR,
    NO_LIMIT,
    PROTOCOL,
    Ack,
    Ask,
    Compare,
    Give,
    Hello,
    Message,
    Miss,
    Mode,
    Offer,
    State,
    Want,
    encode,
    parse,
)
from sync.reconcile import INFINITY, varint
from sync.session import Session
from tests.sync_support import SET, Node, StepClock, Wire, digest, make_item, make_items, met

MIB = 1024 * 1024


def fake_ids(count: int, seed: int = 1) -> list[bytes]:
    random = Random(seed)
    return [random.randbytes(32) for _ in range(count)]


def hello(count: int = 1, budget: int = NO_LIMIT) -> Hello:
    summary = Summary(bytes(8), Position(count, bytes(32)) if count else START, count, bytes(16))
    return Hello(SET, summary, None, budget, 7)


class Puppet:
    """A victim's session, and a peer that says whatever a test wants.

    Args:
        peer: "did:a" makes the peer the initiator, "did:z" the victim.
    """

    def __init__(self, peer: str = "did:z", shared: Iterable[Item] = ()) -> None:
        self.clock = StepClock()
        self.victim = Node("did:m", self.clock)
        self.victim.store.add(list(shared))
        self.session: Session = self.victim.session(peer)
        self.events: list[Event] = []
        self.answers: list[Message] = []
        self.say(hello(), Mode(BY_COMPARISON))

    def say(self, *messages: Message) -> None:
        for message in messages:
            self.events += self.session.receive(encode(message))
            self.listen()

    def listen(self) -> None:
        while (frame := self.session.to_send()) is not None:
            message = parse(frame)
            self.answers = [*self.answers[-200:], message]  # type: ignore[list-item]

    @property
    def end(self) -> Closed | None:
        return next((event for event in self.events if isinstance(event, Closed)), None)

    @property
    def stored(self) -> int:
        return self.victim.store.summary().count


def everything(bound: bytes = b"") -> bytes:
    """The head of a range that reaches to the end."""
    return varint(0) + varint(len(bound)) + bound


def listed(ids: list[bytes]) -> bytes:
    return b"\x61" + everything() + varint(2) + varint(len(ids)) + b"".join(ids)


# Items.


def test_an_altered_item_is_not_stored_and_the_third_ends_it() -> None:
    puppet = Puppet("did:a")
    good = [make_item("a", 5, b"%d" % number) for number in range(5)]
    bad = [item.raw.replace(b"issuer", b"") + b"\0" for item in good]
    for number, raw in enumerate(bad[:3], 1):
        puppet.say(Offer((digest(raw),), (len(raw),)), Give((raw,)))
        assert puppet.session.status().strikes == number
    assert puppet.end is not None
    assert (puppet.end.code, puppet.end.blame, puppet.end.here) == (PROTOCOL, True, True)
    assert puppet.end.retry_s == 3_600
    assert puppet.stored == 0


def test_what_nobody_asked_for_is_not_even_verified() -> None:
    puppet = Puppet()
    for item in make_items(3, 1):
        puppet.say(Give((item.raw,)))
    assert puppet.end is not None and puppet.end.blame
    assert puppet.victim.verifier.calls == 0
    assert puppet.stored == 0


def test_a_good_item_under_an_offered_name_that_is_not_its_own_is_unasked_for() -> None:
    puppet = Puppet()
    item = make_items(1, 1)[0]
    puppet.say(Offer((bytes(32),), (100,), Position(1, bytes(32))), Give((item.raw,)))
    assert puppet.session.status().strikes == 1
    assert puppet.stored == 0


def test_an_item_that_is_too_long_is_a_strike() -> None:
    puppet = Puppet()
    raw = bytes(ITEM_BYTES_MAX + 1)
    puppet.say(Offer((digest(raw),), (5,)), Give((raw,)))
    assert puppet.session.status().strikes == 1
    assert puppet.victim.verifier.calls == 0


def test_only_an_initiator_may_push_and_only_so_much() -> None:
    filler = [make_item("a", number, bytes(16_000)) for number in range(40)]
    puppet = Puppet("did:a")
    puppet.say(Give((filler[0].raw,)))
    assert puppet.session.status().strikes == 1
    puppet.say(Compare(bytes.fromhex("6100000200")))
    for item in filler:
        puppet.say(Give((item.raw,)))
    assert puppet.end is not None and puppet.end.blame
    assert puppet.stored == PUSH_BYTES_MAX // len(filler[0].raw)


def test_the_cursor_never_passes_what_was_not_given() -> None:
    puppet = Puppet()
    first, second = make_items(2, 1)
    puppet.say(Compare(b"\x61"))
    puppet.say(Offer((first.id,), (9,), Position(10, first.id)))
    puppet.say(Offer((second.id,), (9,), Position(20, second.id)), Give((second.raw,)))
    cursor = puppet.victim.store.cursor("did:z")
    assert cursor is not None and cursor.at.seq == 1  # of the hello: the comparison is over
    puppet.say(Give((first.raw,)))
    cursor = puppet.victim.store.cursor("did:z")
    assert cursor is not None and cursor.at.seq == 20


class SignedVerifier:
    """The real thing: Ed25519 over the body."""

    def verify(self, id: bytes, raw: bytes, peer: str) -> Accepted:
        try:
            item = codec.decode(raw)
            VerifyKey(item["key"]).verify(item["body"], item["sig"])
            return Accepted(codec.decode(item["body"])["time"])
        except (CodecError, KeyError, TypeError, ValueError, BadSignatureError) as error:
            raise ItemInvalid(f"forged: {error!r}") from error


def signed_items(count: int) -> list[Item]:
    key = SigningKey(bytes(32))
    items = []
    for number in range(count):
        body = codec.encode({"time": 1_000 + number, "text": f"note {number}"})
        sig = key.sign(body).signature
        raw = codec.encode({"key": bytes(key.verify_key), "body": body, "sig": sig})
        items.append(Item(digest(raw), raw, 1_000 + number))
    return items


def test_sessions_full_of_flipped_bytes_store_nothing_forged(
    scaled: Callable[[int, int], int],
) -> None:
    items = signed_items(60)
    honest = {item.id: item.raw for item in items}
    for seed in range(scaled(60, 1_700)):
        random, clock = Random(seed), StepClock()
        a, b = Node("did:a", clock), Node("did:b", clock)
        a.verifier = b.verifier = SignedVerifier()  # type: ignore[assignment]
        a.store.add(items[: random.randrange(60)])
        b.store.add(items[random.randrange(60) :])
        ends = (a.session(b.did), b.session(a.did))
        for _ in range(40):
            for side in (0, 1):
                frame = ends[side].to_send()
                if frame is not None:
                    ends[1 - side].receive(flipped(frame, random))
        for node in (a, b):
            held = node.store.read(node.ids())
            assert held == {id: honest[id] for id in held}, f"seed {seed}"


def flipped(frame: bytes, random: Random) -> bytes:
    if random.random() < 0.6:
        return frame
    damaged = bytearray(frame)
    for _ in range(random.choice((1, 1, 1, 20))):
        damaged[random.randrange(len(damaged))] ^= 1 << random.randrange(8)
    return bytes(
        damaged[: random.choice((len(damaged), len(damaged), random.randrange(len(damaged)))) + 1]
    )


# Frames.


EARLY: list[Message] = [
    Mode(0), Offer((), (), None), Compare(b"a"), Want(()), Give(()), Ack(START), Miss(()), Ask(()),
    State(0, bytes(16), START),
]  # fmt: skip


@pytest.mark.parametrize("message", EARLY, ids=lambda message: type(message).__name__)
def test_nothing_may_come_before_the_hello(message: Message) -> None:
    session = Node("did:m", StepClock()).session("did:z")
    (closed,) = session.receive(encode(message))
    assert isinstance(closed, Closed) and closed.code == PROTOCOL and closed.blame


def test_a_second_and_other_hello_ends_it() -> None:
    puppet = Puppet()
    puppet.say(hello())
    assert puppet.end is None
    puppet.say(hello(2))
    assert puppet.end is not None and puppet.end.code == PROTOCOL


def test_frames_that_no_item_fits_in_are_refused() -> None:
    session = Node("did:m", StepClock()).session("did:z")
    fields = codec.decode(encode(hello())) | {"mx": 1_000}
    closed = session.receive(codec.encode(fields))[-1]
    assert isinstance(closed, Closed) and closed.code == PROTOCOL


@given(st.lists(st.binary(max_size=80), min_size=1, max_size=5))
def test_no_bytes_raise_anything(frames: list[bytes]) -> None:
    for prepared in (False, True):
        puppet = Puppet()
        session = puppet.session if prepared else puppet.victim.session("did:y")
        for frame in frames:
            session.receive(frame)
            session.tick()
            while session.to_send() is not None:
                pass
        assert puppet.stored == 0


FIELDS = st.dictionaries(
    st.sampled_from(["z", "i", "s", "m", "r", "q", "n", "fp", "hd", "c"]),
    st.integers(-1, 3) | st.binary(max_size=64) | st.just(bytes(32)) | st.just([])
    | st.just([1, bytes(32)])
    | st.lists(st.integers(0, 9) | st.binary(max_size=40), max_size=3),
    max_size=4,
)  # fmt: skip


@given(st.lists(st.tuples(st.sampled_from("hvonwgkxqeb?"), FIELDS), max_size=8))
def test_no_frames_raise_anything(frames: list[tuple[str, dict[str, object]]]) -> None:
    for peer in ("did:a", "did:z"):
        puppet = Puppet(peer, make_items(40, 1))
        for kind, fields in frames:
            puppet.session.receive(codec.encode({**fields, "t": kind}))
            puppet.listen()
            puppet.clock.now += 1
            puppet.session.tick()
        assert puppet.stored == 40


# Floods.


def grown(act: Callable[[], object]) -> int:
    """Bytes of memory that are in use after it and were not before, at the worst moment."""
    tracemalloc.start()
    act()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak


def test_a_million_offered_ids_fill_neither_memory_nor_the_disk() -> None:
    puppet = Puppet("did:a")
    said = 0

    def flood() -> None:
        nonlocal said
        for number in range(1_000):
            ids = fake_ids(1_000, number)
            puppet.say(Offer(tuple(ids), (16_384,) * 1_000))
            said += 1_000
            if puppet.end is not None:
                return

    assert grown(flood) < 40 * MIB
    assert puppet.end is not None and puppet.end.blame
    assert said <= LACKING_MAX + 1_000
    assert puppet.stored == 0


def test_offers_that_are_never_given_end_it() -> None:
    puppet = Puppet("did:a")
    for number, id in enumerate(fake_ids(BATCHES_MAX + 1), 1):
        puppet.say(Offer((id,), (9,), Position(number, id)))
    assert puppet.end is not None and puppet.end.blame


def test_wants_beyond_the_window_or_the_set_end_it() -> None:
    items = make_items(300, 1)
    puppet = Puppet("did:a", items)
    want = Want(tuple(item.id for item in items[:200]))
    for _ in range(2):
        puppet.events += puppet.session.receive(encode(want))
    assert puppet.end is None
    for _ in range(9):
        puppet.events += puppet.session.receive(encode(Want(tuple(fake_ids(200)))))
    assert puppet.end is not None and puppet.end.blame

    puppet = Puppet("did:a", items)
    for _ in range(1_000):
        puppet.say(want)
        if puppet.end is not None:
            break
    assert puppet.end is not None and puppet.end.blame
    assert puppet.session.bytes_out < 3 * MIB


def test_comparing_without_end_uses_up_the_time_for_it() -> None:
    puppet = Puppet("did:a", make_items(200, 1))

    def slow() -> float:
        puppet.clock.now += 0.01
        return puppet.clock.now

    puppet.session._comparison._clock = type("Slow", (), {"monotonic": staticmethod(slow)})()
    for _ in range(1_000):
        puppet.say(Compare(b"\x61" + everything() + varint(1) + bytes(16)))
        if puppet.end is not None:
            break
    assert puppet.end is not None
    assert puppet.end.code == BUSY and puppet.end.retry_s == 60
    assert puppet.clock.now < 1_010


def test_comparisons_that_do_not_wait_for_an_answer_are_not_answered() -> None:
    puppet = Puppet("did:a", make_items(200, 1))
    frame = encode(Compare(b"\x61" + everything() + varint(1) + bytes(16)))
    for _ in range(50):
        puppet.session.receive(frame)
    puppet.listen()
    assert sum(isinstance(answer, Compare) for answer in puppet.answers) == 1
    assert puppet.session.ignored == 49


def test_a_responder_that_makes_up_ids_gets_nowhere() -> None:
    puppet = Puppet("did:z", make_items(100, 1))
    number = 0
    while puppet.end is None and number < 1_000:
        number += 1
        fakes = fake_ids(1_500, number)
        body = varint(5) + varint(0) + varint(2) + varint(len(fakes)) + b"".join(fakes)
        puppet.say(Compare(b"\x61" + body + everything() + varint(1) + bytes([number % 256] * 16)))
        while puppet.answers:
            answer = puppet.answers.pop(0)
            if isinstance(answer, Want):
                puppet.say(Miss(answer.ids))
            elif isinstance(answer, Offer | Give) and answer.at is not None:
                puppet.say(Ack(answer.at))
    assert puppet.end is not None
    assert puppet.end.reason == "comparing leads nowhere"
    assert number < 50
    assert puppet.stored == 100


def test_traffic_that_brings_nothing_is_bounded() -> None:
    puppet = Puppet()
    frame = codec.encode({"t": "later", "x": bytes(60_000)})
    sent = 0
    while puppet.end is None and sent < 1_000:
        puppet.events += puppet.session.receive(frame)
        sent += 1
    assert puppet.end is not None and puppet.end.blame
    assert sent * len(frame) < 9 * MIB


def test_questions_are_bounded() -> None:
    puppet = Puppet()
    for _ in range(2):
        puppet.events += puppet.session.receive(encode(Ask(tuple(fake_ids(64)))))
    assert puppet.end is not None and puppet.end.blame


def test_answers_to_no_question_are_strikes() -> None:
    puppet = Puppet()
    item = make_items(1, 1)[0]
    puppet.say(Give((item.raw,), None, bytes(32)))
    assert puppet.session.status().strikes == 1
    puppet.session.ask([bytes(32)])
    puppet.listen()
    puppet.say(Give((item.raw,), None, bytes(32)))
    assert puppet.stored == 1


# Others.


def test_a_peer_that_promises_and_does_not_give_holds_nobody_up_for_long() -> None:
    clock = StepClock()
    victim, honest = Node("did:m", clock), Node("did:z", clock)
    items = make_items(200, 1)
    honest.store.add(items)
    liar = victim.session("did:a")
    for message in (hello(), Mode(BY_CURSOR)):
        liar.receive(encode(message))
    liar.receive(encode(Offer(tuple(item.id for item in items), (200,) * 200)))
    while liar.to_send() is not None:
        pass
    wire = Wire(victim.session(honest.did), honest.session(victim.did))
    wire.rest(clock)
    assert victim.ids() == set()
    clock.now += 28
    (closed,) = liar.tick()
    assert isinstance(closed, Closed) and closed.code == BUSY
    wire.rest(clock)
    assert victim.ids() == honest.ids()
    assert all(end.status().in_sync for end in wire.ends)


def test_a_set_that_only_looks_equal_hides_items_and_no_longer_than_until_they_are_offered() -> (
    None
):
    """As with ids that were chosen so that the fingerprints of two sets collide."""
    clock = StepClock()
    victim, items = Node("did:m", clock), make_items(6, 1)
    victim.store.add(items[:5])
    session = victim.session("did:a")
    summary = victim.store.summary()
    head = Position(9, items[5].id)
    same = Summary(bytes(8), head, summary.count, summary.fingerprint)
    for message in (Hello(SET, same, None, NO_LIMIT, 7), Mode(0)):
        session.receive(encode(message))
    while session.to_send() is not None:
        pass
    assert session.status().in_sync
    for message in (
        Offer((items[5].id,), (200,), Position(10, items[5].id)),
        Give((items[5].raw,)),
    ):
        session.receive(encode(message))
        while session.to_send() is not None:
            pass
    assert victim.ids() == {item.id for item in items}
    assert not session.status().in_sync


def test_after_an_attack_an_honest_peer_finds_everything_as_it_was() -> None:
    puppet = Puppet("did:a", make_items(50, 1))
    for raw in (b"\0", b"\1", b"\2"):
        puppet.say(Offer((digest(raw),), (1,)), Give((raw,)))
    assert puppet.end is not None
    assert len([event for event in puppet.events if isinstance(event, Refused)]) == 3
    honest = Node("did:b", puppet.clock)
    honest.store.add(make_items(70, 1))
    wire = met(puppet.victim, honest)
    assert puppet.victim.ids() == honest.ids()
    assert all(end.status().in_sync for end in wire.ends)


def test_a_bound_at_infinity_is_one_bound_only() -> None:
    """Everything after the end of the order is empty, whatever a message claims."""
    puppet = Puppet("did:a", make_items(40, 1))
    twice = everything() + varint(1) + bytes(16)
    puppet.say(Compare(b"\x61" + twice + everything() + varint(1) + bytes(16)))
    assert puppet.end is None
    assert INFINITY == 2**64 - 1
