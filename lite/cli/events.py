"""`ipvm events`: what happens at the daemon of this home."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from lite.cli.command import verb
from lite.cli.present import one_line
from lite.cli.shell import Shell
from lite.errors import NotFoundError

if TYPE_CHECKING:
    from lite.link import Heard

_SHOWN = ("run", "label", "state", "receipt", "peer", "name", "text", "count", "schedule", "reason")
_WIDTH = 200


@verb("events", example="ipvm events\nipvm events -f --json\nipvm events --after 5f0c2a91-17")
@click.option("-f", "--follow", is_flag=True, help="Go on with what comes, until Ctrl-C.")
@click.option(
    "--after",
    metavar="ID",
    default="oldest",
    help="Only what came after this event; default: all that the daemon has kept.",
)
@click.pass_obj
def events(shell: Shell, follow: bool, after: str) -> None:
    """Show what happened at the daemon since it started: runs, receipts, peers, schedules.

    It keeps the latest 4096 events. With --json one object a line; `id` of the last one is what
    --after takes. Where events are missing, because they are older, one of the kind `gap` says so.
    """
    from lite.link import Link

    home = shell.home_path()
    link = Link.of(home)
    if link is None:
        raise NotFoundError(
            f"no daemon runs on {home}", hint="Start one with `ipvm daemon` in another terminal."
        )
    for heard in link.events(after, follow=follow):
        if shell.json:
            shell.emit({"id": heard.id, **heard.data})
        else:
            shell.line(_line(heard))
        shell.flush()


def _line(heard: Heard) -> str:
    from time import localtime, strftime

    data: dict[str, Any] = heard.data
    when = strftime("%H:%M:%S", localtime(int(data["at"])))
    error = data.get("error")
    parts = [f"{name} {data[name]}" for name in _SHOWN if data.get(name) not in (None, "")]
    if isinstance(error, dict):
        parts.append(str(error.get("message")))
    return one_line(f"{when}  {heard.kind:<15}  {'  '.join(parts)}", _WIDTH)
