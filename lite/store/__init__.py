"""One SQLite file per home: blocks, receipts, instructions, names, pins.

store.py        Store: what the rest of the package uses
home.py         folder, file, schema version     schema.py, schema/  migrations
database.py     connection and transactions      sql.py              every statement
blocks.py  adding.py  receipts.py  instructions.py  names.py  abbreviations.py
commits.py      group commit                     leases.py, locks.py who does what now
gc.py, reach.py collection                       check.py  backup.py  restoring.py
runs.py  runs_rows.py  finished.py  run_log.py  presence.py  schedules.py   runs of workflows
uses.py  aliases.py  secrets.py                  sql_runs.py      their statements
tokens.py       delegations, revocations, claims token_check.py
faults.py       errors of SQLite and the system, in our words
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lite.store.finished import Finished
from lite.store.leases import Lease
from lite.store.store import Stats, Store

if TYPE_CHECKING:
    from lite.store.check import Problem
    from lite.store.gc import GcReport
    from lite.store.restoring import Restored, restore

__all__ = ["Finished", "GcReport", "Lease", "Problem", "Restored", "Stats", "Store", "restore"]

_LATER = {
    "GcReport": "gc",
    "Problem": "check",
    "Restored": "restoring",
    "restore": "restoring",
}


def __getattr__(name: str) -> Any:
    """Load what an ordinary run does not need when it is first asked for."""
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_LATER[name]}"), name)
