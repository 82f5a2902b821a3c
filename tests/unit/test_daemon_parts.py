"""Parts of the daemon by themselves: supervisor, watch, nudges, places, threads, addresses."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from lite import link as link_module
from lite.daemon import supervisor as supervisor_module
from lite.daemon import watch as watch_module
from lite.daemon.place import Place
from lite.daemon.supervisor import Supervisor
from lite.daemon.wakeups import CountingLoop
from lite.daemon.watch import Watch
from lite.errors import IpvmError, NotFoundError, StoreBusy, StoreError, UsageError
from lite.frozen import replace
from lite.http.reply import Unavailable
from lite.http.server import Address
from lite.http.work import CALLS_MAX, Work
from lite.link import CARD as CARD_NAME
from lite.link import Card, Link, _told
from lite.nudge import PEERS, RECORDS, nudge
from lite.store import Store
from tests.store_support import FakeClock, instruction, receipt

CARD = Card(7, 1_800_000_000, "127.0.0.1:8470", "ab" * 32, ("0.0.0.0:4747",))


def run(story: Callable[[], Awaitable[Any]]) -> Any:
    async def whole() -> Any:
        return await asyncio.wait_for(story(), 20)

    return asyncio.run(whole())


# The supervisor.


def test_a_part_that_fails_is_told_and_started_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor_module, "FIRST_PAUSE_S", 0.01)
    said: list[str] = []
    starts = 0
    again = asyncio.Event()

    async def work() -> None:
        nonlocal starts
        starts += 1
        if starts < 3:
            raise ValueError(f"number {starts}")
        again.set()
        await asyncio.Event().wait()

    async def story() -> None:
        supervisor = Supervisor(said.append)
        supervisor.start("watch", work)
        await again.wait()
        (state,) = supervisor.states()
        assert (state.state, state.restarts) == ("running", 2)
        assert state.problem == "ValueError: number 2"
        await supervisor.stop()
        assert supervisor.states()[0].state == "off"

    run(story)
    assert [line.split(":")[0] for line in said] == [
        "watch failed, again in 0.01 s",
        "watch failed, again in 0.02 s",
    ]


@pytest.mark.parametrize(
    ("failures", "problems", "state"),
    [
        ([], [], "running"),
        ([], ["a pin is not whole"], "running"),
        (["the disk is full"], ["the disk is full", "a pin is not whole"], "waiting"),
    ],
)
def test_a_failure_among_peers_is_one_of_the_daemons_health(
    failures: list[str], problems: list[str], state: str
) -> None:
    from lite.daemon.daemon import Daemon

    meeting = SimpleNamespace(failures=lambda: failures, problems=lambda: problems)
    daemon = Daemon.__new__(Daemon)
    daemon._supervisor = Supervisor(lambda _: None)
    daemon._api = cast(Any, SimpleNamespace(meeting=meeting))
    daemon._sending = cast(Any, SimpleNamespace(problem=lambda: ""))
    (part,) = daemon.parts()
    assert (part.name, part.state, part.problem) == ("peers", state, "; ".join(problems))


def test_an_outbox_that_is_hindered_is_one_of_the_daemons_health() -> None:
    from lite.daemon.daemon import Daemon

    daemon = Daemon.__new__(Daemon)
    daemon._supervisor = Supervisor(lambda _: None)
    daemon._supervisor.note("outbox", "running")
    daemon._api = cast(Any, SimpleNamespace(meeting=None))
    daemon._sending = cast(Any, SimpleNamespace(problem=lambda: "the disk is full"))
    (part,) = daemon.parts()
    assert (part.name, part.state, part.problem) == ("outbox", "waiting", "the disk is full")


def test_parts_end_in_the_opposite_order() -> None:
    ended: list[str] = []

    def part(name: str) -> Callable[[], Awaitable[None]]:
        async def work() -> None:
            try:
                await asyncio.Event().wait()
            finally:
                ended.append(name)

        return work

    async def story() -> None:
        supervisor = Supervisor(ended.append)
        for name in ("first", "second", "third"):
            supervisor.start(name, part(name))
        await asyncio.sleep(0)
        await supervisor.stop()

    run(story)
    assert ended == ["third", "second", "first"]


# Nudges and the watch.


class Seen:
    """What a watch has told."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self._news = asyncio.Event()

    def __call__(self, what: str) -> Callable[..., None]:
        def tell(*args: Any) -> None:
            self.told.append(f"{what} {args[0].cid}" if args else what)
            self._news.set()

        return tell

    async def until(self, what: str) -> None:
        while what not in self.told:
            self._news.clear()
            await self._news.wait()


