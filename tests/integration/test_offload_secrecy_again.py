"""What became secret after it was signed is not sent again with what was signed."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiohttp import web

from lite.ipld.block import Block
from lite.ipld.cid import RAW
from lite.model.known_meta import is_private
from lite.model.workflow import Workflow
from lite.offload.posted import Posts
from lite.offload.private_jobs import open_inputs, private_roots
from lite.parcel import Parcel
from lite.privacy import make_secret
from lite.store import Store
from lite.store.outbox_rows import Job
from lite.ucan.invocation import Invocation
from tests.clerk_support import Shop
from tests.daemon_support import ROOT, DaemonProcess, environment, ipvm, ready_of
from tests.integration.test_offload_secrecy import packed
from tests.integration.test_offload_url import Played, made, receipt, serving, working_until
from tests.meeting_support import LISTEN, homes
from tests.offload_support import WORK, begin, enable, jobs, queue, write
from tests.outbox_support import OTHER_KEY, Far, needing
from tests.scheduler_support import do
from tests.store_support import FakeClock
from tests.waiting_support import until
from tests.wat_guests import wat

CODE, LEAF = Block.make(b"code", RAW), Block.make(b"salaries", RAW)
WAYS = ("channel", "post")


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    clock = FakeClock()
    lab = Far(tmp_path / "home", clock)
    lab.store.blocks.put_many([CODE, LEAF])
    yield Shop(lab, clock)
    lab.close()


def mark(shop: Shop, block: Block = LEAF) -> None:
    make_secret(shop.lab.store, [block.cid])


def sent(shop: Shop, level: str = "pure", *, key: bool = True) -> Job:
    """A step that uses both blocks, for the holder of a key or for anybody."""
    step = do(level, value=[CODE.cid, LEAF.cid])
    meta = {"requires": {"key": OTHER_KEY.did}} if key else {}
    shop.queue(Workflow(heavy=needing(step, **meta)))
    (job,) = shop.send()
    return job


def again(shop: Shop, way: str, job: Job) -> list[bytes]:
    """The invocations that are sent with a job when the line is open again."""
    if way == "channel":
        tokens = shop.clerk.resendable(job.provider)
    else:
        posted = Posts(shop.lab.store, shop.clerk, shop.clock).of(job.provider, job.cargo)
        tokens = [] if posted is None else list(posted.tokens)
    known = (shop.lab.store.outbox.jobs_at(job.provider), [job])
    ours = {one.token for some in known for one in some}
    return [token for token in tokens if token in ours]


def secret_of(token: bytes) -> bool:
    return is_private(Invocation.parse(token).meta)


# The books.


@pytest.mark.parametrize("way", WAYS)
def test_what_became_secret_is_taken_back_and_signed_anew_at_once(shop: Shop, way: str) -> None:
    job = sent(shop)
    assert again(shop, way, job) == [job.token] and not secret_of(job.token)
    mark(shop)
    assert again(shop, way, job) == []
    assert (shop.job(job).state, shop.item(job).state) == ("void", "queued")
    (anew,) = shop.send()  # nobody refused anything, so nobody is left alone for that
    assert anew.provider == job.provider
    assert again(shop, way, anew) == [anew.token] and secret_of(anew.token)


@pytest.mark.parametrize("way", WAYS)
def test_what_must_not_be_done_twice_waits_and_its_answer_is_secret(shop: Shop, way: str) -> None:
    job = sent(shop, "mutation")
    assert again(shop, way, job) == [job.token]
    mark(shop)
    assert again(shop, way, job) == []
    assert (shop.job(job).state, shop.item(job).state) == ("sent", "sent")
    answer = shop.receipt(job)
    shop.hear(job, answer)
    assert shop.item(job).state == "done"
    assert shop.lab.store.secrets.is_secret(answer.cid)


@pytest.mark.parametrize("way", WAYS)
def test_what_may_go_nowhere_any_more_waits_for_an_answer_that_counts(shop: Shop, way: str) -> None:
    job = sent(shop, key=False)
    assert again(shop, way, job) == [job.token]
    mark(shop)
    assert again(shop, way, job) == []
    answer = shop.receipt(job)
    shop.hear(job, answer)
    assert shop.item(job).state == "done"
    assert shop.lab.store.secrets.is_secret(answer.cid)


@pytest.mark.parametrize("way", WAYS)
def test_what_was_named_as_open_and_became_secret_is_signed_anew(shop: Shop, way: str) -> None:
    mark(shop)
    job = sent(shop)
    assert secret_of(job.token) and open_inputs(Invocation.parse(job.token)) == [CODE.cid]
    assert again(shop, way, job) == [job.token]
    mark(shop, CODE)
    assert again(shop, way, job) == []
    (anew,) = shop.send()
    assert private_roots(Invocation.parse(anew.token)) == {CODE.cid, LEAF.cid}
    assert again(shop, way, anew) == [anew.token]


@pytest.mark.parametrize("way", WAYS)
def test_nothing_goes_again_without_what_went_with_it(shop: Shop, way: str) -> None:
    lead = do("pure", value=1)
    needed = {"requires": {"key": OTHER_KEY.did}}
    behind = needing(do("pure", value=[lead.ok, LEAF.cid]), **needed)
    shop.queue(Workflow(lead=needing(lead, **needed), behind=behind))
    job, along = shop.send()
    assert set(again(shop, way, job)) == {job.token, along.token}
    mark(shop)
    assert again(shop, way, job) == []
    assert [shop.job(one).state for one in (job, along)] == ["void", "void"]
    (anew,) = shop.send()
    assert anew.instruction == job.instruction and again(shop, way, anew) == [anew.token]


@pytest.mark.parametrize("way", WAYS)
def test_what_nobody_waits_for_is_not_sent_again(shop: Shop, way: str) -> None:
    job = sent(shop)
    assert again(shop, way, job) == [job.token]
    shop.lab.store.outbox.cancel(job.item, note="by hand", held=True)
    assert again(shop, way, job) == []


def test_what_its_provider_has_is_asked_for_by_what_it_has(shop: Shop) -> None:
    job = sent(shop)
    shop.accept(job)
    mark(shop)
    assert again(shop, "post", job) == [job.token]
    assert again(shop, "channel", job) == []  # changes tell of it
    assert shop.job(job).state == "accepted"


def test_what_the_line_took_back_already_is_not_taken_back_by_the_first_sending(
    shop: Shop,
) -> None:
    step = do("pure", value=[CODE.cid, LEAF.cid])
    shop.queue(Workflow(heavy=needing(step, requires={"key": OTHER_KEY.did})))
    (cargo,) = packed(shop, shop.plan())
    assert shop.clerk.still_leaving([cargo]) == [cargo]
    mark(shop)
    assert again(shop, "channel", cargo.jobs[0]) == []
    (anew,) = shop.send()
    assert shop.clerk.still_leaving([cargo]) == []
    assert [kind for kind, _ in shop.told].count("job.refused") == 1
    assert (shop.job(anew).state, shop.item(anew).state) == ("sent", "sent")


def test_a_provider_that_says_secret_is_left_alone_as_for_any_refusal(shop: Shop) -> None:
    job = sent(shop)
    shop.refuse(job, "secret")
    assert shop.clerk.plans(10) == []


# A dispatcher with a provider on a socket.


def test_by_url_a_request_that_failed_does_not_go_again_as_it_was(
    shop: Shop, tmp_path: Path
) -> None:
    seen: list[bool] = []

    class Failing(Played):
        async def post(self, request: web.Request) -> web.Response:
            asked = Parcel.read(await request.read()).invocations
            seen.extend(map(secret_of, asked))
            if self.posts == 0:
                mark(shop)
                self.answer = lambda invocation: receipt(OTHER_KEY, invocation)
                self.posts += 1
                return web.Response(status=503)
            return await super().post(request)

    played = Failing(OTHER_KEY, 503)
    step = do("pure", value=LEAF.cid)
    shop.queue(Workflow(heavy=needing(step, requires={"key": OTHER_KEY.did})))

    def is_over() -> bool:
        return [item.state for item in shop.lab.store.outbox.newest()] == ["done"]

    async def story() -> None:
        async with serving(played):
            shop.lab.store.jobs.add_provider(played.key.did, played.url)
            await working_until(made(shop, tmp_path), is_over)

    asyncio.run(story())
    assert is_over() and seen == [False, True]


# Daemons.


def test_between_daemons_what_became_secret_while_the_link_was_cut_goes_as_a_secret(
    tmp_path: Path,
) -> None:
    cut, letter = tmp_path / "cut", tmp_path / "letter"
    cut.touch()
    letter.write_bytes(b"salaries" * 2_000)
    with homes(tmp_path, wat(WORK), "phone", "gpu") as (phone, gpu):
        gpu.start()
        words = (str(cut), "--json", "daemon", *LISTEN)
        child = subprocess.Popen(
            [sys.executable, "-m", "tests.cut_daemon_program", *words],
            cwd=ROOT,
            env=environment(phone.path),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        phone.daemon = DaemonProcess(phone.path, child, ready_of(child))
        enable(gpu, phone)
        cid = ipvm(phone.path, "add", letter).decode().split()[0]
        requires = {"key": gpu.did}
        step = {"run": "numbers:count", "args": [{"/": cid}], "requires": requires}
        begin(phone, write(tmp_path, "late", {"count": step}))
        until(cut.with_suffix(".tried").exists)
        ipvm(phone.path, "add", letter, "--private")
        cut.unlink()
        until(lambda: [item.state for item in queue(phone)] == ["done"])
        old, anew = sorted(jobs(phone), key=lambda job: job.state == "done")
        assert (old.state, old.code, anew.state) == ("void", "secret", "done")
        assert not secret_of(old.token) and secret_of(anew.token)
        with Store.open(gpu.path, durability="normal") as store:
            assert store.jobs.get(old.invocation) is None
            done = store.jobs.get(anew.invocation)
            assert done is not None and anew.receipt is not None
            assert store.secrets.is_secret(anew.receipt)
