"""Making the home of a daemon, or upgrading its database, in a process of its own.

What that loads (sqlite-utils) nobody needs afterwards, and Python gives little of it back: a daemon
that did it itself would hold 4 MB more for as long as it runs.
"""

from __future__ import annotations

import os
from typing import Final

from lite.config import Config
from lite.node import Node

__all__ = ["made_apart"]

_OPENED: Final = 0
_FAILED: Final = 1
_MADE: Final = 3


def made_apart(config: Config) -> bool:
    """Open the home once in a child, before this process has threads.

    Returns:
        Whether it was made, with a new key. What kept the child from it keeps this process from it
        too, which then says so.
    """
    child = os.fork()
    if child == 0:
        status = _FAILED
        try:
            with Node.open(config=config) as node:
                status = _MADE if node.first_use else _OPENED
        finally:
            os._exit(status)
    _, ended = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(ended) == _MADE
