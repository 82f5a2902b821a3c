-- Which delegations revocations name as proofs, also such as have not come here yet: when one comes,
-- those revocations may count in more names. `proofs_json` and `from_hex` are functions of
-- lite.store.schema.
CREATE TABLE revocation_proofs (
    proof BLOB NOT NULL,
    revocation BLOB NOT NULL, -- revocations.cid
    PRIMARY KEY (proof, revocation)
) STRICT, WITHOUT ROWID;

INSERT OR IGNORE INTO revocation_proofs (proof, revocation)
    SELECT from_hex(j.value), r.cid FROM revocations AS r, json_each(
        CASE typeof(r.data) WHEN 'blob' THEN proofs_json(r.data) ELSE '[]' END) AS j
    WHERE typeof(r.cid) = 'blob';

CREATE INDEX revocation_proofs_of ON revocation_proofs (revocation);
