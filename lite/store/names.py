"""Petnames for CIDs, pins, and what is known about modules."""

from __future__ import annotations

import re
from collections.abc import Iterator

from lite.clock import Clock
from lite.errors import UsageError, quoted
from lite.frozen import frozen
from lite.ipld.cid import CID, is_cid
from lite.store import sql
from lite.store.database import Database
from lite.store.faults import stored_cid

__all__ = ["LABEL_CHARS_MAX", "NAME_CHARS_MAX", "Modules", "Names", "Pin", "Pins", "may_be_name"]

NAME_CHARS_MAX = 128
LABEL_CHARS_MAX = 256
_NAME = re.compile(r"[^\W_][\w.+-]*")  # letters and digits of any script; no / : @ or space
_CID_START = re.compile(r"ba(?:fy|fk|gu)(?:re|be)|Qm[1-9A-HJ-NP-Za-km-z]{6}")  # as CIDs here do


def may_be_name(text: str) -> bool:
    """Whether something could be called that."""
    return len(text) <= NAME_CHARS_MAX and _NAME.fullmatch(text) is not None


class Names:
    """Petnames: a person's own words for CIDs. What has a name is not collected."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def set(self, name: str, cid: CID) -> None:
        """Let `name` mean `cid` from now on.

        Raises:
            UsageError: not a name: it begins with a letter or digit and goes on with letters,
                digits, `.`, `_`, `+`, `-`.
        """
        if not may_be_name(name):
            raise UsageError(
                f"{quoted(name[:NAME_CHARS_MAX])} cannot be a name",
                hint="Begin with a letter or digit, go on with letters, digits and . _ + - "
                f"(at most {NAME_CHARS_MAX}).",
            )
        if is_cid(name):
            raise UsageError(f"{name} is a CID, which always means itself", hint="Choose a word.")
        if _CID_START.match(name):
            raise UsageError(
                f"{name} looks like the beginning of a CID", hint="Choose a word that does not."
            )
        with self._database.write() as transaction:
            transaction.execute(sql.NAME_SET, (name, cid.raw, self._clock.now()))

    def get(self, name: str) -> CID | None:
        """What `name` means, or None."""
        if not may_be_name(name):
            return None
        found = self._database.row(sql.NAME, (name,))
        return stored_cid(found[0]) if found else None

    def list(self) -> list[tuple[str, CID]]:
        """All names with their CIDs, in the order of the names."""
        return [(name, stored_cid(raw)) for name, raw in self._database.rows(sql.NAMES)]

    def remove(self, name: str) -> bool:
        """Forget a name; whether there was one."""
        if not may_be_name(name):
            return False
        with self._database.write() as transaction:
            return transaction.execute(sql.NAME_DELETE, (name,)).rowcount > 0


@frozen
class Pin:
    """A pinned root. `since` is in seconds since 1970."""

    cid: CID
    label: str
    since: int


class Pins:
    """Roots that are kept with everything below them until they are unpinned."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def add(self, cid: CID, label: str = "") -> None:
        """Pin a root; again with another label to change that.

        Raises:
            UsageError: the label is too long.
        """
        if len(label) > LABEL_CHARS_MAX:
            raise UsageError(f"a pin's label has at most {LABEL_CHARS_MAX} characters")
        with self._database.write() as transaction:
            transaction.execute(sql.PIN_SET, (cid.raw, label, self._clock.now()))

    def remove(self, cid: CID) -> bool:
        """Unpin a root; whether it was pinned."""
        with self._database.write() as transaction:
            return transaction.execute(sql.PIN_DELETE, (cid.raw,)).rowcount > 0

    def __iter__(self) -> Iterator[Pin]:
        """All pins, oldest first."""
        for raw, label, since in self._database.rows(sql.PINS):
            yield Pin(stored_cid(raw), label, since)

    def list(self) -> list[Pin]:
        """All pins, oldest first."""
        return list(iter(self))


class Modules:
    """Descriptions of modules, as their reader wrote them. They can always be made again."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def get(self, cid: CID) -> bytes | None:
        """The description of a module, or None."""
        found = self._database.row(sql.MODULE, (cid.raw,))
        return found[0] if found else None

    def put(self, cid: CID, description: bytes) -> None:
        """Remember the description of a module."""
        with self._database.write(durable=False) as transaction:
            transaction.execute(sql.MODULE_SET, (cid.raw, description))
