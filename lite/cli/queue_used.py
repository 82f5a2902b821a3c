"""`ipvm queue used`: what other nodes did for this one, by the receipts that prove it, and what
they say that they counted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click

from lite.cli.command import verb
from lite.cli.peers_find import called
from lite.cli.present import one_line
from lite.cli.shell import Shell
from lite.errors import IpvmError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lite.node import Node

__all__ = ["used"]

SPARE_S: Final = 10.0  # beside what one provider may take to answer
_NO_DAEMON: Final = "no daemon runs that could ask it"


@verb("used", example="ipvm queue used\nipvm queue used --json")
@click.pass_obj
def used(shell: Shell) -> None:
    """Show what this node used at each provider that it sent jobs to: jobs, fuel and time.

    The first figures are those of the receipts that are held here, each signed by its provider, for
    today (UTC) and in all; no number in one counts as more than its job was allowed. What a
    provider says that it counted today is asked of it while the daemon runs: it does not count what
    it knew before, and counts jobs that began and were called off, or have no receipt.
    """
    node = shell.node()
    found = _fields(node)
    if shell.json:
        shell.emit({"providers": found})
        return
    names = node.store.peer_names()
    for one in found:
        for line in _lines(one, called(one["provider"], names.get(one["provider"], ""))):
            shell.line(line)
    if not found:
        shell.note("ipvm: no other node did anything for this one yet")


def _fields(node: Node) -> list[dict[str, Any]]:
    """From the daemon, which can ask providers, or from the store alone."""
    from lite.link import Link
    from lite.offload.accounts import ASK_S, usage_fields, used_at

    why = _NO_DAEMON
    link = Link.of(node.home)
    if link is not None:
        try:
            told = link.get("/v1/queue/used", timeout_s=ASK_S + SPARE_S)
            return list(told["providers"])
        except IpvmError as error:
            why = str(error)
    return [
        {
            "provider": did,
            "today": usage_fields(one.today),
            "all": usage_fields(one.all),
            "why": why,
        }
        for did, one in used_at(node.store, node.clock.now()).items()
    ]


def _lines(one: dict[str, Any], who: str) -> Iterator[str]:
    yield f"{who:<12}  today: {_figures(one['today'])}; in all: {_figures(one['all'])}"
    says = one.get("says")
    if says is None:
        yield f"{'':<12}  it says nothing that counts: {one_line(one.get('why', ''))}"
        return
    refused = "".join(f", refused {n} x {code}" for code, n in sorted(says["refused"].items()))
    open_ = says["waiting"] + says["running"]
    more = f", {open_} not over" if open_ else ""
    yield f"{'':<12}  it says:    {_figures(says)} today{more}{one_line(refused)}"


def _figures(used: dict[str, int]) -> str:
    return f"{used['jobs']} jobs, {used['fuel']} fuel, {used['time_ms'] / 1000:.1f} s"
