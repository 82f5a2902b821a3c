"""`ipvm ucan send`: an invocation to a peer, as a letter."""

from __future__ import annotations

import click

from lite.cli.command import offers, verb
from lite.cli.peers_find import book_of, called, find_peer
from lite.cli.shell import Shell

__all__ = ["send"]


@verb(
    "send", example="ipvm ucan send job.ucan --to pi\nipvm ucan invoke … | ipvm ucan send - --to pi"
)
@click.argument("token", metavar="FILE|TEXT|-")
@click.option(
    "--to", "peer", metavar="DID|NAME", required=True, shell_complete=offers("peers"), help="Whom."
)
@click.pass_obj
def send(shell: Shell, token: str, peer: str) -> None:
    """Give an invocation of this node to a peer: it goes when the two meet.

    The peer does it if it lets this node (`ipvm provider enable` there) and runs `ipvm daemon`.
    """
    from lite.cli.ucan_source import load
    from lite.peering.letters import send as post

    node, book = book_of(shell)
    did = find_peer(book, peer)
    cid = post(node.store, node.did, did, load(node, token))
    if shell.json:
        shell.emit({"inv": str(cid), "to": did})
        return
    known = book.peer(did)
    shell.note(f"ipvm: {cid} goes to {called(did, '' if known is None else known.name)}")
