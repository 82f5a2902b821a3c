"""The command `ipvm`: finds the verb, runs it, and turns every ending into an exit status.

Importing this module imports click and nothing heavy; each verb's module is imported when the verb
is used.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
from collections.abc import Sequence
from itertools import takewhile
from types import FrameType
from typing import Any, NoReturn

import click

from lite.cli.command import CONTEXT, REST, global_options, saying_help, unknown_verb
from lite.cli.shell import Shell, drop, stdout_named, tell
from lite.environment import environment

VERBS = {
    "Run": {
        "run": "run:run",
        "inspect": "inspect:inspect",
        "workflow": "workflow:workflow",
        "logs": "logs:logs",
        "schedule": "schedule:schedule",
        "why": "why:why",
        "receipt": "receipts:receipt",
    },
    "Files": {
        "add": "files:add",
        "cat": "files:cat",
        "ls": "files:ls",
        "export": "archives:export",
        "import": "archives:import_",
        "bundle": "bundle:bundle",
        "pin": "keep:pin",
        "gc": "keep:gc",
        "name": "keep:name",
    },
    "Authority": {
        "ucan": "ucan:ucan",
    },
    "Other nodes": {
        "peers": "peers:peers",
        "sync": "sync:sync",
        "provider": "provider:provider",
        "queue": "queue:queue",
        "capabilities": "capabilities:capabilities",
    },
    "This node": {
        "status": "status:status",
        "daemon": "daemon:daemon",
        "service": "service:service",
        "events": "events:events",
        "id": "identity:id_",
        "key": "identity:key",
        "backup": "backups:backup",
        "restore": "backups:restore",
        "config": "settings:config",
        "doctor": "doctor:doctor",
        "completion": "about:completion",
        "version": "about:version",
    },
}
"""Every verb by section of the help, with the module under `lite.cli` and the name in it."""

EXIT_STATUSES = {
    0: "done, also when the answer was known",
    1: "the task failed (trap, guest error, bad argument); its receipt says why",
    2: "wrong usage, or an invalid file",
    3: "queued: it cannot finish offline now",
    4: "not authorised",
    5: "not found",
    6: "store, disk full, quota, engine or daemon",
    7: "integrity: bytes are not what they claim to be",
    8: "an enforced limit was reached",
    70: "a bug in ipvm",
    130: "interrupted (Ctrl-C)",
    141: "the reader of the output closed it",
    143: "terminated",
}

VARIABLES = {
    "IPVM_HOME": "the home folder (--home goes before it)",
    "IPVM_LIMITS_FUEL …": "any setting: `ipvm config list` shows their names",
    "IPVM_DEBUG": "1: show the traceback of a bug",
    "NO_COLOR, FORCE_COLOR": "never, or always, colour stderr",
}


GC_THRESHOLD = 50_000
"""Objects between looks for cycles: importing makes many objects and no cycles to collect."""


class Ipvm(click.Group):
    """The root: verbs come from `VERBS`, imported one by one."""

    def get_help_option(self, ctx: click.Context) -> click.Option | None:
        return saying_help(super().get_help_option(ctx))

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [name for section in VERBS.values() for name in section]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        for section in VERBS.values():
            if cmd_name in section:
                module, attribute = section[cmd_name].split(":")
                loaded = __import__(f"lite.cli.{module}", fromlist=[attribute])
                found: click.Command = getattr(loaded, attribute)
                return found
        return None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        found = self.get_command(ctx, args[0])
        if found is None and not ctx.resilient_parsing:
            raise unknown_verb(self, ctx, args[0])
        return args[0] if found else None, found, args[1:]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for title, section in VERBS.items():
            with formatter.section(title):
                commands = [(name, self.get_command(ctx, name)) for name in section]
                formatter.write_dl([(n, c.get_short_help_str(80)) for n, c in commands if c])

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Exit status"):
            formatter.write_dl([(str(code), text) for code, text in EXIT_STATUSES.items()])
        with formatter.section("Environment"):
            formatter.write_dl(list(VARIABLES.items()))


cli = Ipvm(
    "ipvm",
    help="Run WebAssembly offline, keep signed receipts, never compute the same thing twice.\n\n"
    "Results go to stdout, everything else to stderr. The options below are accepted before and "
    "after any command; `ipvm COMMAND --help` shows the rest and an example.",
    params=global_options(hidden=False),
    context_settings=CONTEXT,
    no_args_is_help=True,
)


class Terminated(BaseException):
    """SIGTERM arrived. Not an `Exception`, so that nothing takes it for a failure."""


def _terminate(_signal: int, _frame: FrameType | None) -> NoReturn:
    raise Terminated


def main(args: Sequence[str], **extra: Any) -> int:
    """Run one command line; the exit status. Streams are flushed."""
    shell = Shell()
    try:
        try:
            with shell, cli.make_context("ipvm", list(args), obj=shell, **extra) as ctx:
                cli.invoke(ctx)
            with stdout_named():
                sys.stdout.flush()
            status = 0
        except BaseException as error:
            from lite.cli.endings import ending

            if "--json" in takewhile(lambda arg: arg not in REST, args):
                shell.json = True
            status = ending(error, shell)
        sys.stdout.flush()
    except BrokenPipeError:
        drop(sys.stdout)
        status = 141
    return status


def entry() -> NoReturn:
    """The console script."""
    gc.set_threshold(GC_THRESHOLD)
    if environment("_IPVM_COMPLETE"):
        from lite.cli.completing import complete

        complete()
    try:
        if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, _terminate)
        status = main(sys.argv[1:])
        tell("")
    except KeyboardInterrupt:  # while it was already ending
        status = 130
    except Terminated:
        status = 143
    os._exit(status)  # all is closed and flushed; taking the interpreter apart costs 5 ms more
