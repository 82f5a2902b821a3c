-- Runs of workflows, secrets, what uses what, schedules. Keys are CIDs in binary form, times seconds
-- since 1970. Names of states are in `lite/store/runs_rows.py`.

CREATE TABLE runs (
    number INTEGER PRIMARY KEY AUTOINCREMENT, -- in the order in which they were started
    id TEXT NOT NULL UNIQUE, -- 16 hexadecimal digits
    workflow BLOB NOT NULL,
    name TEXT NOT NULL,
    state TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    changed_at INTEGER NOT NULL,
    ended_at INTEGER,
    deadline_at INTEGER,
    cancelled INTEGER NOT NULL DEFAULT 0,
    options BLOB NOT NULL -- a map in DAG-CBOR
) STRICT;

CREATE INDEX runs_of ON runs (workflow, number);
CREATE INDEX runs_by_state ON runs (state, number);

-- One row for each step of each run. No index but these two: a state change writes one page.
CREATE TABLE steps (
    run TEXT NOT NULL, -- runs.id
    position INTEGER NOT NULL,
    label TEXT NOT NULL,
    instruction BLOB NOT NULL, -- as it is written, awaits not filled in
    level TEXT NOT NULL,
    state TEXT NOT NULL,
    reason TEXT NOT NULL DEFAULT '',
    receipt BLOB,
    source TEXT NOT NULL DEFAULT '',
    rule TEXT NOT NULL DEFAULT '',
    attempts INTEGER NOT NULL DEFAULT 0,
    next_try_at INTEGER,
    started_at INTEGER,
    ended_at INTEGER,
    cause BLOB, -- the receipt that asked for it; NULL: it is in the workflow
    depth INTEGER NOT NULL DEFAULT 0, -- how many such receipts lie above it
    meta BLOB, -- a map in DAG-CBOR; NULL: empty
    PRIMARY KEY (run, position),
    UNIQUE (run, label)
) STRICT, WITHOUT ROWID;

-- Blocks and receipts that stay on this node unless its owner says otherwise.
CREATE TABLE secrets (
    cid BLOB NOT NULL PRIMARY KEY
) STRICT, WITHOUT ROWID;

-- Which instructions name a CID: as code, as input, or as an instruction that they await (under its
-- sha2-256 CID when that was known). The migration fills it for what is here.
CREATE TABLE uses (
    cid BLOB NOT NULL,
    instruction BLOB NOT NULL,
    PRIMARY KEY (cid, instruction)
) STRICT, WITHOUT ROWID;

-- `used_json` and `from_hex` are functions of lite.store.schema.
INSERT OR IGNORE INTO uses (cid, instruction)
    SELECT coalesce((SELECT a.cid FROM aliases AS a WHERE a.alias = u.used), u.used), u.instruction
    FROM (
        SELECT from_hex(j.value) AS used, b.cid AS instruction
        FROM blocks AS b, json_each(used_json(b.data)) AS j
        WHERE b.cid IN (SELECT cid FROM aliases UNION SELECT instruction FROM answers)
    ) AS u;

CREATE TABLE schedules (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    cron TEXT NOT NULL,
    zone TEXT NOT NULL, -- as in the IANA database
    missed TEXT NOT NULL, -- once, all, none
    path TEXT, -- of a workflow file, absolute; NULL: `workflow` says it all
    workflow BLOB,
    options BLOB NOT NULL, -- a map in DAG-CBOR
    enabled INTEGER NOT NULL DEFAULT 1,
    created_at INTEGER NOT NULL,
    last_due_at INTEGER, -- the latest time that was run or passed over
    next_due_at INTEGER, -- NULL: never again
    last_run TEXT -- runs.id
) STRICT;
