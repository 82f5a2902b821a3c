"""The statements about the outbox; see `schema/0007_outbox.sql`."""

from __future__ import annotations

from lite.clock import EARLIEST_S

DAY_S = 86_400
_PENDING = "('queued', 'asked', 'sent', 'accepted')"
_ITEM = """
SELECT id, run, position, label, asked, instruction, level, needs, state, code, reason, note,
    attempts, offers, next_try_at, deadline_at, priority, confirm, secret, held, receipt,
    created_at, changed_at
    FROM outbox
"""
ITEM = f"{_ITEM} WHERE id = ?"
ITEM_OF = f"{_ITEM} WHERE run = ? AND position = ?"
ITEMS_OF_RUN = f"{_ITEM} WHERE run = ? ORDER BY position"
ITEMS = f"{_ITEM} ORDER BY id DESC LIMIT ?"
ITEMS_PENDING = f"{_ITEM} WHERE state IN {_PENDING} ORDER BY priority DESC, id LIMIT ?"
# What waits for longer than anything does got its time by a clock that was set right since.
_WAIT_S_MAX = 3_660
_DUE = f"next_try_at <= ?1 OR next_try_at > ?1 + {_WAIT_S_MAX} AND next_try_at < deadline_at"
# The first condition is for the index `outbox_pending`, which has them in this order.
_READY = f"""{_ITEM} WHERE state IN {_PENDING} AND state = 'queued'
    AND (next_try_at IS NULL OR {_DUE})"""
ITEMS_READY = f"{_READY} AND id > ? ORDER BY priority DESC, id LIMIT ?"
ITEMS_READY_SAME = f"{_READY} AND priority = ? AND id > ? ORDER BY id LIMIT ?"
ITEMS_READY_BELOW = f"{_READY} AND priority < ? AND id > ? ORDER BY priority DESC, id LIMIT ?"
ITEMS_ASKING = f"{_ITEM} WHERE instruction = ? AND state IN {_PENDING} ORDER BY id LIMIT ?"
ITEMS_UNTAKEN = f"""
{_ITEM} WHERE run = ? AND taken = 0
    AND state IN ('sent', 'accepted', 'done', 'failed', 'expired') ORDER BY position
"""
_ANSWERED = """
FROM outbox AS o JOIN runs AS r ON r.id = o.run
    WHERE o.taken = 0 AND o.state IN ('done', 'failed', 'expired')
        AND (r.state IN ('queued', 'running') OR r.state = 'in-doubt' AND o.state = 'done')
        AND r.cancelled = 0
"""
RUNS_ANSWERED = f"SELECT DISTINCT o.run {_ANSWERED}"
ITEMS_LATE = f"{_ITEM} WHERE state IN {_PENDING} AND deadline_at < ? ORDER BY id LIMIT ?"
# What was written while the clock could not be right: `lite/store/redating.py`.
_UNDATED = f"state IN {_PENDING} AND created_at < {EARLIEST_S}"
ITEM_UNDATED = f"SELECT 1 FROM outbox WHERE {_UNDATED} LIMIT 1"
ITEMS_REDATE = f"""
UPDATE outbox SET deadline_at = deadline_at + ?1 - abs(created_at), created_at = ?1,
    next_try_at = CASE WHEN next_try_at >= deadline_at
        THEN next_try_at + ?1 - abs(created_at) END
    WHERE {_UNDATED}
"""
# Items whose run was stopped or is gone, and those whose step has its answer.
_NEEDLESS = f"""o.state IN {_PENDING} AND (
    NOT EXISTS (SELECT 1 FROM runs AS r WHERE r.id = o.run
        AND r.cancelled = 0 AND r.state NOT IN ('done', 'cancelled', 'expired'))
    OR EXISTS (SELECT 1 FROM steps AS s WHERE s.run = o.run AND s.position = o.position
        AND s.state IN ('done', 'cached', 'failed', 'cancelled', 'expired')))"""
