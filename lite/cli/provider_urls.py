"""`ipvm provider add` and `remove`: providers that are known by URL, because they are no peers."""

from __future__ import annotations

import click

from lite.cli.command import verb
from lite.cli.peers_find import tell_daemon
from lite.cli.shell import Shell
from lite.errors import NotFoundError, UsageError

__all__ = ["add", "remove"]


@verb("add", example="ipvm provider add https://jobs.example.org did:key:z6Mk…")
@click.argument("url")
@click.argument("did")
@click.pass_obj
def add(shell: Shell, url: str, did: str) -> None:
    """Note where a provider takes jobs by HTTP, and its name; it signs receipts by that key.

    Import the delegations that it gave you with `ipvm ucan import`: the daemon then has steps that
    cannot run here done there, as peers do them. Inputs cannot be brought that way, so the provider
    has to have them, or fetch them itself.
    """
    from lite.cli.ucan_source import did as checked
    from lite.offload.plain_http import checked_url

    node = shell.node()
    did = checked(did, "DID")
    if did == node.did:
        raise UsageError("that is this node itself")
    node.store.jobs.add_provider(did, checked_url(url))
    tell_daemon(shell)
    if shell.json:
        shell.emit({"did": did, "url": url})
    else:
        shell.line(f"{did}  {url}")


@verb("remove", example="ipvm provider remove did:key:z6Mk…")
@click.argument("did")
@click.pass_obj
def remove(shell: Shell, did: str) -> None:
    """Forget where a provider is. What it signed stays."""
    node = shell.node()
    if not node.store.jobs.remove_provider(did):
        raise NotFoundError(
            f"no provider {did} is known by a URL", hint="`ipvm provider list` shows them."
        )
    tell_daemon(shell)
    if shell.json:
        shell.emit({"removed": did})
