"""A wire between two processes on loopback that a test cuts and mends; it counts bytes."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from contextlib import suppress

_HERE = (
    "127.0.0.3"  # where it listens: nobody else does, so addresses learned through it lead nowhere
)
_FROM = "127.0.0.9"
_PART = 65_536


class Wire:
    """A context manager: forwards TCP connections to an address.

    Args:
        target: `host:port`, asked for each connection; empty: nobody listens.

    Attributes:
        bytes: that went through, both ways.
        cut_after: cut by itself when so many bytes have gone through; None: never.
    """

    def __init__(self, target: Callable[[], str]) -> None:
        self._target = target
        self._lock = threading.Lock()
        self._ends: set[socket.socket] = set()
        self._going: list[threading.Thread] = []
        self._is_whole = True
        self.bytes = 0
        self.cut_after: int | None = None
        self._listening = socket.create_server((_HERE, 0))
        self.address = f"{_HERE}:{self._listening.getsockname()[1]}"
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()

    def cut(self) -> None:
        """Break all connections; new ones are refused at once."""
        with self._lock:
            self._is_whole = False
            ends, self._ends = self._ends, set()
        for end in ends:
            _shut(end)

    def mend(self) -> None:
        """Let connections through again."""
        with self._lock:
            self._is_whole = True
            self.cut_after = None

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *_: object) -> None:
        self.cut()
        _shut(self._listening)
        self._accepting.join()
        self._listening.close()
        for both in self._going:
            both.join()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listening.accept()
            except OSError:
                return
            far = self._dialled()
            with self._lock:
                if far is not None and self._is_whole:
                    self._ends |= {near, far}
                    both = threading.Thread(target=self._both, args=(near, far), daemon=True)
                    self._going.append(both)
                    both.start()
                    continue
            for end in (near, far):
                if end is not None:
                    end.close()

    def _dialled(self) -> socket.socket | None:
        host, _, port = self._target().rpartition(":")
        if not host:
            return None
        with suppress(OSError):
            return socket.create_connection((host, int(port)), 5, source_address=(_FROM, 0))
        return None

    def _both(self, near: socket.socket, far: socket.socket) -> None:
        back = threading.Thread(target=self._pump, args=(far, near), daemon=True)
        back.start()
        self._pump(near, far)
        back.join()
        near.close()
        far.close()

    def _pump(self, one: socket.socket, other: socket.socket) -> None:
        with suppress(OSError):
            while data := one.recv(_PART):
                with self._lock:
                    self.bytes += len(data)
                    late = self.cut_after is not None and self.bytes >= self.cut_after
                if late:
                    self.cut()
                    break
                other.sendall(data)
        for end in (one, other):
            with self._lock:
                self._ends.discard(end)
            _shut(end)


def _shut(end: socket.socket) -> None:
    with suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
