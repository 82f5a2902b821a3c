"""Jobs over plain HTTP, as other implementations of UCAN 1.0 speak it: the customer's end.

`POST` of a bare container (`{"ctn-v1": […]}`) of invocations with all their delegations; the answer
is such a container with a receipt for each. What answers is believed by its signature alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import cache
from io import BytesIO
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from lite.errors import IpvmError, UsageError
from lite.ipld.cid import CID
from lite.offload.client import ProviderAway, ProviderRefused, ProviderWrong
from lite.offload.wire import CBOR_TYPE, REPLY_BYTES_MAX, Denied
from lite.parcel import Parcel, read_invocation
from lite.ucan import container
from lite.ucan.invocation import Invocation

if TYPE_CHECKING:
    import ssl

    import aiohttp

__all__ = ["ANSWER_S_MAX", "checked_url", "post", "reach"]

ANSWER_S_MAX: Final = 120.0
_CONNECT_S: Final = 10.0


def checked_url(text: str) -> str:
    """The URL of a provider. Raises UsageError."""
    try:
        parts = urlsplit(text)
        is_one = parts.scheme in ("http", "https") and bool(parts.hostname) and not parts.fragment
        is_one = is_one and parts.port != 0  # asking for it reads it
        is_one = is_one and text.isprintable() and " " not in text  # which are cut off in silence
    except ValueError:
        is_one = False
    if is_one and "@" in parts.netloc:
        raise UsageError(
            "a URL of a provider holds no user and no password",
            hint="What is asked is signed; that is all that a provider goes by.",
        )
    if not is_one:
        raise UsageError(
            f"{text} is not the URL of a provider", hint="Such as https://jobs.example.org/."
        )
    return text


async def reach(url: str, *, within_s: float = _CONNECT_S) -> None:
    """Whether anything answers at a URL; what it says does not matter, as long as it stays there.

    Raises:
        ProviderAway: nothing does, or something that fails or points elsewhere.
    """
    import aiohttp

    timeout = aiohttp.ClientTimeout(total=within_s)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout, connector=_verifying()) as http,
            http.head(url, allow_redirects=False) as response,
        ):
            status = response.status
    except (aiohttp.ClientError, OSError, asyncio.TimeoutError) as error:
        raise ProviderAway(f"{url}: {str(error) or 'no answer in time'}") from error
    if status >= 500 or 300 <= status < 400:
        raise ProviderAway(f"{url}: it answers with HTTP {status}")


async def post(
    url: str, did: str, tokens: Sequence[bytes], *, within_s: float = ANSWER_S_MAX
) -> dict[CID, bytes]:
    """Send invocations with their proofs; the receipts and statements that its provider signed, by
    invocation. To send the same again is harmless, and how one goes on asking.

    Args:
        did: of the provider; what others signed is left out.

    Raises:
        ProviderAway: it cannot be reached, or did not answer in time: it may have got there.
        ProviderRefused: it answered with an error of HTTP.
        ProviderWrong: it answered with something else than tokens of that provider.
    """
    import aiohttp

    body = container.write(tokens, "bare")
    asked = [Invocation.parse(one) for one in Parcel.read(body).invocations]
    timeout = aiohttp.ClientTimeout(total=within_s, connect=_CONNECT_S)
    headers = {"Content-Type": CBOR_TYPE, "Accept": CBOR_TYPE}
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout, connector=_verifying()) as http,
            http.post(url, data=BytesIO(body), headers=headers, allow_redirects=False) as response,
        ):
            data = b""
            async for part in response.content.iter_any():
                data += part
                if len(data) > REPLY_BYTES_MAX:
                    raise ProviderWrong(f"an answer of more than {REPLY_BYTES_MAX} bytes")
            if response.status != 200:
                told = data[:200].decode("utf-8", "replace").strip()
                denied = Denied(f"http-{response.status}", told or "it does not say why")
                raise ProviderRefused(denied, response.status)
    except (aiohttp.ClientError, OSError, asyncio.TimeoutError) as error:
        raise ProviderAway(f"{url}: {str(error) or 'no answer in time'}") from error
    return _answers(data, did, asked)


def _verifying() -> aiohttp.TCPConnector:
    """Connections whose certificates the roots of the system vouch for."""
    import aiohttp

    return aiohttp.TCPConnector(ssl=_roots())


@cache
def _roots() -> ssl.SSLContext:
    import ssl

    return ssl.create_default_context()


def _answers(data: bytes, did: str, asked: Sequence[Invocation]) -> dict[CID, bytes]:
    """Receipts by what they answer: they name the invocation, or, as others write them, its task
    alone."""
    names = {one.task: one.cid for one in asked} | {one.cid: one.cid for one in asked}
    found: dict[CID, bytes] = {}
    try:
        for token in Parcel.read(data).receipts:
            receipt = read_invocation(token)
            told = receipt.args.get("inv", receipt.args.get("ran"))
            if type(told) is CID and receipt.issuer == receipt.subject == did and told in names:
                found[names[told]] = token
    except IpvmError as error:
        raise ProviderWrong(f"its answer cannot be read: {error}") from error
    return found
