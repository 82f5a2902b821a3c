"""`ipvm sync`: bring this node and its peers together now."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import click

from lite.cli.command import offers, verb
from lite.cli.peers_find import book_of, called, daemon_of, find_peer
from lite.cli.present import counted, one_line, size
from lite.cli.shell import Shell, TaskEnded
from lite.cli.status_peers import records_held
from lite.errors import ConfigError, QueuedError, UsageError
from lite.frozen import fields

if TYPE_CHECKING:
    from lite.node import Node
    from lite.peering.together import PeerRound, Round
    from lite.peering.values import PeerEvent
    from sync.peers import PeerBook

STATUS_DIFFERS: Final = 1
STATUS_UNREACHED: Final = QueuedError.exit_code
WITHIN_S_MAX: Final = 3600
_SPARE_S: Final = 10.0
_LOOK_S: Final = 0.1


@verb("sync", example="ipvm sync\nipvm sync pi --within 2m\nipvm sync --once --json")
@click.argument("peer", metavar="[PEER]", required=False, shell_complete=offers("peers"))
@click.option(
    "--once", is_flag=True, help="Try each peer once; do not wait for those out of reach."
)
@click.option("--dry-run", is_flag=True, help="Only say whom it would dial, and where.")
@click.option(
    "--within",
    metavar="TIME",
    default="30s",
    show_default=True,
    help="How long to try at most.",
)
@click.pass_obj
def sync(shell: Shell, peer: str | None, once: bool, dry_run: bool, within: str) -> None:
    """Exchange receipts and tokens with one peer, or with all that have rights here, until each set
    was seen to be equal.

    Works by the daemon of this home, else by itself; then it only dials. A line on each peer says
    what came and went, and why it is not in sync, if so. Exit status: 0 only when in sync with all
    that were asked for; 3 when none of them could be reached; 1 when some are not in sync.
    """
    within_s = _seconds(within)
    node, book = book_of(shell)
    did = None if peer is None else find_peer(book, peer)
    known = [one for one in book.peers() if (one.rights if did is None else one.did == did)]
    if not known or not all(one.rights for one in known):
        who = "no peer has" if did is None else f"{peer} has not"
        raise QueuedError(
            f"{who} any right here, so that there is nothing to share",
            hint="`ipvm peers trust` gives rights; `ipvm peers invite` pairs two nodes.",
        )
    if dry_run:
        _would(shell, node, book, [one.did for one in known])
        return
    if shell.offline:
        raise QueuedError("syncing needs the network; --offline was given")
    found = _found(shell, node, did, within_s, once)
    _show(shell, found)
    if found["in_sync"]:
        return
    reached = any(one["link"] == "connected" or one["in_sync"] for one in found["peers"])
    raise TaskEnded(STATUS_DIFFERS if reached else STATUS_UNREACHED)


def _found(
    shell: Shell, node: Node, did: str | None, within_s: float, once: bool
) -> Mapping[str, Any]:
    """What came of it, as the API tells it. A daemon that comes meanwhile takes it over."""
    ends_at = node.clock.monotonic() + within_s
    while True:
        left_s = max(0.0, ends_at - node.clock.monotonic())
        link = daemon_of(shell)
        if link is not None:
            asked = {"peer": did, "within_ms": int(left_s * 1000), "once": once}
            return link.post("/v1/sync", asked, timeout_s=left_s + _SPARE_S)
        found = _alone(shell, node, did, left_s, once)
        if found is not None:
            return {"in_sync": found.in_sync, "peers": [_map(one) for one in found.peers]}
        _await_daemon(shell, node)


def _await_daemon(shell: Shell, node: Node) -> None:
    """Until the daemon that is just starting can be asked; one that does not get so far is not
    waited for."""
    from threading import Event

    ends_at, pause = node.clock.monotonic() + _SPARE_S, Event()
    while daemon_of(shell) is None and node.clock.monotonic() < ends_at:
        pause.wait(_LOOK_S)  # its card appears as a file


def _alone(shell: Shell, node: Node, did: str | None, within_s: float, once: bool) -> Round | None:
    """The same by this process; None: a daemon does it."""
    from lite.peering.alone import sync_alone

    def heard(event: PeerEvent) -> None:
        if event.kind == "problem":
            shell.note(f"ipvm: {one_line(event.text)}")

    return sync_alone(
        node.config,
        node.key,
        node.store,
        node.clock,
        None if did is None else {did},
        within_s,
        once=once,
        on_event=heard,
        has_daemon=lambda: daemon_of(shell) is not None,
    )


def _map(one: PeerRound) -> dict[str, Any]:
    return {name: getattr(one, name) for name in fields(one)}


def _show(shell: Shell, found: Mapping[str, Any]) -> None:
    if shell.json:
        shell.emit({"in_sync": found["in_sync"], "peers": found["peers"]})
        return
    for one in found["peers"]:
        shell.line(f"{called(one['did'], one['name']):<12}  {_line(one)}")


def _line(one: Mapping[str, Any]) -> str:
    moved = []
    if one["bytes_in"] or one["bytes_out"]:
        moved = [
            f"received {counted(one['received'], 'record')}, gave {one['given']}",
            f"{size(one['bytes_in'])} in, {size(one['bytes_out'])} out",
        ]
    if one["in_sync"]:
        return "  ".join(["in sync", records_held(one["count"], one["unheld"]), *moved])
    if one["link"] == "connected":
        return "  ".join([f"not in sync: {one_line(one['why'])}", *moved])
    return "  ".join([f"not reached: {one_line(one['why'])}", *moved])


def _would(shell: Shell, node: Node, book: PeerBook, dids: list[str]) -> None:
    from lite.peering.readers import Readers

    found, readers = [], Readers(node.store, node.key, node.clock)
    for did in dids:
        peer = book.peer(did)
        assert peer is not None, "it was just listed"
        where = [one.text for one in book.addresses(did)]
        reads = "read" in peer.rights or readers.may_read(did)
        shares = ["letters", "capabilities", *(["records"] if reads else [])]
        found.append({"did": did, "name": peer.name, "addresses": where, "sets": shares})
    if shell.json:
        shell.emit({"dry_run": True, "peers": found})
        return
    for one in found:
        places = ", ".join(one["addresses"]) or "where it is, is not known"
        shell.line(f"{called(str(one['did']), str(one['name'])):<12}  {places}")


def _seconds(text: str) -> float:
    from lite.quantities import parse_duration_ms

    try:
        seconds = parse_duration_ms(text) / 1000
    except ConfigError as error:
        raise UsageError(f"--within: {error}", hint="Write 30s or 5m.") from None
    if seconds > WITHIN_S_MAX:
        raise UsageError("--within: at most an hour", hint="`ipvm daemon` stays in sync.")
    return seconds
