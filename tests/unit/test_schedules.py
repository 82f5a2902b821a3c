"""When schedules are due, also when clocks are changed, and how runs of them are taken."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lite.errors import NotFoundError, StoreError, UsageError
from lite.schedule_times import is_set_back, local_zone, missed, next_due
from lite.store import Store, sql_runs
from lite.store.schedules import Schedule, Taken
from tests.runs_support import chain
from tests.store_support import FakeClock, keep

HOUR, DAY = 3_600, 86_400
BERLIN = "Europe/Berlin"  # 2026: 29 March 2:00 becomes 3:00, 25 October 3:00 becomes 2:00


def at(text: str, zone: str = "UTC", fold: int = 0) -> int:
    naive = datetime.fromisoformat(text)
    return int(naive.replace(tzinfo=ZoneInfo(zone), fold=fold).timestamp())


def shown(due: int | None, zone: str = "UTC") -> str:
    assert due is not None
    return datetime.fromtimestamp(due, ZoneInfo(zone)).strftime("%Y-%m-%d %H:%M %Z")


def days(expr: str, zone: str, after: int, count: int) -> list[str]:
    found = []
    for _ in range(count):
        due = next_due(expr, zone, after)
        assert due is not None
        assert due > after
        found.append(shown(due, zone))
        after = due
    return found


def test_a_line_is_due_strictly_after_a_time() -> None:
    monday = at("2026-11-23 03:00")
    assert next_due("0 3 * * 1", "UTC", monday - 1) == monday
    assert next_due("0 3 * * 1", "UTC", monday) == monday + 7 * DAY
    assert next_due("*/15 * * * *", "UTC", monday + 1) == monday + 900
    assert next_due("0 3 * * mon", "UTC", monday - 1) == monday


def test_a_zone_moves_the_time() -> None:
    assert shown(next_due("0 3 * * *", "Asia/Kolkata", at("2026-01-01 00:00"))) == (
        "2026-01-01 21:30 UTC"
    )


def test_a_time_in_the_hour_that_is_left_out_comes_right_after_it() -> None:
    before = at("2026-03-28 12:00", BERLIN)
    assert days("30 2 * * *", BERLIN, before, 3) == [
        "2026-03-29 03:00 CEST",
        "2026-03-30 02:30 CEST",
        "2026-03-31 02:30 CEST",
    ]


def test_a_time_in_the_hour_that_comes_twice_counts_once() -> None:
    before = at("2026-10-24 12:00", BERLIN)
    assert days("30 2 * * *", BERLIN, before, 2) == [
        "2026-10-25 02:30 CEST",
        "2026-10-26 02:30 CET",
    ]
    in_the_second_pass = at("2026-10-25 02:10", BERLIN, fold=1)
    assert days("30 2 * * *", BERLIN, in_the_second_pass, 1) == ["2026-10-26 02:30 CET"]


def test_a_line_for_every_hour_goes_by_the_hours_that_pass() -> None:
    for day in ("2026-03-29", "2026-10-25"):
        start = at(f"{day} 00:00", BERLIN)
        due = start - 1
        for number in range(6):
            due = next_due("0 * * * *", BERLIN, due) or 0
            assert due == start + number * HOUR


def test_the_29th_of_february_waits_for_its_year() -> None:
    assert shown(next_due("0 0 29 2 *", "UTC", at("2026-01-01 00:00"))) == "2028-02-29 00:00 UTC"
    assert shown(next_due("0 0 29 2 *", "UTC", at("2096-03-01 00:00"))) == "2104-02-29 00:00 UTC"


def test_a_day_that_no_month_has_is_refused_or_never_due() -> None:
    with pytest.raises(UsageError, match="day"):
        next_due("0 0 30 2 *", "UTC", 0)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("", "0 fields"),
        ("* * * *", "4 fields"),
        ("0 * * * * *", "6 fields"),
        ("60 * * * *", "Bad minute"),
        ("0 24 * * *", "Bad hour"),
        ("0 3 * * funday", "Bad day-of-week"),
        ("@daily", "1 fields"),
        ("0 3 * * 1;rm", "Bad day-of-week"),
    ],
)
def test_what_is_no_line_is_a_usage_error(line: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        next_due(line, "UTC", 0)


@pytest.mark.parametrize("zone", ["Mars/Olympus", "", "../../etc/passwd", "a\0b"])
def test_an_unknown_zone_is_a_usage_error(zone: str) -> None:
    with pytest.raises(UsageError, match="time zone"):
        next_due("0 3 * * *", zone, 0)


def test_the_local_zone_is_one_that_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", BERLIN)
    assert local_zone() == BERLIN
    monkeypatch.setenv("TZ", "nowhere")
    assert local_zone() == "UTC"
    monkeypatch.delenv("TZ")
    assert next_due("0 3 * * *", local_zone(), 0) is not None


def test_each_policy_says_what_to_do_about_missed_times() -> None:
    since, now = at("2026-01-01 00:00"), at("2026-01-04 12:00")
    daily = [at(f"2026-01-0{day} 03:00") for day in (1, 2, 3, 4)]
    assert missed("0 3 * * *", "UTC", since, now, "all") == daily
    assert missed("0 3 * * *", "UTC", since, now, "once") == daily[-1:]
    assert missed("0 3 * * *", "UTC", since, now, "none") == []
    assert missed("0 3 * * *", "UTC", since, daily[-1] + 60, "none") == daily[-1:]
    assert missed("0 3 * * *", "UTC", since, daily[-1] + 61, "none") == []
    for policy in ("once", "all", "none"):
        assert missed("0 3 * * *", "UTC", now, now - DAY, policy) == []  # type: ignore[arg-type]
        assert missed("0 3 * * *", "UTC", now, now, policy) == []  # type: ignore[arg-type]


def test_years_of_missed_minutes_are_bounded() -> None:
    since, now = at("2016-01-01 00:00"), at("2026-01-01 00:00") + 30
    assert missed("* * * * *", "UTC", since, now, "once") == [now - 30]
    every = missed("* * * * *", "UTC", since, now, "all")
    assert len(every) == 1_000
    assert every[0] == since + 60
    assert missed("0 0 29 2 *", BERLIN, since, now, "once") == [at("2024-02-29", BERLIN)]


def test_only_a_clock_that_lost_more_than_an_hour_was_wrong_before() -> None:
    assert not is_set_back(1_000, 2_000)
    assert not is_set_back(1_000 + HOUR, 1_000)
    assert is_set_back(1_001 + HOUR, 1_000)


@given(
    st.sampled_from(["*/7 * * * *", "30 2 * * *", "0 */6 1 * *", "15 1-3 * * 0", "59 23 31 12 *"]),
    st.sampled_from([BERLIN, "UTC", "America/St_Johns", "Australia/Lord_Howe", "Asia/Tehran"]),
    st.integers(0, 4_000_000_000),
)
def test_times_only_grow_and_fit_the_line(expr: str, zone: str, after: int) -> None:
    due = next_due(expr, zone, after)
    assert due is not None
    assert due > after
    again = next_due(expr, zone, due)
    assert again is not None
    assert again > due
    assert missed(expr, zone, after, due, "all") == [due]
    assert due % 60 == 0


# In the store.


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(at("2026-11-21 12:00"))


def times(store: Store) -> list[str]:
    return [shown(due.due_at)[5:16] for due in store.schedules.due()]


def test_a_schedule_is_kept_as_it_was_added(home: Path, store: Store) -> None:
    made = store.schedules.add(
        "0 3 * * 1", path="/data/w.yaml", options={"force": True}, zone=BERLIN, missed="all"
    )
    assert (made.path, made.zone, made.missed, made.options) == (
        *("/data/w.yaml", BERLIN, "all"),
        {"force": True},
    )
    assert shown(made.next_due_at, BERLIN) == "2026-11-23 03:00 CET"
    with Store.open(home) as other:
        assert other.schedules.list() == [made]
        other.schedules.remove(made.id)
    for missing in (store.schedules.get, store.schedules.remove):
        with pytest.raises(NotFoundError):
            missing(made.id)


def test_a_schedule_that_cannot_be_is_refused(store: Store) -> None:
    add = store.schedules.add
    with pytest.raises(UsageError, match="not both"):
        add("0 3 * * *")
    with pytest.raises(UsageError, match="not both"):
        add("0 3 * * *", path="/a", workflow=chain(1).cid)
    with pytest.raises(UsageError, match="missed"):
        add("0 3 * * *", path="/a", missed="some")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="Bad hour"):
        add("0 30 * * *", path="/a")
    assert store.schedules.list() == []


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ("once", ["11-24 03:00"]),
        ("all", ["11-22 03:00", "11-23 03:00", "11-24 03:00"]),
        ("none", []),
    ],
)
def test_what_was_missed_is_due_by_policy_and_taken_once(
    home: Path, store: Store, clock: FakeClock, policy: str, expected: list[str]
) -> None:
    made = store.schedules.add("0 3 * * *", path="/w", missed=policy)  # type: ignore[arg-type]
    assert times(store) == []
    clock.seconds = at("2026-11-24 12:00")
    due = store.schedules.due()
    assert [shown(one.due_at)[5:16] for one in due] == expected
    with Store.open(home, clock=clock) as other:
        same = other.schedules.due()
        for one in due:
            assert store.schedules.mark(one, "ab" * 8)
        assert not any(other.schedules.mark(one) for one in same)
        assert times(other) == []
    after = store.schedules.get(made.id)
    assert shown(after.next_due_at)[5:16] == "11-25 03:00"
    assert after.last_run == ("ab" * 8 if expected else None)
    assert store.schedules.next_due_at() == after.next_due_at


def test_nobody_knows_how_many_were_missed_while_the_clock_was_wrong(
    store: Store, clock: FakeClock
) -> None:
    clock.seconds = 86_400
    store.schedules.add("0 3 * * *", path="/w", missed="all")
    clock.seconds = at("2026-11-24 12:00")
    assert times(store) == ["11-24 03:00"]


def test_a_crash_between_missed_runs_leaves_the_rest_due(store: Store, clock: FakeClock) -> None:
    store.schedules.add("0 3 * * *", path="/w", missed="all")
    clock.seconds = at("2026-11-24 12:00")
    first = store.schedules.due()[0]
    assert store.schedules.mark(first, "cd" * 8)
    assert times(store) == ["11-23 03:00", "11-24 03:00"]
    assert store.schedules.list()[0].last_run == "cd" * 8


def test_a_time_is_taken_with_its_run_or_not_at_all(
    store: Store, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.schedules.add("0 3 * * *", path="/w", missed="all")
    clock.seconds = at("2026-11-23 12:00")
    first, second = store.schedules.due()
    with monkeypatch.context() as broken, pytest.raises(StoreError):
        broken.setattr(sql_runs, "RUN_INSERT", "INSERT INTO nowhere VALUES (1)")
        store.runs.start(chain(1), due=first)
    assert times(store) == ["11-22 03:00", "11-23 03:00"]
    row = store.runs.start(chain(1), due=first)
    assert (row.schedule, row.due_at) == (1, first.due_at)
    assert store.runs.get(row.id) == row
    assert times(store) == ["11-23 03:00"]
    assert store.schedules.list()[0].last_run == row.id
    with pytest.raises(Taken):
        store.runs.start(chain(1), due=first)
    other = store.runs.start(chain(1), due=second)
    store.runs.start(chain(1))
    assert [one.id for one in store.runs.interrupted()] == [row.id, other.id]
    with store.runs.presence(row.id):
        assert [one.id for one in store.runs.interrupted()] == [other.id]
    store.runs.set_state(other.id, "done")
    assert [one.id for one in store.runs.interrupted()] == [row.id]


def test_a_clock_that_goes_back_a_little_repeats_nothing(store: Store, clock: FakeClock) -> None:
    store.schedules.add("0 * * * *", path="/w")
    clock.seconds = at("2026-11-21 13:00")
    assert store.schedules.mark(store.schedules.due()[0])
    clock.seconds -= 1_800
    assert times(store) == []
    clock.seconds += 1_800
    assert times(store) == []
    clock.seconds += HOUR
    assert times(store) == ["11-21 14:00"]


def test_a_clock_that_was_far_ahead_does_not_stop_a_schedule(
    store: Store, clock: FakeClock
) -> None:
    made = store.schedules.add("0 3 * * *", path="/w")
    clock.seconds = at("2040-01-01 12:00")
    assert store.schedules.mark(store.schedules.due()[0])
    clock.seconds = at("2026-11-21 12:30")
    assert times(store) == []
    assert shown(store.schedules.get(made.id).next_due_at) == "2026-11-22 03:00 UTC"
    clock.seconds = at("2026-11-22 03:00")
    assert times(store) == ["11-22 03:00"]


def test_a_schedule_rests_while_it_is_off(store: Store, clock: FakeClock) -> None:
    made = store.schedules.add("0 3 * * *", path="/w")
    store.schedules.enable(made.id, False)
    assert store.schedules.next_due_at() is None
    clock.seconds += 5 * DAY
    assert times(store) == []
    store.schedules.enable(made.id, True)
    assert times(store) == []
    assert shown(store.schedules.get(made.id).next_due_at) == "2026-11-27 03:00 UTC"


def test_gc_keeps_the_workflow_of_a_schedule(store: Store) -> None:
    from lite.ipld.block import Block

    workflow = chain(1)
    keep(store, Block.trusted(workflow.cid, workflow.data))
    made: Schedule = store.schedules.add("0 3 * * *", workflow=workflow.cid)
    assert made.workflow == workflow.cid
    store.gc(grace_s=0)
    assert store.blocks.has(workflow.cid)
    store.schedules.remove(made.id)
    store.gc(grace_s=0)
    assert not store.blocks.has(workflow.cid)
