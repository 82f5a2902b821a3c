"""What the node's database reports below `sync`, in errors of both packages.

`sync` knows its own: a session ends in order, a dial waits. Whoever asked gets the node's own with
its code, exit status and hint, as for every other use of the store. So each error is both.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from lite import errors
from lite.store.faults import SQLITE, from_sqlite
from sync import errors as sync_errors

__all__ = ["QuotaError", "StoreBusy", "StoreCorrupt", "StoreError", "StoreFull", "faults"]


class StoreError(errors.StoreError, sync_errors.StoreError):
    pass


class StoreBusy(errors.StoreBusy, sync_errors.StoreError):
    pass


class StoreCorrupt(errors.StoreCorrupt, sync_errors.StoreError):
    pass


class StoreFull(errors.StoreFull, sync_errors.StoreFull):
    pass


class QuotaError(errors.QuotaError, sync_errors.StoreFull):
    pass


_BOTH: Final[tuple[tuple[type[errors.StoreError], type[errors.StoreError]], ...]] = (
    (errors.StoreBusy, StoreBusy),
    (errors.StoreCorrupt, StoreCorrupt),
    (errors.StoreFull, StoreFull),
    (errors.QuotaError, QuotaError),
)


@contextmanager
def faults(path: Path) -> Iterator[None]:
    """What the store and SQLite raise over the database at `path`, as errors of both packages.

    Raises:
        StoreError or one below it, of this module: the block failed on the store.
    """
    try:
        yield
    except sync_errors.StoreError:
        raise
    except errors.IpvmError as error:
        raise _both(error) from error
    except SQLITE as error:
        raise _both(from_sqlite(error, path)) from error


def _both(error: errors.IpvmError | errors.BugError) -> errors.StoreError:
    """A statement that SQLite refuses is one here too: rows that the disk changed can make it so,
    and the session that finds them ends like any other."""
    kind = next((both for one, both in _BOTH if isinstance(error, one)), StoreError)
    return kind(str(error), hint=getattr(error, "hint", None))
