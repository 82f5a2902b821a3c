"""What is said about a run that has not come to a good end is true for how it ended."""

from __future__ import annotations

import pytest

from lite.cli.guest_lines import is_frame, without_frames
from lite.cli.workflow_ways_on import ways_on
from lite.frozen import replace
from lite.ipld.cid import CID, DAG_CBOR
from lite.store.runs_rows import StepRow, StepState

RUN = "7f3a0123456789ab"
RESUME = "`ipvm workflow resume 7f3a0123"


def row(label: str, state: StepState, reason: str = "", level: str = "pure") -> StepRow:
    return StepRow(RUN, 0, label, CID.of(label.encode(), DAG_CBOR), level, state, reason)


def known(label: str, reason: str) -> StepRow:
    """A step that failed as it is known to."""
    return replace(row(label, "failed", reason), source="cached")


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([row("a", "done"), row("b", "cached")], []),
        (
            [row("a", "expired")],
            [
                f"→ The deadline passed before 1 step was done; {RESUME}` goes on with it, "
                "without a deadline unless you give one"
            ],
        ),
        (
            [row("a", "cancelled"), row("b", "cancelled"), row("c", "done")],
            [f"→ The run was cancelled before 2 steps were done; {RESUME}` goes on with them"],
        ),
        ([row("a", "failed", "time-limit: too slow")], [f"→ {RESUME}` tries again what failed"]),
        ([row("a", "failed", "unreachable: it trapped")], []),
        ([row("a", "failed", "http-status: 500", "mutation")], []),
        ([row("a", "failed", "exit: 1", "query")], [f"→ {RESUME}` tries again what failed"]),
        ([row("a", "failed")], []),
        ([row("a", "failed", "bad-effects: too many")], []),
        (
            [row("a", "failed", "bad-effects: none", "query")],
            [f"→ {RESUME}` tries again what failed"],
        ),
        ([known("a", "exit: 1")], []),
        (
            [row("a", "in-doubt", "lost", "mutation"), row("b", "expired")],
            [
                f"→ Look whether it happened; if it did not: {RESUME} --redo a`",
                f"→ The deadline passed before 1 step was done; {RESUME}` goes on with it, "
                "without a deadline unless you give one",
            ],
        ),
        (
            [row("a", "queued", "to x, without --force"), row("b", "queued", "no network")],
            [
                "⇢ a: to x, without --force",
                f"→ {RESUME} --force` does that all the same",
                f"→ {RESUME}` tries again, with --wait until it is done",
            ],
        ),
    ],
)
def test_each_end_has_its_way_on(rows: list[StepRow], says: list[str]) -> None:
    failures = {one.label: "open" for one in rows if one.state == "failed"}
    assert ways_on(RUN, rows, failures) == says


def test_a_failure_that_was_handled_leaves_nothing_to_do() -> None:
    assert ways_on(RUN, [row("a", "failed", "time-limit: late")], {"a": "handled"}) == []


BACKTRACE = """unreachable: wasm trap: wasm `unreachable` instruction executed
    0:     0xc2 - <unknown>!f20
    1:     0xbd - name!inner::<T>
    … 12 more
""".encode()


def test_a_backtrace_is_one_line_and_other_output_is_whole() -> None:
    assert without_frames(b"before\n" + BACKTRACE + b"after") == (
        b"before\nunreachable: wasm trap: wasm `unreachable` instruction executed\nafter"
    )
    for line in (b"0: 0xc2 - x", b"  12 more", b"    1: one", b"", "… 3 more".encode()):
        assert not is_frame(line)
