"""The line protocol of hoytech/negentropy's test suite, spoken by `sync.reconcile`.

`python tests/negentropy_harness.py` keeps the set in memory, `… sql` in SQLite. To run the suite
against it, let `test/Utils.pm` there name these commands as two more languages.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from sync.base import Bound, Entry, RangeSource
from sync.index import SetIndex, create
from sync.reconcile import Reconciler, Vector
from tests.memory_database import in_memory


def stored(items: list[Bound]) -> RangeSource:
    """The items in a database, behind its aggregates."""
    db = in_memory()
    create(db, lambda size: bytes(size))
    index = SetIndex(db, bytes(32))
    index.add([Entry(0, id, time, 0, 1, "") for time, id in items])
    return index.ranges()


def main() -> None:
    limit = int(os.environ.get("FRAMESIZELIMIT", "0"))
    items: list[Bound] = []
    side: Reconciler | None = None
    for line in sys.stdin:
        command, *rest = line.strip().split(",")
        if command == "item":
            items.append((int(rest[0]), bytes.fromhex(rest[1])))
            continue
        if command == "seal":
            source = stored(items) if sys.argv[1:] == ["sql"] else Vector(items)
            side = Reconciler(source, limit)
            continue
        assert side is not None, "seal comes first"
        if command == "initiate":
            reply: bytes | None = side.initiate()
        else:
            outcome = side.reconcile(bytes.fromhex(rest[0]))
            reply = outcome.reply
            for word, ids in (("have", outcome.have), ("need", outcome.need)):
                sys.stdout.writelines(f"{word},{id.hex()}\n" for id in ids)
        assert reply is None or not limit or len(reply) <= limit, "a message beyond the limit"
        sys.stdout.write("done\n" if reply is None else f"msg,{reply.hex()}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
