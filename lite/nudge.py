"""Telling a running daemon that something was written: one datagram, and nothing where none runs.

A daemon would otherwise have to look again and again. What is lost is found at its next heartbeat.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Final

__all__ = ["PEERS", "RECORDS", "SOCKET", "SOCKET_BYTES_MAX", "nudge"]

SOCKET: Final = "nudge.sock"  # in the home; a link where the path is too long for a socket
SOCKET_BYTES_MAX: Final = 100  # of its path; systems take 104 or 108 with the end mark
RECORDS: Final = b"r"  # receipts, tokens, revocations, runs or schedules
PEERS: Final = b"p"  # peers, their rights or addresses


def nudge(home: Path, what: bytes) -> None:
    """Tell the daemon of a home, if there is one, that `what` (`RECORDS` or `PEERS`) was written.

    Never waits and never fails.
    """
    path = f"{home}/{SOCKET}"
    try:
        os.lstat(path)
    except OSError:
        return
    import socket

    with suppress(OSError):  # nobody listens any more, or it has more to read than it can hold
        if len(os.fsencode(path)) > SOCKET_BYTES_MAX:
            path = str(Path(path).readlink())
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.setblocking(False)
            sender.sendto(what, path)
