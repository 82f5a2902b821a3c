"""Providers that are noted by their URL: jobs go there by plain POST."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from aiohttp import web

from lite.config import Config
from lite.invocations import instruction_of
from lite.ipld.block import Block
from lite.ipld.cid import DAG_CBOR
from lite.keys import Key
from lite.model.receipt import Receipt
from lite.model.result import Result
from lite.model.workflow import Workflow
from lite.offload import post_line, refused, wire
from lite.offload.dispatch import Dispatcher
from lite.offload.post_line import PostLine
from lite.offload.posted import told_of
from lite.parcel import Parcel
from lite.peering.values import Fetched
from lite.store import Store
from lite.ucan import container
from lite.ucan.invocation import Invocation
from tests.clerk_support import Shop
from tests.daemon_support import ipvm
from tests.meeting_support import Home, rooms
from tests.offload_support import begin, done, far_step, jobs, queue, values, write
from tests.outbox_support import OTHER_KEY, Far, needing
from tests.scheduler_support import do
from tests.store_support import KEY, FakeClock
from tests.waiting_support import until
from tests.wat_guests import wat

# Of equal bids the lowest DID goes first: that is the bad one.
BAD, GOOD = sorted((OTHER_KEY, Key.from_seed(bytes([11]) * 32)), key=lambda key: key.did)
Answer = Callable[[Invocation], bytes | None]


# Two nodes as processes.


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Callable[..., list[Home]]]:
    from tests.offload_support import WORK

    with rooms(tmp_path, wat(WORK)) as make:
        yield make


def let(provider: Home, customer: Home, folder: Path) -> None:
    """The provider gives the customer a delegation, which is carried by hand."""
    ipvm(provider.path, "provider", "enable", "--for", customer.did)
    with Store.open(provider.path, durability="normal") as store:
        tokens = [one.data for one in store.tokens.delegations()]
    carried = folder / f"{provider.name}.ucan"
    carried.write_bytes(container.write(tokens))
    ipvm(customer.path, "ucan", "import", carried)


def test_a_customer_without_any_peer_has_its_steps_done_at_a_url(
    room: Callable[..., list[Home]], tmp_path: Path
) -> None:
    phone, gpu, dead = room("phone", "gpu", "dead", run=False)
    port, closed = free_port(), free_port()
    ipvm(gpu.path, "config", "set", "provider.http", f"127.0.0.1:{port}")
    for provider, at in ((gpu, port), (dead, closed)):
        let(provider, phone, tmp_path)
        ipvm(phone.path, "provider", "add", f"http://127.0.0.1:{at}/", provider.did)
    gpu.start()
    phone.start()
    far = write(tmp_path, "far", {"far": far_step(dead, "add", 5, 6)})
    begin(phone, far)
    until(lambda: "not connected" in queue(phone)[0].note)
    assert queue(phone)[0].state == "queued"
    requires = {"affinity": {"did": [dead.did, gpu.did]}}
    steps = {
        "one": {"run": "numbers:add", "args": [1, 2], "requires": requires},
        "two": {"run": "numbers:add", "args": ["${one}", 10]},
    }
    run = begin(phone, write(tmp_path, "chain", steps))
    ended = done(phone, run)
    assert (ended["state"], values(ended, ["two"])) == ("done", [13])
    assert {(job.provider, job.state) for job in jobs(phone)} == {(gpu.did, "done")}
    assert [item.state for item in queue(phone)] == ["queued", "done", "done"]
    assert phone.running.link.get("/v1/peers")["peers"] == []


def test_what_is_not_at_the_provider_is_refused_there_at_once(
    room: Callable[..., list[Home]], tmp_path: Path
) -> None:
    phone, gpu = room("phone", "gpu", run=False)
    port = free_port()
    ipvm(gpu.path, "config", "set", "provider.http", f"127.0.0.1:{port}")
    let(gpu, phone, tmp_path)
    ipvm(phone.path, "provider", "add", f"http://127.0.0.1:{port}/", gpu.did)
    code = tmp_path / "other.wasm"
    code.write_bytes(wat('(module (func (export "one") (result i32) i32.const 1))'))
    ipvm(phone.path, "add", code, "--name", "other")
    gpu.start()
    phone.start()
    step = {"run": "other:one", "args": [], "requires": {"affinity": {"did": gpu.did}}}
    begin(phone, write(tmp_path, "lacking", {"lacking": step}))
    until(lambda: any(job.state == "refused" for job in jobs(phone)))
    assert [job.code for job in jobs(phone)] == ["input-missing"]


# A dispatcher, and providers that a test plays on real sockets.


class Played:
    """A provider at a URL. `answer` gives the token for each invocation, None: none; or bytes or
    a status for the whole."""

    def __init__(self, key: Key, answer: Answer | bytes | int) -> None:
        self.key = key
        self.answer = answer
        self.posts = 0
        self.url = ""

    async def post(self, request: web.Request) -> web.Response:
        self.posts += 1
        parcel = Parcel.read(await request.read())
        if isinstance(self.answer, int):
            return web.Response(status=self.answer, text="no\n")
        if isinstance(self.answer, bytes):
            return web.Response(body=self.answer)
        found = [self.answer(Invocation.parse(one)) for one in parcel.invocations]
        body = container.write([one for one in found if one is not None], "bare")
        return web.Response(body=body, content_type=wire.CBOR_TYPE)

    async def about(self, _request: web.Request) -> web.Response:
        return web.Response(text="here\n")


def receipt(key: Key, asked: Invocation, value: Any = 42, **more: Any) -> bytes:
    """A receipt for an invocation, good unless told otherwise."""
    instruction = more.pop("instruction", None) or instruction_of(asked)
    given = {"now": asked.issued_at or 0, "invocation": asked.cid, **more}
    out = given.pop("out", Result.of_ok(value))
    return Receipt.issue(key, instruction, out, meta={"level": "pure"}, **given).data


def right(key: Key) -> Answer:
    return lambda asked: receipt(key, asked)


def statement(key: Key, asked: Invocation, code: str, **more: Any) -> bytes:
    return refused.state(key, asked.data, code, f"because: {code}", now=1, **more).data


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    clock = FakeClock()
    lab = Far(tmp_path / "home", clock)
    yield Shop(lab, clock, BAD, GOOD)
    lab.close()


@asynccontextmanager
async def serving(*played: Played) -> AsyncIterator[None]:
    runners = []
    for one in played:
        app = web.Application()
        app.router.add_post("/", one.post)
        app.router.add_get("/", one.about)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        one.url = f"http://127.0.0.1:{runner.addresses[0][1]}/"
        runners.append(runner)
    try:
        yield
    finally:
        for runner in runners:
            await runner.cleanup()


def made(shop: Shop, home: Path) -> Dispatcher:
    """A dispatcher without any peer."""

    async def fetch(cids: Any, **_asked: Any) -> Fetched:
        return Fetched((), tuple(cids), 0, "no peer can be reached")

    book = SimpleNamespace(addresses=lambda did: (), banned_s=lambda did: 0)
    peering: Any = SimpleNamespace(
        talks=list, book=book, watched=lambda _: nullcontext(), fetch=fetch
    )
    node: Any = SimpleNamespace(
        key=KEY,
        clock=shop.clock,
        config=Config.load(home, {}),
        executor=shop.lab.executor,
        here=shop.lab.here,
        store=shop.lab.store,
    )

    async def resume(run: str) -> None:
        return None

    store = Store.open(shop.lab.store.home, clock=shop.clock)
    return Dispatcher(node, store, peering, tell=lambda *_a, **_b: None, resume=resume)


async def working_until(dispatcher: Dispatcher, until_: Callable[[], bool]) -> None:
    """Let a dispatcher work until something is so, or it gave up."""
    working = asyncio.ensure_future(dispatcher.run())

    async def waiting() -> None:
        while not until_() and not working.done():
            await asyncio.sleep(0.01)

    try:
        await asyncio.wait_for(waiting(), 20)
    finally:
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)
        await dispatcher.stop()
        dispatcher._store.close()


def dispatch(shop: Shop, home: Path, until_: Callable[[], bool], *played: Played) -> None:
    """Let the outbox work with providers at URLs until something is so."""

    async def story() -> None:
        async with serving(*played):
            for one in played:
                shop.lab.store.jobs.add_provider(one.key.did, one.url)
            await working_until(made(shop, home), until_)

    asyncio.run(story())


def queue_one(shop: Shop, level: str = "pure") -> None:
    """A step for both of them."""
    shop.queue(Workflow(heavy=needing(do(level, value=1))))


def states(shop: Shop) -> list[str]:
    return [item.state for item in shop.lab.store.outbox.newest()]


def claim(**args: Any) -> bytes:
    """A token with the command of receipts, whatever is in it."""
    told: dict[str, Any] = {
        "subject": BAD.did,
        "command": refused.COMMAND,
        "expires_at": None,
        "issued_at": 1,
    }
    return Invocation.issue(BAD, args=args, **told).data


HOSTILE: dict[str, tuple[Answer | bytes | int, str]] = {
    "junk": (b"<html>welcome</html>", "bad-receipt"),
    "nothing": (lambda asked: None, "bad-receipt"),
    "another's word": (lambda asked: receipt(GOOD, asked), "bad-receipt"),
    "another step": (
        lambda asked: receipt(BAD, asked, instruction=do("pure", value=9)),
        "other-step",
    ),
    "a map for an inv": (lambda asked: claim(inv={}, out={"ok": 42}), "bad-receipt"),
    "a list for a task": (lambda asked: claim(ran=[], out={"ok": 42}), "bad-receipt"),
    "no inv": (
        lambda asked: receipt(BAD, asked, invocation=None, ran=asked.task),
        "other-invocation",
    ),
    "expired": (lambda asked: receipt(BAD, asked, expires_at=1), "expired-receipt"),
    "claim without a step": (
        lambda asked: claim(ran=asked.task, inv=asked.cid, out={"ok": 42}),
        "bad-receipt",
    ),
}


@pytest.mark.parametrize("lie", HOSTILE)
def test_a_bad_answer_is_counted_not_kept_and_the_step_goes_to_the_next(
    shop: Shop, tmp_path: Path, lie: str
) -> None:
    answer, code = HOSTILE[lie]
    bad, good = Played(BAD, answer), Played(GOOD, right(GOOD))
    queue_one(shop)
    dispatch(shop, tmp_path, lambda: states(shop) == ["done"], bad, good)
    assert states(shop) == ["done"] and bad.posts == 1
    (item,) = shop.lab.store.outbox.newest()
    assert item.receipt is not None
    kept = shop.lab.store.receipts.get(item.receipt)
    assert kept is not None and kept.issuer == GOOD.did
    assert shop.lab.store.outbox.refusals()[BAD.did] == {code: 1}
    assert {one.issuer for one in shop.lab.store.receipts.list(limit=99)} <= {GOOD.did, KEY.did}


@pytest.mark.parametrize("status", [400, 404, 429])
def test_one_that_refuses_the_request_is_passed_over(
    shop: Shop, tmp_path: Path, status: int
) -> None:
    queue_one(shop)
    bad, good = Played(BAD, status), Played(GOOD, right(GOOD))
    dispatch(shop, tmp_path, lambda: states(shop) == ["done"], bad, good)
    assert (states(shop), bad.posts, good.posts) == (["done"], 1, 1)
    assert shop.lab.store.outbox.refusals() == {}


def test_a_mutation_goes_on_only_after_a_signed_word_that_nothing_was_begun(
    shop: Shop, tmp_path: Path
) -> None:
    queue_one(shop, "mutation")
    bad = Played(BAD, lambda asked: statement(BAD, asked, "busy"))
    good = Played(GOOD, right(GOOD))
    dispatch(shop, tmp_path, lambda: states(shop) == ["done"], bad, good)
    assert (states(shop), bad.posts, good.posts) == (["done"], 1, 1)


@pytest.mark.parametrize("junk", [b"junk", 500])
def test_a_mutation_stays_with_its_provider_whatever_that_answers(
    shop: Shop, tmp_path: Path, junk: bytes | int
) -> None:
    """It is asked again, and its own word is heard when it comes."""
    queue_one(shop, "mutation")
    good = Played(GOOD, right(GOOD))
    bad = Played(BAD, junk)
    post = bad.post

    async def twice(request: web.Request) -> web.Response:
        if bad.posts == 2:
            bad.answer = right(BAD)
        return await post(request)

    bad.post = twice  # type: ignore[method-assign]
    dispatch(shop, tmp_path, lambda: states(shop) == ["done"], bad, good)
    assert (states(shop), bad.posts, good.posts) == (["done"], 3, 0)


def test_a_mutation_that_was_begun_or_answered_badly_is_in_doubt(
    shop: Shop, tmp_path: Path
) -> None:
    queue_one(shop, "mutation")
    bad = Played(BAD, lambda asked: statement(BAD, asked, "stopped", begun=True))
    good = Played(GOOD, right(GOOD))
    dispatch(shop, tmp_path, lambda: states(shop) == ["failed"], bad, good)
    assert (states(shop), good.posts) == (["failed"], 0)
    (item,) = shop.lab.store.outbox.newest()
    assert "it may or may not have happened" in item.note


def test_what_is_pending_is_asked_for_again_by_the_same_request(shop: Shop, tmp_path: Path) -> None:
    queue_one(shop)
    bad = Played(BAD, lambda asked: statement(BAD, asked, "pending"))
    bodies: list[bytes] = []
    post = bad.post

    async def later(request: web.Request) -> web.Response:
        bodies.append(await request.read())
        if len(bodies) == 3:
            bad.answer = right(BAD)
        return await post(request)

    bad.post = later  # type: ignore[method-assign]
    dispatch(shop, tmp_path, lambda: states(shop) == ["done"], bad)
    assert len(bodies) == 3 and len(set(bodies)) == 1
    assert shop.lab.store.outbox.refusals() == {}


def test_a_url_where_nobody_is_gets_nothing_and_is_tried_again_later(
    shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(post_line, "AWAY_S", 0.05)
    queue_one(shop)
    bad, outbox = Played(BAD, right(BAD)), shop.lab.store.outbox
    at = f"http://127.0.0.1:{free_port()}/"

    def moved() -> bool:
        """Its URL is put right once it is known to be dead."""
        (item,) = outbox.newest()
        if item.state == "queued" and "not connected" in item.note and item.attempts >= 2:
            assert outbox.jobs_of(item.id) == []
            shop.lab.store.jobs.add_provider(BAD.did, bad.url)
        return item.state == "done"

    async def story() -> None:
        async with serving(bad):
            shop.lab.store.jobs.add_provider(BAD.did, at)
            await working_until(made(shop, tmp_path), moved)

    asyncio.run(story())
    assert bad.posts == 1


def test_what_was_sent_before_a_crash_is_asked_for_after_it(shop: Shop, tmp_path: Path) -> None:
    queue_one(shop)
    (job,) = shop.send()
    played = Played(shop.keys[job.provider], right(shop.keys[job.provider]))
    dispatch(shop, tmp_path, lambda: states(shop) == ["done"], played)
    assert (played.posts, shop.job(job).state) == (1, "done")


def test_a_large_value_that_nobody_gives_sends_a_pure_step_on_and_ends_a_mutation(
    shop: Shop, tmp_path: Path
) -> None:
    big = Block.make(b"\x83\x01\x02\x03", DAG_CBOR)
    linked = {"out": Result.of_ok(big.cid), "linked": "dag-cbor"}
    shop.queue(Workflow(heavy=needing(do("pure", value=1)), acts=needing(do("mutation", value=2))))
    bad = Played(BAD, lambda asked: receipt(BAD, asked, **linked))
    good = Played(GOOD, right(GOOD))
    dispatch(shop, tmp_path, lambda: states(shop) == ["done"] * 2, bad, good)
    items = {item.label: item for item in shop.lab.store.outbox.newest()}
    last = {
        label: [job.provider for job in shop.lab.store.outbox.jobs_of(item.id)][-1:]
        for label, item in items.items()
    }
    assert last["acts"] == [BAD.did]
    assert shop.lab.store.outbox.refusals()[BAD.did] == {"no-block": 1}
    assert not shop.lab.store.blocks.has(big.cid)


def test_a_statement_says_whether_anything_was_begun() -> None:
    asked = Invocation.issue(
        KEY, subject=BAD.did, command="/lab/pure", args={}, expires_at=None, issued_at=1
    )
    for begun in (False, True):
        told = told_of(asked.cid, statement(BAD, asked, "stopped", begun=begun), 7)
        assert (told.state, told.code, told.begun) == ("refused", "stopped", begun)
    assert told_of(asked.cid, statement(BAD, asked, "pending"), 7).receipt is None


def test_one_that_never_answers_holds_up_neither_others_nor_the_end(
    shop: Shop, tmp_path: Path
) -> None:
    steps = {
        f"s{at}": needing(do("pure", value=at), requires={"gpu": True, "key": key.did})
        for at, key in enumerate((BAD, GOOD))
    }
    shop.queue(Workflow(**steps))
    bad, good = Played(BAD, right(BAD)), Played(GOOD, right(GOOD))
    post = bad.post

    async def silent(request: web.Request) -> web.Response:
        bad.posts += 1
        assert request.transport is not None
        while not request.transport.is_closing():
            await asyncio.sleep(0.01)
        return await post(request)

    bad.post = silent  # type: ignore[method-assign]
    dispatch(shop, tmp_path, lambda: sorted(states(shop)) == ["done", "sent"], bad, good)
    assert sorted(states(shop)) == ["done", "sent"] and bad.posts >= 1


def test_a_line_that_is_closed_leaves_nothing_behind() -> None:
    async def story() -> None:
        held = asyncio.Event()

        async def waits(*_given: Any) -> Any:
            held.set()
            await asyncio.Event().wait()

        given: dict[str, Any] = dict.fromkeys(
            ("cargos", "posted", "heard", "denied", "unanswered"), waits
        )
        line = PostLine(BAD.did, "http://127.0.0.1:1/", FakeClock(), wake=lambda: None, **given)
        line.follow()
        await asyncio.wait_for(held.wait(), 5)
        await asyncio.wait_for(line.close(), 5)
        assert len(asyncio.all_tasks()) == 1

    asyncio.run(story())
