"""Every statement of the store, except for the schema (`schema/`) and settings of a connection."""

from __future__ import annotations

# Blocks.
BLOCK = "SELECT data FROM blocks WHERE cid = ?"
BLOCK_EXISTS = "SELECT 1 FROM blocks WHERE cid = ?"
BLOCKS_AMONG = "SELECT cid FROM blocks WHERE cid IN ({})"
BLOCK_SIZE = "SELECT length(data) FROM blocks WHERE cid = ?"
BLOCK_FOUND = "SELECT added_at, data IS ?, coalesce(length(data), 0) FROM blocks WHERE cid = ?"
BLOCK_INSERT = """
INSERT INTO blocks (cid, added_at, data) VALUES (?, ?, ?) ON CONFLICT (cid) DO NOTHING
"""
BLOCK_REPLACE = "UPDATE blocks SET data = ? WHERE cid = ?"
BLOCK_REFRESH = "UPDATE blocks SET added_at = ? WHERE cid = ?"
BLOCK_DELETE = "DELETE FROM blocks WHERE cid = ? RETURNING length(data)"
BLOCKS_BETWEEN = "SELECT cid FROM blocks WHERE cid >= ? AND cid < ? ORDER BY cid LIMIT ?"
BLOCKS_WITHIN = "SELECT cid, data FROM blocks WHERE cid > ? AND cid < ? ORDER BY cid LIMIT ?"
BLOCKS_BY_TAIL = "SELECT cid FROM blocks WHERE substr(cid, -2) = ? ORDER BY cid"
BLOCKS_ODD = "SELECT cid FROM blocks WHERE length(cid) <> 36 ORDER BY cid"
BLOCK_AFTER = "SELECT id, cid, data FROM blocks WHERE id > ? ORDER BY id LIMIT 1"
GONE = "SELECT gone_at, bytes FROM gone WHERE cid = ?"
GONE_INSERT = "INSERT OR REPLACE INTO gone (cid, gone_at, bytes) VALUES (?, ?, ?)"
GONE_TRIM = """
DELETE FROM gone WHERE cid IN (
    SELECT cid FROM gone ORDER BY gone_at DESC LIMIT -1 OFFSET ?)
"""
TOTALS = "SELECT blocks, bytes FROM totals"
TOTALS_ADD = "UPDATE totals SET blocks = blocks + ?, bytes = bytes + ?"
TOTALS_COUNTED = "SELECT count(*), coalesce(sum(length(data)), 0) FROM blocks"

# Adds of several transactions.
ADDING_INSERT = "INSERT OR IGNORE INTO adding (cid, adder) VALUES (?, ?)"
ADDING_ADOPT = "DELETE FROM adding WHERE cid = ? AND adder <> ?"
ADDING_DONE = "DELETE FROM adding WHERE adder = ?"
ADDING_BATCH = "SELECT cid FROM adding WHERE adder = ? LIMIT ?"
ADDERS = "SELECT DISTINCT adder FROM adding"

# Instructions.
ALIAS = "SELECT cid FROM aliases WHERE alias = ?"
ALIASES_AMONG = "SELECT alias FROM aliases WHERE alias IN ({})"
ALIAS_INSERT = "INSERT OR IGNORE INTO aliases (alias, cid) VALUES (?, ?)"
ALIAS_MIRROR = """
INSERT OR IGNORE INTO answers (instruction, receipt)
    SELECT ?, receipt FROM answers WHERE instruction = ?
"""

