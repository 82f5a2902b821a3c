"""The statements about runs, secrets, uses and schedules; the others are in `sql.py`."""

from __future__ import annotations

# Runs.
_RUN = """
SELECT id, workflow, name, state, created_at, changed_at, ended_at, deadline_at, cancelled, options,
    mode, schedule, due_at
    FROM runs
"""
RUN = f"{_RUN} WHERE id = ?"
RUNS_BETWEEN = f"{_RUN} WHERE id >= ? AND id < ? ORDER BY id LIMIT ?"
RUNS_NEWEST = f"{_RUN} ORDER BY number DESC LIMIT ?"
RUNS_IN_STATE = f"{_RUN} WHERE state = ? ORDER BY number DESC LIMIT ?"
RUN_LATEST = f"{_RUN} WHERE workflow = ? ORDER BY number DESC LIMIT 1"
RUNS_GOING = """
SELECT id FROM runs WHERE state IN ('running', 'queued', 'interrupted') AND name = ?
"""
RUN_LATEST_OF = f"{_RUN} WHERE workflow = ? AND mode = ? ORDER BY number DESC LIMIT 1"
RUNS_OTHERWISE = """
SELECT id FROM runs AS r WHERE workflow = ?1 AND mode <> ?2 AND number = (
    SELECT max(number) FROM runs WHERE workflow = ?1 AND mode = r.mode)
"""
RUNS_SCHEDULED = f"""{_RUN} WHERE schedule IS NOT NULL AND state = 'running' ORDER BY number"""
RUN_INSERT = """
INSERT INTO runs (id, workflow, name, state, created_at, changed_at, deadline_at, options, mode,
    schedule, due_at)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
RUN_STATE = "UPDATE runs SET state = ?, changed_at = ?, ended_at = ? WHERE id = ?"
RUN_TOUCH = "UPDATE runs SET changed_at = ? WHERE id = ?"
RUN_REOPEN = """
UPDATE runs SET state = 'running', changed_at = ?, ended_at = NULL, cancelled = 0, deadline_at = ?
    WHERE id = ?
"""
RUN_DEADLINE = "UPDATE runs SET deadline_at = ?, changed_at = ? WHERE id = ?"
RUN_OPTIONS = "UPDATE runs SET options = ? WHERE id = ?"
RUN_CANCEL = "UPDATE runs SET cancelled = 1, changed_at = ? WHERE id = ? AND ended_at IS NULL"
RUN_CANCELLED = "SELECT cancelled FROM runs WHERE id = ?"

_STEP = """
SELECT run, position, label, instruction, level, state, reason, receipt, source, rule, attempts,
    next_try_at, started_at, ended_at, cause, depth, meta
    FROM steps
"""
STEPS = f"{_STEP} WHERE run = ? AND position > ? ORDER BY position"
STEP = f"{_STEP} WHERE run = ? AND position = ?"
STEP_GLANCE = """
SELECT state, attempts, EXISTS (SELECT 1 FROM answers WHERE instruction = ?)
    FROM steps WHERE run = ? AND position = ?
"""
STEP_NEXT_POSITION = "SELECT coalesce(max(position) + 1, 0) FROM steps WHERE run = ?"
STEP_ADD = """
INSERT OR IGNORE INTO steps (run, position, label, instruction, level, state, cause, depth, meta)
    VALUES (?, ?, ?, ?, ?, 'waiting', ?, ?, ?)
"""
# A step that has its receipt keeps it, whatever another process says, until it is to wait again.
# What somebody does, or may have done, is never said to have been stopped, and to wait only by who
# has its lease.
STEP_CHANGE = """
UPDATE steps SET state = ?1, reason = ?2, receipt = ?3, source = ?4, rule = ?5,
    attempts = CASE ?1 WHEN 'waiting' THEN coalesce(?6, attempts)
        ELSE max(coalesce(?6, 0), attempts) END,
    next_try_at = ?7, started_at = coalesce(?8, started_at), ended_at = ?9
    WHERE run = ?10 AND position = ?11 AND (?1 = 'waiting' OR receipt IS NULL
        OR state NOT IN ('done', 'cached', 'failed'))
    AND (?1 NOT IN ('cancelled', 'expired')
        OR state <> 'in-doubt' AND (state <> 'running' OR level = 'pure'))
    AND (?1 <> 'queued' OR NOT ?12 OR level <> 'mutation' OR state NOT IN ('running', 'in-doubt'))
