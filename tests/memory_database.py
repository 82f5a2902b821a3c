"""SQLite databases of tests, closed with the last reference, as CPython 3.13 asks for."""

from __future__ import annotations

import sqlite3
from typing import Any


class Closing(sqlite3.Connection):
    """Closed with the last reference, which may go in any thread."""

    def __init__(self, database: Any, **how: Any) -> None:
        super().__init__(database, check_same_thread=False, **how)

    def __del__(self) -> None:
        self.close()


def in_memory() -> sqlite3.Connection:
    """An empty database without implicit transactions."""
    return sqlite3.connect(":memory:", isolation_level=None, factory=Closing)
