"""What came of a run: its results, its exit status, and the JSON of both."""

from __future__ import annotations

import stat
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from lite.cli.present import one_line, size
from lite.cli.results import STATUS_FAILED, STATUS_LIMIT, add_shown, exit_status, show_value
from lite.cli.shell import Shell
from lite.errors import QueuedError, UsageError, quoted
from lite.json_fields import answer_of

if TYPE_CHECKING:
    from lite.answer import Answer
    from lite.node import Node
    from lite.store.runs_rows import StepRow

STATUS_QUEUED: Final = QueuedError.exit_code
RESULTS_ON_TERMINAL: Final = 16
_FINISHED: Final = ("done", "cached")
_FOLLOWS: Final = "branch-mismatch"  # of a step whose awaited one failed


def run_status(
    node: Node,
    rows: Iterable[StepRow],
    failures: Mapping[str, str],
    *,
    expired: bool = False,
    stopped: bool = False,
) -> int:
    """The exit status of a run: 1 before 8 before 3.

    1: a step failed, is in doubt, or was cancelled. 8: a limit or the deadline ended one. 3: one is
    queued, or waits for one that is. What failed only because an awaited step did counts as that.

    Args:
        failures: by label; those that are handled or not taken count as nothing.
        expired: the deadline ended this process's part of it.
        stopped: the run was cancelled; what somebody is still at will not be waited for.
    """
    statuses: set[int] = {STATUS_LIMIT} if expired else set()
    followed = False
    for row in rows:
        if row.state == "failed":
            if failures.get(row.label) in ("handled", "not-taken"):
                continue
            receipt = None if row.receipt is None else node.store.receipts.get(row.receipt)
            if receipt is not None and receipt.error_code == _FOLLOWS:
                followed = True
            else:
                statuses.add(STATUS_FAILED if receipt is None else exit_status(receipt))
        elif row.state in ("in-doubt", "cancelled") or (stopped and row.state == "running"):
            statuses.add(STATUS_FAILED)
        elif row.state == "expired":
            statuses.add(STATUS_LIMIT)
        elif row.state not in _FINISHED:
            statuses.add(STATUS_QUEUED)
    if followed and not statuses & {STATUS_FAILED, STATUS_LIMIT}:
        statuses.add(STATUS_FAILED)
    order = (STATUS_FAILED, STATUS_LIMIT, STATUS_QUEUED)
    return next((status for status in order if status in statuses), 0)


def read_outs(
    texts: Sequence[str], labels: Sequence[str], results: Sequence[str]
) -> dict[str, str]:
    """`--out LABEL=FILE …`; without a label, that of the only result.

    Raises:
        UsageError: no such step, or not clear which; or two values for one file.
    """
    from lite.cli.outfile import check_folder
    from lite.model.place import did_you_mean

    outs: dict[str, str] = {}
    for text in texts:
        label, equals, target = text.partition("=")
        if not equals:
            if len(results) != 1:
                raise UsageError(
                    f"--out {text}: which step's value?",
                    hint=f"Write LABEL=FILE; results are {one_line(', '.join(results), 120)}.",
                )
            label, target = results[0], text
        if label not in labels:
            raise UsageError(
                f"--out {text}: there is no step {quoted(label)}", hint=did_you_mean(label, labels)
            )
        if not target:
            raise UsageError(f"--out {text}: a file is missing behind the =")
        if label in outs:
            raise UsageError(f"--out: {label} is there twice")
        check_folder(target)
        outs[label] = target
    _check_apart(outs)
    return outs


def _check_apart(outs: Mapping[str, str]) -> None:
    """No two values go to one place, where the last one alone would be; devices take several."""
    if list(outs.values()).count("-") > 1:
        raise UsageError("--out -: only one value can go to stdout")
    from lite.cli.outfile import mode_of
    from lite.setting_texts import real

    found: dict[Path, str] = {}
    for label, target in outs.items():
        path = real(Path(target))
        mode = None if target == "-" else mode_of(path)
        if target == "-" or (mode is not None and not stat.S_ISREG(mode)):
            continue
        first = found.setdefault(path, label)
        if first != label:
            raise UsageError(
                f"--out: {first} and {label} would both be written to {target}",
                hint="Give each a file of its own.",
            )


def show_results(
    shell: Shell,
    node: Node,
    rows: Mapping[str, StepRow],
    results: Sequence[str],
    outs: Mapping[str, str],
) -> None:
    """Write the files of `--out`; print the other results, one line each, unless stdout is one of
    those files."""
    for label, target in outs.items():
        answer = answer_of(node, rows.get(label))
        if answer is None or not answer.receipt.out.is_ok:
            state = rows[label].state if label in rows else "not there"
            shell.note(f"ipvm: {target} was not written: {label} is {state}")
            continue
        show_value(shell, node, answer, target)
    if shell.json or "-" in outs.values():
        return
    done = [row for row in map(rows.get, results) if row is not None and row.state in _FINISHED]
    shown = [row for row in done if row.label not in outs]
    room = RESULTS_ON_TERMINAL if sys.stdout.isatty() else len(shown)
    for row in shown[:room]:
        answer = answer_of(node, row)
        if answer is not None:
            shell.line(f"{row.label}: {_value_text(node, answer)}")
    if len(shown) > room:
        shell.note(f"  … {len(shown) - room} more: `ipvm workflow show {shown[0].run[:8]} --json`")


def _value_text(node: Node, answer: Answer) -> str:
    """A value on one line: bytes, and what stands outside of the receipt, as CID and size."""
    receipt, link = answer.receipt, answer.output_link
    if link is not None:
        length = node.size(link) if receipt.linked == "file" else node.store.blocks.size(link)
        return f"{link}  {size(length)}"
    value = receipt.out.body
    if isinstance(value, bytes):
        return f"{add_shown(node, answer, value)}  {size(len(value))}"
    if isinstance(value, str) and value.isprintable():
        return value
    from lite.ipld import dag_json

    return dag_json.shown(value).decode()
