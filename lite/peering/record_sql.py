"""The statements of the set of records, over the tables of the store and those of `tables`."""

from __future__ import annotations

from typing import Final

STATE: Final = "SELECT value FROM peering_state WHERE name = ?"
STATE_RAISE: Final = """
INSERT INTO peering_state (name, value) VALUES (?, ?)
    ON CONFLICT (name) DO UPDATE SET value = max(value, excluded.value)
"""
STATE_RESET: Final = "DELETE FROM peering_state WHERE name = ?"

# Receipts and revocations that may leave; both lists are the same.
RECORDS: Final = """
SELECT cid, data FROM receipts AS r WHERE cid IN ({0})
    AND NOT EXISTS (SELECT 1 FROM secrets AS s WHERE s.cid = r.cid)
UNION ALL SELECT cid, data FROM revocations WHERE cid IN ({0})
"""
ANSWERS: Final = """
SELECT r.cid, r.data FROM answers AS a JOIN receipts AS r ON r.id = a.receipt
    WHERE a.instruction = ? AND NOT EXISTS (SELECT 1 FROM secrets AS s WHERE s.cid = r.cid)
    ORDER BY a.receipt DESC LIMIT ?
"""

# Catching up.
RECEIPTS_AFTER: Final = """
SELECT r.id, r.cid, r.data, EXISTS (SELECT 1 FROM secrets AS s WHERE s.cid = r.cid)
    FROM receipts AS r WHERE r.id > ? ORDER BY r.id LIMIT ?
"""
RECEIPT_ROW: Final = "SELECT id, cid, data, 0 FROM receipts WHERE id = ?"
REVOCATIONS_AFTER: Final = """
SELECT rowid, cid, data FROM revocations WHERE rowid > ? ORDER BY rowid LIMIT ?
"""
WITHHELD_ADD: Final = "INSERT OR IGNORE INTO peering_withheld (receipt) VALUES (?)"
WITHHELD_DELETE: Final = "DELETE FROM peering_withheld WHERE receipt = ?"
# Those that are not secret any more.
WITHHELD_FREE: Final = """
SELECT w.receipt FROM peering_withheld AS w CROSS JOIN receipts AS r ON r.id = w.receipt
    WHERE NOT EXISTS (SELECT 1 FROM secrets AS s WHERE s.cid = r.cid) LIMIT ?
"""

REVOCATIONS_COUNT: Final = "SELECT count(*) FROM revocations"

# Issuers.
ISSUERS: Final = "SELECT did FROM peering_issuer"
ISSUER_ADD: Final = "INSERT OR IGNORE INTO peering_issuer (did) VALUES (?)"
ISSUER_DELETE: Final = "DELETE FROM peering_issuer WHERE did = ?"
UNWANTED_ADD: Final = "INSERT OR IGNORE INTO peering_unwanted (id, issuer) VALUES (?, ?)"
UNWANTED_COUNT: Final = "SELECT count(*) FROM peering_unwanted"
UNWANTED_COUNTS: Final = "SELECT issuer, count(*) FROM peering_unwanted GROUP BY issuer"
UNWANTED_IDS: Final = "SELECT id FROM peering_unwanted WHERE issuer = ?"
UNWANTED_DELETE: Final = "DELETE FROM peering_unwanted WHERE issuer = ?"

# Tombstones whose ids are in a set. An issuer's may be unwanted besides: they count once.
FORGOTTEN_IN_SET: Final = """
SELECT count(*) FROM tombstones AS t JOIN sync_entry AS e ON e.id = substr(t.cid, 5)
    WHERE e.grp = (SELECT no FROM sync_set WHERE name = ?)
    AND NOT EXISTS (SELECT 1 FROM peering_unwanted WHERE id = e.id)
    AND NOT EXISTS (SELECT 1 FROM receipts WHERE cid = t.cid)
"""

# Ids whose bytes are gone although nobody forgot them. `LOST_TOMBSTONES` goes on where any are.
LOST: Final = """
SELECT e.id FROM sync_entry AS e WHERE e.grp = (SELECT no FROM sync_set WHERE name = ?)
    AND NOT EXISTS (SELECT 1 FROM receipts WHERE cid = CAST(x'01711220' || e.id AS BLOB))
    AND NOT EXISTS (SELECT 1 FROM revocations WHERE cid = CAST(x'01711220' || e.id AS BLOB))
    AND NOT EXISTS (SELECT 1 FROM peering_unwanted WHERE id = e.id)
"""
LOST_TOMBSTONES: Final = """
    AND NOT EXISTS (SELECT 1 FROM tombstones WHERE cid = CAST(x'01711220' || e.id AS BLOB))
"""
