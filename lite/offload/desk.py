"""Where customers come to: the paths of `lite.offload.wire` on the authenticated channel."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from functools import partial
from itertools import takewhile
from typing import Final

from aiohttp import web

from lite.errors import CidError, IpvmError
from lite.ipld import dag_cbor, dag_json
from lite.ipld.cid import CID
from lite.needs.bids import Bid
from lite.offload import wire
from lite.offload.admission import Caller, DeniedError, job_of
from lite.offload.bidding import bid_for
from lite.offload.provider import Provider
from lite.offload.whole import whole
from lite.offload.wire import Account, Ask, Denied, NoBid
from lite.store.jobs import DAY_S, StoredJob
from lite.ucan import container
from sync.bodies import Room
from sync.transport import BodyHandler, PeerHandler, Post
from sync.within import within

__all__ = ["Desk"]

QUIET_S: Final = 15.0  # then a comment says that the stream is alive
WRITE_S_MAX: Final = 30.0
CHANGES_AT_ONCE: Final = 256
SEQ_MAX: Final = 2**53 - 1
_ERRORS: Final = {"store-full": 507, "quota": 507, "store-busy": 503, "store": 503}


class Desk:
    """The handlers, for `Peering`.

    Args:
        may_run: whether a DID has the right `run`.
    """

    def __init__(self, provider: Provider, may_run: Callable[[str], bool]) -> None:
        self._provider = provider
        self._may_run = may_run

    @property
    def routes(self) -> Sequence[tuple[str, PeerHandler]]:
        """Paths for GET."""
        job = f"{wire.PATH_JOBS}/{{inv}}"
        return [
            (job, self._safe(self._state)),
            (f"{job}/events", self._safe(self._events)),
            (wire.PATH_CHANGES, self._safe(self._changes)),
            (wire.PATH_OFFERS, self._safe(self._give_offers)),
            (wire.PATH_ACCOUNT, self._safe(self._account)),
        ]

    @property
    def posts(self) -> Sequence[Post]:
        """Paths for POST."""
        return [
            (wire.PATH_BIDS, self._taking(self._bids), self._room(wire.ASKS_BYTES_MAX)),
            (wire.PATH_JOBS, self._taking(self._submit), self._room(wire.SUBMISSION_BYTES_MAX)),
            (wire.PATH_BLOCKS, self._taking(self._supply), self._room_for_blocks),
            (f"{wire.PATH_JOBS}/{{inv}}/cancel", self._taking(self._cancel), 0),
        ]

    def _caller(self, did: str) -> Caller:
        return Caller(did, self._may_run(did))

    # What may be sent, said before any of it is read.

    def _room(self, most: int) -> Room:
        async def room(_request: web.Request, did: str) -> int | web.StreamResponse:
            caller, admission = self._caller(did), self._provider.admission
            if caller.trusted:
                return most
            try:
                await self._provider.in_pool(lambda: admission.check_caller(caller))
            except IpvmError as error:
                return _refusal(error)
            return most

        return room

    async def _room_for_blocks(self, _request: web.Request, did: str) -> int | web.StreamResponse:
        """Somebody without a right brings what a job of its own waits for, and nothing else."""
        if self._may_run(did):
            return wire.SUPPLY_BYTES_MAX
        try:
            self._check_ready()
            lacking = await whole(self._provider.supply(did, b""))
        except IpvmError as error:
            return _refusal(error)
        return wire.SUPPLY_BYTES_MAX if lacking else _cbor(dag_cbor.encode([]))

    # Requests.

    async def _bids(self, _request: web.Request, did: str, body: bytes) -> web.StreamResponse:
        caller, provider = self._caller(did), self._provider
        wait_ms = provider.wait_ms(did if caller.trusted else "")

        def all_bids() -> Sequence[Bid | NoBid]:
            provider.admission.check_caller(caller)
            asks: list[Ask] = wire.read_asks(body)
            return [
                bid_for(provider.node, ask, provider.capabilities, wait_ms, did) for ask in asks
            ]

        return _cbor(wire.write(await provider.in_pool(all_bids)))

    async def _submit(self, _request: web.Request, did: str, body: bytes) -> web.StreamResponse:
        return _cbor(wire.write(await whole(self._provider.take(body, self._caller(did)))))

    async def _state(self, request: web.Request, did: str) -> web.StreamResponse:
        return _one(await self._job(request, did))

    async def _cancel(self, request: web.Request, did: str, _body: bytes) -> web.StreamResponse:
        return _one(await whole(self._provider.cancel(await self._job(request, did))))

    async def _supply(self, _request: web.Request, did: str, body: bytes) -> web.StreamResponse:
        return _cbor(dag_cbor.encode(await whole(self._provider.supply(did, body))))

    async def _give_offers(self, _request: web.Request, did: str) -> web.StreamResponse:
        caller = self._caller(did)

        def tokens() -> bytes:
            self._provider.admission.check_caller(caller)
            return container.write(self._provider.offers.tokens_for(did), "raw")

        return _cbor(await self._provider.in_pool(tokens))

    async def _account(self, _request: web.Request, did: str) -> web.StreamResponse:
        account = partial(account_of, self._provider, self._caller(did))
        return _cbor(dag_cbor.encode((await self._provider.in_pool(account)).value()))

    async def _job(self, request: web.Request, did: str) -> StoredJob:
        """The job that a path names, if it is one of whoever asks. Raises DeniedError."""
        try:
            cid = CID.parse(request.match_info["inv"])
        except CidError as error:
            raise DeniedError(400, Denied(error.code, str(error))) from None
        job = await self._provider.in_pool(lambda: self._provider.jobs.get(cid))
        if job is None or job.customer != did:
            raise DeniedError(404, Denied("not-found", f"there is no job {cid} of yours here"))
        await whole(self._provider.unsaid.keep([cid]))
        return job

    # Streams.

    async def _events(self, request: web.Request, did: str) -> web.StreamResponse:
        job = await self._job(request, did)
        return await self._stream(request, self._job_events(job.invocation))

    async def _job_events(self, invocation: CID) -> AsyncIterator[bytes]:
        provider, seq, at = self._provider, -1, 0
        while not provider.news.is_closed:
            news = provider.news.of(invocation)
            job = await provider.in_pool(lambda: provider.jobs.get(invocation))
            if job is None:
                return
            output = provider.news.tail(invocation).after(at)
            if output is not None:
                at = output.at + len(output.data)
                yield _event(wire.OUTPUT, output.value())
            if job.seq != seq:
                seq = job.seq
                yield _event(wire.STATE, job_of(job).value(), seq)
            if not job.is_open:
                return
            if not await provider.news.wait(news, QUIET_S):
                yield b":\n\n"

    async def _changes(self, request: web.Request, did: str) -> web.StreamResponse:
        text = request.query.get("after", "0")
        short = text.isascii() and text.isdigit() and len(text) <= len(str(SEQ_MAX))
        if not (short and int(text) <= SEQ_MAX):
            raise DeniedError(400, Denied("usage", "after: the number of a change is needed"))
        epoch = await self._provider.in_pool(self._provider.jobs.epoch)
        is_same = request.query.get("epoch", epoch) == epoch  # else it was heard before a restore
        changes = self._all_changes(did, epoch, int(text) if is_same else 0)
        return await self._stream(request, changes)

    async def _all_changes(self, did: str, epoch: str, after: int) -> AsyncIterator[bytes]:
        provider, live = self._provider, False
        yield _event(wire.EPOCH, {"epoch": epoch})
        while not provider.news.is_closed:
            news = provider.news.of(did)
            find = partial(provider.jobs.changed, did, after, CHANGES_AT_ONCE)
            changed = await provider.in_pool(find)
            said = list(takewhile(lambda job: job not in provider.unsaid, changed))
            for job in said:
                after = job.seq
                yield _event(wire.STATE, job_of(job).value(), after)
            if len(said) == CHANGES_AT_ONCE:
                continue
            if not live:
                live = True
                yield _event(wire.LIVE, {"seq": after})
            if not await provider.news.wait(news, QUIET_S):
                yield b":\n\n"

    async def _stream(
        self, request: web.Request, parts: AsyncIterator[bytes]
    ) -> web.StreamResponse:
        headers = {"Content-Type": wire.EVENTS_TYPE, "Cache-Control": "no-store"}
        response = web.StreamResponse(headers=headers)
        await response.prepare(request)
        try:
            async for part in parts:
                await within(response.write(part), WRITE_S_MAX)
            await response.write_eof()
        except (asyncio.TimeoutError, ConnectionResetError):  # it reads nothing, or it left
            if request.transport is not None:
                request.transport.abort()
        return response

    # Errors.

    def _check_ready(self) -> None:
        if not self._provider.is_ready:
            raise DeniedError(503, Denied("starting", "this node starts or stops", retry_s=1))

    def _safe(self, handler: PeerHandler) -> PeerHandler:
        async def answer(request: web.Request, did: str) -> web.StreamResponse:
            return await self._answered(lambda: handler(request, did))

        return answer

    def _taking(self, handler: BodyHandler) -> BodyHandler:
        async def answer(request: web.Request, did: str, body: bytes) -> web.StreamResponse:
            return await self._answered(lambda: handler(request, did, body))

        return answer

    async def _answered(
        self, answering: Callable[[], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        try:
            self._check_ready()
            return await answering()
        except IpvmError as error:
            return _refusal(error)


def account_of(provider: Provider, caller: Caller) -> Account:
    """What is counted for a customer today. May wait for the disk."""
    day = provider.node.clock.now() // DAY_S
    used = provider.jobs.used(caller.did, day)
    refused = provider.jobs.refusals(caller.did, day)
    open_jobs = [job for job in provider.jobs.open() if job.customer == caller.did]
    running = sum(job.state == "running" for job in open_jobs)
    return Account(
        day,
        used.jobs,
        used.fuel,
        used.time_ms,
        tuple(sorted(refused.items())),
        len(open_jobs) - running,
        running,
    )


def _one(job: StoredJob) -> web.Response:
    return _cbor(dag_cbor.encode(job_of(job).value()))


def _refusal(error: IpvmError) -> web.Response:
    if isinstance(error, DeniedError):
        return _cbor(dag_cbor.encode(error.denied.value()), error.status)
    denied = Denied(error.code, str(error)[: wire.TEXT_CHARS_MAX], error.hint or "")
    return _cbor(dag_cbor.encode(denied.value()), _ERRORS.get(error.code, 400))


def _cbor(body: bytes, status: int = 200) -> web.Response:
    return web.Response(status=status, body=body, content_type=wire.CBOR_TYPE)


def _event(kind: str, value: dict[str, object], id: int | None = None) -> bytes:
    head = b"" if id is None else b"id: %d\n" % id
    return b"%sevent: %s\ndata: %s\n\n" % (head, kind.encode(), dag_json.shown(value))
