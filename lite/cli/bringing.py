"""Modules that are not here, and the folders on the way to them, from the peers of a daemon."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from lite.absent_module import Bring, bounded
from lite.ipld.cid import CID

if TYPE_CHECKING:
    from lite.cli.shell import Shell
    from lite.node import Node

__all__ = ["bringing"]


def bringing(shell: Shell, node: Node) -> Bring:
    """Fetches within the bounds of one instruction."""

    def fetch(cids: Sequence[CID], *, deep: bool, bytes_max: int, within_s: float) -> None:
        from lite.cli.fetching import fetch_from_peers

        fetch_from_peers(shell, node, cids, deep=deep, bytes_max=bytes_max, within_s=within_s)

    return bounded(node, fetch)
