"""`ipvm logs`: what guests wrote, while they run and afterwards."""

from __future__ import annotations

import sys
from threading import Event
from typing import TYPE_CHECKING, Any, Final

import click

from lite.cli.command import offers, verb
from lite.cli.present import moment, one_line, visible
from lite.cli.shell import Shell
from lite.cli.traces import trace_of
from lite.cli.workflow_files import find_run, short_id
from lite.errors import IpvmError, NotFoundError, UsageError, quoted

if TYPE_CHECKING:
    from lite.model.receipt import Receipt
    from lite.node import Node
    from lite.store.run_log import Kind, LogLine
    from lite.store.runs_rows import RunRow

FOLLOW_S: Final = 0.2
_LEFT_OUT: Final = b"the log is full; what came after this was left out"


@verb("logs", example="ipvm logs\nipvm logs 7f3a --step blur -f\nipvm logs q4wz7ka")
@click.argument("ref", metavar="[RUN|RECEIPT]", required=False, shell_complete=offers("runs"))
@click.option("-f", "--follow", is_flag=True, help="Go on while the run goes on.")
@click.option("--step", metavar="LABEL", help="Only of this step.")
@click.pass_obj
def logs(shell: Shell, ref: str | None, follow: bool, step: str | None) -> None:
    """Show what guests wrote: of a run, of one receipt, or of the latest run.

    Each line has its time, the step and the text. With --json and -f there is one object a line.
    """
    node = shell.node()
    found = _latest(node) if ref is None else find_run(node, ref)
    if found is None:
        assert ref is not None, "without one there is a latest run, or an error"
        if follow or step is not None:
            raise UsageError(f"{ref} is no run", hint="-f and --step go with a run.")
        _of_receipt(shell, node, ref)
        return
    if step is not None and all(row.label != step for row in node.store.runs.steps(found.id)):
        raise UsageError(f"the run {short_id(found.id)} has no step {quoted(step)}")
    if follow:
        _follow(shell, node, found, step)
        return
    lines = [line for line in _lines(shell, node, found) if _fits(line, step)]
    if shell.json:
        shell.emit({"run": found.id, "lines": [_fields(line) for line in lines]})
        return
    for line in lines:
        _print(shell, line)
    if not lines:
        shell.note(f"ipvm: the run {short_id(found.id)} has no output of guests")


def _lines(shell: Shell, node: Node, run: RunRow) -> list[LogLine]:
    """The log of a run, then what the receipts of all other steps hold: of those that were known,
    or that ran elsewhere."""
    from lite.engine.spoken import Stdout, pieces, spans_of
    from lite.store.run_log import LogLine

    lines = node.store.run_log(run.id).read()
    heard = {line.label for line in lines}
    for row in node.store.runs.steps(run.id):
        receipt = None if row.receipt is None else node.store.receipts.get(row.receipt)
        if receipt is None or row.label in heard:
            continue
        try:
            trace = trace_of(node, receipt)
        except IpvmError as error:
            shell.note(f"ipvm: what {one_line(row.label)} wrote cannot be shown: {error}")
            continue
        for data in pieces(trace, spans_of(receipt.meta.get("trace_stdout"))):
            kind: Kind = "stdout" if isinstance(data, Stdout) else "stderr"
            lines.append(LogLine(0, receipt.issued_at, row.label, kind, data))
    return lines


def _latest(node: Node) -> RunRow:
    found = node.store.runs.list(1)
    if not found:
        raise NotFoundError(
            "there is no run here", hint="`ipvm workflow run FILE` makes one; RECEIPT goes as well."
        )
    return found[0]


def _follow(shell: Shell, node: Node, run: RunRow, step: str | None) -> None:
    log, pause = node.store.run_log(run.id), Event()
    seq, going = 0, True
    while going:
        going = node.store.runs.is_active(run.id)  # before reading, so that nothing is missed
        for line in log.read(after=seq):
            seq = line.seq
            if not _fits(line, step):
                continue
            if shell.json:
                shell.emit(_fields(line))
            else:
                _print(shell, line)
        sys.stdout.flush()
        if going:
            pause.wait(FOLLOW_S)  # it is written by another process, which cannot tell


def _fits(line: LogLine, step: str | None) -> bool:
    return step is None or line.label == step


def _print(shell: Shell, line: LogLine) -> None:
    data = _LEFT_OUT if line.kind == "dropped" else line.data
    for text in data.decode("utf-8", "replace").splitlines():
        shell.line(f"{moment(line.at)}  {one_line(line.label)} │ {visible(text)}".rstrip())


def _fields(line: LogLine) -> dict[str, Any]:
    """A line as JSON: bytes that are no text stay bytes."""
    fields: dict[str, Any] = {"at": line.at, "label": line.label, "kind": line.kind}
    try:
        return {**fields, "text": line.data.decode()}
    except UnicodeDecodeError:
        return {**fields, "data": line.data}


def _of_receipt(shell: Shell, node: Node, ref: str) -> None:
    receipt = _receipt(node, ref)
    data = trace_of(node, receipt)
    if shell.json:
        try:
            fields: dict[str, Any] = {"text": data.decode()}
        except UnicodeDecodeError:
            fields = {"data": data}
        shell.emit({"receipt": str(receipt.cid), **fields})
    elif data:
        text = visible(data.decode("utf-8", "replace"))
        shell.write(text.encode() if text.endswith("\n") else text.encode() + b"\n")
    else:
        shell.note(f"ipvm: the receipt {receipt.cid} has no output of a guest")


def _receipt(node: Node, ref: str) -> Receipt:
    """The receipt that is meant."""
    try:
        return node.receipt(ref)
    except NotFoundError as error:
        raise NotFoundError(
            f"{one_line(ref, 80)} is neither a run here nor a receipt",
            hint="`ipvm workflow list` and `ipvm receipt list` show what there is.",
        ) from error
