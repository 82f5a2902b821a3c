"""`--deadline`: after how long a run is ended."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from lite.errors import ConfigError, UsageError

__all__ = ["deadline_option"]

_F = TypeVar("_F", bound=Callable[..., Any])


def _read(_ctx: click.Context, _param: click.Parameter, text: str | None) -> int | None:
    """Milliseconds."""
    from lite.quantities import parse_duration_ms

    try:
        return None if text is None else parse_duration_ms(text)
    except ConfigError as error:
        raise UsageError(f"--deadline: {error}", hint=error.hint) from None


def deadline_option(help: str) -> Callable[[_F], _F]:
    """The option `--deadline`, which gives milliseconds or None."""
    return click.option("--deadline", metavar="TIME", callback=_read, help=help)
