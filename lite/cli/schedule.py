"""`ipvm schedule`: workflows that are to be run at set times."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lite.cli.command import group, verb
from lite.cli.deadline_option import deadline_option
from lite.cli.present import age, file_name, one_line
from lite.cli.shell import Shell
from lite.errors import NotFoundError, UsageError, quoted
from lite.schedule_times import MISSED, Missed
from lite.store.names import may_be_name

if TYPE_CHECKING:
    from lite.node import Node
    from lite.store.schedules import Schedule

schedule = group(
    "schedule",
    help="Workflows that are run at set times, like cron's.",
    example='ipvm schedule add "0 3 * * 1" backup.yaml\nipvm schedule run',
)


@verb(
    "add",
    in_group=schedule,
    example='ipvm schedule add "0 3 * * 1" backup.yaml\n'
    'ipvm schedule add "*/15 8-18 * * mon-fri" prices.yaml --tz Europe/Berlin --missed none',
)
@click.argument("cron")
@click.argument("file")
@click.option("--name", metavar="NAME", help="What to call it; default: the workflow's name.")
@click.option(
    "--missed",
    type=click.Choice(MISSED),
    default="once",
    show_default=True,
    help="Of the times that went by unseen, run for the last, for all, or for none.",
)
@click.option("--tz", metavar="ZONE", help="The time zone, as Europe/Berlin; default: this one's.")
@click.option(
    "--workers", metavar="N", type=click.IntRange(1, 1024), help="Steps at the same time."
)
@deadline_option("End each run after so long: 90s, 10m.")
@click.option("--force", is_flag=True, help="As for `ipvm workflow run`.")
@click.option("--private", is_flag=True, help="All that comes of it stays on this node.")
@click.pass_obj
def add(
    shell: Shell,
    cron: str,
    file: str,
    name: str | None,
    missed: Missed,
    tz: str | None,
    workers: int | None,
    deadline: int | None,
    force: bool,
    private: bool,
) -> None:
    """Run a workflow at set times, as long as somebody calls `ipvm schedule run`.

    CRON has five fields: minute, hour, day of the month, month, weekday; quote it. FILE is what
    `ipvm workflow run` takes. The workflow is kept as it is now, with the files that it names:
    after changing one of them, add it again and remove the old schedule.
    """
    from lite.cli.workflow_files import read_named
    from lite.files import is_file
    from lite.ipld.block import Block
    from lite.ipld.cid import DAG_CBOR
    from lite.schedule_times import check, local_zone
    from lite.setting_texts import real

    node = shell.node()
    zone = local_zone() if tz is None else tz
    check(cron, zone)
    named = read_named(node, file)
    title = name or named.title
    _check_name(node, title, given=name is not None)
    telling = _check_consent(node, named.workflow, force, private or named.secret)
    secret = named.keep(node, private=private)
    node.store.blocks.put(Block.make(named.workflow.data, DAG_CBOR), secret=secret)
    source = str(real(Path(file))) if is_file(file) else file
    asked = {"workers": workers, "deadline": deadline, "force": force, "private": private}
    options = {key: value for key, value in asked.items() if value}
    added = node.store.schedules.add(
        cron,
        workflow=named.workflow.cid,
        options={"name": title, "source": source, **options},
        zone=zone,
        missed=missed,
    )
    for label, reason in telling.items():
        shell.note(f"ipvm: {label} will wait each time: {one_line(reason)}")
    if shell.json:
        shell.emit({"schedule": as_json(added)})
        return
    shell.line(f"{added.id}  {one_line(title)}  next {local(added.next_due_at, zone)}")
    shell.note(f"ipvm: kept as it is now; after changing {file_name(file)}, add it again")


def _check_name(node: Node, title: str, *, given: bool) -> None:
    taken = [one for one in node.store.schedules.list() if one.options.get("name") == title]
    if given and not may_be_name(title):
        raise UsageError(
            f"--name {quoted(title)} cannot be a name", hint="Letters, digits, - and _."
        )
    if given and title.isdigit():
        raise UsageError(f"--name {title}: schedules have numbers of their own")
    if given and taken:
        raise UsageError(
            f"schedule {taken[0].id} is called {quoted(title)} already",
            hint=f"`ipvm schedule rm {taken[0].id}` removes it.",
        )


def _check_consent(node: Node, workflow: Any, force: bool, private: bool) -> dict[str, str]:
    """Say now what would stop every run; the steps that would wait each time, and why."""
    outlook = node.workflows.outlook
    graph = outlook.graph(workflow)
    forced = graph.force
    if forced and not force and workflow.meta.get("force") is not True:
        raise UsageError(
            "this workflow changes the world in more than one place, or before its end: "
            f"{', '.join(forced)}",
            hint="--force allows that for all runs of this schedule.",
        )
    return {} if force else outlook.telling(workflow, graph, private=private)


@verb("list", in_group=schedule, example="ipvm schedule list --json")
@click.pass_obj
def list_(shell: Shell) -> None:
    """List the schedules: number, name, when, and when next."""
    node = shell.node()
    found = node.store.schedules.list()
    if shell.json:
        shell.emit({"schedules": [as_json(one) for one in found]})
        return
    for one in found:
        shell.line(_line(node, one))
    if not found:
        shell.note('ipvm: nothing is scheduled; `ipvm schedule add "0 3 * * 1" FILE` does')


def _line(node: Node, one: Schedule) -> str:
    now = node.clock.now()
    parts = [str(one.id), title_of(one), f"“{one.cron}” {one.zone}"]
    if not one.enabled:
        parts.append("disabled")
    elif one.next_due_at is None:
        parts.append("never again")
    else:
        due = one.next_due_at
        word = "due since" if due <= now else "next"
        parts.append(f"{word} {local(due, one.zone)} ({age(due, now)})")
    if one.last_run is not None:
        parts.append(_last(node, one.last_run))
    if one.missed != "once":
        parts.append(f"missed: {one.missed}")
    parts.append(file_name(str(one.options.get("source", one.path or ""))))
    return "  ".join(parts)


def _last(node: Node, run: str) -> str:
    from lite.cli.workflow_files import short_id

    row = node.store.runs.get(run)
    return f"last run {short_id(run)} " + ("gone" if row is None else node.store.runs.state_of(row))


@verb("rm", in_group=schedule, example="ipvm schedule rm 1\nipvm schedule rm backup")
@click.argument("ref", metavar="NUMBER|NAME")
@click.pass_obj
def rm(shell: Shell, ref: str) -> None:
    """Remove a schedule; its runs and their receipts stay."""
    node = shell.node()
    found = find(node, ref)
    node.store.schedules.remove(found.id)
    if shell.json:
        shell.emit({"removed": found.id})
    else:
        shell.note(f"ipvm: removed schedule {found.id}, {title_of(found)}")


@verb("enable", in_group=schedule, example="ipvm schedule enable backup")
@click.argument("ref", metavar="NUMBER|NAME")
@click.pass_obj
def enable(shell: Shell, ref: str) -> None:
    """Let a schedule go on with the next time from now on; nothing is made up for."""
    _enable(shell, ref, True)


@verb("disable", in_group=schedule, example="ipvm schedule disable backup")
@click.argument("ref", metavar="NUMBER|NAME")
@click.pass_obj
def disable(shell: Shell, ref: str) -> None:
    """Let a schedule rest until it is enabled again."""
    _enable(shell, ref, False)


def _enable(shell: Shell, ref: str, enabled: bool) -> None:
    node = shell.node()
    found = find(node, ref)
    if found.enabled != enabled:
        node.store.schedules.enable(found.id, enabled)
        found = node.store.schedules.get(found.id)
    if shell.json:
        shell.emit({"schedule": as_json(found)})
    else:
        shell.line(_line(node, found))


@verb(
    "run",
    in_group=schedule,
    example="ipvm schedule run\nipvm schedule run --dry-run\n* * * * * ipvm schedule run -q",
    keeps=True,
)
@click.option("--dry-run", is_flag=True, help="Only say what is due.")
@click.pass_obj
def run(shell: Shell, dry_run: bool) -> None:
    """Run what is due, and go on with scheduled runs that a crash ended. Ends when that is done.

    Call it as often as times should be kept, for example each minute by cron or a timer. Each time
    is run for once, also when several call it at once. Exit status: the worst of the runs, as of
    `ipvm workflow run`; a schedule that cannot begin does not stop the others.
    """
    from lite.cli.schedule_run import forecast, run_due

    (forecast if dry_run else run_due)(shell)


def find(node: Node, ref: str) -> Schedule:
    """A schedule by its number or its name.

    Raises:
        NotFoundError: there is none. UsageError: several have the name.
    """
    if ref.isdecimal() and len(ref) < 10:
        return node.store.schedules.get(int(ref))
    found = [one for one in node.store.schedules.list() if one.options.get("name") == ref]
    if len(found) > 1:
        numbers = ", ".join(str(one.id) for one in found)
        raise UsageError(
            f"several schedules are called {quoted(ref)}: {numbers}", hint="Name a number."
        )
    if not found:
        raise NotFoundError(
            f"no schedule here is called {quoted(ref)}", hint="`ipvm schedule list` shows them."
        )
    return found[0]


def title_of(one: Schedule) -> str:
    """What to call a schedule."""
    from lite.schedule_runs import title_of as plain

    return one_line(plain(one))


def local(seconds: int | None, zone: str) -> str:
    """A time as it shows in a zone: `Mon 2026-11-23 03:00 CET`."""
    if seconds is None:
        return "never"
    from datetime import datetime, timezone
    from zoneinfo import ZoneInfo

    place = timezone.utc if zone == "UTC" else ZoneInfo(zone)
    return datetime.fromtimestamp(seconds, place).strftime("%a %Y-%m-%d %H:%M %Z")


def as_json(one: Schedule) -> dict[str, Any]:
    """One schedule in `schedule list --json`."""
    asked = ("workers", "deadline", "force", "private")
    return {
        "id": one.id,
        "name": one.options.get("name"),
        "cron": one.cron,
        "zone": one.zone,
        "missed": one.missed,
        "workflow": None if one.workflow is None else str(one.workflow),
        "source": one.options.get("source", one.path),
        "options": {key: one.options[key] for key in asked if key in one.options},
        "enabled": one.enabled,
        "created_at": one.created_at,
        "last_due_at": one.last_due_at,
        "next_due_at": one.next_due_at,
        "last_run": one.last_run,
    }
