-- What a delegation lets do, so that those for other commands do not hide the one that is wanted;
-- '' where the token cannot be read. `delegated_command` is a function of lite.store.schema.
ALTER TABLE delegations ADD COLUMN command TEXT NOT NULL DEFAULT '';

UPDATE delegations SET command = delegated_command(data);

DROP INDEX delegations_given;
CREATE INDEX delegations_given ON delegations (audience, subject, command, ends_at);

-- One row: invocations that ended by then and are not in `invocations` may have been accepted once,
-- and are not accepted any more, whatever the clock shows.
CREATE TABLE forgotten (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    claims_until INTEGER NOT NULL
) STRICT;

INSERT INTO forgotten VALUES (1, -1);
