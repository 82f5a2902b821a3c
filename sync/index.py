"""A sync set in SQLite: order, aggregates, arrival log and cursors, without the items themselves.

The index lives in the application's own database. It never begins or ends a transaction, so that
an item and its place in the index are written together or not at all.

    sync_set      one row a set: count, sum of the ids, head of its log
    sync_order    (set, time, id): the order in which sets are compared
    sync_bucket   count and sum for each stretch of 2^12 s: a comparison reads these first, and
                  rows only where something differs
    sync_entry    (set, id): what is known of an item, and whether there is one
    sync_urgent   those of the lane `CONTROL`
    sync_log      (set, seq): the order of arrival, numbered from 1 without gaps
    sync_cursor   how far each peer's log was taken over
    sync_node     peers by number, and the epoch of the logs
"""

from __future__ import annotations

import sqlite3
from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import accumulate, islice
from typing import Final

from sync.base import (
    CONTROL,
    EPOCH_BYTES,
    ID_BYTES,
    START,
    TIME_MAX,
    Bound,
    Cursor,
    Entry,
    Position,
    Random,
    Summary,
)
from sync.reconcile import MODULUS, fingerprint

SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS sync_node (no INTEGER PRIMARY KEY, did TEXT NOT NULL UNIQUE, epoch BLOB);
CREATE TABLE IF NOT EXISTS sync_set (
    no INTEGER PRIMARY KEY, name BLOB NOT NULL UNIQUE,
    count INTEGER NOT NULL, total BLOB NOT NULL, head INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS sync_order (
    grp INTEGER NOT NULL, time INTEGER NOT NULL, id BLOB NOT NULL,
    PRIMARY KEY (grp, time, id)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS sync_bucket (
    grp INTEGER NOT NULL, bucket INTEGER NOT NULL, count INTEGER NOT NULL, total BLOB NOT NULL,
    PRIMARY KEY (grp, bucket)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS sync_entry (
    grp INTEGER NOT NULL, id BLOB NOT NULL, seq INTEGER NOT NULL, time INTEGER NOT NULL,
    size INTEGER NOT NULL, lane INTEGER NOT NULL, source INTEGER NOT NULL,
    PRIMARY KEY (grp, id)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS sync_urgent ON sync_entry (grp, lane) WHERE lane = 0;
CREATE TABLE IF NOT EXISTS sync_log (
    grp INTEGER NOT NULL, seq INTEGER NOT NULL, id BLOB NOT NULL,
    PRIMARY KEY (grp, seq)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS sync_cursor (
    grp INTEGER NOT NULL, peer INTEGER NOT NULL, epoch BLOB NOT NULL, seq INTEGER NOT NULL,
    id BLOB NOT NULL, PRIMARY KEY (grp, peer)) WITHOUT ROWID;
"""

_BUCKET_BITS: Final = 12
_OPEN_ROWS_MAX: Final = 50_000  # rows kept in memory, unless one bucket alone has more
_VARIABLES: Final = (1, 16, 128, 512)
_HERE: Final = 0  # the number of this node itself, whose row has the epoch
_ENTRY: Final = (
    "SELECT e.seq, e.id, e.time, e.size, e.lane, n.did FROM sync_entry AS e"
    " JOIN sync_node AS n ON n.no = e.source"
)


def create(db: sqlite3.Connection, random: Random) -> None:
    """Make the tables where they are missing, and the first epoch."""
    for statement in SCHEMA.split(";"):
        db.execute(statement)
    row = (_HERE, "", random(EPOCH_BYTES))
    db.execute("INSERT OR IGNORE INTO sync_node (no, did, epoch) VALUES (?, ?, ?)", row)


def renew_epoch(db: sqlite3.Connection, random: Random) -> None:
    """Say that the logs begin anew: after a restore, an import or a copy of the database."""
    db.execute("UPDATE sync_node SET epoch = ? WHERE no = ?", (random(EPOCH_BYTES), _HERE))


class SetIndex:
    """One sync set of a database that `create` has prepared.

    Args:
        name: 32 bytes; the set is made when there is none of this name.
    """

    def __init__(self, db: sqlite3.Connection, name: bytes) -> None:
        if len(name) != ID_BYTES:
            raise ValueError(f"the name of a set has {ID_BYTES} bytes")
        self._db = db
        self._name = name
        self._ranges: SqlRanges | None = None
        db.execute(
            "INSERT OR IGNORE INTO sync_set (name, count, total, head) VALUES (?, 0, ?, 0)",
            (name, bytes(ID_BYTES)),
        )
        (self._no,) = db.execute("SELECT no FROM sync_set WHERE name = ?", (name,)).fetchone()

    def add(self, entries: Iterable[Entry]) -> list[bytes]:
        """Add to the set in the caller's transaction; `seq` is given here.

        Returns:
            Those that are new in the set, in the order in which they came.
        """
        count, total, head = self._row()
        fresh: dict[bytes, Entry] = {}
        for entry in entries:
            if len(entry.id) != ID_BYTES or not 0 <= entry.time <= TIME_MAX:
                raise ValueError("an entry without an id of 32 bytes, or with an unlikely time")
            fresh.setdefault(entry.id, entry)
        for id in self.held(fresh):
            del fresh[id]
        if not fresh:
            return []
        self._insert(list(fresh.values()), head + 1)
        for bucket, (more, sum_more) in _by_bucket(fresh.values()).items():
            self._raise(bucket, more, sum_more)
            total += sum_more
        self._db.execute(
            "UPDATE sync_set SET count = ?, total = ?, head = ? WHERE no = ?",
            (count + len(fresh), _blob(total), head + len(fresh), self._no),
        )
        return list(fresh)

    def remove(self, ids: Collection[bytes]) -> int:
        """Take ids out of the set in the caller's transaction; how many were there.

        A set only grows for its peers: whoever takes ids out renews the epoch with them, so that
        peers compare anew. The log has gaps then, and its head is the last row that is left.
        """
        count, total, _ = self._row()
        gone = self.entries(ids)
        if not gone:
            return 0
        for entry in gone:
            number = int.from_bytes(entry.id, "little")
            self._raise(entry.time >> _BUCKET_BITS, -1, -number)
            total -= number
        self._drop(gone)
        self._db.execute(
            "UPDATE sync_set SET count = ?2, total = ?3, head ="
            " (SELECT coalesce(max(seq), 0) FROM sync_log WHERE grp = ?1) WHERE no = ?1",
            (self._no, count - len(gone), _blob(total)),
        )
        return len(gone)

    def summary(self) -> Summary:
        count, total, head = self._row()
        (epoch,) = self._db.execute("SELECT epoch FROM sync_node WHERE no = 0").fetchone()
        last = self.id_at(head)
        at = START if last is None else Position(head, last)
        return Summary(epoch, at, count, fingerprint(total, count))

    def ranges(self) -> SqlRanges:
        """The set by position. It is right until the set changes; call it in a transaction."""
        content = self._row()
        if self._ranges is None or self._ranges.content != content:
            self._ranges = SqlRanges(self._db, self._no, content)
        return self._ranges

    def relax(self) -> None:
        """Drop the rows that comparisons have read: they are read again when they are needed."""
        self._ranges = None

    def held(self, ids: Collection[bytes]) -> set[bytes]:
        """Those that are in the set."""
        found: set[bytes] = set()
        for part in parts(ids):
            query = f"SELECT id FROM sync_entry WHERE grp = ? AND id IN ({marks(part)})"
            found.update(id for (id,) in self._db.execute(query, (self._no, *part)))
        return found

    def entries(self, ids: Collection[bytes]) -> list[Entry]:
        """The rows of those that are in the set."""
        found: list[Entry] = []
        for part in parts(ids):
            query = f"{_ENTRY} WHERE e.grp = ? AND e.id IN ({marks(part)})"
            found += map(Entry._make, self._db.execute(query, (self._no, *part)))
        return found

    def urgent(self) -> list[bytes]:
        """All ids of the lane `CONTROL`."""
        query = f"SELECT id FROM sync_entry WHERE grp = ? AND lane = {CONTROL}"
        return [id for (id,) in self._db.execute(query, (self._no,))]

    def log_after(self, seq: int, limit: int) -> list[Entry]:
        query = (
            "SELECT l.seq, e.id, e.time, e.size, e.lane, n.did FROM sync_log AS l"
            " JOIN sync_entry AS e ON e.grp = l.grp AND e.id = l.id"
            " JOIN sync_node AS n ON n.no = e.source"
            " WHERE l.grp = ? AND l.seq > ? ORDER BY l.seq LIMIT ?"
        )
        return [*map(Entry._make, self._db.execute(query, (self._no, seq, limit)))]

    def id_at(self, seq: int) -> bytes | None:
        query = "SELECT id FROM sync_log WHERE grp = ? AND seq = ?"
        row = self._db.execute(query, (self._no, seq)).fetchone()
        return None if row is None else row[0]

    def cursor(self, peer: str) -> Cursor | None:
        query = (
            "SELECT c.epoch, c.seq, c.id FROM sync_cursor AS c JOIN sync_node AS n ON n.no = c.peer"
            " WHERE c.grp = ? AND n.did = ?"
        )
        row = self._db.execute(query, (self._no, peer)).fetchone()
        return None if row is None else Cursor(row[0], Position(row[1], row[2]))

    def set_cursor(self, peer: str, cursor: Cursor) -> None:
        self._db.execute(
            "INSERT OR REPLACE INTO sync_cursor (grp, peer, epoch, seq, id) VALUES (?, ?, ?, ?, ?)",
            (self._no, self._node(peer), cursor.epoch, cursor.at.seq, cursor.at.id),
        )

    def _row(self) -> tuple[int, int, int]:
        query = "SELECT count, total, head FROM sync_set WHERE no = ?"
        count, total, head = self._db.execute(query, (self._no,)).fetchone()
        return count, int.from_bytes(total, "little"), head

    def _insert(self, fresh: Sequence[Entry], seq: int) -> None:
        """Rows for entries that are new in the set, the first numbered `seq`. In the order of each
        table, so that a page is written to once."""
        no, sources = self._no, {did: self._node(did) for did in {one.source for one in fresh}}
        numbered = list(enumerate(fresh, seq))
        self._db.executemany(
            "INSERT INTO sync_log (grp, seq, id) VALUES (?, ?, ?)",
            [(no, number, one.id) for number, one in numbered],
        )
        self._db.executemany(
            "INSERT INTO sync_order (grp, time, id) VALUES (?, ?, ?)",
            sorted([(no, one.time, one.id) for one in fresh]),
        )
        self._db.executemany(
            "INSERT INTO sync_entry (grp, id, seq, time, size, lane, source)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            sorted(
                [
                    (no, one.id, number, one.time, one.size, one.lane, sources[one.source])
                    for number, one in numbered
                ]
            ),
        )

    def _drop(self, gone: Sequence[Entry]) -> None:
        for query, rows in (
            ("sync_entry WHERE grp = ? AND id = ?", [(one.id,) for one in gone]),
            ("sync_order WHERE grp = ? AND time = ? AND id = ?", [(e.time, e.id) for e in gone]),
            ("sync_log WHERE grp = ? AND seq = ?", [(one.seq,) for one in gone]),
            ("sync_bucket WHERE grp = ? AND count = 0", [()]),
        ):
            self._db.executemany(f"DELETE FROM {query}", [(self._no, *row) for row in rows])

    def _raise(self, bucket: int, more: int, sum_more: int) -> None:
        query = "SELECT count, total FROM sync_bucket WHERE grp = ? AND bucket = ?"
        row = self._db.execute(query, (self._no, bucket)).fetchone()
        count, total = (0, bytes(ID_BYTES)) if row is None else row
        sum_more += int.from_bytes(total, "little")
        self._db.execute(
            "INSERT OR REPLACE INTO sync_bucket (grp, bucket, count, total) VALUES (?, ?, ?, ?)",
            (self._no, bucket, count + more, _blob(sum_more)),
        )

    def _node(self, did: str) -> int:
        self._db.execute("INSERT OR IGNORE INTO sync_node (did) VALUES (?)", (did,))
        row = self._db.execute("SELECT no FROM sync_node WHERE did = ?", (did,)).fetchone()
        number: int = row[0]
        return number


class SqlRanges:
    """A `RangeSource` over the aggregates: rows are read a bucket at a time, where one is cut."""

    def __init__(self, db: sqlite3.Connection, number: int, content: tuple[int, int, int]) -> None:
        self.content = content
        self._db = db
        self._number = number
        self._buckets: list[int] = []
        self._starts = [0]
        self._sums = [0]
        query = "SELECT bucket, count, total FROM sync_bucket WHERE grp = ? ORDER BY bucket"
        for bucket, count, total in db.execute(query, (number,)):
            self._buckets.append(bucket)
            self._starts.append(self._starts[-1] + count)
            self._sums.append((self._sums[-1] + int.from_bytes(total, "little")) % MODULUS)
        self._open: dict[int, tuple[list[Bound], list[int]]] = {}
        self._open_rows = 0
        self.reads = 0

    def __len__(self) -> int:
        return self._starts[-1]

    def item(self, at: int) -> Bound:
        place = bisect_right(self._starts, at) - 1
        return self._rows(place)[0][at - self._starts[place]]

    def lower(self, start: int, bound: Bound) -> int:
        bucket = bound[0] >> _BUCKET_BITS
        place = bisect_left(self._buckets, bucket)
        at = self._starts[place]
        if place < len(self._buckets) and self._buckets[place] == bucket:
            at += bisect_left(self._rows(place)[0], bound)
        return max(start, at)

    def ids(self, start: int, end: int) -> Sequence[bytes]:
        ids: list[bytes] = []
        while start < end:
            place = bisect_right(self._starts, start) - 1
            base, stop = self._starts[place], min(end, self._starts[place + 1])
            ids += [id for _, id in self._rows(place)[0][start - base : stop - base]]
            start = stop
        return ids

    def fingerprint(self, start: int, end: int) -> bytes:
        return fingerprint(self._sum(end) - self._sum(start), end - start)

    def _sum(self, at: int) -> int:
        """The sum of all ids before a position."""
        place = bisect_right(self._starts, at) - 1
        base = self._starts[place]
        return self._sums[place] + (self._rows(place)[1][at - base] if at > base else 0)

    def _rows(self, place: int) -> tuple[list[Bound], list[int]]:
        """The items of a bucket, and the sum of the ids before each of them."""
        found = self._open.pop(place, None)
        if found is None:
            first = self._buckets[place] << _BUCKET_BITS
            query = (
                "SELECT time, id FROM sync_order WHERE grp = ? AND time >= ? AND time < ?"
                " ORDER BY time, id"
            )
            rows: list[Bound] = self._db.execute(
                query, (self._number, first, first + (1 << _BUCKET_BITS))
            ).fetchall()
            sums = list(accumulate((int.from_bytes(id, "little") for _, id in rows), initial=0))
            found = rows, sums
            self._open_rows += len(rows)
            self.reads += len(rows)
            while self._open and self._open_rows > _OPEN_ROWS_MAX:
                self._open_rows -= len(self._open.pop(next(iter(self._open)))[0])
        self._open[place] = found
        return found


def _blob(total: int) -> bytes:
    return (total % MODULUS).to_bytes(ID_BYTES, "little")


def _by_bucket(entries: Iterable[Entry]) -> dict[int, tuple[int, int]]:
    """Count and sum of the ids for each stretch of time."""
    buckets: dict[int, tuple[int, int]] = {}
    for entry in entries:
        bucket = entry.time >> _BUCKET_BITS
        count, total = buckets.get(bucket, (0, 0))
        buckets[bucket] = (count + 1, total + int.from_bytes(entry.id, "little"))
    return buckets


def marks(values: Collection[bytes]) -> str:
    return ", ".join("?" * len(values))


def parts(ids: Collection[bytes]) -> Iterator[list[bytes]]:
    """As many at a time as one statement takes, the last repeated up to one of a few lengths: each
    length is a statement of its own, which every connection keeps, with kilobytes for each."""
    left = iter(ids)
    while part := list(islice(left, _VARIABLES[-1])):
        length = next(length for length in _VARIABLES if length >= len(part))
        yield part + part[-1:] * (length - len(part))
