-- Secrets that customers entrusted to this node with a job: they go back to who brought or made
-- them, and to nobody else. Each is in `secrets` as well.
CREATE TABLE entrusted (
    cid BLOB NOT NULL,
    customer TEXT NOT NULL,
    PRIMARY KEY (cid, customer)
) STRICT, WITHOUT ROWID;
