"""When a schedule is due: cron lines and time zones in, seconds since 1970 out.

Lines have five fields (minute, hour, day, month, weekday) as Debian's cron reads them, and behave
as there when clocks are changed: what falls into an hour that is left out comes right after it,
what falls into one that comes twice counts the first time; lines whose minute or hour begins with
a star go by the clock as it shows.
"""

from __future__ import annotations

import os.path
from collections.abc import Iterator
from datetime import datetime, timezone, tzinfo
from itertools import islice
from typing import Final, Literal, get_args

from lite.environment import environment
from lite.errors import UsageError, quoted

__all__ = [
    "MISSED",
    "Missed",
    "check",
    "is_set_back",
    "local_zone",
    "missed",
    "next_due",
]

Missed = Literal["once", "all", "none"]

MISSED: Final = get_args(Missed)
MISSED_MAX: Final = 1_000  # times at once under the policy "all"
ON_TIME_S: Final = 60  # so late may a run begin and still not count as missed
SET_BACK_S: Final = 3_600  # a clock that lost more than this was ahead before
_DAY_S: Final = 86_400
CRON_CHARS_MAX: Final = 1_000
_FIELDS: Final = 5
_ZONEINFO: Final = "zoneinfo/"


def check(expr: str, zone: str) -> None:
    """Whether a cron line and a zone can be understood.

    Raises:
        UsageError: not; it says which field is wrong.
    """
    next_due(expr, zone, 0)


def next_due(expr: str, zone: str, after: int) -> int | None:
    """The first time after `after` (seconds since 1970) at which a line is due; None: not in the
    next 50 years.

    Raises:
        UsageError: the line or the zone cannot be understood.
    """
    return next(_times(expr, zone, after), None)


def missed(expr: str, zone: str, since: int, now: int, policy: Missed) -> list[int]:
    """The times after `since`, until `now` included, for which to run now, in order.

    Args:
        since: the last time that was seen to; after `now` if the clock was set back, and then
            nothing is due.
        policy: of the times that went by while nobody looked, "once" takes the last, "all" every
            one (at most 1,000, the first), "none" only what is at most a minute late.

    Raises:
        UsageError: as `next_due`.
    """
    if policy == "all":
        return list(islice(_until(expr, zone, since, now), MISSED_MAX))
    on_time = policy == "none"
    start = max(since, now - ON_TIME_S - 1) if on_time else _near(expr, zone, since, now)
    last = None
    for last in _until(expr, zone, start, now):  # noqa: B007
        pass
    return [] if last is None else [last]


def is_set_back(seen: int, now: int) -> bool:
    """Whether a clock that once showed `seen` was set back by so much that it had been wrong, and
    what it had led to must be found anew. Less is waited for, so that nothing runs twice."""
    return seen - now > SET_BACK_S


def local_zone() -> str:
    """The name of this machine's time zone in the IANA database; UTC if it says none."""
    told = (environment("TZ") or "").removeprefix(":")
    if not told:
        target = os.path.realpath("/etc/localtime")
        told = target.partition(_ZONEINFO)[2]
    try:
        _zone(told)
    except UsageError:
        return "UTC"
    return told


def _near(expr: str, zone: str, since: int, now: int) -> int:
    """A time from which the last due time before `now` is found in few steps."""
    span = _DAY_S
    while now - span > since:
        found = next_due(expr, zone, now - span)
        if found is not None and found <= now:
            return now - span
        span *= 4
    return since


def _until(expr: str, zone: str, since: int, now: int) -> Iterator[int]:
    for due in _times(expr, zone, since):
        if due > now:
            return
        yield due


def _times(expr: str, zone: str, after: int) -> Iterator[int]:
    """Every time after `after`, each later than the one before."""
    from cronsim import CronSim, CronSimError

    if len(expr) > CRON_CHARS_MAX:
        raise UsageError(f"a cron line has at most {CRON_CHARS_MAX} characters, not {len(expr)}")
    fields = len(expr.split())
    if fields != _FIELDS:
        raise UsageError(
            f"{quoted(expr[:64])} is not a cron line: it has {fields} fields, not {_FIELDS}",
            hint='minute, hour, day, month, weekday: "0 3 * * 1" is Mondays at 3:00.',
        )
    try:
        times = CronSim(expr, datetime.fromtimestamp(after, _zone(zone)))
    except CronSimError as fault:
        raise UsageError(
            f"{quoted(expr[:64])} is not a cron line: {fault}",
            hint='minute, hour, day, month, weekday: "0 3 * * 1" is Mondays at 3:00.',
        ) from None
    last = after
    for found in times:
        due = int(found.timestamp())
        if due > last:  # else it is in the hour that comes twice
            last = due
            yield due


def _zone(name: str) -> tzinfo:
    if name == "UTC":
        return timezone.utc
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise UsageError(
            f"the time zone {quoted(name[:64])} is not known here",
            hint="Name one like Europe/Berlin or UTC; the system package tzdata has them.",
        ) from None
