-- What others asked this node to do, one row an invocation. Refused ones that were never taken in are
-- only counted.
CREATE TABLE jobs (
    number INTEGER PRIMARY KEY AUTOINCREMENT, -- in the order in which they came
    invocation BLOB NOT NULL UNIQUE,
    customer TEXT NOT NULL, -- DID of who signed it
    party TEXT NOT NULL, -- among whom turns are taken: a DID; '' for all strangers together
    grant_cid BLOB, -- the delegation of this node that it rests on
    instruction BLOB NOT NULL,
    fuel INTEGER NOT NULL, -- that it may use
    expires_at INTEGER NOT NULL, -- the last second in which it may begin
    state TEXT NOT NULL, -- queued, running; done, refused, cancelled, expired
    seq INTEGER NOT NULL, -- number of its latest change
    begun INTEGER NOT NULL DEFAULT 0, -- it may have had an effect
    code TEXT NOT NULL DEFAULT '', -- why it waits, or how it ended
    message TEXT NOT NULL DEFAULT '',
    arrived_at INTEGER NOT NULL,
    changed_at INTEGER NOT NULL,
    size INTEGER NOT NULL, -- bytes of tokens
    tokens BLOB NOT NULL, -- a container: the invocation and what came to prove it
    answer BLOB -- the token that ended it
) STRICT;
CREATE INDEX jobs_open ON jobs (number) WHERE state IN ('queued', 'running');
CREATE INDEX jobs_changes ON jobs (customer, seq);
CREATE INDEX jobs_seq ON jobs (seq);
CREATE INDEX jobs_instruction ON jobs (instruction);

-- What customers used, by day (days since 1970-01-01, UTC).
CREATE TABLE job_days (
    customer TEXT NOT NULL,
    grant_cid BLOB NOT NULL,
    day INTEGER NOT NULL,
    jobs INTEGER NOT NULL,
    fuel INTEGER NOT NULL,
    time_ms INTEGER NOT NULL,
    PRIMARY KEY (customer, grant_cid, day)
) STRICT, WITHOUT ROWID;
CREATE INDEX job_days_granted ON job_days (grant_cid, day);

CREATE TABLE job_refusals (
    customer TEXT NOT NULL, -- '' for strangers
    day INTEGER NOT NULL,
    code TEXT NOT NULL,
    count INTEGER NOT NULL,
    PRIMARY KEY (customer, day, code)
) STRICT, WITHOUT ROWID;

-- What this node does for whoever asks, by command.
CREATE TABLE job_offers (
    command TEXT NOT NULL PRIMARY KEY,
    terms BLOB NOT NULL, -- DAG-CBOR
    expires_at INTEGER -- NULL: never
) STRICT, WITHOUT ROWID;

-- Providers that are known by URL, for whoever runs things elsewhere.
CREATE TABLE providers (
    did TEXT NOT NULL PRIMARY KEY,
    url TEXT NOT NULL,
    added_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Containers of tokens that go to a peer as letters once the daemon writes them.
CREATE TABLE letters_waiting (
    peer TEXT NOT NULL,
    raw BLOB NOT NULL,
    PRIMARY KEY (peer, raw)
) STRICT, WITHOUT ROWID;
