-- Mutations with a nonce that were begun and of which no end is known, by instruction, awaits filled
-- in. Whoever holds the lease of one and finds it here does not know whether it happened.
CREATE TABLE begun (
    instruction BLOB NOT NULL PRIMARY KEY,
    at INTEGER NOT NULL, -- seconds since 1970
    run TEXT NOT NULL, -- runs.id; '' when no workflow asked for it
    label TEXT NOT NULL, -- of the step; '' likewise
    reason TEXT NOT NULL DEFAULT '' -- why it is in doubt; '': its process is at it, or died
) STRICT, WITHOUT ROWID;

-- Value rules of a run, '' or 'homestar'; the schedule that asked for it, and the time that it is for.
ALTER TABLE runs ADD COLUMN mode TEXT NOT NULL DEFAULT '';
ALTER TABLE runs ADD COLUMN schedule INTEGER;
ALTER TABLE runs ADD COLUMN due_at INTEGER;

-- "homestar": true in the DAG-CBOR of the options.
UPDATE runs SET mode = 'homestar' WHERE instr(options, X'68686F6D6573746172F5') > 0;
UPDATE runs SET schedule = (SELECT min(s.id) FROM schedules AS s WHERE s.last_run = runs.id);

DROP INDEX runs_of;
CREATE INDEX runs_of ON runs (workflow, mode, number);
CREATE INDEX runs_scheduled ON runs (number) WHERE schedule IS NOT NULL AND state = 'running';
