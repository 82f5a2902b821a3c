"""Looks into a store at every commit: what holds a secret is never there without its mark."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from lite.store.database import Transaction

MARK = b"MARK0f-a-secret."
"""What secret things hold in these tests; sixteen bytes, as they are anywhere."""

_UNMARKED = (
    "SELECT 'block', length(data) FROM blocks WHERE instr(data, ?) > 0 "
    "AND cid NOT IN (SELECT cid FROM secrets)",
    "SELECT 'receipt', length(data) FROM receipts WHERE instr(data, ?) > 0 "
    "AND cid NOT IN (SELECT cid FROM secrets)",
)


@contextmanager
def watched(monkeypatch: pytest.MonkeyPatch, mark: bytes = MARK) -> Iterator[list[str]]:
    """While it lasts, each transaction of any store is looked at before it commits.

    Yields:
        What held the mark without being secret, as it was found.
    """
    found: list[str] = []
    commit = Transaction.__exit__

    def looking(self: Transaction, kind: type[BaseException] | None, *rest: object) -> None:
        for query in _UNMARKED if kind is None else ():
            found.extend(f"{what} of {size} bytes" for what, size in self.execute(query, (mark,)))
        commit(self, kind, *rest)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(Transaction, "__exit__", looking)
        yield found
