"""The customer's end of the wire: `JobClient` asks one provider, over a channel to it.

channel = await peering.gateway(did)
client = JobClient(channel)
bids = await client.bids([Ask(instruction.cid, needs)])
jobs = await client.send([invocation.data, *proofs])
async for job in client.changes(after): …
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from io import BytesIO
from typing import TYPE_CHECKING, Any, Final, TypeVar

from lite.errors import AuthorityError, CodecError, IntegrityError, QueuedError, UsageError
from lite.ipld import dag_json
from lite.ipld.block import Block
from lite.ipld.car import write_car
from lite.ipld.cid import CID, DAG_CBOR
from lite.needs.bids import Bid
from lite.offload import wire
from lite.offload.wire import Account, Ask, Denied, Job, NoBid, Output
from lite.parcel import Parcel
from lite.ucan import container
from sync.dial import WebChannel, said
from sync.errors import ChannelError
from sync.within import within

if TYPE_CHECKING:
    import aiohttp

T = TypeVar("T")

__all__ = ["JobClient", "ProviderAway", "ProviderRefused", "ProviderWrong"]

SUPPLY_S_MAX: Final = 600.0  # for a request that brings blocks, on a slow line, and its answer
_ERROR_BYTES_MAX: Final = 64 * 1024
_TOO_MUCH: Final = "fetch-size"  # the code of a refusal to take blocks
_EPOCH: Final = re.compile(r"[0-9a-f]{1,64}")
_EVENT_BYTES_MAX: Final = 512 * 1024  # one line of an event stream


class ProviderAway(QueuedError):
    """It cannot be reached, or the connection broke: what was sent may have got there."""

    code = "provider-away"


class ProviderRefused(AuthorityError):
    """It did nothing of what was asked, and says why.

    Attributes:
        denied: code, message, and when to try again.
        status: of HTTP.
    """

    code = "provider-refused"

    def __init__(self, denied: Denied, status: int) -> None:
        super().__init__(f"{denied.code}: {denied.message}", hint=denied.hint or None)
        self.denied = denied
        self.status = status

    @property
    def is_sure(self) -> bool:
        """Whether it was refused before anything was done: a server that failed may have."""
        return 400 <= self.status < 500


class ProviderWrong(IntegrityError):
    """What it answered is not of the form that was agreed on."""

    code = "provider-wrong"


class JobClient:
    """See the module. Every method may raise `ProviderAway`, `ProviderRefused` or `ProviderWrong`.

    Args:
        channel: one that this node dialled; whoever made it closes it.
    """

    def __init__(self, channel: WebChannel) -> None:
        self._channel = channel

    @property
    def provider(self) -> str:
        """Its DID, which the channel proved."""
        return self._channel.peer

    async def bids(self, asks: Sequence[Ask]) -> list[Bid | NoBid]:
        """What it offers for each step, in their order; 1 to `ASKS_MAX`.

        Raises:
            ProviderWrong: also when a bid is for another step, or in another's name.
        """
        bids: list[Bid | NoBid] = []
        for body in wire.split_asks(asks):
            data = await self._ask("POST", wire.PATH_BIDS, body, wire.REPLY_BYTES_MAX)
            bids += _read(wire.read_bids, data)
        if [bid.instruction for bid in bids] != [ask.instruction for ask in asks]:
            raise ProviderWrong("its bids are for other steps than those that were asked about")
        for bid in bids:
            if isinstance(bid, Bid) and bid.provider != self.provider:
                raise ProviderWrong(f"a bid in the name of {bid.provider}")
        return bids

    async def send(self, tokens: Sequence[bytes]) -> list[Job]:
        """Submit invocations with their proofs and whatever delegations they need; how each stands
        now, sorted as a container sorts them. To send the same again is harmless.

        Raises:
            LimitError: more than fits into a container.
            ProviderWrong: also when it answers for other invocations.
        """
        body = container.write(tokens, "raw")
        data = await self._ask("POST", wire.PATH_JOBS, body, wire.REPLY_BYTES_MAX)
        jobs = _read(wire.read_jobs, data)
        asked = {CID.of(one, DAG_CBOR) for one in Parcel.read(body).invocations}
        if {job.invocation for job in jobs} != asked or len(jobs) != len(asked):
            raise ProviderWrong("it answers for other invocations than those that were sent")
        return jobs

    async def state(self, invocation: CID) -> Job | None:
        """How a job of ours stands; None when it knows of none."""
        return await self._job("GET", wire.job_path(invocation), invocation)

    async def cancel(self, invocation: CID) -> Job | None:
        """Call a job off; how it stands then. What runs is stopped, and what acts on the world may
        go on to its end (`begun`). None when it knows of none."""
        return await self._job("POST", wire.job_path(invocation, "cancel"), invocation)

    async def supply(self, get: Callable[[CID], bytes | None]) -> int:
        """Bring it the inputs that our jobs there wait for, for whoever cannot be dialled; how many
        bytes went. A job for which that is too much is over; the others go on.

        Args:
            get: the bytes of a block that it may have, else None. Called on the event loop.

        Raises:
            ProviderAway: also when one request takes longer than `SUPPLY_S_MAX`.
            ProviderRefused: also when it takes no more.
        """
        gone: set[CID] = set()
        refused: set[CID] = set()
        total = 0
        blocks: list[Block] = []
        while True:
            body, cids = _car(blocks), {block.cid for block in blocks}
            try:
                asking = self._ask("POST", wire.PATH_BLOCKS, body, wire.REPLY_BYTES_MAX)
                data = await within(asking, SUPPLY_S_MAX)
            except asyncio.TimeoutError as error:
                told = f"{self.provider} did not take {len(body)} bytes in {SUPPLY_S_MAX:.0f} s"
                raise ProviderAway(told) from error
            except ProviderRefused as error:
                if error.denied.code != _TOO_MUCH or cids <= refused:
                    raise
                refused |= cids
                blocks = []  # some jobs are over by it: what do the others lack?
                continue
            total += len(body)
            gone |= cids
            blocks = _some([one for one in _read(wire.read_lacking, data) if one not in gone], get)
            if not blocks:
                return total

    async def offers(self) -> list[bytes]:
        """The delegations that it gives us, as tokens."""
        data = await self._ask("GET", wire.PATH_OFFERS, None, wire.SUBMISSION_BYTES_MAX)
        return list(_read(lambda body: Parcel.read(body).delegations, data).values())

    async def account(self) -> Account:
        """What it counts for us today."""
        data = await self._ask("GET", wire.PATH_ACCOUNT, None, _ERROR_BYTES_MAX)
        return _read(wire.read_account, data)

    async def events(self, invocation: CID) -> AsyncGenerator[Job | Output, None]:
        """How one job goes: its state now and each later one, and what its guest writes from now
        on; ends with the last state."""
        async for kind, value in self._stream(wire.job_path(invocation, "events")):
            if kind == wire.OUTPUT:
                yield _parsed(Output.from_value, value)
            elif kind == wire.STATE:
                yield _parsed(Job.from_value, value)

    async def changes(
        self,
        after: int = 0,
        epoch: str | None = None,
        *,
        begins: Callable[[str], Awaitable[object]] | None = None,
    ) -> AsyncGenerator[Job | None, None]:
        """Each of our jobs whose latest change is later than `after` (a `Job.seq`; 0: all that it
        keeps), then None, then every change as it comes, until the connection ends: then
        ProviderAway. A job that changed twice since may be told once, as it stands.

        Args:
            epoch: that `after` is of; where the provider has another one, all is told.
            begins: told the epoch of what comes, before it comes.
        """
        of = "" if epoch is None else f"&epoch={epoch}"
        async for kind, value in self._stream(f"{wire.PATH_CHANGES}?after={after}{of}"):
            if kind == wire.EPOCH and begins is not None:
                await begins(_epoch(value))
            elif kind == wire.STATE:
                yield _parsed(Job.from_value, value)
            elif kind == wire.LIVE:
                yield None
        raise ProviderAway("the provider ended the stream")

    async def _job(self, verb: str, path: str, invocation: CID) -> Job | None:
        try:
            data = await self._ask(verb, path, b"", wire.REPLY_BYTES_MAX)
        except ProviderRefused as refused:
            if refused.status == 404:
                return None
            raise
        job = _read(wire.read_job, data)
        if job.invocation != invocation:
            raise ProviderWrong("it answers for another invocation than the one asked about")
        return job

    async def _ask(self, verb: str, path: str, body: bytes | None, bytes_max: int) -> bytes:
        async with _Errors(), self._open(verb, path, body) as response:
            data = await _bounded(response, bytes_max)
            if response.status != 200:
                raise _refused(data, response.status)
            return data

    def _open(self, verb: str, path: str, body: bytes | None) -> Any:
        if verb == "GET":
            return self._channel.get(path)
        return self._channel.post(path, body or b"", {"Content-Type": wire.CBOR_TYPE})

    async def _stream(self, path: str) -> AsyncGenerator[tuple[str, Any], None]:
        opening = self._channel.get(path, {"Accept": wire.EVENTS_TYPE})
        async with _Errors(), opening as response:
            if response.status != 200:
                raise _refused(await _bounded(response, _ERROR_BYTES_MAX), response.status)
            kind, data = "", b""
            async for line in _lines(response.content):
                name, _, rest = line.partition(b": ")
                if name == b"event":
                    kind = rest.decode("ascii", "replace")
                elif name == b"data":
                    data = rest
                elif not line and kind:
                    yield kind, _read(dag_json.decode, data)
                    kind, data = "", b""


def _car(blocks: Sequence[Block]) -> bytes:
    """The body of a request that brings them; empty for none."""
    out = BytesIO()
    if blocks:
        write_car(out, [], blocks)
    return out.getvalue()


def _some(cids: Sequence[CID], get: Callable[[CID], bytes | None]) -> list[Block]:
    """Blocks for one request."""
    found: list[Block] = []
    size = 0
    for cid in cids:
        data = get(cid)
        if data is None:
            continue
        size += len(data)
        if found and size > wire.SUPPLY_BYTES_MAX // 2:
            break
        found.append(Block(cid, data))
    return found


class _Errors:
    """What goes wrong with a connection, in our words."""

    async def __aenter__(self) -> None:
        return None

    async def __aexit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        import aiohttp

        if isinstance(error, ChannelError):
            raise ProviderAway(str(error)) from error
        if isinstance(error, (asyncio.TimeoutError, aiohttp.ClientError, OSError)):
            told = said(error) if isinstance(error, Exception) else ""
            raise ProviderAway(f"the connection to the provider broke: {told}") from error


async def _lines(stream: aiohttp.StreamReader) -> AsyncGenerator[bytes, None]:
    """The lines of a stream, without their ends."""
    begun = b""
    async for part in stream.iter_any():
        *whole, begun = (begun + part).split(b"\n")
        for line in whole:
            yield line
        if len(begun) > _EVENT_BYTES_MAX:
            raise ProviderWrong(f"an event of more than {_EVENT_BYTES_MAX} bytes")


async def _bounded(response: aiohttp.ClientResponse, bytes_max: int) -> bytes:
    data = b""
    async for part in response.content.iter_any():
        data += part
        if len(data) > bytes_max:
            raise ProviderWrong(f"an answer of more than {bytes_max} bytes")
    return data


def _refused(data: bytes, status: int) -> ProviderRefused:
    """What a status other than 200 means; whoever answers without our form gets a code for it."""
    try:
        return ProviderRefused(wire.read_denied(data), status)
    except CodecError:
        text = data[:200].decode("utf-8", "replace").strip()
        return ProviderRefused(Denied(f"http-{status}", text or "it does not say why"), status)


def _read(read: Callable[[bytes], T], data: bytes) -> T:
    try:
        return read(data)
    except (IntegrityError, AuthorityError) as error:
        raise ProviderWrong(f"its answer cannot be read: {error}") from error


def _epoch(value: Any) -> str:
    told = value.get("epoch") if type(value) is dict else None
    if type(told) is not str or not _EPOCH.fullmatch(told):
        raise ProviderWrong("an event of it cannot be read: it names no epoch")
    return told


def _parsed(read: Callable[[Any], T], value: Any) -> T:
    try:
        return read(value)
    except UsageError as error:
        raise ProviderWrong(f"an event of it cannot be read: {error}") from error
