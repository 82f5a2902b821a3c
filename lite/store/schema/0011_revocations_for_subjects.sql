-- Whether a revocation was found to count in the name of its subject, when it came or later: its
-- proofs may have ended or been lost since. Of those that are here already it is only known where one
-- alone can have brought the name. `invocation_subject` is a function of lite.store.schema.
ALTER TABLE revocations ADD COLUMN for_subject INTEGER NOT NULL DEFAULT 0;

UPDATE revocations AS r SET for_subject = 1
    WHERE typeof(r.data) = 'blob'
    AND (SELECT count(*) FROM revocations AS o WHERE o.revoked = r.revoked) = 1
    AND EXISTS (
        SELECT 1 FROM revokers AS n
        WHERE n.revoked = r.revoked AND n.revoker = invocation_subject(r.data));
