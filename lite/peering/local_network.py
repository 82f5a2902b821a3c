"""Finding others on the local network, from what a node listens on."""

from __future__ import annotations

from collections.abc import Sequence

from sync.discovery import Discovery, LocalNetwork
from sync.wall import SystemClock

__all__ = ["local_network"]


def local_network(did: str, listening: Sequence[tuple[str, int]], port: int) -> Discovery:
    """mDNS for a node that listens there: (IP, port) each; `port` is announced."""
    from sync.mdns import MdnsZone, can_be_bound, machine_addresses

    clock = SystemClock()
    hosts = [host for host, _ in listening]
    everywhere = any(host in ("0.0.0.0", "::") for host in hosts)
    loopback = all(host.startswith("127.") or host == "::1" for host in hosts)
    return LocalNetwork(
        lambda: MdnsZone(did, port, loopback=loopback),
        machine_addresses if everywhere else lambda: [one for one in hosts if can_be_bound(one)],
        clock,
        clock.awake_and_asleep,
    )
