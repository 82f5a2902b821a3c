"""Jobs over plain HTTP, as other implementations of UCAN 1.0 speak it: the provider's end.

`POST /` of a bare container (`{"ctn-v1": […]}`) with invocations and all their delegations. The
answer comes when all are done, or after `ANSWER_S_MAX`: a container with one receipt for each that
is addressed to this node; others are passed over. Who signed an invocation is its customer; there
is no other proof of who asks, and none is needed. What is not done in time gets a statement with
the code `pending`: the same request asks how it goes on.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Final

from aiohttp import web

from lite.errors import ConfigError, IpvmError, StoreError
from lite.ipld.cid import CID, DAG_CBOR
from lite.offload.admission import Caller, DeniedError
from lite.offload.http_callers import Callers
from lite.offload.provider import Provider
from lite.offload.refused import PENDING
from lite.offload.whole import whole
from lite.offload.wire import CBOR_TYPE, JOBS_MAX, Job
from lite.parcel import Parcel
from lite.ucan import container
from lite.ucan.container import CONTAINER_BYTES_MAX
from lite.ucan.invocation import Invocation
from sync.bodies import Bodies, body_of
from sync.noise import counting, readable
from sync.within import within

__all__ = ["HttpDoor"]

ANSWER_S_MAX: Final = 100.0
BODY_S_MAX: Final = 30.0
MESSAGE_CHARS_MAX: Final = 1_000
REQUESTS_MAX: Final = 64  # at once; their bodies come within the room of `sync.bodies`


class HttpDoor:
    """A listener beside that of peers.

    Args:
        may_run: whether a DID has the right `run`.
        address: `IP:PORT`; port 0 picks a free one.
        certificate, key: files in PEM that make it HTTPS; None: a reverse proxy does, or nobody.
        bounds: of its connections, as `Callers` takes them.
    """

    def __init__(
        self,
        provider: Provider,
        may_run: Callable[[str], bool],
        address: str,
        certificate: Path | None = None,
        key: Path | None = None,
        *,
        answer_s: float = ANSWER_S_MAX,
        **bounds: Any,
    ) -> None:
        self.listening = ("", 0)
        self._provider = provider
        self._may_run = may_run
        self._address = address
        self._files = certificate, key
        self._answer_s = answer_s
        self._bounds = bounds
        self._callers: Callers | None = None
        self._requests = 0
        self._bodies = Bodies()
        self.garbled = 0  # requests that could not be read
        app = web.Application(middlewares=[readable(self._count_garbled)])
        app.router.add_post("/", self._post)
        app.router.add_get("/", self._about)
        self._http = web.AppRunner(
            app,
            access_log=None,
            logger=counting(self._count_garbled),
            handle_signals=False,
            auto_decompress=False,
            shutdown_timeout=2.0,
        )

    async def start(self) -> None:
        """Listen.

        Raises:
            ConfigError: the settings ask for HTTPS that cannot be had: a key without its
                certificate, or behind a pass phrase.
            StoreError: the address is in use or not of this machine, or a file cannot be used.
        """
        host, _, port = self._address.rpartition(":")
        try:
            tls = self._tls()
            await self._http.setup()
            assert self._http.server is not None, "it was set up"
            self._callers = Callers(self._http.server, tls, **self._bounds)
            self.listening = self._callers.listen(host.strip("[]"), int(port))
        except (OSError, OverflowError) as error:
            await self._http.cleanup()
            text = getattr(error, "strerror", None) or error
            raise StoreError(
                f"cannot take jobs over HTTP at {self._address}: {text}",
                hint="Look at the settings provider.http, provider.http_cert, provider.http_key.",
            ) from None

    async def stop(self) -> None:
        """Stop listening, and end every request. Safe to call twice."""
        if self._callers is not None:
            await self._callers.close()
        await self._http.cleanup()

    def _tls(self) -> ssl.SSLContext | None:
        certificate, key = self._files
        if certificate is None and key is None:
            return None
        if certificate is None:
            raise ConfigError(
                "provider.http_key is set, and provider.http_cert is not: there is no HTTPS so",
                hint="Set provider.http_cert to the certificate chain, or take the key out.",
            )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(certificate, key, partial(_no_phrase, key or certificate))
        return context

    def _count_garbled(self) -> None:
        self.garbled += 1

    async def _about(self, _request: web.Request) -> web.Response:
        return web.Response(text=f"{self._provider.node.did}\n")

    async def _post(self, request: web.Request) -> web.Response:
        if self._requests >= REQUESTS_MAX or not self._provider.is_ready:
            return web.Response(status=503, text="busy\n", headers={"Retry-After": "5"})
        assert self._callers is not None, "a request came"
        self._requests += 1
        try:
            with self._callers.busy(request.transport):
                with self._bodies.held(stranger=True) as count:
                    body = body_of(request, CONTAINER_BYTES_MAX, count)
                    parcel = Parcel.read(await within(body, BODY_S_MAX))
                return await self._answer(parcel)
        except asyncio.TimeoutError:
            return web.Response(status=408, text="the body did not come in time\n")
        except IpvmError as error:
            return web.Response(status=400, text=f"{error.code}: {error}\n")
        finally:
            self._requests -= 1

    async def _answer(self, parcel: Parcel) -> web.Response:
        did, mine = self._provider.node.did, dict[str, list[bytes]]()
        for data in parcel.invocations:
            with suppress(IpvmError):  # nobody knows to whom it is addressed
                invocation = Invocation.parse(data)
                if invocation.executor == did:
                    mine.setdefault(invocation.issuer, []).append(data)
        if sum(map(len, mine.values())) > JOBS_MAX:
            return web.Response(status=400, text=f"more than {JOBS_MAX} invocations\n")
        taken = [await self._take(issuer, data, parcel) for issuer, data in mine.items()]
        jobs = [job for some in taken for job in some]
        ends = asyncio.get_running_loop().time() + self._answer_s
        receipts = [await self._receipt(job, data, ends) for job, data in jobs]
        body = container.write(receipts, "bare")
        return web.Response(body=body, content_type=CBOR_TYPE)

    async def _take(
        self, issuer: str, invocations: list[bytes], parcel: Parcel
    ) -> list[tuple[Job, bytes]]:
        """The jobs of one customer, each with its invocation."""
        caller = Caller(issuer, self._may_run(issuer))
        tokens = [*invocations, *parcel.delegations.values(), *parcel.revocations]
        by_cid = {CID.of(data, DAG_CBOR): data for data in invocations}
        try:
            jobs = await whole(self._provider.take(container.write(tokens, "bare"), caller))
        except DeniedError as error:
            code, told = error.denied.code, error.denied.message
            refuse = partial(self._provider.admission.refuse, caller=caller, code=code)
            jobs = [
                await self._provider.in_pool(partial(refuse, data, message=told))
                for data in invocations
            ]
        return [(job, by_cid[job.invocation]) for job in jobs]

    async def _receipt(self, job: Job, data: bytes, ends: float) -> bytes:
        """What answers an invocation, once it is over; a statement that it is not in time."""
        if job.receipt is not None:
            return job.receipt
        provider, state, why = self._provider, "not here any more", ""
        while not provider.news.is_closed:
            news = provider.news.of(job.invocation)
            found = await provider.in_pool(partial(provider.jobs.get, job.invocation))
            if found is None:
                break
            if found.answer is not None:
                return found.answer
            state, why = found.state, found.message
            if found.code == "input-missing":  # nobody can bring it this way
                await whole(provider.give_up(found))
            left = ends - asyncio.get_running_loop().time()
            if left <= 0 or not await provider.news.wait(news, left):
                break
        told = f"it is {state}; the same request asks how it goes on{why and ': '}{why}"
        return provider.admission.statement(data, PENDING, told[:MESSAGE_CHARS_MAX])


def _no_phrase(key: Path) -> str:
    """Asked for the pass phrase of a key, which OpenSSL would ask for on the terminal."""
    raise ConfigError(
        f"the private key in {key} needs a pass phrase, and nobody is there to type it",
        hint="Set provider.http_key to a key without one that only this user may read: "
        f"openssl pkey -in {key} -out plain.pem",
    )
