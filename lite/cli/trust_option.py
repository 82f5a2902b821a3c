"""`--trust`: whose receipts count as answers for this one command."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from lite.cli.shell import Shell
from lite.errors import UsageError

__all__ = ["trust_option"]

_F = TypeVar("_F", bound=Callable[..., Any])
_HINT = "Write self, DID,DID…, or K/DID,DID… or K alone, where K of them have to agree."


def _read(ctx: click.Context, _param: click.Parameter, text: str | None) -> None:
    """Turn the text into the settings trust.issuers, trust.confirmations and trust.peers."""
    if text is None:
        return
    from lite.config import setting

    overrides = ctx.ensure_object(Shell).overrides
    count, slash, names = text.partition("/")
    if text.isdigit():
        overrides["trust.confirmations"] = text
    elif text == "self":
        overrides.update({"trust.issuers": "", "trust.confirmations": "1", "trust.peers": "no"})
    else:
        issuers = names if slash else text
        agree = count if slash else "1"
        overrides.update(
            {"trust.issuers": issuers, "trust.confirmations": agree, "trust.peers": "no"}
        )
    for name in ("trust.issuers", "trust.confirmations"):
        if name not in overrides:
            continue
        try:
            value = setting(name).parse(overrides[name])
        except UsageError as error:
            raise UsageError(f"--trust: {error}", hint=_HINT) from None
        if slash and name == "trust.issuers" and not value:
            raise UsageError(f"--trust {text}: it names nobody", hint=_HINT)


def trust_option(function: _F) -> _F:
    """The option `--trust`."""
    return click.option(
        "--trust",
        metavar="self|DID,…|K/DID,…",
        callback=_read,
        expose_value=False,
        help="Whose known receipts count this time beside this node's; K of them must agree.",
    )(function)
