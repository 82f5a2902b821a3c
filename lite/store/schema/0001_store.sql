-- The first schema. Keys are CIDs in binary form. Large rows live in rowid tables with a unique
-- index, small ones in tables without rowid. Times are seconds since 1970. AUTOINCREMENT where gc
-- relies on a new row never taking the number of a deleted one.

CREATE TABLE blocks (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    cid BLOB NOT NULL UNIQUE,
    added_at INTEGER NOT NULL,
    data BLOB NOT NULL
) STRICT;

-- One row, so that a quota and the statistics need no scan.
CREATE TABLE totals (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    blocks INTEGER NOT NULL,
    bytes INTEGER NOT NULL
) STRICT;

INSERT INTO totals VALUES (1, 0, 0);

-- Blocks that were collected. A row stays when the block comes back; `blocks` is asked first.
CREATE TABLE gone (
    cid BLOB NOT NULL PRIMARY KEY,
    gone_at INTEGER NOT NULL,
    bytes INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- New blocks of an add that needs several transactions, so that it can be undone. A row goes when
-- the add ends, or when anybody else puts the same block.
CREATE TABLE adding (
    cid BLOB NOT NULL PRIMARY KEY,
    adder TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- Other names of instructions: the same bytes under another hash function.
CREATE TABLE aliases (
    alias BLOB NOT NULL PRIMARY KEY,
    cid BLOB NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE receipts (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    cid BLOB NOT NULL UNIQUE,
    added_at INTEGER NOT NULL,
    data BLOB NOT NULL
) STRICT;

-- The receipts of an instruction, under each of its addresses.
CREATE TABLE answers (
    instruction BLOB NOT NULL,
    receipt INTEGER NOT NULL REFERENCES receipts (id),
    PRIMARY KEY (instruction, receipt)
) STRICT, WITHOUT ROWID;

-- The receipts whose result links to something.
CREATE TABLE outputs (
    cid BLOB NOT NULL,
    receipt INTEGER NOT NULL REFERENCES receipts (id),
    PRIMARY KEY (cid, receipt)
) STRICT, WITHOUT ROWID;

CREATE TABLE names (
    name TEXT NOT NULL PRIMARY KEY,
    cid BLOB NOT NULL,
    named_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE pins (
    cid BLOB NOT NULL PRIMARY KEY,
    label TEXT NOT NULL,
    pinned_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- What is known about modules, by the CID of the module file; can be found out again.
CREATE TABLE modules (
    cid BLOB NOT NULL PRIMARY KEY,
    description BLOB NOT NULL
) STRICT, WITHOUT ROWID;
