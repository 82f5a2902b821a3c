"""The statements of the sets of letters."""

from __future__ import annotations

from typing import Final

LETTER: Final = "SELECT raw FROM peering_letter WHERE name = ? AND id = ?"
LETTER_ADD: Final = """
INSERT OR IGNORE INTO peering_letter (name, id, source, taken, added_at, raw)
    VALUES (?, ?, ?, ?, ?, ?)
"""
LETTERS_FROM: Final = "SELECT count(*) FROM peering_letter WHERE name = ? AND source = ?"
LETTERS_FROM_PEERS: Final = """
SELECT source, added_at, raw FROM peering_letter WHERE source <> '' ORDER BY added_at, id
"""
LETTERS_UNREAD: Final = "SELECT name, id, source, raw FROM peering_letter WHERE NOT taken"
LETTER_TAKEN: Final = "UPDATE peering_letter SET taken = 1 WHERE name = ? AND id = ?"
UNPOSTED: Final = """
SELECT cid, data FROM delegations AS d WHERE audience = ? AND issuer = ? AND ends_at >= ?
    AND NOT EXISTS (SELECT 1 FROM peering_posted AS p WHERE p.peer = d.audience AND p.token = d.cid)
"""
UNPOSTED_TO: Final = """
SELECT DISTINCT audience FROM delegations AS d WHERE issuer = ? AND ends_at >= ?
    AND NOT EXISTS (SELECT 1 FROM peering_posted AS p WHERE p.peer = d.audience AND p.token = d.cid)
"""
POSTED_ADD: Final = "INSERT OR IGNORE INTO peering_posted (peer, token) VALUES (?, ?)"
# Revocations that are in no letter to a peer yet although they concern it: of a delegation that it
# gave, that it got, that is about it, or that is in a letter between the two.
REVOKED: Final = "SELECT 1 FROM revocations LIMIT 1"
REVOKED_UNPOSTED: Final = """
SELECT r.cid, r.data, d.data FROM (
        SELECT cid FROM delegations WHERE audience = ?1
        UNION SELECT cid FROM delegations WHERE issuer = ?1
        UNION SELECT cid FROM delegations WHERE subject = ?1
        UNION SELECT token FROM peering_posted WHERE peer = ?1) AS c
    CROSS JOIN revocations AS r ON r.revoked = c.cid CROSS JOIN delegations AS d ON d.cid = c.cid
    WHERE NOT EXISTS (SELECT 1 FROM peering_posted AS p WHERE p.peer = ?1 AND p.token = r.cid)
    LIMIT ?2
"""
WAITING: Final = "SELECT raw FROM letters_waiting WHERE peer = ?"
WAITING_TO: Final = "SELECT DISTINCT peer FROM letters_waiting"
WAITING_ADD: Final = "INSERT OR IGNORE INTO letters_waiting (peer, raw) VALUES (?, ?)"
WAITING_DROP: Final = "DELETE FROM letters_waiting WHERE peer = ?"
