"""`ipvm daemon`: the node as a process that stays."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import click

from lite.cli.command import verb
from lite.cli.shell import Shell, error_line

if TYPE_CHECKING:
    from lite.link import Card

EXAMPLE = """
ipvm daemon
ipvm daemon --listen 0.0.0.0:4747 --api 127.0.0.1:8470
ipvm daemon --offline
"""


@verb("daemon", example=EXAMPLE, keeps=True)
@click.option(
    "--listen",
    metavar="IP:PORT",
    multiple=True,
    help="Where other nodes reach this one; repeatable. Default: everywhere, port 4747.",
)
@click.option("--no-mdns", is_flag=True, help="Neither look nor be seen on the local network.")
@click.option("--metered", is_flag=True, help="Take from peers only what is asked for by name.")
@click.option(
    "--api",
    metavar="IP:PORT|unix",
    default="unix",
    show_default=True,
    help="Where programs of this machine reach it: a socket in the home, or a loopback address.",
)
@click.pass_obj
def daemon(shell: Shell, listen: tuple[str, ...], no_mdns: bool, metered: bool, api: str) -> None:
    """Stay, meet other nodes, run schedules, and serve the local API.

    It runs in the foreground until Ctrl-C or SIGTERM ends it in order, with exit status 0; a second
    signal ends it at once (130, 143). Runs that are under way then can go on later. One daemon runs
    on a home; `ipvm service install` lets the system start it. Other commands work as ever while it
    runs, and without it.

    The API is a unix socket for this user alone. On --api 127.0.0.1:PORT each request has to show
    the token of daemon.json in the home. With --json one object says that it is ready.
    """
    from lite.daemon.lean import load_aiohttp

    load_aiohttp()
    from lite.daemon.daemon import Wishes, serve
    from lite.daemon.meeting import parse_listen
    from lite.http.server import Address

    wishes = Wishes(
        api=None if api == "unix" else Address.parse(api),
        listen=tuple(parse_listen(text) for text in listen),
        mdns=not no_mdns,
        metered=metered,
        alone=shell.offline,
    )

    def say(line: str) -> None:
        with suppress(OSError):  # the terminal was closed
            error_line(f"ipvm: {line}")

    def ready(card: Card) -> None:
        if shell.json:
            told = {"pid": card.pid, "api": card.api, "peers_listen": list(card.listens)}
            shell.emit({**told, "jobs_listen": card.jobs} if card.jobs else told)
            shell.flush()
        peers = f"peers at {', '.join(card.listens)}" if card.listens else "no peers"
        if not shell.quiet:
            jobs = f", jobs at {card.jobs}" if card.jobs else ""
            say(f"ready, process {card.pid}, API at {card.api}, {peers}{jobs}")

    serve(shell.config(), wishes, say=say, ready=ready)
