"""Options that say what guests may use and which engine runs them; each overrides a setting."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from lite.cli.command import offers
from lite.cli.shell import Shell
from lite.errors import UsageError

_F = TypeVar("_F", bound=Callable[..., Any])


def engine_options(function: _F) -> _F:
    """`--fuel`, `--memory`, `--time`, `--output`, `--engine` and `--in-process`."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


def _setting(name: str) -> Callable[[click.Context, click.Parameter, str | None], None]:
    """A callback that checks a flag's text and lets it override a setting."""

    def override(ctx: click.Context, _param: click.Parameter, text: str | None) -> None:
        if text is not None:
            from lite.config import setting

            flag = "--" + name.removeprefix("limits.").removesuffix(".name")
            try:
                setting(name).parse(text)
            except UsageError as error:
                raise UsageError(f"{flag}: {error}", hint=error.hint) from None
            ctx.ensure_object(Shell).overrides[name] = text

    return override


def _in_process(ctx: click.Context, _param: click.Parameter, value: bool) -> None:
    if value:
        ctx.ensure_object(Shell).overrides["engine.in_process"] = "true"


def _limit(
    flag: str, name: str, metavar: str, text: str, offered: str | None = None
) -> Callable[[_F], _F]:
    return click.option(
        flag,
        metavar=metavar,
        callback=_setting(name),
        expose_value=False,
        help=text,
        shell_complete=None if offered is None else offers(offered),
    )


_OPTIONS: tuple[Callable[[Any], Any], ...] = (
    _limit("--fuel", "limits.fuel", "N", "Fuel it may use: 1000000, 1M, 2G."),
    _limit("--memory", "limits.memory", "SIZE", "Memory it may use: 64M, 1GiB."),
    _limit(
        "--time", "limits.time", "TIME", "Wall time of the guest, without reading its input: 10s."
    ),
    _limit("--output", "limits.output", "SIZE", "Largest result."),
    _limit("--engine", "engine.name", "NAME", "auto, wasmtime or wasmer.", "engines"),
    click.option(
        "--in-process",
        is_flag=True,
        callback=_in_process,
        expose_value=False,
        help="Run it inside this process: only for guests that you trust.",
    ),
)