# Receipts.
RECEIPT = "SELECT data FROM receipts WHERE cid = ?"
RECEIPT_ID = "SELECT id FROM receipts WHERE cid = ?"
RECEIPT_IDS = "SELECT id, cid FROM receipts WHERE cid IN ({})"
RECEIPT_FOUND = "SELECT id, data IS ? FROM receipts WHERE cid = ?"
RECEIPT_MEND = "UPDATE receipts SET data = ? WHERE id = ?"
RECEIPT_INSERT = """
INSERT INTO receipts (cid, added_at, data) VALUES (?, ?, ?) ON CONFLICT (cid) DO NOTHING
"""
RECEIPT_DELETE = "DELETE FROM receipts WHERE id = ?"
RECEIPTS_NEWEST = "SELECT id, cid, data FROM receipts WHERE id < ? ORDER BY id DESC LIMIT ?"
RECEIPTS_AFTER = "SELECT id, cid, data FROM receipts WHERE id > ? ORDER BY id LIMIT ?"
RECEIPTS_AFTER_ADDED = """
SELECT id, cid, data FROM receipts WHERE id > ? AND added_at >= ? ORDER BY id LIMIT ?
"""
RECEIPTS_COUNT = "SELECT count(*) FROM receipts"
RECEIPTS_BETWEEN = "SELECT cid FROM receipts WHERE cid >= ? AND cid < ? ORDER BY cid LIMIT ?"
RECEIPTS_BY_TAIL = "SELECT cid FROM receipts WHERE substr(cid, -2) = ? ORDER BY cid"
RECEIPTS_ODD = "SELECT cid FROM receipts WHERE length(cid) <> 36 ORDER BY cid"
ANSWERS = """
SELECT r.cid, r.data FROM answers AS a JOIN receipts AS r ON r.id = a.receipt
    WHERE a.instruction = ? ORDER BY a.receipt DESC LIMIT ?
"""
ANSWERS_BEFORE = """
SELECT a.receipt, r.cid, r.data FROM answers AS a JOIN receipts AS r ON r.id = a.receipt
    WHERE a.instruction = ? AND a.receipt < ? ORDER BY a.receipt DESC LIMIT ?
"""
ANSWERED = "SELECT 1 FROM answers WHERE instruction = ? LIMIT 1"
ANSWERED_AMONG = "SELECT DISTINCT instruction FROM answers WHERE instruction IN ({})"
ANSWERS_OF_MANY = """
SELECT a.instruction, r.cid, r.data FROM answers AS a JOIN receipts AS r ON r.id = a.receipt
    WHERE a.instruction IN ({}) ORDER BY a.receipt DESC LIMIT ?
"""
ANSWERED_TWICE = """
SELECT instruction FROM answers GROUP BY instruction HAVING count(*) > 1
    ORDER BY max(receipt) DESC LIMIT ?
"""
ANSWERED_BY = "SELECT instruction, receipt FROM answers WHERE receipt IN ({})"
ANSWER_INSERT = "INSERT OR IGNORE INTO answers (instruction, receipt) VALUES (?, ?)"
ANSWER_EXISTS = "SELECT 1 FROM answers WHERE instruction = ? AND receipt = ?"
ANSWERS_DELETE = "DELETE FROM answers WHERE receipt = ?"
OUTPUTS = """
SELECT r.cid, r.data FROM outputs AS o JOIN receipts AS r ON r.id = o.receipt
    WHERE o.cid = ? ORDER BY o.receipt DESC LIMIT ?
"""
OUTPUT_INSERT = "INSERT OR IGNORE INTO outputs (cid, receipt) VALUES (?, ?)"
OUTPUTS_DELETE = "DELETE FROM outputs WHERE receipt = ?"

# Names, pins, modules.
NAME = "SELECT cid FROM names WHERE name = ?"
NAMES = "SELECT name, cid FROM names ORDER BY name"
NAME_SET = "INSERT OR REPLACE INTO names (name, cid, named_at) VALUES (?, ?, ?)"
NAME_DELETE = "DELETE FROM names WHERE name = ?"
PIN_SET = "INSERT OR REPLACE INTO pins (cid, label, pinned_at) VALUES (?, ?, ?)"
PIN_DELETE = "DELETE FROM pins WHERE cid = ?"
PINS = "SELECT cid, label, pinned_at FROM pins ORDER BY pinned_at, cid"
MODULE = "SELECT description FROM modules WHERE cid = ?"
MODULE_SET = "INSERT OR REPLACE INTO modules (cid, description) VALUES (?, ?)"
MODULE_DELETE = "DELETE FROM modules WHERE cid = ?"

# Collection.
BLOCK_ID = "SELECT id FROM blocks WHERE cid = ?"
BLOCK_ID_MAX = "SELECT max(id) FROM blocks"
BLOCKS_AFTER_ADDED = """
SELECT id, cid FROM blocks WHERE id > ? AND added_at >= ? ORDER BY id LIMIT ?
"""
BLOCKS_TO_JUDGE = """
SELECT id, cid, added_at, length(data) FROM blocks WHERE id > ? AND id <= ? ORDER BY id LIMIT ?
"""
BLOCK_DELETE_ID = "DELETE FROM blocks WHERE id = ?"

