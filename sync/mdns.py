"""`_ipvm._tcp` over multicast DNS, by zeroconf.

The name of a service is the key of its did:key in multibase, which no two nodes share; its TXT is
`txtvers=1`, `v=1` and `id`, the same key. Everything in it is unauthenticated.
Source: RFC 6762, RFC 6763.
"""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Sequence
from dataclasses import dataclass
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
_LOOPBACK: Final = "127.0.0.1"
_NOT_HERE: Final = (errno.EADDRNOTAVAIL, errno.ENODEV)


@dataclass(frozen=True, slots=True)
class Place:
    """An IP address of an interface of this machine.

    Args:
        text: the address; of an IPv6 link-local one with its scope.
        interface: the index of the interface.
    """

    text: str
    interface: int

    @property
    def network(self) -> tuple[int, bool]:
        """What joins a group: the interface, and whether by IPv6."""
        return self.interface, ":" in self.text

    @property
    def is_loopback(self) -> bool:
        return ip_address(self.text.partition("%")[0]).is_loopback


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
        self._heard: frozenset[tuple[int, bool]] = frozenset()

    async def open(self, addresses: Sequence[str], found: OnSighting) -> None:
        self._found = found
        try:
            # Before the sockets: of an interface that is made anew meanwhile, nothing counts.
            places = machine_places()
        except OSError as error:
            raise DiscoveryError(f"the interfaces cannot be listed: {error}") from None
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
        bound = _bound_by(self._zone)
        self._heard = frozenset(one.network for one in places if one.text in bound)

    def unheard(self) -> list[str]:
        """See `Zone`. One socket hears all addresses of an interface, but those of IPv6 apart."""
        return [
            one.text
            for one in machine_places()
            if (one.text == _LOOPBACK if self._loopback else not one.is_loopback)
            and one.network not in self._heard
            and can_be_bound(one.text)
        ]

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
        # A machine may have no IPv6.
        versions = [IPVersion.V4Only] if self._loopback else [IPVersion.All, IPVersion.V4Only]
        interfaces = [_LOOPBACK] if self._loopback else InterfaceChoice.All
        problem: Exception | None = None
        for version in versions:
            try:
                return AsyncZeroconf(interfaces=interfaces, ip_version=version)
            except OSError as error:
                problem = error
            except RuntimeError as error:  # no interface has an address of this kind
                problem = problem or error
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


def _bound_by(zone: AsyncZeroconf) -> set[str]:
    """The addresses that it speaks from, written as in `Place`.

    zeroconf leaves out what it cannot bind and says so nowhere; an interface hears where an address
    of it is bound.
    """
    found = set()
    for sender in zone.zeroconf.engine.senders:
        host, _, *more = sender.sock_name
        scope = more[1] if more else 0
        bare = host.partition("%")[0]
        found.add(f"{bare}%{scope}" if scope else bare)
    return found


def machine_places() -> list[Place]:
    """The IP addresses of this machine, usable or not. Raises OSError."""
    found = []
    for adapter in ifaddr.get_adapters():
        if adapter.index is None:
            continue  # it went away while they were listed
        for ip in adapter.ips:
            text = ip.ip if isinstance(ip.ip, str) else f"{ip.ip[0]}%{ip.ip[2]}"
            bare = text.partition("%")[0]
            found.append(Place(text if ip_address(bare).is_link_local else bare, adapter.index))
    return found


def machine_addresses() -> list[str]:
    """The IP addresses that this machine can use now, loopback apart; IPv6 link-local ones with
    their scope. Raises OSError.
    """
    return [one.text for one in machine_places() if not one.is_loopback and can_be_bound(one.text)]


def can_be_bound(address: str) -> bool:
    """Whether this machine can use an IP address of its own now.

    It cannot while IPv6 asks whether another machine has it (RFC 4862, 5.4), after one had it, and
    while the interface is down. Where the system refuses for another reason, the address counts.
    """
    try:
        family, *_, where = socket.getaddrinfo(
            address, 0, type=socket.SOCK_DGRAM, flags=socket.AI_NUMERICHOST
        )[0]
    except socket.gaierror:
        return False  # the scope is gone
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind(where)
    except OSError as error:
        return error.errno not in _NOT_HERE
    return True
