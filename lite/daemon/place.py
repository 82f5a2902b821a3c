"""The one daemon of a home: its lock, its sockets, and the file that tells others of it."""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Final

from lite.clock import moment
from lite.environment import environment
from lite.errors import StoreBusy, StoreError
from lite.link import CARD, Card
from lite.nudge import SOCKET, SOCKET_BYTES_MAX
from lite.store import faults
from lite.store.locks import FileLock

__all__ = ["API_SOCKET", "LOCK", "Place", "random_hex"]

LOCK: Final = "daemon.lock"
API_SOCKET: Final = "daemon.sock"
_NAME_CHARS: Final = 12


def random_hex(size: int) -> str:
    """So many random bytes, as hexadecimal digits."""
    return os.urandom(size).hex()


class Place:
    """What a daemon has in the file system. Entered, it is this process's alone.

    Attributes:
        api: where the unix socket of the API belongs. nudges: the same for nudges.
    """

    def __init__(self, home: Path) -> None:
        self.home = home
        self._lock = FileLock(home / LOCK)
        longest = max(len(os.fsencode(home / name)) for name in (API_SOCKET, SOCKET))
        self._folder = home if longest <= SOCKET_BYTES_MAX else _short_folder(home)
        self.api = self._folder / API_SOCKET
        self.nudges = self._folder / SOCKET

    def enter(self) -> None:
        """Take the home's lock, and clear away what a daemon left that was killed.

        Raises:
            StoreBusy: a daemon runs on this home; the message says which.
            StoreError: the home cannot be written, or the folder for the sockets is not safe.
        """
        if not self._lock.acquire(block=False):
            raise _taken(self.home)
        try:
            self._lock.write(f"{os.getpid()}\n")
            self._clear()
            if self._folder != self.home:
                _make_private(self._folder)
                (self.home / SOCKET).symlink_to(self.nudges)
        except OSError as fault:
            self._lock.release()
            raise faults.from_os(fault, self.home) from fault
        except BaseException:
            self._lock.release()
            raise

    def leave(self) -> None:
        """Take everything away again. Safe to call twice."""
        with suppress(OSError):  # a folder that went away took them along
            self._clear()
            if self._folder != self.home:
                self._folder.rmdir()
        self._lock.release()

    def announce(self, card: Card) -> None:
        """Tell others how the daemon is reached.

        Raises:
            StoreError: the file cannot be written. StoreFull: there is no space for it.
        """
        try:
            card.write(self.home)
        except OSError as fault:
            raise faults.from_os(fault, self.home / CARD) from fault

    def withdraw(self) -> None:
        """Let nobody find the daemon any more; those who are connected go on."""
        with suppress(OSError):
            (self.home / CARD).unlink(missing_ok=True)

    def _clear(self) -> None:
        for path in (self.home / CARD, self.api, self.nudges, self.home / SOCKET):
            path.unlink(missing_ok=True)


def _taken(home: Path) -> StoreBusy:
    card = Card.read(home)
    who = "one is just starting or stopping"
    if card is not None:
        who = f"process {card.pid}, since {moment(card.started_at)}, its API at {card.api}"
    return StoreBusy(
        f"a daemon runs on {home} already: {who}",
        hint="`ipvm status` shows it; stop it with Ctrl-C, `kill` or `ipvm service uninstall`.",
    )


def _short_folder(home: Path) -> Path:
    """A folder of this user with a short path, one for each home."""
    name = hashlib.sha256(os.fsencode(home)).hexdigest()[:_NAME_CHARS]
    base = environment("XDG_RUNTIME_DIR")
    if base is not None:
        return Path(base) / f"ipvm-{name}"
    return Path(tempfile.gettempdir()) / f"ipvm-{os.getuid()}-{name}"


def _make_private(folder: Path) -> None:
    """Make a folder that only its owner may look into.

    Raises:
        StoreError: somebody else made it. OSError: it cannot be made.
    """
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    told = folder.lstat()
    is_folder = stat.S_ISDIR(told.st_mode)
    if not is_folder or told.st_uid != os.getuid() or stat.S_IMODE(told.st_mode) & 0o077:
        raise StoreError(
            f"the folder {folder} for sockets is not this user's alone",
            hint="Remove it, or choose a home with a shorter path.",
        )
