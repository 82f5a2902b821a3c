"""SQLite databases in memory, closed with the last reference, as CPython 3.13 asks for."""

from __future__ import annotations

import sqlite3


class _Closing(sqlite3.Connection):
    def __del__(self) -> None:
        self.close()


def in_memory() -> sqlite3.Connection:
    """An empty database without implicit transactions."""
    return sqlite3.connect(":memory:", isolation_level=None, factory=_Closing)