def watch_of(home: Path, seen: Seen, clock: FakeClock | None = None) -> Watch:
    return Watch(
        home,
        home / "nudge.sock",
        clock or FakeClock(),
        on_receipt=seen("receipt"),
        on_change=seen("change"),
        on_peers=seen("peers"),
        on_jump=seen("jump"),
    )


async def watching(home: Path, story: Callable[[Watch, Seen], Awaitable[None]]) -> None:
    seen = Seen()
    watch = watch_of(home, seen)
    watch.open()
    task = asyncio.get_running_loop().create_task(watch.run())
    try:
        await story(watch, seen)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        watch.close()


def test_what_another_handle_writes_is_told_of_at_once(home: Path) -> None:
    with Store.open(home) as store:
        before, after = instruction(1), instruction(2)
        store.receipts.add(receipt(before))

        async def story(_watch: Watch, seen: Seen) -> None:
            made = receipt(after)
            await asyncio.get_running_loop().run_in_executor(None, store.receipts.add, made)
            await seen.until(f"receipt {made.cid}")
            await seen.until("change")
            assert f"receipt {receipt(before).cid}" not in seen.told  # it was here before

        run(lambda: watching(home, story))


def test_a_nudge_that_was_lost_is_found_at_the_next_heartbeat(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch_module, "HEARTBEAT_S", 0.05)
    monkeypatch.setattr("lite.nudge.nudge", lambda *_: None)
    with Store.open(home) as store:

        async def story(_watch: Watch, seen: Seen) -> None:
            made = receipt(instruction(3))
            store.receipts.add(made)
            await seen.until(f"receipt {made.cid}")

        run(lambda: watching(home, story))


def test_a_home_that_nobody_writes_to_changes_nothing(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch_module, "HEARTBEAT_S", 0.01)
    with Store.open(home):

        async def story(_watch: Watch, seen: Seen) -> None:
            await asyncio.sleep(0.1)
            assert seen.told == []

        run(lambda: watching(home, story))


def test_peers_have_a_nudge_of_their_own(home: Path) -> None:
    with Store.open(home):

        async def story(watch: Watch, seen: Seen) -> None:
            nudge(home, RECORDS)
            await seen.until("change")
            assert "peers" not in seen.told
            nudge(home, PEERS)
            await seen.until("peers")
            seen.told.clear()
            watch.wrote(PEERS)
            await seen.until("peers")

        run(lambda: watching(home, story))


def test_a_flood_of_nudges_is_one_look(home: Path) -> None:
    with Store.open(home):

        async def story(_watch: Watch, seen: Seen) -> None:
            for _ in range(2_000):
                nudge(home, RECORDS)
            await seen.until("change")
            await asyncio.sleep(0.1)
            assert seen.told.count("change") < 20

        run(lambda: watching(home, story))


def test_a_clock_that_jumps_is_told_of(home: Path) -> None:
    class Jumping(FakeClock):
        def monotonic(self) -> float:
            return 5.0

    with Store.open(home):

        async def story() -> None:
            clock, seen = Jumping(), Seen()
            watch = watch_of(home, seen, clock)
            watch.open()
            task = asyncio.get_running_loop().create_task(watch.run())
            clock.seconds += 1
            nudge(home, RECORDS)
            await seen.until("change")
            assert "jump" not in seen.told
            clock.seconds += 3_600
            nudge(home, RECORDS)
            await seen.until("jump")
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            watch.close()

        run(story)


def test_a_nudge_to_nobody_costs_nothing_and_never_fails(tmp_path: Path) -> None:
    nudge(tmp_path / "none", RECORDS)
    nudge(tmp_path, RECORDS)
    path = tmp_path / "nudge.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as dead:
        dead.bind(str(path))
    nudge(tmp_path, RECORDS)  # nobody listens any more
    path.unlink()
    path.write_bytes(b"")
    nudge(tmp_path, RECORDS)  # no socket at all


def test_a_full_queue_of_nudges_is_not_waited_for(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard:
        heard.bind(str(tmp_path / "nudge.sock"))
        for _ in range(5_000):
            nudge(tmp_path, RECORDS)
        assert heard.recv(9) == b"r"


# The place.


def test_one_at_a_time_has_the_place_of_a_home(tmp_path: Path) -> None:
    first, second = Place(tmp_path), Place(tmp_path)
    first.enter()
    with pytest.raises(StoreBusy, match="just starting or stopping"):
        second.enter()
    first.announce(CARD)
    assert stat.S_IMODE((tmp_path / "daemon.json").stat().st_mode) == 0o600
    with pytest.raises(StoreBusy, match="process 7, since 2027-01-15 08:00:00Z, its API at 127"):
        second.enter()
    first.leave()
    first.leave()
    second.enter()
    second.leave()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_somebody_else_could_read_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime, home = tmp_path / "r", tmp_path / ("x" * 120)
    runtime.mkdir()
    home.mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    place = Place(home)
    place.api.parent.mkdir(mode=0o755)
    with pytest.raises(StoreError, match="not this user's alone"):
        place.enter()
    place.api.parent.chmod(0o700)
    place.enter()
    assert (home / "nudge.sock").is_symlink()
    place.leave()


@pytest.mark.parametrize("text", ["[" * 5_000, '{"pid": 1e999}', "[]", "{}", "\0"])
def test_what_is_no_card_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / CARD_NAME).write_text(text)
    assert Card.read(tmp_path) is None