ITEMS_NEEDLESS = f"{_ITEM} AS o WHERE {_NEEDLESS} LIMIT ?"
PENDING_OF_RUN = f"SELECT 1 FROM outbox WHERE run = ? AND state IN {_PENDING} LIMIT 1"
COUNTS = "SELECT state, count(*) FROM outbox GROUP BY state"
PUT = """
INSERT INTO outbox (run, position, label, asked, instruction, level, needs, state, code, reason,
    deadline_at, priority, confirm, secret, created_at, changed_at)
    VALUES (?, ?, ?, ?, ?, ?, ?, 'queued', ?, ?, ?, ?, ?, ?, ?, ?)
"""
REASON = """
UPDATE outbox SET code = ?, reason = ?, needs = ?,
    confirm = CASE WHEN state = 'queued' THEN max(confirm, ?) ELSE confirm END WHERE id = ?
"""
DELETE = "DELETE FROM outbox WHERE id = ?"
TAKEN = f"""
UPDATE outbox SET taken = 1,
    note = CASE WHEN state IN {_PENDING} THEN 'it was answered here' ELSE note END,
    state = CASE WHEN state IN {_PENDING} THEN 'cancelled' ELSE state END
    WHERE run = ? AND position = ?
"""
NOTE = "UPDATE outbox SET note = ?, next_try_at = ? WHERE id = ? AND state = 'queued'"
ROUSE = """
UPDATE outbox SET next_try_at = NULL WHERE state = 'queued' AND next_try_at < deadline_at
"""
NOTED_OTHERWISE = """
SELECT 1 FROM outbox WHERE state = 'queued' AND note != ? LIMIT 1
"""
NOTE_ALL = "UPDATE outbox SET note = ?1, next_try_at = NULL WHERE state = 'queued' AND note != ?1"
STATE = f"""
UPDATE outbox SET state = ?, note = ?, next_try_at = ?, attempts = attempts + ?,
    offers = offers + ?, changed_at = ? WHERE id = ? AND state IN {_PENDING}
"""
END = f"""
UPDATE outbox SET state = ?, note = ?, receipt = ?, next_try_at = NULL, changed_at = ?
    WHERE id = ? AND state IN {_PENDING}
"""
RESOLVE = """
UPDATE outbox SET state = 'done', receipt = ?, taken = 0, changed_at = ?
    WHERE id = ? AND state = 'failed' AND receipt IS NULL
"""
STEP_RESOLVED = """
UPDATE steps SET state = 'queued', reason = 'its answer came'
    WHERE run = ? AND position = ? AND instruction = ? AND state = 'in-doubt'
"""
BETTER = "UPDATE outbox SET receipt = ?, changed_at = ? WHERE id = ? AND state = 'done'"
CANCEL = f"""
UPDATE outbox SET state = 'cancelled', note = ?, held = ?, next_try_at = NULL, changed_at = ?
    WHERE id = ? AND state IN {_PENDING}
"""
RETRY = """
UPDATE outbox SET state = 'queued', note = '', held = 0, taken = 0, receipt = NULL, attempts = 0,
    offers = 0, next_try_at = NULL, deadline_at = max(deadline_at, ?), changed_at = ?
    WHERE id = ? AND state IN ('queued', 'failed', 'expired', 'cancelled')
"""
STEP_BUSY = """
SELECT 1 FROM steps WHERE run = ? AND position = ? AND state NOT IN ('queued', 'waiting')
"""
STEP_QUEUED = """
UPDATE steps SET state = 'queued', reason = ? WHERE run = ? AND position = ? AND state = 'waiting'
"""
STEP_WAITS = """
UPDATE steps SET state = 'waiting', reason = ?, next_try_at = NULL
    WHERE run = ? AND position = ? AND instruction = ? AND state = 'queued'
"""

