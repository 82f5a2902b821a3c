"""`ipvm peers invite`, and the other side of it: two nodes that trust each other by one code."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import click

from lite.cli.command import verb
from lite.cli.peers_find import called, checked_name, daemon_of, find_peer, right_options, rights_of
from lite.cli.present import moment
from lite.cli.shell import Shell, need_stdout
from lite.errors import ConfigError, IpvmError, NotFoundError, QueuedError, UsageError

if TYPE_CHECKING:
    from lite.link import Link
    from lite.node import Node
    from lite.peering.pairing import Invitation, Invitations
    from lite.peering.values import PeerEvent

__all__ = ["invite", "pair"]

LASTS_S_MAX: Final = 7 * 86_400
_ANYWHERE: Final = ("0.0.0.0", "::")


@verb(
    "invite", example="ipvm peers invite --answers\nipvm peers invite --for 1h --name laptop --wait"
)
@right_options
@click.option(
    "--for",
    "lasts",
    metavar="TIME",
    default="10m",
    show_default=True,
    help="How long the code works, at most 7d.",
)
@click.option("--name", metavar="NAME", default="", help="What to call whoever takes it.")
@click.option("--qr", is_flag=True, help="Also draw it as a QR code on stderr.")
@click.option(
    "--wait", is_flag=True, help="Wait until it is taken; listens itself without a daemon."
)
@click.option(
    "--listen",
    metavar="IP:PORT",
    multiple=True,
    help="With --wait and no daemon: where to listen; repeatable.",
)
@click.pass_obj
def invite(
    shell: Shell,
    /,
    lasts: str,
    name: str,
    qr: bool,
    wait: bool,
    listen: tuple[str, ...],
    **flags: bool,
) -> None:
    """Print a code: this node and the one where `ipvm peers add CODE` is said trust each other.

    Both get the rights that are named here, else read and blocks. A code works once, for one node,
    and not after its time. Somebody has to listen for it: a daemon, or this command with --wait.
    Exit status 3: --wait ended without anybody.
    """
    from lite.cli.peers_find import book_of
    from lite.peering.pairing import Invitations

    lasts_s = _seconds(lasts)
    need_stdout("No invitation was made. Run this again with standard output open.")
    node, book = book_of(shell)
    checked_name(book, "", name)
    rights = rights_of(flags)
    link = daemon_of(shell)
    invitations = Invitations(node.store, node.clock)
    if link is None and not wait:
        raise UsageError(
            "nobody would answer: no daemon runs on this home",
            hint="Start `ipvm daemon`, or let this command listen itself: add --wait.",
        )
    if link is None:
        asked = _Wait(shell, node, invitations, rights, lasts_s, name, qr)
        _wait_alone(asked, listen)
        return
    if listen:
        raise UsageError("--listen is for --wait without a daemon; a daemon runs on this home")
    after = link.get("/v1/status")["events"]["last"]
    secret = invitations.make(rights, lasts_s, name)
    invitation = _invitation(node, secret, rights, link.card.listens)
    _print(shell, invitation, node.clock.now() + lasts_s, qr)
    if wait:
        _wait_for_daemon(shell, node, invitations, secret, link, after, lasts_s)


def pair(shell: Shell, code: str, rights: Sequence[str], name: str | None) -> str:
    """Show a code to the node that made it, then trust it; its did:key.

    Args:
        rights: what it gets here; nothing: what the code says.

    Raises:
        UsageError: no code. QueuedError: nobody is reached. AuthorityError: the code is refused.
    """
    import asyncio

    from lite.cli.peers_find import book_of
    from lite.peering.joining import join
    from lite.peering.pairing import Invitation
    from sync.peers import TOLD

    if shell.offline:
        raise QueuedError("pairing needs the network; --offline was given")
    invitation = Invitation.parse(code)
    node, book = book_of(shell)
    if invitation.did == node.did:
        raise UsageError("that is the code of this node itself", hint="Enter it on the other node.")
    if name is not None:
        checked_name(book, invitation.did, name)
    heard = [one.text for one in book.addresses(invitation.did)]
    addresses = list(dict.fromkeys([*invitation.addresses, *heard]))
    worked = asyncio.run(join(node.key, invitation, addresses))
    book.trust(invitation.did, rights or invitation.rights, name)
    for address in invitation.addresses:
        book.heard(invitation.did, address, TOLD)
    book.met(invitation.did, worked)
    return invitation.did


class _Wait:
    """An invitation that this process listens for itself."""

    def __init__(
        self,
        shell: Shell,
        node: Node,
        invitations: Invitations,
        rights: Sequence[str],
        lasts_s: int,
        name: str,
        qr: bool,
    ) -> None:
        self.shell = shell
        self.node = node
        self.invitations = invitations
        self.rights = rights
        self.lasts_s = lasts_s
        self.name = name
        self.qr = qr

    async def run(self, listen: Sequence[str]) -> str:
        """Listen until somebody took it; who. Empty: nobody in time."""
        import asyncio

        from lite.daemon.meeting import parse_listen
        from lite.peering.peering import SERVICE_PORT, Peering
        from sync.within import within

        taken = asyncio.Event()

        def heard(event: PeerEvent) -> None:
            if event.kind == "paired":
                taken.set()

        addresses = [parse_listen(text) for text in listen] or [(_ANYWHERE[0], SERVICE_PORT)]
        peering = Peering(
            self.node.config,
            self.node.key,
            self.node.store,
            self.node.clock,
            listen=addresses,
            mdns=False,
            metered=False,
            on_event=heard,
        )
        await peering.start()
        secret = self.invitations.make(self.rights, self.lasts_s, self.name)
        try:
            at = [
                f"[{ip}]:{port}" if ":" in ip else f"{ip}:{port}" for ip, port in peering.listening
            ]
            invitation = _invitation(self.node, secret, self.rights, at)
            _print(self.shell, invitation, self.node.clock.now() + self.lasts_s, self.qr)
            while not self.invitations.taken_by(secret):
                taken.clear()
                await within(taken.wait(), self.lasts_s)
        except asyncio.TimeoutError:
            return ""
        finally:
            who = self.invitations.taken_by(secret)
            if not who:
                self.invitations.withdraw(secret)
            await peering.stop()
        return who


def _wait_alone(asked: _Wait, listen: Sequence[str]) -> None:
    import asyncio

    from lite.errors import StoreError

    try:
        who = asyncio.run(asked.run(listen))
    except OSError as fault:
        raise StoreError(
            f"cannot listen for peers: {fault.strerror or fault}",
            hint="Choose an address with --listen IP:PORT; port 0 takes a free one.",
        ) from None
    _say_who(asked.shell, asked.node, who)


def _wait_for_daemon(
    shell: Shell,
    node: Node,
    invitations: Invitations,
    secret: bytes,
    link: Link,
    after: str,
    lasts_s: int,
) -> None:
    """Follow the daemon's events until the code was taken."""
    from contextlib import suppress
    from queue import Empty, Queue
    from threading import Thread

    paired: Queue[bool] = Queue()

    def follow() -> None:
        with suppress(IpvmError):  # the daemon ended: nobody can take it any more
            for heard in link.events(after):
                if heard.kind == "peer.paired":
                    paired.put(True)
        paired.put(False)

    Thread(target=follow, name="ipvm-events", daemon=True).start()
    ends_at = node.clock.monotonic() + lasts_s
    with suppress(Empty):
        while not invitations.taken_by(secret):
            if not paired.get(timeout=max(0.0, ends_at - node.clock.monotonic())):
                break
    _say_who(shell, node, invitations.taken_by(secret))


