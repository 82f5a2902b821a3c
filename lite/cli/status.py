"""`ipvm status`: the home and what is in it."""

from __future__ import annotations

import click

from lite.cli.command import verb
from lite.cli.present import counted, size
from lite.cli.shell import Shell


@verb("status", example="ipvm status\nipvm status --json")
@click.pass_obj
def status(shell: Shell) -> None:
    """Show this node's home, name, contents and engine setting."""
    node = shell.node()
    stats = node.store.stats()
    secrets = node.store.secrets.count()
    if shell.json:
        shell.emit(
            {
                "home": str(node.home),
                "read_only": node.store.read_only,
                "did": node.did,
                "blocks": stats.blocks,
                "bytes": stats.block_bytes,
                "receipts": stats.receipts,
                "names": stats.names,
                "pins": stats.pins,
                "secrets": secrets,
                "file_bytes": stats.file_bytes,
                "engine": node.config.engine,
                "durability": node.config.durability,
            }
        )
        return
    shell.line(f"home      {node.home}{' (read only)' if node.store.read_only else ''}")
    shell.line(f"node      {node.did or 'unknown: its key cannot be read'}")
    shell.line(f"blocks    {stats.blocks}, {size(stats.block_bytes)}")
    shell.line(f"receipts  {stats.receipts}")
    shell.line(f"names     {stats.names}, {counted(stats.pins, 'pin')}")
    if secrets:
        shell.line(f"secret    {secrets} blocks and receipts stay on this node")
    shell.line(f"store     {size(stats.file_bytes)}, durability {node.config.durability}")
    shell.line(f"engine    {node.config.engine}")
