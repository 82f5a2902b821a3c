"""click commands of one kind: global options anywhere, an example in every help text."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import click

from lite.cli.shell import Shell, need_stdout, stdout_named
from lite.errors import UsageError

HELP_NAMES = ("-h", "--help")
REST = ("--", "--args")  # what follows one of these are arguments, whatever it looks like
NEGATIVE = re.compile(r"-(\d|\.\d)")
CONTEXT = {"help_option_names": list(HELP_NAMES), "max_content_width": 100}


def _shell(ctx: click.Context) -> Shell:
    return ctx.ensure_object(Shell)


def _flag(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value and param.name:
        setattr(_shell(ctx), param.name, True)


def _home(ctx: click.Context, _param: click.Parameter, value: str | None) -> None:
    if value == "":
        raise UsageError("--home names no folder", hint="Leave it out for the usual home.")
    if value is not None:
        _shell(ctx).home = value


def _version(ctx: click.Context, _param: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        from lite.cli.about import say_version

        say_version(_shell(ctx))
        ctx.exit()


def global_options(*, hidden: bool) -> list[click.Parameter]:
    """Fresh copies of the options that are accepted before and after every verb."""
    common: dict[str, Any] = {"is_eager": True, "expose_value": False}
    switch: dict[str, Any] = {"is_flag": True, **common}
    return [
        click.Option(
            ["--json"], help="Print one JSON object.", callback=_flag, hidden=hidden, **switch
        ),
        click.Option(
            ["--offline"], help="Never use the network.", callback=_flag, hidden=hidden, **switch
        ),
        click.Option(
            ["--home"],
            metavar="DIR",
            help="The home folder.",
            callback=_home,
            hidden=hidden,
            **common,
        ),
        click.Option(
            ["-q", "--quiet"],
            help="No summary and no progress.",
            callback=_flag,
            hidden=hidden,
            **switch,
        ),
        click.Option(
            ["--version"],
            help="Print the version.",
            callback=_version,
            hidden=hidden,
            **{**switch, "is_eager": False},  # after --json, wherever that stands
        ),
    ]


def saying_help(option: click.Option | None) -> click.Option | None:
    """The option --help, which then names stdout where the help cannot be written."""
    if option is not None:
        option.callback = _show_help
    return option


def _show_help(ctx: click.Context, _param: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        need_stdout("Give the help somewhere to go.")
        with stdout_named():
            click.echo(ctx.get_help(), color=ctx.color)
        ctx.exit()


class Verb(click.Command):
    """A command with an example and the global options.

    Attributes:
        keeps: what it has to say is kept in the home too, so that a caller may close stdout.
    """

    def __init__(self, *args: Any, example: str = "", keeps: bool = False, **kwargs: Any) -> None:
        kwargs.setdefault("context_settings", CONTEXT)
        super().__init__(*args, **kwargs)
        self.example = example
        self.keeps = keeps
        self.params = [*self.params, *global_options(hidden=True)]

    def get_help_option(self, ctx: click.Context) -> click.Option | None:
        return saying_help(super().get_help_option(ctx))

    def invoke(self, ctx: click.Context) -> Any:
        ctx.obj.keeps = self.keeps
        return super().invoke(ctx)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        _write_example(self.example, formatter)
        super().format_epilog(ctx, formatter)


class VerbGroup(click.Group):
    """A verb with verbs of its own (`ipvm receipt list`)."""

    def __init__(self, *args: Any, example: str = "", **kwargs: Any) -> None:
        kwargs.setdefault("context_settings", CONTEXT)
        super().__init__(*args, **kwargs)
        self.example = example
        self.params = [*self.params, *global_options(hidden=True)]

    def get_help_option(self, ctx: click.Context) -> click.Option | None:
        return saying_help(super().get_help_option(ctx))

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        _write_example(self.example, formatter)
        super().format_epilog(ctx, formatter)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        found = self.get_command(ctx, args[0])
        if found is None and not ctx.resilient_parsing:
            raise unknown_verb(self, ctx, args[0])
        return args[0] if found else None, found, args[1:]


def unknown_verb(group: click.Group, ctx: click.Context, name: str) -> UsageError:
    """The error for a verb that is not there, with the nearest that is."""
    import difflib

    near = difflib.get_close_matches(name, group.list_commands(ctx), 1, 0.6)
    if near:
        hint = f"Did you mean `{ctx.command_path} {near[0]}`?"
    else:
        hint = f"`{ctx.command_path} --help` lists the commands."
    return UsageError(f"there is no command “{name}”", hint=hint)


def _write_example(example: str, formatter: click.HelpFormatter) -> None:
    if not example:
        return
    with formatter.section("Examples"):
        for line in example.strip().splitlines():
            formatter.write_text(line.strip()) if not line.strip() else formatter.write(
                f"{'':>{formatter.current_indent}}{line.strip()}\n"
            )


def verb(
    name: str,
    *,
    example: str,
    in_group: click.Group | None = None,
    cls: type[Verb] = Verb,
    **kwargs: Any,
) -> Callable[[Callable[..., None]], Verb]:
    """Make a function a verb; its docstring is the help text."""

    def decorate(function: Callable[..., None]) -> Verb:
        made = click.command(name, cls=cls, example=example, **kwargs)(function)
        if in_group is not None:
            in_group.add_command(made)
        return made

    return decorate


def offers(kind: str) -> Callable[[click.Context, click.Parameter, str], Any]:
    """For `shell_complete=`: what the function of this name in `lite.cli.completing` offers, which
    is loaded when a shell asks."""

    def offer(ctx: click.Context, param: click.Parameter, text: str) -> Any:
        from lite.cli import completing

        return getattr(completing, kind)(ctx, param, text)

    return offer


def group(name: str, *, help: str, example: str) -> VerbGroup:
    """An empty verb group."""
    return VerbGroup(name, help=help, example=example, no_args_is_help=True)
