"""Where the console script begins: what has to hold before anything else is imported.

Until then Ctrl-C ends in a traceback of Python's, so this module imports only what any interpreter
has loaded: `_signal` is `signal` without its enumerations.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found, unused-ignore]
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType
    from typing import NoReturn

closed: set[str] = set()  # standard streams that the caller had closed


def _interrupted(_signal: int, _frame: FrameType | None) -> NoReturn:
    os.write(2, b"ipvm: interrupted\n")
    os._exit(130)


def entry() -> NoReturn:
    """Run the command line of this process."""
    # Until the command itself takes over, there is nothing to clean up and nobody to catch.
    if _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler:
        _signal.signal(_signal.SIGINT, _interrupted)
    open_closed_streams()
    try:
        from lite.cli import main

        main.entry()
    except MemoryError:  # there is not even room to say it well
        os.write(2, b"ipvm: there is not enough memory for this\n")
        os._exit(6)


def open_closed_streams() -> None:
    """Put /dev/null where the caller closed a standard stream.

    Otherwise the next file that is opened, a database perhaps, would get its number.
    """
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        if getattr(sys, name) is not None:
            continue
        closed.add(name)
        opened = os.open(os.devnull, os.O_RDONLY if mode == "r" else os.O_WRONLY)
        if opened != number:
            os.dup2(opened, number)
            os.close(opened)
        setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115