"""
STEP_COUNTS = "SELECT state, count(*) FROM steps WHERE run = ? GROUP BY state"

STEPS_CAUSED = "SELECT receipt, cause FROM steps WHERE cause IS NOT NULL AND receipt IS NOT NULL"
# The last row of a receipt is the newest step that made it, or else was answered by it.
STEPS_ANSWERED = """
SELECT s.receipt, s.label, r.id, r.name, r.workflow FROM steps AS s JOIN runs AS r ON r.id = s.run
    WHERE s.receipt IN ({}) ORDER BY s.source = 'ran', r.number
"""

# Of each receipt and instruction one run: that which made it, else the newest. SQLite takes the
# other columns from the row with the largest number.
STEPS_ASKED = """
SELECT s.receipt, s.instruction, s.run, max(r.number + (s.source = 'ran') * 1000000000000000) AS at
    FROM steps AS s JOIN runs AS r ON r.id = s.run
    WHERE s.receipt IN ({}) GROUP BY s.receipt, s.instruction ORDER BY at DESC
"""
STEPS_RECEIPTS = """
SELECT instruction, receipt FROM steps WHERE run = ? AND receipt IS NOT NULL ORDER BY position
"""

STEPS_RECEIPTS_OF = (
    "SELECT DISTINCT receipt FROM steps WHERE instruction IN ({}) AND receipt IS NOT NULL"
)

WORKFLOWS_WITH = (
    "SELECT DISTINCT r.workflow FROM steps AS s JOIN runs AS r ON r.id = s.run "
    "WHERE s.instruction IN ({}) AND s.cause IS NULL"
)

# Answers that are found only under the name with the values filled in; the newest run comes last.
STEPS_APART = """
SELECT s.instruction, s.receipt FROM runs AS r JOIN steps AS s ON s.run = r.id
    WHERE s.receipt IS NOT NULL
        AND NOT EXISTS (SELECT 1 FROM answers AS a WHERE a.instruction = s.instruction)
    ORDER BY r.number
"""

# Collection of runs. Those that ended: whatever has a time of it.
RUNS_OPEN = """
SELECT number, id, workflow FROM runs
    WHERE ended_at IS NULL AND (number > ? OR changed_at >= ?) ORDER BY number
"""
RUNS_ENDED_KEPT = """
SELECT workflow FROM runs WHERE ended_at IS NOT NULL AND ended_at >= ? ORDER BY number DESC LIMIT ?
"""
RUNS_ENDED_REST = """
SELECT id FROM runs WHERE ended_at IS NOT NULL AND number NOT IN (
    SELECT number FROM runs WHERE ended_at IS NOT NULL AND ended_at >= ?
        ORDER BY number DESC LIMIT ?) LIMIT ?
"""
RUN_EXISTS = "SELECT 1 FROM runs WHERE id = ?"
RUN_DELETE = "DELETE FROM runs WHERE id = ?"
RUN_STEPS_DELETE = "DELETE FROM steps WHERE run = ?"
STEP_INSTRUCTIONS = "SELECT DISTINCT instruction FROM steps WHERE run = ?"
STEP_RECEIPTS = """
SELECT DISTINCT r.cid, r.data FROM steps AS s JOIN receipts AS r ON r.cid IN (s.receipt, s.cause)
    WHERE s.run = ?
"""

# Mutations with a nonce, see lite.store.begun.
BEGUN = "SELECT at, run, label, reason FROM begun WHERE instruction = ?"
BEGUN_NOTE = """
INSERT INTO begun (instruction, at, run, label, reason) VALUES (?, ?, ?, ?, ?)
    ON CONFLICT (instruction) DO UPDATE SET at = excluded.at, run = excluded.run,
        label = excluded.label, reason = excluded.reason
"""
BEGUN_ENDED = "DELETE FROM begun WHERE instruction = ?"
BEGUN_ANY = "SELECT 1 FROM begun LIMIT 1"

# Checks of runs.
STEPS_WITHOUT_RUN = """
SELECT run, count(*) FROM steps WHERE run NOT IN (SELECT id FROM runs) GROUP BY run LIMIT ?
"""
RUNS_AFTER = "SELECT number, id, workflow, state, ended_at FROM runs WHERE number > ? LIMIT ?"
# "await/" in it: what such a step was made of may differ from run to run, so that its receipt is
# found under the name with the values filled in alone.
STEPS_TO_CHECK = """
SELECT s.position, s.label, s.state, s.source, s.receipt, r.id IS NOT NULL,
    EXISTS (SELECT 1 FROM answers AS a WHERE a.receipt = r.id AND a.instruction = s.instruction)
        OR EXISTS (SELECT 1 FROM blocks AS b
            WHERE b.cid = s.instruction AND instr(b.data, X'61776169742F') > 0)
    FROM steps AS s LEFT JOIN receipts AS r ON r.cid = s.receipt WHERE s.run = ? ORDER BY s.position
