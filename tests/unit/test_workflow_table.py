"""The table of a run: lines from events, cut to the terminal, the important ones first."""

from __future__ import annotations

import re

import pytest

from lite.cli.present import short
from lite.cli.workflow_table import Board, cut, pad, width
from lite.ipld.cid import CID
from lite.keys import Key
from lite.model.instruction import Instruction
from lite.model.receipt import Receipt
from lite.model.result import Result
from lite.scheduler.events import RunEvent
from lite.store.runs_rows import StepRow
from tests.store_support import START

KEY = Key.from_seed(b"t" * 32)
RUN = "7f3a12cd00000000"


def receipt(label: str, error: str = "") -> Receipt:
    out = (
        Result.of_error({"code": error, "message": f"{label} broke"}) if error else Result.of_ok(1)
    )
    job = Instruction(f"test:{label}", "test/run", {})
    return Receipt.issue(KEY, job, out, meta={"time_us": 12_000, "fuel": 1_900_000}, now=START)


def kept(label: str, found: Receipt) -> StepRow:
    """The row of a step that was done earlier."""
    return StepRow(RUN, 0, label, found.instruction, "pure", "done", "", found.cid, "ran")


class Scene:
    """A board and the receipts that it may find."""

    def __init__(self, *labels: str, needs: dict[str, list[str]] | None = None) -> None:
        self.receipts: dict[CID, Receipt] = {}
        all_needs = {label: (needs or {}).get(label, []) for label in labels}
        self.board = Board("thumbs", all_needs, workers=2, did=KEY.did, find=self.receipts.get)
        self.board.note(RunEvent("run", RUN, "running"), 0.0)

    def tell(
        self, label: str, state: str, *, reason: str = "", error: str = "trap", at: float = 0.0
    ) -> None:
        made = None
        if state in ("done", "cached", "failed"):
            made = receipt(label, error if state == "failed" else "")
            self.receipts[made.cid] = made
        cid = None if made is None else made.cid
        self.board.note(RunEvent("step", RUN, state, label, 0, reason, cid), at)

    def lines(self, columns: int = 80, rows: int = 20, *, now: float = 0.0) -> list[str]:
        return self.board.lines(
            columns, rows, now=now, clock=START + 120, paint=lambda text, _colour: text
        )


def test_each_state_has_its_line() -> None:
    scene = Scene(
        "fetch", "crop", "upscale", "blur", "sharpen", "send", needs={"sharpen": ["upscale"]}
    )
    scene.tell("fetch", "cached", reason="own receipt")
    scene.tell("crop", "done")
    scene.tell("upscale", "queued", reason="needs gpu; 0 providers reachable")
    scene.tell("blur", "failed", reason="trap: blur broke")
    scene.tell("send", "in-doubt", reason="the process that ran it ended")
    cid = scene.board.rows["fetch"].receipt
    assert cid is not None
    assert scene.lines() == [
        f"  ✓ fetch    cached     this node, receipt {short(cid)}  2 min ago",
        "  ✓ crop     done       12 ms    fuel 1.9M",
        "  ⇢ upscale  queued     needs gpu; 0 providers reachable",
        "  ✗ blur     failed     trap: blur broke",
        "  · sharpen  waiting    for upscale",
        "  ? send     in-doubt   the process that ran it ended",
    ]


def test_a_running_step_shows_its_time_and_the_last_line_of_its_guest() -> None:
    scene = Scene("crop")
    scene.tell("crop", "running", at=10.0)
    assert scene.lines(now=11.25) == ["  ▸ crop  running    1.2 s"]
    for part in (b"first\nse", b"cond\x1b[2Jline"):
        scene.board.note(RunEvent("trace", RUN, "running", "crop", data=part), 11.0)
    assert scene.lines(now=11.25) == [r"  ▸ crop  running    1.2 s    │ second\x1b[2Jline"]
    scene.tell("crop", "done")
    assert "second" not in scene.lines()[0]


def test_a_failure_that_follows_from_another_says_so() -> None:
    scene = Scene("a", "b", needs={"b": ["a"]})
    scene.tell("a", "failed")
    scene.tell("b", "failed", error="branch-mismatch")
    assert scene.lines() == [
        "  ✗ a  failed     trap: a broke",
        "  ✗ b  failed     because a failed",
    ]


