"""Frames: what goes in comes out, in pieces of any size, and a broken end is noticed."""

from __future__ import annotations

import errno
import socket
import tempfile
import threading
import time
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lite.engine.frames import Channel, Closed, FrameTooLarge
from lite.engine.wire import Blobs
from lite.errors import StoreFull
from lite.limits import MIB

Ends = tuple[Channel, Channel, socket.socket, socket.socket]


@pytest.fixture
def ends() -> Iterator[Ends]:
    a, b = socket.socketpair()
    yield Channel(a), Channel(b), a, b
    a.close()
    b.close()


def exchange(message: object, blobs: list[bytes]) -> tuple[object, list[bytes]]:
    a, b = socket.socketpair()
    with a, b:
        sender = threading.Thread(target=Channel(a).send, args=(message, blobs))
        sender.start()
        received = Channel(b).receive(bytes_max=64 * MIB, deadline=time.monotonic() + 30)
        sender.join()
    return received


@given(
    st.dictionaries(st.text(max_size=5), st.integers(-(2**64), 2**64 - 1) | st.binary()),
    st.lists(st.binary(max_size=300), max_size=4),
)
def test_message_and_blobs_arrive_as_they_were(
    message: dict[str, object], blobs: list[bytes]
) -> None:
    assert exchange(message, blobs) == (message, blobs)


def test_frame_larger_than_the_socket_buffers_arrives() -> None:
    large = bytes(range(256)) * (20 * MIB // 256)
    message, blobs = exchange({"k": large[:MIB]}, [large, b"", large[::-1]])
    assert message == {"k": large[:MIB]}
    assert blobs == [large, b"", large[::-1]]


@pytest.mark.parametrize("sent", [b"", b"\x05", b"\x05" + bytes(7) + b"\x82"])
def test_end_in_the_middle_of_a_frame_is_noticed(ends: Ends, sent: bytes) -> None:
    ours, _, _, raw = ends
    raw.sendall(sent)
    raw.close()
    with pytest.raises(Closed):
        ours.receive(bytes_max=MIB)


def test_sending_to_a_closed_end_is_noticed(ends: Ends) -> None:
    ours, _, _, raw = ends
    raw.close()
    with pytest.raises(Closed):
        for _ in range(100):
            ours.send({}, [bytes(MIB)])


def test_reset_connection_is_noticed(ends: Ends) -> None:
    ours, theirs, _, raw = ends
    ours.send({"unread": 1})
    raw.close()
    with pytest.raises(Closed):
        ours.receive(bytes_max=MIB)
    del theirs


def test_deadline_ends_waiting_and_sending(ends: Ends) -> None:
    ours, *_ = ends
    with pytest.raises(TimeoutError):
        ours.receive(bytes_max=MIB, deadline=time.monotonic() + 0.01)
    with pytest.raises(TimeoutError):
        ours.receive(bytes_max=MIB, deadline=time.monotonic() - 1)
    with pytest.raises(TimeoutError):
        ours.send({}, [bytes(64 * MIB)], deadline=time.monotonic() + 0.01)


def test_more_than_allowed_is_refused_before_it_is_read(ends: Ends) -> None:
    ours, theirs, *_ = ends
    theirs.send({"k": bytes(1000)})
    with pytest.raises(FrameTooLarge):
        ours.receive(bytes_max=1000)


def test_blobs_over_the_bound_are_refused(ends: Ends) -> None:
    ours, theirs, *_ = ends
    theirs.send({}, [bytes(600), bytes(600)])
    with pytest.raises(FrameTooLarge):
        ours.receive(bytes_max=1000)


@given(st.lists(st.binary(max_size=100_000), max_size=5))
def test_blobs_stand_for_what_was_put(parts: list[bytes]) -> None:
    blobs = Blobs()
    placed = [blobs.put(part) for part in parts]
    assert [blobs.get(place) for place in placed] == parts


def test_an_eager_end_gets_answers_and_keeps_its_deadline(ends: Ends) -> None:
    ours, theirs, _, _ = ends
    ours.eager_s = 0.05
    for number in range(3):
        later = threading.Timer(0.0 if number else 0.001, theirs.send, [{"n": number}])
        later.start()
        answer = ours.receive(bytes_max=MIB, deadline=time.monotonic() + 30)
        assert answer == ({"n": number}, [])
        later.join()
    ours._was_quick = True
    with pytest.raises(TimeoutError):
        ours.receive(bytes_max=MIB, deadline=time.monotonic() + 0.01)


def test_an_eager_end_sleeps_once_it_has_waited_for_long(ends: Ends) -> None:
    ours, theirs, _, _ = ends
    ours.eager_s, ours._was_quick = 0.002, True
    later = threading.Timer(0.2, theirs.send, [{}])
    later.start()
    used = time.thread_time()
    ours.receive(bytes_max=MIB)
    assert time.thread_time() - used < 0.1
    later.join()
    assert not ours._was_quick


def test_blobs_that_no_file_takes_are_read_to_their_end(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(**_: object) -> None:
        raise OSError(errno.ENOSPC, "no room")

    monkeypatch.setattr(tempfile, "TemporaryFile", full)
    a, b = socket.socketpair()
    with a, b:
        near, far = Channel(a), Channel(b, spools=True)
        large = bytes(40 * MIB + 1)

        def speak() -> None:
            near.send("first", [b"x", large, b"y", large])
            near.send("second", [b"z"])

        sender = threading.Thread(target=speak)
        sender.start()
        with pytest.raises(StoreFull, match="no room"):
            far.receive(bytes_max=100 * MIB, deadline=time.monotonic() + 30)
        assert far.receive(bytes_max=MIB, deadline=time.monotonic() + 30) == ("second", [b"z"])
        sender.join()