_JOB = """
SELECT invocation, item, provider, token, instruction, cargo, grant_cid, final, choice, state,
    begun, lease_until, code, message, receipt, sent_at, ended_at
    FROM outbox_jobs
"""
JOB = f"{_JOB} WHERE invocation = ?"
JOBS_OF = f"{_JOB} WHERE item = ? ORDER BY sent_at, invocation"
JOBS_IN = f"{_JOB} WHERE cargo = ? ORDER BY invocation"
JOBS_PENDING_AT = f"{_JOB} WHERE provider = ? AND state IN ('sent', 'accepted') ORDER BY sent_at"
JOBS_LATE = f"{_JOB} WHERE state IN ('sent', 'accepted') AND lease_until < ? LIMIT ?"
_OPEN = "j.state IN ('sent', 'accepted', 'lost')"  # as the index `outbox_jobs_pending` has it
_WAITED_FOR = f"EXISTS (SELECT 1 FROM outbox AS o WHERE o.id = j.item AND o.state IN {_PENDING})"
_IN_DOUBT = """EXISTS (SELECT 1 FROM outbox AS o
        WHERE o.id = j.item AND o.state = 'failed' AND o.receipt IS NULL)"""
# Who was silent for too long may be at it still: it is told when it is near again, for a day.
_JOB_NEEDLESS = f"""{_OPEN} AND NOT {_WAITED_FOR} AND (j.state IN ('sent', 'accepted')
    OR j.state = 'lost' AND j.ended_at > ?1 - {DAY_S} AND NOT {_IN_DOUBT})"""
JOBS_NEEDLESS = f"{_JOB} AS j WHERE {_JOB_NEEDLESS} LIMIT ?2"
# And may still answer: while somebody waits for that, or for a week to end a doubt.
_BUSY = f"""{_OPEN} AND (j.state IN ('sent', 'accepted') OR j.state = 'lost' AND ({_WAITED_FOR}
    OR j.ended_at > ?1 - {7 * DAY_S} AND {_IN_DOUBT}))"""
PROVIDERS_BUSY = f"SELECT DISTINCT provider FROM outbox_jobs AS j WHERE {_BUSY}"
IS_BUSY = f"SELECT 1 FROM outbox_jobs AS j WHERE provider = ?2 AND {_BUSY} LIMIT 1"
JOB_ADD = """
INSERT INTO outbox_jobs (invocation, item, provider, token, instruction, cargo, grant_cid, final,
    choice, state, lease_until, sent_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 'sent', ?, ?)
"""
JOB_STATE = """
UPDATE outbox_jobs SET state = ?, begun = max(begun, ?), code = ?, message = ?,
    receipt = coalesce(?, receipt), ended_at = ? WHERE invocation = ?
"""
JOB_LEASE = """
UPDATE outbox_jobs SET lease_until = max(lease_until, ?)
    WHERE invocation = ? AND state IN ('sent', 'accepted')
"""
NOTE_OF_JOB = f"UPDATE outbox SET note = ? WHERE id = ? AND state IN {_PENDING}"
PROVIDERS = "SELECT DISTINCT provider FROM outbox_jobs"
JOBS_SINCE = "SELECT count(*) FROM outbox_jobs WHERE provider = ? AND state = ?"

ACCEPT = """
INSERT OR IGNORE INTO accepted (receipt, instruction, provider, at) VALUES (?, ?, ?, ?)
"""
ACCEPTED = "SELECT 1 FROM accepted WHERE receipt = ?"
ACCEPTED_ANY = "SELECT 1 FROM accepted LIMIT 1"
UNACCEPT = "DELETE FROM accepted WHERE receipt = ?"

GRANT_ADD = """
INSERT OR REPLACE INTO grants (delegation, audience, until, roots, token, secret)
    VALUES (?, ?, ?, ?, ?, ?)
"""
GRANT = "SELECT token FROM grants WHERE delegation = ?"
GRANTS_TO = "SELECT delegation, roots, secret FROM grants WHERE audience = ? AND until >= ?"
_GRANT_OVER = """until < ?1 OR delegation NOT IN (SELECT grant_cid FROM outbox_jobs
    WHERE state IN ('sent', 'accepted') AND grant_cid IS NOT NULL)"""
