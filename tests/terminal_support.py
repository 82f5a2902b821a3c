"""A terminal for tests: runs a command on a pseudo-terminal and knows what stands on its screen."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import sys
import termios
import time
from collections.abc import Callable

_SEQUENCE = re.compile(r"\x1b\[([0-9;]*)([A-Za-z])")


class Screen:
    """Lines of text as a terminal of so many columns shows them. Knows what the table uses:
    colours, the cursor so many lines up, and to erase what is below it.

    Attributes:
        lines: all that was written, the newest last; scrolled out or not.
        highest: the most lines by which the cursor ever went up.
        raw: everything as it came.
    """

    def __init__(self, columns: int) -> None:
        self.lines: list[str] = [""]
        self.highest = 0
        self.raw = ""
        self._columns = columns
        self._x = self._y = 0

    def put(self, text: str) -> None:
        """Write text as the terminal gets it."""
        self.raw += text
        at = 0
        while at < len(text):
            found = _SEQUENCE.match(text, at)
            if found:
                self._obey(found[2], int(found[1].split(";")[0] or 1))
                at = found.end()
                continue
            self._char(text[at])
            at += 1

    def _obey(self, command: str, number: int) -> None:
        if command == "F":
            assert number <= self._y, "the cursor would leave the screen"
            self.highest = max(self.highest, number)
            self._x, self._y = 0, self._y - number
        elif command == "J":
            self.lines[self._y :] = [self.lines[self._y][: self._x]]
        else:
            assert command == "m", f"the sequence {command} is not known"

    def _char(self, char: str) -> None:
        if char == "\r":
            self._x = 0
            return
        if char == "\n" or self._x >= self._columns:
            self._x, self._y = 0, self._y + 1
        while len(self.lines) <= self._y:
            self.lines.append("")
        if char != "\n":
            line = self.lines[self._y]
            self.lines[self._y] = line[: self._x].ljust(self._x) + char + line[self._x + 1 :]
            self._x += 1


class Terminal:
    """`ipvm` on a terminal of its own. Use `run` once.

    Args:
        columns, rows: its size.
    """

    def __init__(self, columns: int = 80, rows: int = 24) -> None:
        self.screen = Screen(columns)
        self._size = struct.pack("HHHH", rows, columns, 0, 0)
        self._ours = -1

    def run(
        self,
        *args: str,
        env: dict[str, str] | None = None,
        on_text: Callable[[str], bytes] = lambda _: b"",
    ) -> int:
        """Run it to its end; the exit status.

        Args:
            on_text: gets all that stands there whenever more came; gives what is typed then.
        """
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, self._size)
        command = [sys.executable, "-m", "lite", *args]
        child = os.fork()
        if child == 0:
            os.close(ours)
            _login(theirs)
            os.execve(sys.executable, command, {**os.environ, "TERM": "xterm", **(env or {})})
        os.close(theirs)
        try:
            return self._follow(child, ours, on_text)
        finally:
            os.close(ours)

    def _follow(self, child: int, ours: int, on_text: Callable[[str], bytes]) -> int:
        data, until = b"", time.monotonic() + 60
        while time.monotonic() < until:
            if not select.select([ours], [], [], 1)[0]:
                continue
            try:
                more = os.read(ours, 65536)
            except OSError:  # the other side is closed
                break
            if not more:
                break
            data += more
            try:
                text, data = data.decode(), b""
            except UnicodeDecodeError:
                continue
            self.screen.put(text)
            typed = on_text("\n".join(self.screen.lines))
            if typed:
                os.write(ours, typed)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _login(terminal: int) -> None:
    os.setsid()
    fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)
    for stream in (0, 1, 2):
        os.dup2(terminal, stream)
