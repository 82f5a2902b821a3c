-- Who issued a delegation, so that a search can also start from the subject, to whom strangers
-- cannot add anything; '' where the token cannot be read. `delegated_issuer` is a function of
-- lite.store.schema.
ALTER TABLE delegations ADD COLUMN issuer TEXT NOT NULL DEFAULT '';

UPDATE delegations SET issuer = delegated_issuer(data);

CREATE INDEX delegations_from ON delegations (issuer, subject, audience, ends_at);
CREATE INDEX delegations_by ON delegations (audience, subject, issuer, ends_at);