# Checks.
ANSWERS_REPAIR = "DELETE FROM answers WHERE receipt NOT IN (SELECT id FROM receipts)"
OUTPUTS_REPAIR = "DELETE FROM outputs WHERE receipt NOT IN (SELECT id FROM receipts)"
TOTALS_REPAIR = f"UPDATE totals SET (blocks, bytes) = ({TOTALS_COUNTED})"
COUNTS = """
SELECT (SELECT count(*) FROM receipts), (SELECT count(DISTINCT instruction) FROM answers),
    (SELECT count(*) FROM names), (SELECT count(*) FROM pins), (SELECT count(*) FROM modules),
    (SELECT count(*) FROM gone WHERE NOT EXISTS (SELECT 1 FROM blocks WHERE cid = gone.cid))
"""

# Authority.
DELEGATION = "SELECT data FROM delegations WHERE cid = ?"
DELEGATION_HERE = "SELECT 1 FROM delegations WHERE cid = ?"
DELEGATION_PARTIES = "SELECT issuer, subject FROM delegations WHERE cid = ?"
DELEGATION_FILED = """
SELECT data, audience, subject, command, ends_at, issuer FROM delegations WHERE cid = ?
"""
# One that the disk changed is mended by what comes under its CID.
DELEGATION_ADD = """
INSERT INTO delegations (cid, audience, subject, command, ends_at, issuer, added_at, data)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (cid) DO UPDATE SET (audience, subject, command, ends_at, issuer, data) =
    (excluded.audience, excluded.subject, excluded.command, excluded.ends_at, excluded.issuer,
    excluded.data)
"""
# Where issuers are told, as a JSON list, others do not count; NULL: all do.
DELEGATIONS_TO = """
SELECT cid, data, ends_at FROM delegations WHERE audience = ?1 AND subject = ?2 AND ends_at >= ?3
    AND (?5 IS NULL OR issuer IN (SELECT value FROM json_each(?5)))
UNION ALL
SELECT cid, data, ends_at FROM delegations WHERE audience = ?1 AND subject IS NULL AND ends_at >= ?3
    AND (?5 IS NULL OR issuer IN (SELECT value FROM json_each(?5)))
    ORDER BY ends_at DESC, cid LIMIT ?4
"""
# To be filled in with a `?` for each command.
DELEGATIONS_GIVEN = """
WITH wanted (command) AS (VALUES {})
SELECT cid, data, ends_at FROM wanted CROSS JOIN delegations AS d
    WHERE d.audience = ? AND d.subject = ? AND d.command = wanted.command AND d.ends_at >= ?
    AND (? IS NULL OR d.issuer IN (SELECT value FROM json_each(?)))
UNION ALL
SELECT cid, data, ends_at FROM wanted CROSS JOIN delegations AS d
    WHERE d.audience = ? AND d.subject IS NULL AND d.command = wanted.command AND d.ends_at >= ?
    AND (? IS NULL OR d.issuer IN (SELECT value FROM json_each(?)))
    ORDER BY ends_at DESC, cid LIMIT ? OFFSET ?
"""
DELEGATION_TAKERS = """
SELECT audience FROM delegations WHERE issuer = ?1 AND subject = ?2 AND ends_at >= ?3
UNION
SELECT audience FROM delegations WHERE issuer = ?1 AND subject IS NULL AND ends_at >= ?3 LIMIT ?4
"""
DELEGATION_GIVERS = """
SELECT issuer FROM delegations WHERE audience = ?1 AND subject = ?2 AND ends_at >= ?3
UNION
SELECT issuer FROM delegations WHERE audience = ?1 AND subject IS NULL AND ends_at >= ?3 LIMIT ?4
"""
DELEGATION_SUBJECTS = """
SELECT coalesce(subject, issuer) AS about FROM delegations WHERE audience = ? AND ends_at >= ?
    GROUP BY about ORDER BY about LIMIT ?
"""
DELEGATION_NEWEST = "SELECT coalesce(max(rowid), 0) FROM delegations"
DELEGATION_SUBJECTS_SINCE = """
SELECT DISTINCT coalesce(subject, issuer) FROM delegations
    WHERE rowid > ? AND +audience = ? LIMIT ?
"""
# About whatever subject.
DELEGATIONS_TO_ANY = DELEGATIONS_TO.replace("subject = ?2", "subject IS NOT NULL")
DELEGATION_TAKERS_ANY = DELEGATION_TAKERS.replace("subject = ?2", "subject IS NOT NULL")
DELEGATION_GIVERS_ANY = DELEGATION_GIVERS.replace("subject = ?2", "subject IS NOT NULL")
DELEGATIONS_CHECKED = """
SELECT rowid, cid, data, audience, subject, command, ends_at, issuer FROM delegations
    WHERE rowid > ? ORDER BY rowid LIMIT ?
"""
DELEGATION_MEND = """
UPDATE delegations SET (audience, subject, command, ends_at, issuer) = (?, ?, ?, ?, ?)
    WHERE rowid = ?
"""
RIGHTS_ENDED = """
SELECT max(ends_at), (SELECT max(added_at) FROM delegations) FROM delegations WHERE audience = ?
"""
DELEGATIONS_AFTER = (
    "SELECT rowid, cid, data FROM delegations WHERE rowid > ? ORDER BY rowid LIMIT ?"
)
DELEGATION_DELETE = "DELETE FROM delegations WHERE rowid = ?"
DELEGATION_FORGET = "DELETE FROM delegations WHERE cid = ?"
REVOCATION = "SELECT data FROM revocations WHERE cid = ?"
REVOCATION_HERE = "SELECT 1 FROM revocations WHERE cid = ?"
REVOCATION_ADD = """
INSERT INTO revocations (cid, revoked, added_at, data) VALUES (?, ?, ?, ?)
    ON CONFLICT (cid) DO UPDATE SET (revoked, data) = (excluded.revoked, excluded.data)
    WHERE (revoked, data) <> (excluded.revoked, excluded.data)
"""
REVOCATION_FOR_SUBJECT = "SELECT for_subject FROM revocations WHERE cid = ?"
REVOCATION_COUNTS_FOR_SUBJECT = """
UPDATE revocations SET for_subject = 1 WHERE cid = ? AND for_subject = 0
"""
REVOCATIONS_AFTER = (
    "SELECT rowid, cid, data FROM revocations WHERE rowid > ? ORDER BY rowid LIMIT ?"
)
REVOCATIONS_CHECKED = """
SELECT rowid, cid, data, revoked FROM revocations WHERE rowid > ? ORDER BY rowid LIMIT ?
"""
REVOCATIONS_PROVED = """
SELECT DISTINCT r.cid, r.data FROM revocation_proofs AS p
    JOIN revocations AS r ON r.cid = p.revocation
    WHERE p.proof IN ({}) AND typeof(r.data) = 'blob'
"""
REVOCATION_PROOFS = "SELECT proof FROM revocation_proofs WHERE revocation = ?"
REVOCATION_PROOF_ADD = "INSERT OR IGNORE INTO revocation_proofs (proof, revocation) VALUES (?, ?)"
REVOCATION_PROOFS_DELETE = "DELETE FROM revocation_proofs WHERE revocation = ?"
REVOCATION_MEND = "UPDATE revocations SET revoked = ? WHERE rowid = ?"
REVOCATION_MARKS = """
SELECT coalesce((SELECT max(rowid) FROM revocations), 0), (SELECT count(*) FROM revokers)
"""
REVOCATIONS_COUNT = "SELECT count(*) FROM revocations"
REVOCATION_DELETE = "DELETE FROM revocations WHERE rowid = ?"
REVOKERS = "SELECT revoker FROM revokers WHERE revoked = ?"
ANY_REVOKED = "SELECT 1 FROM revokers WHERE revoked IN ({}) LIMIT 1"
REVOKER_ADD = "INSERT OR IGNORE INTO revokers (revoked, revoker) VALUES (?, ?)"
INVOCATION = "SELECT receipt FROM invocations WHERE cid = ?"
INVOCATION_CLAIM = "INSERT INTO invocations (cid, until) VALUES (?, ?)"
INVOCATION_RELEASE = "DELETE FROM invocations WHERE cid = ? AND receipt IS NULL"
INVOCATION_ANSWERED = "UPDATE invocations SET receipt = ? WHERE cid = ?"
INVOCATION_RECEIPT = """
SELECT r.cid, r.data FROM invocations AS i JOIN receipts AS r ON r.cid = i.receipt WHERE i.cid = ?
"""
# Of more than so many, those go that ended first. Revocations stay for good.
DELEGATIONS_COUNT = "SELECT count(*) FROM delegations"
DELEGATIONS_EVICT = """
DELETE FROM delegations WHERE ends_at <= (SELECT max(ends_at) FROM (
    SELECT ends_at FROM delegations WHERE ends_at < ? ORDER BY ends_at LIMIT ?))
"""
# What is forgotten of claims is noted in the same transaction, so that it cannot be used.
CLAIMS_COUNT = "SELECT count(*) FROM invocations"
CLAIMS_FORGOTTEN = "SELECT claims_until FROM forgotten"
CLAIMS_FORGET = """
UPDATE forgotten SET claims_until = max(claims_until, coalesce((SELECT max(until) FROM (
    SELECT until FROM invocations WHERE until < ? ORDER BY until LIMIT ?)), -1))
"""
CLAIMS_EVICT = "DELETE FROM invocations WHERE until <= (SELECT claims_until FROM forgotten)"
# The sequences remember that there were blocks or receipts, also when all are gone.
WAS_USED = """
SELECT EXISTS (SELECT 1 FROM sqlite_sequence) OR EXISTS (SELECT 1 FROM gone)
    OR EXISTS (SELECT 1 FROM names) OR EXISTS (SELECT 1 FROM pins)
    OR EXISTS (SELECT 1 FROM modules) OR EXISTS (SELECT 1 FROM delegations)
    OR EXISTS (SELECT 1 FROM revocations) OR EXISTS (SELECT 1 FROM invocations)
    OR EXISTS (SELECT 1 FROM latest WHERE signed_at > 0)
"""
LATEST = "SELECT signed_at, receipt FROM latest"
LATEST_RAISE = "UPDATE latest SET signed_at = ?, receipt = ? WHERE signed_at <= ?"
LATEST_AGAIN = """
UPDATE latest SET (signed_at, receipt) = (
    SELECT coalesce(max(added_at), 0), cid FROM receipts) WHERE receipt = ?
"""
AUTHORITY_COUNTS = """
SELECT (SELECT count(*) FROM delegations), (SELECT count(*) FROM revocations)
"""

