"""The statements of the set of capability records."""

from __future__ import annotations

from typing import Final

RAWS: Final = "SELECT id, raw FROM peering_capability WHERE id IN ({0})"
ALL: Final = "SELECT id, raw FROM peering_capability ORDER BY did"
OF: Final = "SELECT id, raw FROM peering_capability WHERE did = ?"
COUNT: Final = "SELECT count(*) FROM peering_capability"
PUT: Final = "INSERT OR REPLACE INTO peering_capability (did, id, raw) VALUES (?, ?, ?)"
PAST: Final = "SELECT id FROM peering_capability_past WHERE id IN ({0})"
PAST_ADD: Final = "INSERT OR IGNORE INTO peering_capability_past (id, ends_at) VALUES (?, ?)"
PAST_DROP: Final = "DELETE FROM peering_capability_past WHERE ends_at < ?"
TABLE: Final = "SELECT 1 FROM sqlite_master WHERE name = 'peering_capability'"
