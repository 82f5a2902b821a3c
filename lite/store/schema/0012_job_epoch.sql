-- What the numbers of changes of jobs here are called: something else wherever they begin anew, in a
-- new home and after a restore.
CREATE TABLE job_epoch (epoch BLOB NOT NULL) STRICT;
INSERT INTO job_epoch VALUES (randomblob(8));

-- Of which epoch of a provider a number is, in hexadecimal digits; '': it never named one.
ALTER TABLE heard ADD COLUMN epoch TEXT NOT NULL DEFAULT '';
