"""Bringing the node among its peers: where it listens, and what of it becomes an event."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from lite.errors import StoreError, UsageError
from lite.http.events import EventLog
from lite.nudge import RECORDS

if TYPE_CHECKING:
    from lite.daemon.providing import Providing
    from lite.node import Node
    from lite.peering.peering import Peering
    from lite.peering.values import PeerEvent
    from lite.store import Store

__all__ = ["kind_of", "meet", "parse_listen"]

Addresses = Sequence[tuple[str, int]]

_EVERYWHERE: Final = ("0.0.0.0", "::")
_OF_SYNC: Final = ("received", "refused", "synced", "fetched", "letter")
_STORED: Final = ("received", "fetched", "letter")
_LONG: Final = ("receipts", "cids")  # many CIDs; an event `receipt.added` names each receipt


def parse_listen(text: str) -> tuple[str, int]:
    """Read `IP:PORT` of `--listen`.

    Raises:
        UsageError: it is none.
    """
    import ipaddress

    host, _, port = text.rpartition(":")
    try:
        ip = ipaddress.ip_address(host.strip("[]"))
        number = int(port) if port.isascii() and port.isdigit() else -1
    except ValueError:
        ip, number = None, -1
    if ip is None or not 0 <= number < 65_536:
        raise UsageError(
            f"--listen {text}: an address and a port are needed",
            hint="For example --listen 0.0.0.0:4747, or --listen 127.0.0.1:0 for any free port.",
        )
    return str(ip), number


def kind_of(kind: str) -> str:
    """What an event of peering is called in the log."""
    return f"{'sync' if kind in _OF_SYNC else 'peer'}.{kind}"


async def meet(
    node: Node,
    store: Store,
    events: EventLog,
    *,
    listen: Addresses,
    mdns: bool,
    metered: bool,
    wrote: Callable[[bytes], None],
    providing: Providing,
) -> Peering:
    """Peering that has started.

    Args:
        store: a handle of its own.
        listen: nothing: everywhere on the usual port, else on a free one.
        wrote: told when something of a peer was stored.
        providing: answers the paths for jobs.

    Raises:
        StoreError: it cannot listen there, or the store cannot be used. StoreFull: no space.
    """
    from lite.offload.grants import Grants
    from lite.peering.peering import Peering

    def on_event(event: PeerEvent) -> None:
        told = {name: value for name, value in event.data.items() if name not in _LONG}
        told |= {"peer": event.peer, "name": event.name, "text": event.text}
        events.tell(kind_of(event.kind), **told)
        if event.kind in _STORED:
            wrote(RECORDS)
        if event.kind == "letter":
            providing.letter_came()

    fault: OSError | None = None
    for addresses in [listen] if listen else _usual():
        try:
            peering = Peering(
                node.config,
                node.key,
                store,
                node.clock,
                listen=addresses,
                mdns=mdns,
                metered=metered,
                on_event=on_event,
                routes=providing.desk.routes,
                posts=providing.desk.posts,
                offered=providing.provider.offered,
            )
            peering.readers += [providing.provider.results.may_read, Grants(node.store).may_read]
            await peering.start()
        except OSError as error:
            fault = error
            continue
        return peering
    raise _cannot_listen(listen, fault)


def _usual() -> list[Addresses]:
    """Where a node listens by itself: the first of these that can be used."""
    from lite.peering.peering import SERVICE_PORT

    return [
        [(host, SERVICE_PORT) for host in _EVERYWHERE],
        [(_EVERYWHERE[0], SERVICE_PORT)],  # a machine without IPv6
        [(_EVERYWHERE[0], 0)],  # another home of this machine has the port
    ]


def _cannot_listen(listen: Addresses, fault: OSError | None) -> StoreError:
    where = ", ".join(f"{host}:{port}" for host, port in listen) or "any port"
    why = "no address" if fault is None else fault.strerror or str(fault)
    return StoreError(
        f"cannot listen for peers on {where}: {why}",
        hint="Choose another with --listen IP:PORT; port 0 takes a free one.",
    )