def _say_who(shell: Shell, node: Node, did: str) -> None:
    if not did:
        raise QueuedError("nobody took the invitation in time", hint="Make a new one.")
    from lite.peering.book import open_book

    book = open_book(node.store, node.did, node.clock)
    try:
        peer = book.peer(find_peer(book, did))
    except NotFoundError:
        peer = None
    name = "" if peer is None else peer.name
    rights = [] if peer is None else sorted(peer.rights)
    shell.note(f"ipvm: paired with {called(did, name)}: {', '.join(rights)}  {did}")


def _invitation(
    node: Node, secret: bytes, rights: Sequence[str], listens: Sequence[str]
) -> Invitation:
    from lite.peering.pairing import Invitation, address_parts, best_addresses

    found: list[str] = []
    for text in listens:
        ip, port = address_parts(text)
        if ip in _ANYWHERE:
            from sync.mdns import machine_addresses

            kind = ":" in ip
            mine = [one for one in machine_addresses() if (":" in one) == kind and "%" not in one]
            found += [f"[{one}]:{port}" if kind else f"{one}:{port}" for one in mine]
        else:
            found.append(text)
    return Invitation(node.did, secret, frozenset(rights), best_addresses(found))


def _print(shell: Shell, invitation: Invitation, until: int, qr: bool) -> None:
    code = invitation.code()
    if shell.json:
        fields: dict[str, Any] = {
            "code": code,
            "expires_at": until,
            "rights": sorted(invitation.rights),
            "addresses": list(invitation.addresses),
        }
        shell.emit(fields)
    else:
        shell.line(code)
    shell.flush()
    if qr:
        from lite.cli.ucan_delegate import _draw, _qr_code

        _draw(_qr_code(code.replace("-", "")))
    rights = ", ".join(sorted(invitation.rights))
    shell.note(
        f"ipvm: `ipvm peers add CODE` there gives both {rights}; works once, until {moment(until)}"
    )
    if not invitation.addresses:
        shell.note("ipvm: this machine has no address now: the other node has to find it by itself")


def _seconds(text: str) -> int:
    from lite.quantities import parse_duration_ms

    try:
        seconds = parse_duration_ms(text) // 1000
    except ConfigError as error:
        raise UsageError(f"--for: {error}", hint="Write 10m, 1h or 2d.") from None
    if not 1 <= seconds <= LASTS_S_MAX:
        raise UsageError("--for: 1s to 7d", hint="Write 10m, 1h or 2d.")
    return seconds
