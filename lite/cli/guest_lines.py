"""What a guest writes, shown on stderr while it runs."""

from __future__ import annotations

from lite.cli.present import visible
from lite.cli.shell import Shell, error_line
from lite.engine.lines import Lines

__all__ = ["GuestLines"]


class GuestLines:
    """Call it with each piece; a context manager, at whose end a last line without an end is shown.

    Attributes:
        heard: something came.
    """

    def __init__(self, shell: Shell) -> None:
        self.heard = False
        self._is_mute = shell.quiet
        self._lines = Lines(self._show)

    def __call__(self, data: bytes) -> None:
        self.heard = True
        self._lines(data)

    def __enter__(self) -> GuestLines:
        return self

    def __exit__(self, *error: object) -> None:
        self._lines.close()

    def _show(self, data: bytes) -> None:
        if self._is_mute:
            return
        try:
            error_line(visible(data.decode("utf-8", "replace").removesuffix("\n")))
        except OSError:
            self._is_mute = True  # nobody listens any more; the run does not depend on it
