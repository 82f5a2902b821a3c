-- Steps that cannot run here and wait for a node that can, one row a step, written with its state.
CREATE TABLE outbox (
    id INTEGER PRIMARY KEY AUTOINCREMENT, -- never used twice: a step that begins anew has another
    run TEXT NOT NULL, -- runs.id
    position INTEGER NOT NULL, -- steps.position
    label TEXT NOT NULL,
    asked BLOB NOT NULL, -- CID of the instruction as the workflow writes it
    instruction BLOB NOT NULL, -- CID of the one that is to be answered, values filled in
    level TEXT NOT NULL, -- its safety level; '' when its operation is not known here
    needs BLOB NOT NULL, -- DAG-CBOR of what it needs
    state TEXT NOT NULL, -- queued, asked, sent, accepted; done, failed, expired, cancelled
    code TEXT NOT NULL, -- why it does not run here, for programs
    reason TEXT NOT NULL, -- the same for people
    note TEXT NOT NULL DEFAULT '', -- why it is no further
    attempts INTEGER NOT NULL DEFAULT 0, -- calls for bids
    offers INTEGER NOT NULL DEFAULT 0, -- times that it was offered anew because a lease ran out
    next_try_at INTEGER, -- seconds since 1970; NULL: when something happens
    deadline_at INTEGER NOT NULL,
    priority INTEGER NOT NULL DEFAULT 0, -- the greatest first
    confirm INTEGER NOT NULL DEFAULT 1, -- how many providers have to say the same
    secret INTEGER NOT NULL DEFAULT 0, -- it is secret, and needs the holder of a key
    held INTEGER NOT NULL DEFAULT 0, -- its owner took it out
    taken INTEGER NOT NULL DEFAULT 0, -- its step has the answer
    receipt BLOB, -- CID of the answer
    created_at INTEGER NOT NULL,
    changed_at INTEGER NOT NULL,
    UNIQUE (run, position)
) STRICT;
CREATE INDEX outbox_pending ON outbox (priority DESC, id)
    WHERE state IN ('queued', 'asked', 'sent', 'accepted');
CREATE INDEX outbox_asked ON outbox (instruction);

-- What was sent for them: one invocation to one provider each.
CREATE TABLE outbox_jobs (
    invocation BLOB NOT NULL PRIMARY KEY,
    item INTEGER NOT NULL, -- outbox.id
    provider TEXT NOT NULL, -- its DID
    token BLOB NOT NULL, -- the invocation
    instruction BLOB NOT NULL, -- CID of the one it asks for, perhaps with awaits
    cargo BLOB NOT NULL, -- CID of the container that it went in, so what goes together
    grant_cid BLOB, -- CID of the delegation for the blocks that the provider must read
    final INTEGER NOT NULL, -- nothing that went with it awaits it, so its value is fetched at once
    choice TEXT NOT NULL, -- why this bid was taken
    state TEXT NOT NULL, -- sent, accepted; done, refused, lost, cancelled, void
    begun INTEGER NOT NULL DEFAULT 0, -- the provider said that it may have had an effect
    lease_until INTEGER NOT NULL, -- seconds since 1970
    code TEXT NOT NULL DEFAULT '',
    message TEXT NOT NULL DEFAULT '',
    receipt BLOB, -- CID
    sent_at INTEGER NOT NULL,
    ended_at INTEGER
) STRICT;
CREATE INDEX outbox_jobs_of ON outbox_jobs (item);
CREATE INDEX outbox_jobs_cargo ON outbox_jobs (cargo);
CREATE INDEX outbox_jobs_pending ON outbox_jobs (provider)
    WHERE state IN ('sent', 'accepted', 'lost');

-- Receipts that count as answers here because this node asked their issuer for just that.
CREATE TABLE accepted (
    receipt BLOB NOT NULL PRIMARY KEY,
    instruction BLOB NOT NULL,
    provider TEXT NOT NULL,
    at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Blocks that a provider may read until its job is over.
CREATE TABLE grants (
    delegation BLOB NOT NULL PRIMARY KEY,
    audience TEXT NOT NULL,
    until INTEGER NOT NULL, -- the last second, since 1970
    roots BLOB NOT NULL, -- DAG-CBOR: a list of links
    token BLOB NOT NULL,
    secret INTEGER NOT NULL DEFAULT 0 -- also what is secret below them
) STRICT, WITHOUT ROWID;
CREATE INDEX grants_to ON grants (audience, until);

-- How far the changes at each provider were heard, by its numbers.
CREATE TABLE heard (
    provider TEXT NOT NULL PRIMARY KEY,
    seq INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Refused answers of providers, by code.
CREATE TABLE refusals (
    provider TEXT NOT NULL,
    code TEXT NOT NULL,
    count INTEGER NOT NULL,
    at INTEGER NOT NULL,
    PRIMARY KEY (provider, code)
) STRICT, WITHOUT ROWID;