def test_a_table_is_never_longer_than_asked_and_keeps_what_matters() -> None:
    labels = [f"s{number}" for number in range(1000)]
    scene = Scene(*labels)
    for label in labels[:900]:
        scene.tell(label, "done")
    scene.tell("s3", "failed")
    scene.tell("s950", "running")
    scene.tell("s951", "queued", reason="no network")
    lines = scene.lines(rows=8)
    assert len(lines) == 8
    shown = [line.split()[1] for line in lines[:-1]]
    assert {"s3", "s950", "s951"} <= set(shown)
    assert shown == sorted(shown, key=lambda label: int(label[1:]))
    assert shown[1:5] == ["s896", "s897", "s898", "s899"]  # the latest of the others
    assert lines[-1] == "  … 993 more: 895 done, 98 waiting"


def test_what_caused_failures_goes_before_what_followed() -> None:
    labels = [f"s{number}" for number in range(20)]
    scene = Scene(*labels)
    for label in labels:
        scene.tell(label, "failed", error="trap" if label == "s7" else "branch-mismatch")
    assert "s7" in scene.lines(rows=3)[0]


@pytest.mark.parametrize("columns", [1, 10, 40, 41, 80])
def test_no_line_is_wider_than_the_terminal(columns: int) -> None:
    scene = Scene(
        "crop", "ein-sehr-langer-name-für-einen-schritt", "切り抜き画像切り抜き画像切り抜き"
    )
    for label in scene.board.rows:
        scene.tell(label, "failed", reason="x" * 500)
    room = max(columns, 5)  # the mark and an ellipsis
    assert all(width(line) <= room for line in scene.lines(columns))
    assert width(scene.board.head(columns)) <= columns


def test_the_head_names_workflow_and_run() -> None:
    scene = Scene("a", "b")
    assert scene.board.head(60) == "thumbs  2 steps, 2 workers" + " " * 22 + "run 7f3a12cd"
    assert scene.board.head(0) == "thumbs  2 steps, 2 workers  run 7f3a12cd"
    assert scene.board.head(20).startswith("run 7f3a12cd  thumb")


def test_a_step_that_a_result_asked_for_gets_a_row() -> None:
    scene = Scene("a")
    scene.tell("a/1", "running")
    assert [line.split()[1] for line in scene.lines()] == ["a", "a/1"]


def test_the_summary_counts_what_this_go_did() -> None:
    scene = Scene("a", "b", "c", "d", "e")
    scene.board.open([kept("a", receipt("a"))])
    scene.tell("b", "cached", reason="own receipt")
    for label in ("c", "d"):
        scene.tell(label, "done" if label == "c" else "failed")
        scene.board.rows[label].source = "ran"
    scene.tell("e", "queued", reason="no network")
    assert scene.board.summary() == "2 of 5 without work · 2 ran · 1 queued · 1 failed"


def test_a_step_of_an_earlier_go_says_when() -> None:
    scene = Scene("a")
    known = receipt("a")
    scene.receipts[known.cid] = known
    scene.board.open([kept("a", known)])
    assert scene.lines() == ["  ✓ a  done       12 ms    fuel 1.9M  2 min ago"]


def test_a_label_cannot_drive_the_terminal() -> None:
    scene = Scene("a")
    scene.tell("a", "queued", reason="bad\x1b[31m\nnews")
    assert scene.lines() == [r"  ⇢ a  queued     bad\x1b[31m news"]


@pytest.mark.parametrize("text", ["", "a", "abc", "äöü", "切り抜き", "a切b"])
@pytest.mark.parametrize("columns", [1, 2, 3, 4, 8])
def test_cut_and_pad_keep_to_the_columns(text: str, columns: int) -> None:
    assert width(cut(text, columns)) <= columns
    assert width(pad(cut(text, columns), columns)) == columns
    if width(text) <= columns:
        assert cut(text, columns) == text
    else:
        assert re.fullmatch(r".*…", cut(text, columns))