# Peers. The tables are those of `sync.peer_rows` and `sync.index`, made at first use.
SYNC_PEERS = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'sync_peer'"
SYNC_NODES = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'sync_node'"
SYNC_EPOCH_RENEW = "UPDATE sync_node SET epoch = randomblob(8) WHERE no = 0"
JOB_EPOCHS = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'job_epoch'"
JOB_EPOCH_RENEW = "UPDATE job_epoch SET epoch = randomblob(8)"
SYNC_ANSWERING = """
SELECT did FROM sync_peer WHERE ' ' || rights || ' ' LIKE '% answers %' AND banned_until <= ?
    AND did NOT IN (SELECT provider FROM refusals WHERE code = 'wrong-answer')
"""
MARKED = "SELECT provider FROM refusals WHERE code = 'wrong-answer'"
SYNC_NAMES = "SELECT did, name FROM sync_peer"
TOMBSTONES_CREATE = """
CREATE TABLE IF NOT EXISTS tombstones (
    number INTEGER PRIMARY KEY AUTOINCREMENT, -- in the order in which they were forgotten
    cid BLOB NOT NULL UNIQUE,
    signed_at INTEGER NOT NULL,
    secret INTEGER NOT NULL,
    forgotten_at INTEGER NOT NULL
) STRICT
"""
TOMBSTONES = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'tombstones'"
TOMBSTONE_ADD = """
INSERT OR IGNORE INTO tombstones (cid, signed_at, secret, forgotten_at)
    VALUES (?1, ?2, EXISTS (SELECT 1 FROM secrets WHERE cid = ?1), ?3)
"""
TOMBSTONE_LIFT = "DELETE FROM tombstones WHERE cid = ?"
TOMBSTONE = "SELECT 1 FROM tombstones WHERE cid = ?"
TOMBSTONES_AFTER = """
SELECT number, cid, signed_at FROM tombstones WHERE number > ? AND NOT secret
    ORDER BY number LIMIT ?
"""
