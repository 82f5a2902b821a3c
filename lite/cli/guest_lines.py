"""What a guest writes, shown on stderr while it runs; standard output of a command, which is the
value that is shown at the end, is not.

Of a backtrace one line says what happened. Where in the guest it was, up to ten lines a failure, is
for who debugs it: shown on a terminal, and always in `ipvm logs`.
"""

from __future__ import annotations

import re
from typing import Final

from lite.cli.present import visible
from lite.cli.shell import Shell, error_line
from lite.engine.lines import Lines

__all__ = ["GuestLines", "is_frame", "without_frames"]

_FRAME: Final = re.compile(rb"\s+(\d+:\s+(0x[0-9a-f]+ - |[^\s!]+![^\s])|\xe2\x80\xa6 \d+ more\s*$)")
"""The first frame of a stack overflow has no address."""


def is_frame(line: bytes) -> bool:
    """Whether a line is a call in a backtrace, as `wasmtime_failures.explain` writes them."""
    return _FRAME.match(line) is not None


def without_frames(data: bytes) -> bytes:
    """Output of a guest with the calls of backtraces left out."""
    return b"".join(line for line in data.splitlines(keepends=True) if not is_frame(line))


class GuestLines:
    """Call it with each piece; a context manager, at whose end a last line without an end is shown.

    Attributes:
        heard: something came that was for here.
    """

    def __init__(self, shell: Shell) -> None:
        self.heard = False
        self._is_mute = shell.quiet
        self._is_whole = shell.watched
        self._lines = Lines(self._show)

    def __call__(self, data: bytes) -> None:
        from lite.engine.spoken import Stdout  # a known answer needs nothing of it

        if isinstance(data, Stdout):
            return
        self.heard = True
        self._lines(data)

    def __enter__(self) -> GuestLines:
        return self

    def __exit__(self, *error: object) -> None:
        self._lines.close()

    def _show(self, data: bytes) -> None:
        data = data if self._is_whole else without_frames(data)
        if self._is_mute or not data:
            return
        try:
            error_line(visible(data.decode("utf-8", "replace").removesuffix("\n")))
        except OSError:
            self._is_mute = True  # nobody listens any more; the run does not depend on it
