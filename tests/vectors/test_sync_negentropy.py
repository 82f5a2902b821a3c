"""Golden traces of negentropy: the messages of whole conversations, byte for byte.

The sets follow from `items`, so that any implementation can form them. Each trace was also made by
the JavaScript reference implementation, from which these digests do not differ.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import pytest

from sync.base import Bound, Entry, RangeSource
from sync.index import SetIndex, create
from sync.reconcile import Reconciler, Vector
from tests.memory_database import in_memory


def items(name: str, count: int, first: int, span: int) -> list[Bound]:
    """`count` items: ids are digests of text, times are scattered over `span` seconds."""
    return [
        (first + number * 7919 % span, hashlib.sha256(f"{name} {number}".encode()).digest())
        for number in range(count)
    ]


# name: (items of both, of the initiator, of the responder, first second and span of these, limit)
CASES = {
    "empty": (0, 0, 0, 0, 1, 0),
    "equal": (1_000, 0, 0, 0, 1, 0),
    "one side empty": (0, 0, 40, 5, 1_000, 0),
    "same second": (300, 20, 20, 1_700_000_000, 1, 0),
    "recent": (5_000, 30, 40, 1_700_100_000, 5_000, 0),
    "spread": (5_000, 60, 50, 1_700_000_000, 100_000, 0),
    "limited": (3_000, 900, 1_100, 1_700_000_000, 100_000, 4_096),
    "disjoint": (0, 2_500, 2_500, 1_700_000_000, 9_999, 30_000),
}

# name: number of messages, their bytes in all, sha2-256 of all of them one after the other
TRACES = {
    "empty": (2, 10, "887614dc3c68c1cc2649c7821305018918ed9a2e1540bdca72364a875ee8be8b"),
    "equal": (2, 324, "a0a07fa389931ea35e54856051ed58149f705d6ade058a8bea44761ea02ffcbf"),
    "one side empty": (2, 1290, "00df059f6bc77f71f033d18a5a41d4c1e4e7bb750928514395c175f4265ffd50"),
    "same second": (2, 1619, "206fc54e0e706166f3e71fb25ea4a0b6eb1af63da44a386b26d58102a8ab20c2"),
    "recent": (4, 2924, "2d879c2655b5ef93b797756abc8a9bc394d79fa75bca25b0ccbbd6354f1963bc"),
    "spread": (4, 82750, "7194b7a7e1e39bbb8c8b20a3739a33e7f561a54b0f618334762c66ada2e0914e"),
    "limited": (128, 366621, "58d6cf3100b41efe0b12a5d88e1500a8a2dcd4a02aae97d21ec2a36de67a828c"),
    "disjoint": (12, 179668, "38d3e74670ce4f4aaf64bdc79f838cccbff60e48959d9fa858b324eb65bc5a1f"),
}


def sides(name: str) -> tuple[list[Bound], list[Bound], int]:
    both, mine, theirs, first, span, limit = CASES[name]
    shared = items("both", both, 1_700_000_000, 100_000)
    return (
        shared + items("initiator", mine, first, span),
        shared + items("responder", theirs, first, span),
        limit,
    )


def stored(members: list[Bound]) -> RangeSource:
    db = in_memory()
    create(db, bytes)
    index = SetIndex(db, bytes(32))
    index.add(Entry(0, id, time, 0, 1, "") for time, id in members)
    return index.ranges()


def conversation(
    one: RangeSource, other: RangeSource, limit: int
) -> Iterator[tuple[bytes, set[bytes], set[bytes]]]:
    """Each message, with all that the initiator has learned by then."""
    initiator, responder = Reconciler(one, limit), Reconciler(other, limit)
    have, need = set[bytes](), set[bytes]()
    message: bytes | None = initiator.initiate()
    while message is not None:
        yield message, have, need
        answer = responder.reconcile(message).reply
        assert answer is not None
        yield answer, have, need
        outcome = initiator.reconcile(answer)
        have |= set(outcome.have)
        need |= set(outcome.need)
        message = outcome.reply


@pytest.mark.parametrize("source", [Vector, stored], ids=["memory", "database"])
@pytest.mark.parametrize("name", CASES)
def test_a_conversation_is_byte_for_byte_the_golden_one(name: str, source: object) -> None:
    assert callable(source)
    one, other, limit = sides(name)
    messages, have, need = [], set[bytes](), set[bytes]()
    for message, have, need in conversation(source(one), source(other), limit):  # noqa: B007
        assert not limit or len(message) <= limit
        messages.append(message)
    whole = b"".join(messages)
    assert (len(messages), len(whole), hashlib.sha256(whole).hexdigest()) == TRACES[name]
    mine, theirs = ({id for _, id in side} for side in (one, other))
    assert (have, need) == (mine - theirs, theirs - mine)


def test_a_conversation_about_nothing_is_ten_bytes_long() -> None:
    one, other, limit = sides("empty")
    found = [message.hex() for message, *_ in conversation(Vector(one), Vector(other), limit)]
    assert found == ["6100000200", "6100000200"]
