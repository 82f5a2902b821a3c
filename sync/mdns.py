"""`_ipvm._tcp` over multicast DNS, by zeroconf.

The name of a service is the key of its did:key in multibase, which no two nodes share; its TXT is
`txtvers=1`, `v=1` and `id`, the same key. Everything in it is unauthenticated.
Source: RFC 6762, RFC 6763.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from ipaddress import ip_address
from typing import Any, Final

import ifaddr
from zeroconf import Error as ZeroconfError
from zeroconf import InterfaceChoice, IPVersion, NonUniqueNameException, ServiceStateChange
from zeroconf.asyncio import AsyncServiceBrowser, AsyncServiceInfo, AsyncZeroconf

from sync.discovery import OnSighting, Sighting
from sync.errors import DiscoveryError, IdentityError
from sync.keys import public_of

SERVICE: Final = "_ipvm._tcp.local."
RESOLVE_MS: Final = 3_000
RESOLVING_MAX: Final = 32
ADDRESSES_MAX: Final = 8
_DID: Final = "did:key:"


class MdnsZone:
    """A `Zone`: one zeroconf instance.

    Args:
        port: where this node listens.
        loopback: speak on 127.0.0.1 alone, for two nodes on a machine without a network.
    """

    def __init__(self, did: str, port: int, *, loopback: bool = False) -> None:
        self._did = did
        self._port = port
        self._loopback = loopback
        self._name = f"{did.removeprefix(_DID)}.{SERVICE}"
        self._zone: AsyncZeroconf | None = None
        self._browser: AsyncServiceBrowser | None = None
        self._info: AsyncServiceInfo | None = None
        self._resolving: set[asyncio.Task[None]] = set()
        self._found: OnSighting | None = None

    async def open(self, addresses: Sequence[str], found: OnSighting) -> None:
        self._found = found
        self._zone = self._attached()
        instance = self._did.removeprefix(_DID)
        self._info = AsyncServiceInfo(
            SERVICE,
            self._name,
            port=self._port,
            properties={"txtvers": "1", "v": "1", "id": instance},
            server=f"{instance}.local.",
            parsed_addresses=[one.partition("%")[0] for one in addresses],
        )
        self._browse()
        try:
            await (await self._zone.async_register_service(self._info))
        except NonUniqueNameException:
            raise DiscoveryError(
                "another machine on this network uses the key of this node: each needs its own"
            ) from None
        except (ZeroconfError, OSError) as error:
            raise DiscoveryError(f"this node cannot be announced: {error}") from None

    async def ask_again(self) -> None:
        if self._zone is None or self._info is None:
            raise DiscoveryError("the zone is closed")
        try:
            if self._browser is not None:
                await self._browser.async_cancel()
            self._browse()
            await (await self._zone.async_update_service(self._info))
        except (ZeroconfError, OSError) as error:
            raise DiscoveryError(f"the network cannot be asked: {error}") from None

    async def close(self) -> None:
        zone, self._zone = self._zone, None
        for task in self._resolving:
            task.cancel()
        await asyncio.gather(*self._resolving, return_exceptions=True)
        if zone is not None:
            if self._browser is not None:
                await self._browser.async_cancel()
            await zone.async_unregister_all_services()
            await zone.async_close()

    def _attached(self) -> AsyncZeroconf:
        if self._loopback:
            return AsyncZeroconf(interfaces=["127.0.0.1"], ip_version=IPVersion.V4Only)
        problem: OSError | None = None
        for version in (IPVersion.All, IPVersion.V4Only):  # a machine may have no IPv6
            try:
                return AsyncZeroconf(interfaces=InterfaceChoice.All, ip_version=version)
            except OSError as error:
                problem = error
        raise DiscoveryError(f"multicast does not work here: {problem}")

    def _browse(self) -> None:
        assert self._zone is not None
        self._browser = AsyncServiceBrowser(self._zone.zeroconf, SERVICE, handlers=[self._changed])

    def _changed(
        self, *, zeroconf: Any, service_type: str, name: str, state_change: ServiceStateChange
    ) -> None:
        """Called on the event loop; it must not wait."""
        if state_change is ServiceStateChange.Removed or name.lower() == self._name.lower():
            return
        if len(self._resolving) < RESOLVING_MAX and self._zone is not None:
            task = asyncio.get_running_loop().create_task(self._resolve(self._zone, name))
            self._resolving.add(task)
            task.add_done_callback(self._resolving.discard)

    async def _resolve(self, zone: AsyncZeroconf, name: str) -> None:
        info = AsyncServiceInfo(SERVICE, name)
        try:
            answered = await info.async_request(zone.zeroconf, RESOLVE_MS)
        except (ZeroconfError, OSError):
            return  # the watch asks again
        sighting = sighting_of(info, self._loopback) if answered else None
        if sighting is not None and self._found is not None and sighting.did != self._did:
            self._found(sighting)


def sighting_of(info: AsyncServiceInfo, loopback: bool) -> Sighting | None:
    """What a service says, if it is a node of this protocol."""
    did = _DID + (info.decoded_properties.get("id") or "")
    try:
        public_of(did)
    except IdentityError:
        return None
    if not info.port or info.decoded_properties.get("v") != "1":
        return None
    hosts = sorted(info.parsed_scoped_addresses(), key=lambda one: (":" in one, one))
    hosts = [one for one in hosts if _can_be_dialled(one, loopback)]
    port = info.port
    texts = [f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host in hosts]
    return Sighting(did, tuple(texts[:ADDRESSES_MAX])) if texts else None


def _can_be_dialled(host: str, loopback: bool) -> bool:
    bare, _, scope = host.partition("%")
    address = ip_address(bare)
    if address.is_loopback:
        return loopback
    is_lost = address.is_link_local and address.version == 6 and not scope
    return not (address.is_multicast or address.is_unspecified or is_lost)


def machine_addresses() -> list[str]:
    """The IP addresses of this machine, loopback apart; IPv6 link-local ones with their scope."""
    found = []
    for adapter in ifaddr.get_adapters():
        for ip in adapter.ips:
            text = ip.ip if isinstance(ip.ip, str) else f"{ip.ip[0]}%{ip.ip[2]}"
            address = ip_address(text.partition("%")[0])
            if not address.is_loopback:
                found.append(text if address.is_link_local else text.partition("%")[0])
    return found