GRANTS_OVER = f"DELETE FROM grants WHERE {_GRANT_OVER}"
# All that a look has to know, in one: what there is to do, and the next times.
SURVEY = f"""
SELECT EXISTS (SELECT 1 FROM outbox WHERE state IN {_PENDING} AND deadline_at < ?1)
        OR ?1 >= {EARLIEST_S} AND EXISTS (SELECT 1 FROM outbox WHERE {_UNDATED})
        OR EXISTS (SELECT 1 FROM outbox AS o WHERE {_NEEDLESS})
        OR EXISTS (SELECT 1 FROM outbox_jobs
            WHERE state IN ('sent', 'accepted') AND lease_until < ?1)
        OR EXISTS (SELECT 1 FROM grants WHERE {_GRANT_OVER}),
    EXISTS (SELECT 1 FROM outbox_jobs AS j WHERE {_BUSY}),
    EXISTS (SELECT 1 FROM outbox_jobs AS j WHERE {_JOB_NEEDLESS}),
    EXISTS (SELECT 1 FROM outbox WHERE state = 'queued'),
    EXISTS (SELECT 1 {_ANSWERED}),
    (SELECT min(deadline_at) FROM outbox WHERE state IN {_PENDING}),
    (SELECT min(next_try_at) FROM outbox WHERE state = 'queued'),
    (SELECT min(lease_until) FROM outbox_jobs
        WHERE state IN ('sent', 'accepted') AND lease_until > ?1)
"""

HEARD = "SELECT epoch, seq FROM heard WHERE provider = ?"
HEARD_SET = """
INSERT INTO heard (provider, epoch, seq) VALUES (?, ?, ?)
    ON CONFLICT (provider) DO UPDATE SET epoch = excluded.epoch, seq = excluded.seq
"""

# Receipts that answered what was asked of others; they stay when runs and their rows are gone.
ANSWERS = """
SELECT a.receipt, a.provider, r.data FROM (
    SELECT receipt, provider FROM outbox_jobs WHERE receipt > ?1
    UNION SELECT receipt, provider FROM accepted WHERE receipt > ?1) AS a
    JOIN receipts AS r ON r.cid = a.receipt ORDER BY a.receipt LIMIT ?2
"""

REFUSED = """
INSERT INTO refusals (provider, code, count, at) VALUES (?, ?, 1, ?)
    ON CONFLICT (provider, code) DO UPDATE SET count = count + 1, at = excluded.at
"""
FORGIVE = "DELETE FROM refusals WHERE provider = ?"
REFUSALS = "SELECT provider, code, count, at FROM refusals ORDER BY provider, code"

# Collection and checks.
ROOTS = f"SELECT instruction, asked FROM outbox WHERE state IN {_PENDING} OR taken = 0"
ANSWER_RECEIPTS = """
SELECT r.cid, r.data FROM outbox AS o JOIN receipts AS r ON r.cid = o.receipt WHERE o.taken = 0
"""
EVICT = "DELETE FROM outbox WHERE NOT EXISTS (SELECT 1 FROM runs AS r WHERE r.id = outbox.run)"
EVICT_JOBS = """
DELETE FROM outbox_jobs WHERE state NOT IN ('sent', 'accepted')
    AND NOT EXISTS (SELECT 1 FROM outbox AS o WHERE o.id = outbox_jobs.item)
"""
EVICT_ACCEPTED = """
DELETE FROM accepted WHERE NOT EXISTS (SELECT 1 FROM receipts AS r WHERE r.cid = accepted.receipt)
"""
CHECKED = """
SELECT o.id, o.run, o.label, o.state, o.receipt IS NOT NULL, r.id IS NOT NULL, s.run IS NOT NULL,
    s.instruction = o.asked
    FROM outbox AS o LEFT JOIN receipts AS r ON r.cid = o.receipt
        LEFT JOIN steps AS s ON s.run = o.run AND s.position = o.position
    WHERE o.id > ? ORDER BY o.id LIMIT ?
"""
JOBS_CHECKED = """
SELECT j.invocation, j.token, j.state FROM outbox_jobs AS j WHERE j.invocation > ?
    ORDER BY j.invocation LIMIT ?
"""
JOB_DELETE = "DELETE FROM outbox_jobs WHERE invocation = ?"
