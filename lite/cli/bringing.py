"""Modules that are not here, and the folders on the way to them, from the peers of a daemon."""

from __future__ import annotations

from collections.abc import Sequence
from time import monotonic
from typing import TYPE_CHECKING

from lite.ipld.cid import CID

if TYPE_CHECKING:
    from lite.cli.shell import Shell
    from lite.cli.target import Bring
    from lite.node import Node

__all__ = ["bringing"]


def bringing(shell: Shell, node: Node) -> Bring:
    """Fetches within the time that one instruction has for it, which begins with the first."""
    ends_at: float | None = None

    def bring(cids: Sequence[CID], *, deep: bool) -> None:
        nonlocal ends_at
        from lite.cli.fetching import fetch_from_peers
        from lite.nearby import FETCH_MS

        now = monotonic()
        ends_at = now + FETCH_MS / 1000 if ends_at is None else ends_at
        if now < ends_at:
            most = node.config.engine_caps.module_bytes * 2  # with what leads to its bytes
            within_s = ends_at - now
            fetch_from_peers(shell, node, cids, deep=deep, bytes_max=most, within_s=within_s)

    return bring
