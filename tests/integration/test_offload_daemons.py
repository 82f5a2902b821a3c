"""Two and three daemons as processes: what one cannot run another one does."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import pytest

from lite.clock import SystemClock
from lite.ipld.cid import CID
from lite.peering.book import open_book
from lite.store import Store
from sync.peers import BLOCKS
from tests.daemon_support import ipvm
from tests.meeting_support import Home, rooms, start
from tests.offload_support import (
    WORK,
    begin,
    done,
    either,
    enable,
    far_step,
    jobs,
    let_post,
    own_receipts,
    posting,
    queue,
    values,
    where,
    write,
)
from tests.ops_support import HttpServer
from tests.waiting_support import until
from tests.wat_guests import wat
from tests.wire_support import Wire

ROUNDS = 300_000_000  # a second or so
RECEIPT_S = 5.0


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Callable[..., list[Home]]]:
    """Homes by their names, with daemons."""
    with rooms(tmp_path, wat(WORK)) as make:
        yield make


def test_a_chain_goes_out_whole_and_comes_back_by_itself(
    room: Callable[..., list[Home]], tmp_path: Path
) -> None:
    phone, gpu = room("phone", "gpu")
    enable(gpu, phone)
    steps = {
        "one": far_step(gpu, "add", 1, 2),
        "two": {"run": "numbers:add", "args": ["${one}", 10]},
        "three": {"run": "numbers:add", "args": ["${two}", 100]},
    }
    run = begin(phone, write(tmp_path, "chain", steps))
    ended = done(phone, run)
    assert (ended["state"], values(ended, ["three"])) == ("done", [113])
    sent = jobs(phone)
    assert [job.state for job in sent] == ["done"] * 3
    assert len({job.cargo for job in sent}) == 1
    assert [job.final for job in sent] == [False, False, True]
    assert {job.provider for job in sent} == {gpu.did}
    assert [(item.label, item.state) for item in queue(phone)] == [
        *(("one", "done"), ("two", "done"), ("three", "done"))
    ]


def test_a_value_between_steps_of_a_chain_stays_until_somebody_wants_it(
    room: Callable[..., list[Home]], tmp_path: Path
) -> None:
    phone, gpu = room("phone", "gpu")
    enable(gpu, phone)
    steps = {
        "large": far_step(gpu, "bytes", 900_000),
        "length": {"run": "numbers:count", "args": ["${large}"]},
        "more": {"run": "numbers:add", "args": ["${length}", 1]},
    }
    run = begin(phone, write(tmp_path, "chain", steps))
    ended = done(phone, run)
    assert (ended["state"], values(ended, ["more"])) == ("done", [900_001])
    assert [job.final for job in jobs(phone)] == [False, False, True]

    def is_here() -> bool:
        with Store.open(phone.path, durability="normal") as store:
            large = store.receipts.get(CID.parse(ended["steps"][0]["receipt"]))
            assert large is not None and large.linked == "file"
            return store.blocks.has(large.out.body)

    assert not is_here()
    later = {"large": steps["large"], "alone": {"run": "numbers:count", "args": ["${large}"]}}
    ipvm(phone.path, "-q", "workflow", "run", write(tmp_path, "later", later))
    assert is_here()


def test_a_partition_costs_nothing_but_time(
    room: Callable[..., list[Home]], tmp_path: Path
) -> None:
    phone, gpu = room("phone", "gpu")
    with Wire(lambda: where(gpu)) as wire:
        enable(gpu, phone, "--fuel", "100G", "--time", "60s", address=wire.address)
        gpu.end()
        path = write(tmp_path, "heavy", {"heavy": far_step(gpu, "work", ROUNDS, 7)})
        run = begin(phone, path)
        until(lambda: "not connected" in queue(phone)[0].note)
        told = phone.running.link.get("/v1/status")["queue"]
        assert [one["label"] for one in told["pending"]] == ["heavy"]
        assert told["pending"][0]["code"] == "affinity"
        gpu.start()
        phone.sync()  # so that nobody waits for the next time that it is dialled
        until(lambda: [item.state for item in queue(phone)] == ["accepted"])
        wire.cut()
        until(lambda: len(own_receipts(gpu)) == 1)
        assert [item.state for item in queue(phone)] == ["accepted"]
        began = time.monotonic()
        wire.mend()
        ended = done(phone, run)
        assert time.monotonic() - began < RECEIPT_S
        assert (ended["state"], values(ended, ["heavy"])) == ("done", [7])
    assert len(own_receipts(gpu)) == 1
    assert [job.state for job in jobs(phone)] == ["done"]


def test_work_goes_to_the_data(
    room: Callable[..., list[Home]], tmp_path: Path, scaled: Callable[[int, int], int]
) -> None:
    phone, store = room("phone", "store")
    size = scaled(8, 200) * 1024 * 1024
    data = tmp_path / "data"
    with data.open("wb") as file:
        file.truncate(size)
    cid = ipvm(store.path, "-q", "add", data).decode().split()[0]
    with Wire(lambda: where(store)) as wire:
        enable(store, phone, "--memory", "512M", "--time", "60s", address=wire.address)
        steps = {"count": {"run": "numbers:count", "args": [{"/": cid}]}}
        path = write(tmp_path, "count", steps)
        before = wire.bytes
        run = begin(phone, path)
        ended = done(phone, run)
        crossed = wire.bytes - before
    assert (ended["state"], values(ended, ["count"])) == ("done", [size])
    assert crossed < 64 * 1024, crossed
    assert {job.provider for job in jobs(phone)} == {store.did}


def test_an_input_that_the_provider_lacks_is_read_with_the_right_to_it_alone(
    room: Callable[..., list[Home]], tmp_path: Path
) -> None:
    phone, gpu = room("phone", "gpu")
    enable(gpu, phone)
    words = tmp_path / "words"
    words.write_bytes(b"w" * 3_000_000)
    cid = ipvm(phone.path, "-q", "add", words).decode().split()[0]
    steps = {"count": far_step(gpu, "count", {"/": cid})}
    ended = done(phone, begin(phone, write(tmp_path, "count", steps)))
    assert values(ended, ["count"]) == [3_000_000]
    (job,) = jobs(phone)
    assert job.grant is not None
    with Store.open(phone.path, durability="normal") as store:
        book = open_book(store, phone.did, SystemClock())
        assert not book.may(gpu.did, BLOCKS)


@pytest.mark.timeout(1_800)  # 100 rounds on a slow machine
def test_a_mutation_happens_once_whoever_is_killed(
    room: Callable[..., list[Home]], tmp_path: Path, scaled: Callable[[int, int], int]
) -> None:
    phone, gpu = room("phone", "gpu", run=False)
    random = Random(15)
    with HttpServer() as server, Wire(lambda: where(gpu)) as wire:
        let_post(gpu, server.url)
        start([phone, gpu])
        enable(gpu, phone, address=wire.address, op="exec/run")
        for number in range(scaled(2, 100)):
            before = server.posts
            run = begin(phone, write(tmp_path, f"act{number}", {"act": posting(gpu, str(number))}))
            threading.Event().wait(random.random() / 4)
            victim = random.choice([phone, gpu, None])
            if victim is None:
                wire.cut()
                wire.mend()
            else:
                victim.end()
                victim.start()
            phone.sync()
            ended = done(phone, run)
            assert ended["state"] in ("done", "in-doubt"), ended["steps"]
            assert server.posts - before <= 1
            assert ended["state"] == "in-doubt" or server.posts - before == 1


@pytest.mark.timeout(1_800)  # 100 rounds on a slow machine
def test_a_link_that_is_cut_at_any_byte_costs_nothing_but_time(
    room: Callable[..., list[Home]], tmp_path: Path, scaled: Callable[[int, int], int]
) -> None:
    phone, gpu = room("phone", "gpu")
    random = Random(16)
    rounds = scaled(2, 100)
    with Wire(lambda: where(gpu)) as wire:
        enable(gpu, phone, address=wire.address)
        for number in range(rounds):
            wire.cut_after = wire.bytes + random.randrange(1, 20_000)
            steps = {
                "one": far_step(gpu, "add", number, 2),
                "two": {"run": "numbers:add", "args": ["${one}", 1000]},
            }
            run = begin(phone, write(tmp_path, f"cut{number}", steps))
            threading.Event().wait(random.random() / 2)
            wire.mend()
            ended = done(phone, run)
            assert (ended["state"], values(ended, ["two"])) == ("done", [number + 1002])
    made = [receipt.instruction for receipt in own_receipts(gpu)]
    assert len(made) == len(set(made)) == 2 * rounds


def test_two_providers_confirm_what_one_of_them_says(
    room: Callable[..., list[Home]], tmp_path: Path
) -> None:
    phone, one, two = room("phone", "one", "two")
    for provider in (one, two):
        enable(provider, phone)
    step = far_step(one, "add", 20, 22) | {"requires": either(one, two)}
    run = begin(phone, write(tmp_path, "sure", {"sure": step}), "--confirm", "2")
    assert values(done(phone, run), ["sure"]) == [42]
    assert {job.provider for job in jobs(phone)} == {one.did, two.did}
    assert [job.state for job in jobs(phone)] == ["done", "done"]


def test_a_step_goes_to_the_node_that_holds_what_it_names_beside_its_inputs(
    room: Callable[..., list[Home]], tmp_path: Path
) -> None:
    phone, gpu = room("phone", "gpu")
    enable(gpu, phone)
    data = tmp_path / "data"
    data.write_bytes(b"there")
    cid = ipvm(gpu.path, "add", data).decode().split()[0]
    step = {"run": "numbers:add", "args": [20, 22], "requires": {"affinity": {"holds": cid}}}
    path = write(tmp_path, "near", {"near": step})
    told = "this node is another; perhaps gpu: what it has is asked when the step runs"
    assert told in ipvm(phone.path, "workflow", "check", path).decode()
    assert values(done(phone, begin(phone, path)), ["near"]) == [42]
    assert [(job.provider, job.state) for job in jobs(phone)] == [(gpu.did, "done")]


@pytest.mark.full
def test_a_provider_that_dies_is_followed_by_the_next_after_its_lease(
    room: Callable[..., list[Home]], tmp_path: Path
) -> None:
    phone, one, two = room("phone", "one", "two", run=False)
    ipvm(phone.path, "config", "set", "queue.lease", "1s")
    start([phone, one, two])
    for provider in (one, two):
        enable(provider, phone, "--fuel", "100G", "--time", "60s")
    step = far_step(one, "work", 3 * ROUNDS, 5, limits={"time": "8s"})
    run = begin(phone, write(tmp_path, "late", {"late": step | {"requires": either(one, two)}}))
    until(lambda: [item.state for item in queue(phone)] == ["accepted"])
    (first,) = jobs(phone)
    victim = one if first.provider == one.did else two
    victim.end()
    assert values(done(phone, run, 60), ["late"]) == [5]
    states = {job.provider: job.state for job in jobs(phone)}
    assert states.pop(victim.did) == "lost"
    assert list(states.values()) == ["done"]
