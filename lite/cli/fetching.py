"""Fetching what is missing here from the peers of a running daemon, because somebody asked for it
by name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from lite.cli.peers_find import daemon_of
from lite.cli.present import one_line, size
from lite.cli.shell import Shell
from lite.errors import IpvmError
from lite.ipld.cid import CID

if TYPE_CHECKING:
    from lite.node import Node

__all__ = ["ask_peers", "fetch_from_peers"]

WITHIN_S: Final = 600.0
_SPARE_S: Final = 10.0
_AT_ONCE: Final = 1_000


def fetch_from_peers(
    shell: Shell,
    node: Node,
    cids: Sequence[CID],
    *,
    deep: bool = True,
    bytes_max: int | None = None,
    within_s: float = WITHIN_S,
) -> str:
    """Get blocks, with `deep` everything below them; why some are still not here, in one line;
    empty when all are, or nobody can be asked.

    Args:
        bytes_max: at most the setting `peers.fetch_bytes`, which is the default.
    """
    link = None if shell.offline or not cids else daemon_of(shell)
    if link is None:
        return ""
    most: int = node.config["peers.fetch_bytes"]
    asked: dict[str, Any] = {
        "cids": [str(cid) for cid in cids],
        "deep": deep,
        "bytes_max": most if bytes_max is None else min(most, bytes_max),
        "within_ms": int(within_s * 1000),
    }
    try:
        link.get("/v1/status", timeout_s=_SPARE_S)  # one that is frozen is not waited for so long
        told = link.post("/v1/fetch", asked, timeout_s=within_s + _SPARE_S)
    except IpvmError as error:
        return one_line(str(error))
    if told["bytes"]:
        shell.note(f"ipvm: fetched {size(told['bytes'])} from peers")
    return one_line(str(told["why"]))


def ask_peers(shell: Shell, node: Node, instructions: Sequence[CID]) -> None:
    """Ask for receipts of instructions; those that come are stored."""
    link = None if shell.offline or not instructions else daemon_of(shell)
    if link is None:
        return
    from lite.link import DaemonNeighbours

    neighbours, within_ms = DaemonNeighbours(link), node.config["peers.ask_ms"]
    for at in range(0, len(instructions), _AT_ONCE):
        neighbours.ask(instructions[at : at + _AT_ONCE], within_ms)
