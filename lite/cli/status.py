"""`ipvm status`: the home and what is in it."""

from __future__ import annotations

import click

from lite.cli.command import verb
from lite.cli.present import counted, short, size
from lite.cli.shell import Shell
from lite.cli.status_peers import meeting_fields, meeting_lines
from lite.cli.status_queue import job_lines, queue_fields, queue_lines
from lite.opinions import contested

_CONFLICTS_SHOWN = 3


@verb("status", example="ipvm status\nipvm status --json")
@click.pass_obj
def status(shell: Shell) -> None:
    """Show this node's home, name and contents, and how it stands with other nodes.

    A peer is called in sync only while a daemon has seen that both have the same, and nothing has
    changed since; else it says what is pending and why.
    """
    node = shell.node()
    stats = node.store.stats()
    secrets = node.store.secrets.count()
    conflicts = contested(node)
    if shell.json:
        shell.emit(
            {
                "home": str(node.home),
                "read_only": node.store.read_only,
                "did": node.did,
                "blocks": stats.blocks,
                "bytes": stats.block_bytes,
                "receipts": stats.receipts,
                "contradicted": [str(cid) for cid in conflicts],
                "names": stats.names,
                "pins": stats.pins,
                "secrets": secrets,
                "file_bytes": stats.file_bytes,
                "engine": node.config.engine,
                "durability": node.config.durability,
                "queue": queue_fields(node),
                "jobs": node.store.jobs.counts(),
                **meeting_fields(shell, node),
            }
        )
        return
    shell.line(f"home      {node.home}{' (read only)' if node.store.read_only else ''}")
    shell.line(f"node      {node.did or 'unknown: its key cannot be read'}")
    shell.line(f"blocks    {stats.blocks}, {size(stats.block_bytes)}")
    shell.line(f"receipts  {stats.receipts}")
    for cid in conflicts[:_CONFLICTS_SHOWN]:
        shell.line(f"          ≠ receipts of {short(cid)} contradict each other; `ipvm why {cid}`")
    if len(conflicts) > _CONFLICTS_SHOWN:
        shell.line(f"          and {len(conflicts) - _CONFLICTS_SHOWN} more like that")
    shell.line(f"names     {stats.names}, {counted(stats.pins, 'pin')}")
    if secrets:
        shell.line(f"secret    {secrets} blocks and receipts stay on this node")
    shell.line(f"store     {size(stats.file_bytes)}, durability {node.config.durability}")
    shell.line(f"engine    {node.config.engine}")
    for line in meeting_lines(shell, node):
        shell.line(line)
    for line in (*queue_lines(node), *job_lines(node)):
        shell.line(line)
