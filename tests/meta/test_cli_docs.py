"""The command line explains itself: help, examples that parse, statuses, variables, settings."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator

import click
import pytest

from lite.cli.command import CONTEXT
from lite.cli.main import EXIT_STATUSES, VARIABLES, VERBS, cli
from lite.cli.results import STATUS_FAILED, STATUS_LIMIT
from lite.config import SETTINGS
from lite.errors import BugError, IpvmError


def commands(
    group: click.Group = cli, path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Every command with its path, groups before what is in them."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        yield (*path, name), command
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))


ALL = dict(commands())


def help_of(path: tuple[str, ...]) -> str:
    context = click.Context(cli, info_name="ipvm", **CONTEXT)
    for name in path:
        command = context.command
        assert isinstance(command, click.Group)
        found = command.get_command(context, name)
        assert found is not None
        context = click.Context(found, info_name=name, parent=context)
    return context.get_help()


def test_every_verb_of_the_table_is_there_under_its_own_name() -> None:
    names = [name for section in VERBS.values() for name in section]
    assert len(names) == len(set(names))
    assert {name: ALL[(name,)].name for name in names} == {name: name for name in names}


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_no_number_is_larger_than_what_takes_it(path: tuple[str, ...]) -> None:
    kinds = [param.type for param in ALL[path].params]
    assert click.INT not in kinds and click.FLOAT not in kinds
    assert all(kind.max is not None for kind in kinds if isinstance(kind, click.IntRange))


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_every_command_has_help_and_an_example(path: tuple[str, ...]) -> None:
    text = help_of(path)
    assert ALL[path].help
    assert "Examples:" in text
    assert f"ipvm {' '.join(path)}" in text.partition("Examples:")[2]


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_every_option_has_help(path: tuple[str, ...]) -> None:
    for parameter in ALL[path].params:
        if isinstance(parameter, click.Option):
            assert parameter.help, parameter.opts


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_the_flags_of_an_example_exist(path: tuple[str, ...]) -> None:
    for line in getattr(ALL[path], "example", "").strip().splitlines():
        for part in re.split(r"[|<>]", line):
            found = re.search(r"\bipvm (.*)", part)
            if found is None:
                continue
            words = shlex.split(found[1].rstrip(')"'))
            names = [word for word in words if re.fullmatch(r"[a-z]+", word)]
            command = ALL.get(tuple(names[:2])) or ALL[tuple(names[:1])]
            known = {flag for parameter in command.params for flag in parameter.opts}
            flags = {word for word in words if re.fullmatch(r"--?[a-z][a-z-]*", word)}
            own = flags if "--" not in words else set(words[: words.index("--")]) & flags
            assert own <= known, line


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_the_global_options_are_known_to_every_command(path: tuple[str, ...]) -> None:
    flags = {flag for parameter in ALL[path].params for flag in parameter.opts}
    assert {"--json", "--offline", "--home", "-q", "--quiet", "--version"} <= flags


def test_the_exit_statuses_are_those_of_the_errors_and_the_signals() -> None:
    def below(kind: type[IpvmError]) -> Iterator[int]:
        yield kind.exit_code
        for child in kind.__subclasses__():
            yield from below(child)

    used = {0, STATUS_FAILED, STATUS_LIMIT, BugError.exit_code, 130, 141, 143, *below(IpvmError)}
    assert used == set(EXIT_STATUSES)


def test_the_help_shows_statuses_and_variables() -> None:
    text = help_of(())
    for status in EXIT_STATUSES:
        assert re.search(rf"^  {status} ", text, re.MULTILINE), status
    for name in VARIABLES:
        assert name in text


def test_every_setting_is_explained() -> None:
    for name, s in SETTINGS.items():
        assert s.help and s.kind, name
        assert re.fullmatch(r"IPVM_[A-Z_]+", s.env)
        assert re.fullmatch(r"[a-z]+\.[a-z_]+", name)
