"""Connections that end at a deadline, however slowly the other side goes.

`socket` timeouts count from one byte to the next; here every wait gets only what is left until the
deadline. Looking up a name cannot be interrupted, so it runs in a thread that is left behind.
"""

from __future__ import annotations

import io
import socket
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import Any, Final

from lite.engine.base import GuestFailure
from lite.engine.stop import Stop
from lite.errors import QueuedError

ATTEMPT_S_MAX: Final = 10.0  # for one address, when there are more to try
_NAT64: Final = bytes.fromhex("0064ff9b0000000000000000")  # RFC 6052
# Not for everybody, though `ipaddress` of some versions says so: IPv4 by NAT64 of one's own network
# (RFC 8215), by an old form (RFC 4291, 2.5.5.1) and by SIIT (RFC 2765); site-local (RFC 3879),
# documentation (RFC 9637), segment routing (RFC 9602); relays (RFC 7526), service continuity
# (RFC 7335).
_CLOSED: Final = (
    *("64:ff9b:1::/48", "::/96", "::ffff:0:0:0/96", "fec0::/10", "3fff::/20", "5f00::/16"),
    *("192.88.99.0/24", "192.0.0.0/24"),
)


class Deadline:
    """A moment on `time.monotonic`."""

    def __init__(self, ends_at: float) -> None:
        self._ends_at = ends_at

    def left(self) -> float:
        """Seconds that are left; raises `TimeoutError` when there are none."""
        left = self._ends_at - time.monotonic()
        if left <= 0:
            raise TimeoutError("out of time")
        return left


def ended_by(
    stop: Stop | None, line: Callable[[], socket.socket | None]
) -> AbstractContextManager[None]:
    """While it lasts, `stop` breaks the line, so that whoever waits for it waits no longer. Not
    within a TLS handshake, which the deadline ends."""

    def cut() -> None:
        if (sock := line()) is not None:
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    return nullcontext() if stop is None else stop.ending(cut)


class TimedSocket:
    """What `http.client` and `smtplib` need of a socket. Closing it does nothing: its maker does.

    Args:
        bytes_max: how much may be read of it in all; more is a `ConnectionError`.
    """

    def __init__(
        self, sock: socket.socket, deadline: Deadline, bytes_max: int | None = None
    ) -> None:
        self._sock = sock
        self._deadline = deadline
        self._bytes_max = bytes_max

    def sendall(self, data: Any) -> None:
        self._sock.settimeout(self._deadline.left())
        self._sock.sendall(data)  # for which the timeout counts as a whole

    def makefile(self, _mode: str = "rb") -> io.BufferedReader:
        return io.BufferedReader(_Reader(self._sock, self._deadline, self._bytes_max))

    def close(self) -> None:
        return


class _Reader(io.RawIOBase):
    def __init__(self, sock: socket.socket, deadline: Deadline, bytes_max: int | None) -> None:
        super().__init__()
        self._sock = sock
        self._deadline = deadline
        self._left = bytes_max

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._sock.settimeout(self._deadline.left())
        taken = self._sock.recv_into(buffer)
        if self._left is not None:
            self._left -= taken
            if self._left < 0:
                raise ConnectionError("it says too much")
        return taken


def dial(host: str, port: int, deadline: Deadline, *, public_only: bool = False) -> socket.socket:
    """A connected TCP socket.

    Args:
        public_only: no address that only this machine or its network can reach.

    Raises:
        QueuedError: the name is not found or nobody answers; nothing was sent.
        GuestFailure: `address-denied`.
    """
    hint = "It runs when the host can be reached."
    try:
        found = _look_up(host, port, deadline)
    except OSError as error:
        raise QueuedError(f"{host} is not found: {_told(error)}", hint=hint) from error
    if public_only:
        found = [one for one in found if _is_public(str(one[4][0]))]
        if not found:
            raise GuestFailure("address-denied", f"{host} is not on the public internet")
    fault: OSError = OSError("no address")
    for tried, (family, kind, protocol, _, address) in enumerate(found, 1):
        try:
            left = deadline.left()
            timeout = left if tried == len(found) else min(left / 2, ATTEMPT_S_MAX)
            return _connected(socket.socket(family, kind, protocol), address, timeout)
        except OSError as error:  # also a family that this machine has not
            fault = error
    raise QueuedError(f"{host} port {port} cannot be reached: {_told(fault)}", hint=hint)


def _connected(sock: socket.socket, address: Any, timeout: float) -> socket.socket:
    try:
        sock.settimeout(timeout)
        sock.connect(address)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except BaseException:
        sock.close()
        raise
    return sock


def tls(sock: socket.socket, host: str, deadline: Deadline) -> socket.socket:
    """The socket inside TLS, the certificate checked against the system's authorities.

    Raises:
        GuestFailure: `tls`: the other side cannot show that it is `host`, or speaks no TLS.
        QueuedError: the line broke; nothing was sent but the handshake.
    """
    import ssl

    try:
        sock.settimeout(deadline.left())
        return ssl.create_default_context().wrap_socket(sock, server_hostname=host)
    except ssl.SSLCertVerificationError as error:
        reason = error.verify_message or str(error)
        raise GuestFailure("tls", f"the certificate of {host} is not good: {reason}") from error
    except (ssl.SSLEOFError, ssl.SSLZeroReturnError, ConnectionError, TimeoutError) as error:
        raise QueuedError(
            f"{host} cannot be reached: it left in the TLS handshake ({_told(error)})",
            hint="It runs when the host can be reached.",
        ) from error
    except ssl.SSLError as error:
        raise GuestFailure("tls", f"no TLS with {host}: {error.reason or error}") from error


def _look_up(host: str, port: int, deadline: Deadline) -> list[Any]:
    """`getaddrinfo`, until the deadline."""
    import threading

    answer: list[Any] = []

    def ask() -> None:
        try:
            answer.append(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except OSError as error:
            answer.append(error)
        except UnicodeError:  # a label that is empty or too long for a name
            answer.append(OSError("not a host name"))

    left = deadline.left()
    thread = threading.Thread(target=ask, name="ipvm-look-up", daemon=True)
    thread.start()
    thread.join(left)
    if not answer:
        raise TimeoutError("out of time")
    if isinstance(answer[0], OSError):
        raise answer[0]
    found: list[Any] = answer[0]
    return found


def _is_public(address: str) -> bool:
    """Whether the whole internet can reach it; also of the IPv4 address inside of an IPv6 one."""
    from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

    one = ip_address(address.partition("%")[0])
    inside = None
    if isinstance(one, IPv6Address):
        inside = one.ipv4_mapped or one.sixtofour or (one.teredo and one.teredo[1])
        if one.packed.startswith(_NAT64):
            inside = IPv4Address(one.packed[12:])
    judged = inside or one
    if any(judged in ip_network(closed) for closed in _CLOSED):
        return False
    return judged.is_global and not judged.is_multicast


def _told(error: OSError) -> str:
    return error.strerror or str(error) or type(error).__name__
