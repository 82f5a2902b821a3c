"""The table of `ipvm.db` in lite/ARCHITECTURE.md names what the database of a home holds."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from pathlib import Path

from lite.store import Store
from lite.store.sql import TOMBSTONES_CREATE

_ROW = re.compile(r"^\| `(\w+)` \| (`.*?) \| .*\|$")
_NOTE = re.compile(r"\([^()]*\)")
_WORD = re.compile(r"`(\w+)`")


def documented(root: Path) -> dict[str, set[str]]:
    """The columns of each table, as section 11 names them."""
    text = (root / "lite" / "ARCHITECTURE.md").read_text(encoding="utf-8")
    _, _, home = text.partition("\n## 11. ")
    home, _, _ = home.partition("\n## ")
    _, _, rows = home.partition("\n| table | columns | |\n|---|---|---|\n")
    found: dict[str, set[str]] = {}
    for line in rows.partition("\n\n")[0].splitlines():
        row = _ROW.fullmatch(line)
        assert row, f"not one table and its columns: {line}"
        assert row[1] not in found
        found[row[1]] = set(_WORD.findall(_NOTE.sub("", row[2])))
    return found


def made(home: Path) -> dict[str, set[str]]:
    """The columns of each table of a fresh home that has forgotten a receipt."""
    with Store.open(home) as store, store.database.write() as transaction:
        transaction.execute(TOMBSTONES_CREATE)
    with closing(sqlite3.connect(home / "ipvm.db")) as database:
        names = database.execute(
            "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite@_%' "
            "ESCAPE '@'"
        ).fetchall()
        return {
            name: {row[1] for row in database.execute(f"PRAGMA table_info({name})")}
            for (name,) in names
        }


def test_every_table_and_column_is_in_the_document(root: Path, tmp_path: Path) -> None:
    assert documented(root) == made(tmp_path / "home")
