-- Authority: who may do what here. Keys are CIDs in binary form, principals DIDs without fragments,
-- times seconds since 1970. Tokens are kept as they were signed; what is beside them is read out of
-- them, to be looked up.

-- Delegations whose signatures were verified.
CREATE TABLE delegations (
    cid BLOB NOT NULL PRIMARY KEY,
    audience TEXT NOT NULL,
    subject TEXT, -- NULL: a powerline
    ends_at INTEGER NOT NULL, -- 2^53 - 1: never
    added_at INTEGER NOT NULL,
    data BLOB NOT NULL
) STRICT;

CREATE INDEX delegations_given ON delegations (audience, subject, ends_at);
CREATE INDEX delegations_ending ON delegations (ends_at);

CREATE TABLE revocations (
    cid BLOB NOT NULL PRIMARY KEY,
    revoked BLOB NOT NULL,
    added_at INTEGER NOT NULL,
    data BLOB NOT NULL
) STRICT;

CREATE INDEX revocations_of ON revocations (revoked);

-- In whose name delegations were taken back, also such as have not come here yet.
CREATE TABLE revokers (
    revoked BLOB NOT NULL,
    revoker TEXT NOT NULL,
    PRIMARY KEY (revoked, revoker)
) STRICT, WITHOUT ROWID;

-- Invocations that were accepted, so that none is accepted twice.
CREATE TABLE invocations (
    cid BLOB NOT NULL PRIMARY KEY,
    until INTEGER, -- last second in which it could be accepted; NULL: for ever
    receipt BLOB -- what answered it; NULL: nothing yet
) STRICT, WITHOUT ROWID;

CREATE INDEX invocations_until ON invocations (until) WHERE until IS NOT NULL;

-- The latest time at which this node is known to have signed a receipt, give or take a minute, and
-- that receipt: a clock that shows less is behind.
CREATE TABLE latest (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    signed_at INTEGER NOT NULL,
    receipt BLOB
) STRICT;

INSERT INTO latest VALUES (1, 0, NULL);

UPDATE latest SET (signed_at, receipt) =
    (SELECT added_at, cid FROM receipts ORDER BY added_at DESC LIMIT 1)
    WHERE EXISTS (SELECT 1 FROM receipts);