def test_a_pipe_that_nobody_writes_is_no_card(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / CARD_NAME)
    assert Card.read(tmp_path) is None


@pytest.mark.parametrize("follow", [True, False])
def test_events_of_a_daemon_that_says_nothing_end_with_an_error(
    monkeypatch: pytest.MonkeyPatch, follow: bool
) -> None:
    monkeypatch.setattr(link_module, "SPARE_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as frozen:
        host, port = frozen.getsockname()
        link = Link(replace(CARD, api=f"{host}:{port}"))
        with pytest.raises(StoreError, match="does not answer"):
            next(link.events(follow=follow))
    with pytest.raises(StoreError, match="does not answer"):
        next(link.events(follow=follow))  # refused


def test_a_card_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    CARD.write(tmp_path)
    assert Card.read(tmp_path) == CARD
    assert [path.name for path in tmp_path.iterdir()] == ["daemon.json"]


def test_every_event_of_peers_has_a_kind_here() -> None:
    from lite.daemon.meeting import kind_of
    from lite.http.events import KINDS
    from lite.peering.values import EVENT_KINDS

    assert {kind_of(kind) for kind in EVENT_KINDS} <= set(KINDS)


# Threads.


def test_more_than_it_takes_on_is_refused_and_room_comes_again() -> None:
    async def story() -> None:
        work, gate = Work(), threading.Event()
        calls = [asyncio.ensure_future(work.call(gate.wait)) for _ in range(CALLS_MAX)]
        await asyncio.sleep(0)
        with pytest.raises(Unavailable, match="as much to do"):
            await work.call(gate.wait)
        assert await work.short(lambda: 42) == 42  # questions are not held up
        gate.set()
        assert await asyncio.gather(*calls) == [True] * CALLS_MAX
        assert work.calling == 0
        await work.stop()
        with pytest.raises(Unavailable, match="is stopping"):
            await work.call(gate.wait)
        work.close()

    run(story)


def test_the_loop_counts_its_wakeups() -> None:
    loop = CountingLoop()

    async def story() -> None:
        for _ in range(5):
            await asyncio.sleep(0.001)

    loop.run_until_complete(story())
    loop.close()
    assert 5 <= loop.wakeups <= 12


# Addresses and errors.


@pytest.mark.parametrize(
    ("text", "shown", "hosts"),
    [
        ("127.0.0.1:80", "127.0.0.1:80", {"127.0.0.1:80", "localhost:80"}),
        ("[::1]:80", "[::1]:80", {"[::1]:80", "localhost:80"}),
        ("127.9.9.9:1", "127.9.9.9:1", {"127.9.9.9:1", "localhost:1"}),
    ],
)
def test_loopback_addresses_are_taken(text: str, shown: str, hosts: set[str]) -> None:
    address = Address.parse(text)
    assert (address.text, set(address.hosts)) == (shown, hosts)


@pytest.mark.parametrize(
    "text", ["", ":80", "127.0.0.1", "127.0.0.1:", "127.0.0.1:x", "127.0.0.1:65536", "8.8.8.8:1",
             "localhost:80", "0.0.0.0:1", "[::]:1", "127.0.0.1:-1", "127.0.0.1:１"],
)  # fmt: skip
def test_other_addresses_are_not(text: str) -> None:
    with pytest.raises(UsageError):
        Address.parse(text)


@pytest.mark.parametrize(
    ("body", "kind", "message"),
    [
        (b'{"error": {"code": "not-found", "message": "m", "hint": "h"}}', NotFoundError, "m"),
        (b'{"error": {"code": "store-busy", "message": "m", "hint": null}}', StoreBusy, "m"),
        (b'{"error": {"code": "unknown", "message": "m"}}', StoreError, "m"),
        (b"<html>", StoreError, "HTTP status 500"),
        (b"[]", StoreError, "HTTP status 500"),
        (b'{"error": 7}', StoreError, "HTTP status 500"),
    ],
)
def test_an_error_of_the_daemon_is_the_same_error_here(
    body: bytes, kind: type[IpvmError], message: str
) -> None:
    error = _told(body, 500)
    assert type(error) is kind and message in str(error)
