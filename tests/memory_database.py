"""SQLite databases in memory, closed with the last reference, as CPython 3.13 asks for."""

from __future__ import annotations

import sqlite3


class Closing(sqlite3.Connection):
    """Closed with the last reference."""

    def __del__(self) -> None:
        self.close()


def in_memory() -> sqlite3.Connection:
    """An empty database without implicit transactions."""
    return sqlite3.connect(
        ":memory:",
        isolation_level=None,
        factory=Closing,
        check_same_thread=False,  # the last reference may go in any thread
    )
