"""What TAB offers beside commands and options: names, runs, settings and the values of options.

A shell asks for it at every press of the key: it makes no home, waits for nobody, and offers
nothing rather than an error.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, NoReturn

import click
from click.shell_completion import CompletionItem  # this module is loaded for shells alone

from lite.cli.shell import Shell
from lite.errors import IpvmError

if TYPE_CHECKING:
    from collections.abc import Callable

    from lite.store import Store

    _Find = Callable[[Store], list[str]]

_WAIT_MS = 200
_RUNS_MAX = 50
_RUN_CHARS = 8
_ALIAS = {
    "bash": "complete -o nosort -F _ipvm_completion ipvm-lite",
    "zsh": "compdef _ipvm_completion ipvm-lite",
    "fish": 'complete --no-files --command ipvm-lite --arguments "(_ipvm_completion)"',
}


def complete() -> NoReturn:
    """Answer the shell, which asks by the variable `_IPVM_COMPLETE`."""
    from lite.cli.main import cli

    try:
        cli.main(prog_name="ipvm", complete_var="_IPVM_COMPLETE")
    except IpvmError:
        os._exit(0)  # nothing to offer behind what is wrong already
    raise AssertionError("click ends the process after it has answered")


def script(shell: str) -> str:
    """The completion script of a shell, for `ipvm` and its other name `ipvm-lite`."""
    from click.shell_completion import get_completion_class

    from lite.cli.main import cli

    kind = get_completion_class(shell)
    assert kind is not None
    return f"{kind(cli, {}, 'ipvm', '_IPVM_COMPLETE').source().rstrip()}\n{_ALIAS[shell]}"


def names(ctx: click.Context, _param: click.Parameter, text: str) -> list[CompletionItem]:
    """Petnames that begin with `text`; files where none does."""
    found = _read(ctx, lambda store: [name for name, _ in store.names.list()])
    return [CompletionItem(text, type="file"), *_fitting(found, text)]


def petnames(ctx: click.Context, _param: click.Parameter, text: str) -> list[CompletionItem]:
    """Petnames alone."""
    return _fitting(_read(ctx, lambda store: [name for name, _ in store.names.list()]), text)


def peers(ctx: click.Context, _param: click.Parameter, text: str) -> list[CompletionItem]:
    """Names of peers."""
    return _fitting(
        _read(ctx, lambda store: sorted(filter(None, store.peer_names().values()))), text
    )


def runs(ctx: click.Context, _param: click.Parameter, text: str) -> list[CompletionItem]:
    """Runs of workflows, the newest first."""
    found = _read(ctx, lambda store: [run.id for run in store.runs.list(limit=_RUNS_MAX)])
    return _fitting((run[:_RUN_CHARS] for run in found), text)


def runs_or_files(ctx: click.Context, param: click.Parameter, text: str) -> list[CompletionItem]:
    """Runs that begin with `text`; files where none does."""
    return [CompletionItem(text, type="file"), *runs(ctx, param, text)]


def settings(_ctx: click.Context, _param: click.Parameter, text: str) -> list[CompletionItem]:
    """Names of settings."""
    from lite.config import SETTINGS

    return _fitting(SETTINGS, text)


def profiles(_ctx: click.Context, _param: click.Parameter, text: str) -> list[CompletionItem]:
    """Ways to cut files into blocks."""
    from lite.ipld.unixfs import PROFILES

    return _fitting(PROFILES, text)


def engines(_ctx: click.Context, _param: click.Parameter, text: str) -> list[CompletionItem]:
    """Names of engines."""
    return _fitting(("auto", "wasmtime", "wasmer"), text)


def _fitting(found: Iterable[str], text: str) -> list[CompletionItem]:
    return [CompletionItem(one) for one in found if one.startswith(text)]


def _read(ctx: click.Context, find: _Find) -> list[str]:
    """What `find` finds in the home, if there is one."""
    from lite.store import Store
    from lite.store.home import DATABASE

    try:
        home = ctx.ensure_object(Shell).home_path()
        if not (home / DATABASE).is_file():
            return []
        with Store.open(home, busy_timeout_ms=_WAIT_MS) as store:
            return find(store)
    except (IpvmError, OSError):
        return []
