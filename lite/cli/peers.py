"""`ipvm peers`: other nodes, and what each may do here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click

from lite.cli.command import group, offers, verb
from lite.cli.peers_find import (
    USUAL_RIGHTS,
    book_of,
    called,
    checked_name,
    daemon_of,
    find_peer,
    right_options,
    rights_of,
    tell_daemon,
)
from lite.cli.peers_pairing import invite, pair
from lite.cli.present import age, one_line
from lite.cli.shell import Shell
from lite.errors import IpvmError, UsageError

if TYPE_CHECKING:
    from lite.node import Node
    from sync.peers import Peer, PeerBook

WRONG: Final = "wrong-answer"  # `lite.offload.confirming`, which is loaded with offloading alone

_REVOKE: Final = "`ipvm ucan list` shows which, `ipvm ucan revoke` takes it back"

peers = group(
    "peers",
    help="Other nodes: who is known, where, and what each may do here.",
    example="ipvm peers list\nipvm peers invite\nipvm peers add 0F3ZQ-…",
)
peers.add_command(invite)


@verb("list", in_group=peers, example="ipvm peers list\nipvm peers list --json")
@click.pass_obj
def list_(shell: Shell) -> None:
    """List the peers: name, rights and, where a daemon runs, whether they are in sync."""
    from lite.peering.readers import delegated_readers

    node, book = book_of(shell)
    live, refused = _live(shell), node.store.outbox.refusals()
    found, delegated = book.peers(), delegated_readers(node.store, node.key, node.clock)
    readers, takers = list(delegated.records), list(delegated.blocks)
    if shell.json:
        told = [
            {
                **_fields(book, one),
                **_link((live or {}).get(one.did)),
                "refused": refused.get(one.did, {}),  # of its answers to steps sent to it, by code
                "delegated": one.did in readers,
                "delegated_blocks": one.did in takers,
            }
            for one in found
        ]
        lists = {"readers": readers, "block_readers": takers}
        shell.emit({"daemon": live is not None, "peers": told, **lists})
        return
    now = node.clock.now()
    for one in found:
        state = _link((live or {}).get(one.did))
        rights = " ".join(sorted(one.rights)) or "no rights"
        rights += ", reads by a delegation" if one.did in readers else ""
        rights += ", has blocks by a delegation" if one.did in takers else ""
        met = f"met {age(one.met_at, now)}" if one.met_at else "never met"
        if state["link"]:
            met = "in sync" if state["in_sync"] else f"{state['link']} {state['why']}".strip()
        wrong = ", gave a wrong answer" if WRONG in refused.get(one.did, {}) else ""
        shell.line(
            f"{called(one.did, one.name):<12}  {rights:<24}  {one_line(met)}{wrong}  {one.did}"
        )
    if not found:
        shell.note(
            "ipvm: no peers; `ipvm peers invite` here and `ipvm peers add CODE` there pair two"
        )
    for did in sorted({*readers, *takers} - {one.did for one in found}):
        what = _delegated(did in readers, did in takers)
        shell.note(f"ipvm: {did} is no peer, and {what} by a delegation: {_REVOKE}")


@verb(
    "trust",
    in_group=peers,
    example="ipvm peers trust did:key:z6Mk… --name pi\nipvm peers trust pi --answers",
)
@click.argument("peer", metavar="DID|NAME", shell_complete=offers("peers"))
@click.option("--name", metavar="NAME", help="What to call it here.")
@right_options
@click.pass_obj
def trust(shell: Shell, /, peer: str, name: str | None, **flags: bool) -> None:
    """Give a peer rights, beside those that it has: read and blocks unless others are named.

    A name, or the end of a DID that only one peer has, stands for a peer that is known. A wrong
    answer that it gave is forgiven.
    """
    node, book = book_of(shell)
    did = find_peer(book, peer, new=True)
    _not_self(shell, did)
    node.store.outbox.forgive(did)
    called_now = None if name is None else checked_name(book, did, name)
    changed = book.trust(did, rights_of(flags), called_now)
    _say(shell, book, changed)
    lacking = [right for right in USUAL_RIGHTS if right not in changed.rights]
    if lacking:
        shell.note(
            f"ipvm: it has {', '.join(sorted(changed.rights))}; not given: {', '.join(lacking)}"
        )
        flags_for = " ".join(f"--{right}" for right in lacking)
        shell.note(f"  → `ipvm peers trust {called(did, changed.name)} {flags_for}`")


@verb("untrust", in_group=peers, example="ipvm peers untrust pi\nipvm peers untrust pi --answers")
@click.argument("peer", metavar="DID|NAME", shell_complete=offers("peers"))
@right_options
@click.pass_obj
def untrust(shell: Shell, /, peer: str, **flags: bool) -> None:
    """Take rights away: all, unless some are named. Channels that they allowed end at once.

    What it has got already, it has. The code of an invitation that it took works no more.
    """
    node, book = book_of(shell)
    taken = rights_of(flags, usual=())
    did = find_peer(book, peer)
    changed = book.untrust(did, taken or None)
    _close_invitations(node, did)
    _say(shell, book, changed)
    _say_delegated(shell, node, did)


@verb(
    "add",
    in_group=peers,
    example="ipvm peers add 0F3ZQ-…\nipvm peers add did:key:z6Mk…@10.0.0.2:4747 --name pi --read",
)
@click.argument("what", metavar="CODE|DID@HOST:PORT")
@click.option("--name", metavar="NAME", help="What to call it here.")
@right_options
@click.pass_obj
def add(shell: Shell, /, what: str, name: str | None, **flags: bool) -> None:
    """Pair with the node that printed CODE, or note where a node is.

    With a code both trust each other, with the rights that the code says, or here with those that
    are named. With an address alone the node has no rights here until `ipvm peers trust` or a
    flag gives it some. Exit status 3: the other node cannot be reached; 4: it does not take the
    code.
    """
    if what.startswith("did:"):
        _add_address(shell, what, name, rights_of(flags, usual=()))
        return
    did = pair(shell, what, rights_of(flags, usual=()), name)
    _, book = book_of(shell)
    from sync.peers import Peer

    _say(shell, book, book.peer(did) or Peer(did))  # the owner can have removed it meanwhile


@verb("remove", in_group=peers, example="ipvm peers remove pi")
@click.argument("peer", metavar="DID|NAME", shell_complete=offers("peers"))
@click.pass_obj
def remove(shell: Shell, peer: str) -> None:
    """Forget a peer with its rights, name and addresses. Its receipts stay."""
    node, book = book_of(shell)
    did = find_peer(book, peer)
    book.remove(did)
    _close_invitations(node, did)
    tell_daemon(shell)
    if shell.json:
        shell.emit({"removed": did})
    _say_delegated(shell, node, did)


@verb("name", in_group=peers, example="ipvm peers name did:key:z6Mk… pi")
@click.argument("peer", metavar="DID|NAME", shell_complete=offers("peers"))
@click.argument("name", metavar="NEW")
@click.pass_obj
def name_(shell: Shell, peer: str, name: str) -> None:
    """Call a peer by another name; only this node uses it."""
    _, book = book_of(shell)
    did = find_peer(book, peer)
    _say(shell, book, book.rename(did, checked_name(book, did, name)))


def _say_delegated(shell: Shell, node: Node, did: str) -> None:
    """What a right that was taken away does not end."""
    from lite.peering.readers import BLOCKS_COMMAND, Readers

    readers = Readers(node.store, node.key, node.clock)
    if what := _delegated(readers.may_read(did), readers.may_read(did, BLOCKS_COMMAND)):
        shell.note(f"ipvm: it still {what} here, by a delegation: {_REVOKE}")


def _delegated(records: bool, blocks: bool) -> str:
    return " and ".join(
        [*(["reads records"] if records else []), *(["has blocks"] if blocks else [])]
    )


def _close_invitations(node: Node, did: str) -> None:
    from lite.peering.pairing import Invitations

    Invitations(node.store, node.clock).close(did)


def _add_address(shell: Shell, what: str, name: str | None, rights: tuple[str, ...]) -> None:
    did, at, address = what.partition("@")
    if not at:
        raise UsageError(
            f"{what} says not where the node is",
            hint="Write did:key:…@HOST:PORT; without an address: `ipvm peers trust`.",
        )
    _, book = book_of(shell)
    did = find_peer(book, did, new=True)
    _not_self(shell, did)
    name = None if name is None else checked_name(book, did, name)
    try:
        book.add_static(did, address)
    except ValueError as error:
        raise UsageError(str(error)) from None
    peer = book.trust(did, rights, name)
    _say(shell, book, peer)
    if not peer.rights:
        shell.note(f"  → It has no rights yet: `ipvm peers trust {called(did, peer.name)}`")


def _say(shell: Shell, book: PeerBook, peer: Peer) -> None:
    """What a peer may do now; a running daemon acts on it."""
    tell_daemon(shell)
    if shell.json:
        shell.emit(_fields(book, peer))
        return
    rights = ", ".join(sorted(peer.rights)) or "nothing"
    shell.line(f"{called(peer.did, peer.name)}  {rights}  {peer.did}")


def _fields(book: PeerBook, peer: Peer) -> dict[str, Any]:
    return {
        "did": peer.did,
        "name": peer.name,
        "rights": sorted(peer.rights),
        "added_at": peer.added_at,
        "met_at": peer.met_at,
        "banned_s": book.banned_s(peer.did),
        "addresses": [
            {"text": one.text, "source": one.source, "worked_at": one.worked_at}
            for one in book.addresses(peer.did)
        ],
    }


def _live(shell: Shell) -> dict[str, dict[str, Any]] | None:
    """What a running daemon says of each peer; None: none runs."""
    link = daemon_of(shell)
    if link is None:
        return None
    try:
        return {one["peer"]["did"]: one for one in link.get("/v1/peers")["peers"]}
    except IpvmError:
        return None


def _link(told: dict[str, Any] | None) -> dict[str, Any]:
    if told is None:
        return {"link": None, "in_sync": None, "why": None}
    return {"link": told["link"], "in_sync": told["in_sync"], "why": told["why"]}


def _not_self(shell: Shell, did: str) -> None:
    if did == shell.node().did:
        raise UsageError("that is this node itself", hint="`ipvm id` there shows the other's DID.")
