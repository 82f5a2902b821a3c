"""A switch in user space that loses frames, for kernels that cannot lose them by themselves."""

from __future__ import annotations

import selectors
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from random import Random

from tests.sync_process_support import Space

_ALL = 0x0003  # ETH_P_ALL
_FRAME_BYTES = 65_536
_OWN = 4  # PACKET_OUTGOING: what the switch itself sent
# The kernel leaves checksums of frames to a network card, which there is none of here.
_CHECKSUMS = """
import array, fcntl, socket, struct
value = array.array("B", struct.pack("II", 0x17, 0))
request = struct.pack("16sP", b"e0", value.buffer_info()[0])
fcntl.ioctl(socket.socket(), 0x8946, request)
"""


class LossySwitch:
    """Joins spaces until it is left.

    Args:
        loss: the share of the frames that do not arrive, for each that should get them.
    """

    def __init__(self, spaces: Sequence[Space], loss: float, seed: int) -> None:
        self._loss = loss
        self._random = Random(seed)
        self._ports: list[socket.socket] = []
        self._ended, self._end = socket.socketpair()
        for space in spaces:
            command = ["ip", "netns", "exec", space.name, sys.executable, "-c", _CHECKSUMS]
            subprocess.run(command, check=True, timeout=30)
            subprocess.run(["ip", "link", "set", space.outer, "nomaster"], check=True)
            port = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ALL))
            port.bind((space.outer, 0))
            port.setblocking(False)
            self._ports.append(port)
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> LossySwitch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.close()
        self._thread.join()
        for one in (*self._ports, self._ended):
            one.close()

    def _run(self) -> None:
        with selectors.DefaultSelector() as ready:
            for one in (*self._ports, self._ended):
                ready.register(one, selectors.EVENT_READ)
            while True:
                for key, _ in ready.select():
                    if key.fileobj is self._ended:
                        return
                    assert isinstance(key.fileobj, socket.socket)
                    self._pass_on(key.fileobj)

    def _pass_on(self, port: socket.socket) -> None:
        with suppress(BlockingIOError):
            while True:
                frame, (_, _, kind, *_) = port.recvfrom(_FRAME_BYTES)
                if kind == _OWN:
                    continue
                for other in self._ports:
                    if other is not port and self._random.random() >= self._loss:
                        with suppress(OSError):  # its queue is full: one more that is lost
                            other.send(frame)
