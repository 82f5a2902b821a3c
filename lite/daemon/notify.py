"""Telling systemd how far the start or the stop has come (sd_notify(3)); nothing elsewhere."""

from __future__ import annotations

import socket
from contextlib import suppress

from lite.environment import environment

__all__ = ["notify"]


def notify(*lines: str) -> None:
    """Send assignments such as `READY=1` to the socket of NOTIFY_SOCKET, if there is one."""
    path = environment("NOTIFY_SOCKET")
    if path is None:
        return
    if path.startswith("@"):  # an abstract socket
        path = "\0" + path[1:]
    # Whoever started this may not listen any more.
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.connect(path)
        sender.send("\n".join(lines).encode("utf-8", "replace"))