"""
# What may have acted is not begun again by itself.
STEP_AGAIN = """
UPDATE steps SET state = CASE WHEN level IN ('pure', 'query') THEN 'waiting' ELSE 'in-doubt' END,
    reason = 'its receipt was lost', receipt = NULL, source = '', rule = '', ended_at = NULL
    WHERE run = ? AND position = ?
"""

# Secrets.
SECRET_ADD = "INSERT OR IGNORE INTO secrets (cid) VALUES (?)"
SECRET_DELETE = "DELETE FROM secrets WHERE cid = ?"
SECRET = "SELECT 1 FROM secrets WHERE cid = ?"
SECRETS_AMONG = "SELECT cid FROM secrets WHERE cid IN ({})"
SECRETS_ANY = "SELECT 1 FROM secrets LIMIT 1"
SECRETS_COUNT = "SELECT count(*) FROM secrets"
# Marks of the owner's own that are here, with their sizes; what customers entrusted is no such.
OWN_SECRET_BLOCKS = """
SELECT s.cid, length(b.data) FROM secrets AS s CROSS JOIN blocks AS b ON b.cid = s.cid
    WHERE s.cid > ? AND s.cid < ?
    AND NOT EXISTS (SELECT 1 FROM entrusted AS e WHERE e.cid = s.cid)
    ORDER BY s.cid LIMIT ?
"""
ENTRUSTED_ADD = "INSERT OR IGNORE INTO entrusted (cid, customer) VALUES (?, ?)"
ENTRUSTED = "SELECT 1 FROM entrusted WHERE cid = ? LIMIT 1"
ENTRUSTED_AMONG = "SELECT cid FROM entrusted WHERE customer = ? AND cid IN ({})"

# Uses.
USE_ADD = "INSERT OR IGNORE INTO uses (cid, instruction) VALUES (?, ?)"
USE_DELETE = "DELETE FROM uses WHERE cid = ? AND instruction = ?"
USING = (
    "SELECT instruction FROM uses WHERE cid = ? AND instruction > ? ORDER BY instruction LIMIT ?"
)
RECEIPTS_USING = """
SELECT DISTINCT r.id, r.cid, r.data
    FROM uses AS u JOIN answers AS a ON a.instruction = u.instruction
        JOIN receipts AS r ON r.id = a.receipt
    WHERE u.cid IN ({}) ORDER BY r.id DESC LIMIT ?
"""
# A map of four keys of which the first is "op": what begins like an instruction.
INSTRUCTION_DATA = "SELECT data FROM blocks WHERE cid = ? AND substr(data, 1, 4) = X'A4626F70'"

# Schedules.
_SCHEDULE = """
SELECT id, cron, zone, missed, path, workflow, options, enabled, created_at, last_due_at,
    next_due_at, last_run
    FROM schedules
"""
SCHEDULE = f"{_SCHEDULE} WHERE id = ?"
SCHEDULES = f"{_SCHEDULE} ORDER BY id"
SCHEDULES_DUE = f"{_SCHEDULE} WHERE enabled = 1 AND next_due_at <= ? ORDER BY next_due_at, id"
SCHEDULE_NEXT = "SELECT min(next_due_at) FROM schedules WHERE enabled = 1"
SCHEDULE_ADD = """
INSERT INTO schedules (cron, zone, missed, path, workflow, options, created_at, next_due_at)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?)
"""
SCHEDULE_DELETE = "DELETE FROM schedules WHERE id = ?"
SCHEDULE_MARK = """
UPDATE schedules SET last_due_at = ?, next_due_at = ?, last_run = coalesce(?, last_run)
    WHERE id = ? AND next_due_at <= ?
"""
SCHEDULE_ENABLE = "UPDATE schedules SET enabled = ?, next_due_at = ? WHERE id = ?"
SCHEDULE_WORKFLOWS = "SELECT workflow FROM schedules WHERE workflow IS NOT NULL"
