"""`ipvm provider`: doing jobs for other nodes, for whom and on which terms, and what they used."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click

from lite.cli.command import group, verb
from lite.cli.peers_find import book_of, called, daemon_of, find_peer, tell_daemon
from lite.cli.present import age, one_line
from lite.cli.provider_urls import add, remove
from lite.cli.shell import Shell
from lite.errors import ConfigError, NotFoundError, UsageError

if TYPE_CHECKING:
    from lite.node import Node
    from lite.offload.offers import Offer
    from lite.offload.terms import Terms
    from sync.peers import PeerBook

ANYONE: Final = "anyone"
USUAL_OP: Final = "wasm/run"
RUN: Final = "run"  # the right, `sync.peers.RUN`
NEWEST: Final = 20  # jobs that are listed

provider = group(
    "provider",
    help="Doing jobs for other nodes: for whom, on which terms, and what they used.",
    example="ipvm provider enable --for phone\nipvm provider show",
)
provider.add_command(add)
provider.add_command(remove)


@verb(
    "enable",
    in_group=provider,
    example="""
    ipvm provider enable --op wasm/run --for phone
    ipvm provider enable --for did:key:z6Mk… --module blur.wasm --fuel 10G --per-day 100
    ipvm provider enable --for anyone --fuel 1G --time 5s --fuel-per-day 100G --expires 30d
    """,
)
@click.option("--for", "whom", metavar="DID|NAME|anyone", required=True, help="Who may ask.")
@click.option(
    "--op",
    "ops",
    metavar="OP",
    multiple=True,
    default=(USUAL_OP,),
    show_default=True,
    help="Which operation; repeatable.",
)
@click.option(
    "--module",
    "modules",
    metavar="CID|NAME",
    multiple=True,
    help="Only this code, and what is below it; repeatable.",
)
@click.option("--fuel", metavar="N", help="The most that one job may use: 1000000, 10G.")
@click.option("--memory", metavar="SIZE", help="The most memory of one job: 256M.")
@click.option("--time", metavar="TIME", help="The longest that one job may run: 500ms, 60s.")
@click.option("--output", metavar="SIZE", help="The largest result of one job: 16M.")
@click.option(
    "--per-day",
    metavar="N",
    type=click.IntRange(1, 10**9),
    help="At most so many jobs on one day (UTC).",
)
@click.option("--fuel-per-day", metavar="N", help="At most so much fuel of all on one day (UTC).")
@click.option(
    "--subcontract", is_flag=True, help="This node may pass jobs on that it cannot do itself."
)
@click.option(
    "--expires",
    metavar="TIME",
    default="never",
    show_default=True,
    help="How long it holds: 12h, 30d, never.",
)
@click.pass_obj
def enable(
    shell: Shell,
    /,
    whom: str,
    ops: tuple[str, ...],
    modules: tuple[str, ...],
    expires: str,
    **bounds: Any,
) -> None:
    """Let others have jobs done here, while `ipvm daemon` runs.

    Each gets a delegation whose policy holds the bounds; a peer is sent it by itself. A bound
    that is named has to be named by the job as well, at most as high; what is not named is what
    guests get. It takes the place of what the same one was given for the same operation.
    """
    from lite.cli.ucan_delegate import lasting
    from lite.offload.offers import Offers
    from lite.ucan.show import moment

    node, book = book_of(shell)
    _check_ops(node, ops)
    terms = _terms(node, modules, bounds)
    seconds = lasting(expires, "--expires")
    ends = None if seconds is None else node.clock.now() + seconds
    given = Offers(node)
    did = "" if whom == ANYONE else find_peer(book, whom, new=True)
    if did == node.did:
        raise UsageError("that is this node itself; it needs no leave", hint="`ipvm run` runs.")
    cids: list[str] = []
    for op in ops:
        if did:
            cids.append(str(given.give(did, f"/{op}", terms, ends).cid))
        else:
            given.give_anyone(f"/{op}", terms, ends)
    if did:
        book.trust(did, ("run",))
    tell_daemon(shell)
    if shell.json:
        told = {"for": did or ANYONE, "ops": list(ops), "delegations": cids, "expires_at": ends}
        shell.emit({**told, "terms": _fields(terms)})
        return
    who = _called(book, did)
    until = "" if ends is None else f", until {moment(ends)}"
    shell.line(f"{who} may have {', '.join(ops)} done here{_bounds(terms)}{until}")


@verb(
    "disable",
    in_group=provider,
    example="ipvm provider disable --for phone\nipvm provider disable --for anyone --op wasm/run",
)
@click.option("--for", "whom", metavar="DID|NAME|anyone", required=True, help="Who may no more.")
@click.option("--op", "ops", metavar="OP", multiple=True, help="Only this; repeatable.")
@click.pass_obj
def disable(shell: Shell, whom: str, ops: tuple[str, ...]) -> None:
    """Take back what `enable` gave. Jobs that wait are refused then; what runs ends as it does."""
    from lite.offload.offers import Offers

    node, book = book_of(shell)
    given = Offers(node)
    did = "" if whom == ANYONE else find_peer(book, whom, new=True)
    gone = given.take_back(did, [f"/{op}" for op in ops])
    if not gone:
        raise NotFoundError(
            f"{whom} may have nothing of that done here", hint="`ipvm provider show` shows who may."
        )
    if did and not given.to(did) and book.peer(did) is not None:
        book.untrust(did, ("run",))
    tell_daemon(shell)
    commands = [one.command[1:] for one in gone]
    if shell.json:
        shell.emit({"for": did or ANYONE, "ops": commands})
    else:
        shell.line(f"{_called(book, did)} may not have {', '.join(commands)} done here any more")


@verb("show", in_group=provider, example="ipvm provider show\nipvm provider show --json")
@click.pass_obj
def show(shell: Shell) -> None:
    """Show for whom jobs are done, what each used today, and what was refused.

    Whoever has the right `run` may ask: besides what `enable` gave, by delegations that were made
    with `ipvm ucan delegate`, by this node or by whom it gave one.
    """
    from lite.offload.accounts import usage_fields
    from lite.offload.offers import Offers
    from lite.store.jobs import DAY_S

    node, book = book_of(shell)
    day = node.clock.now() // DAY_S
    offered = list(Offers(node).all())
    used = node.store.jobs.customers(day)
    refused = node.store.jobs.all_refusals(day)
    enabled = {one.to for one in offered}
    others = [one.did for one in book.peers() if RUN in one.rights and one.did not in enabled]
    link = daemon_of(shell)
    url = "" if link is None else link.card.jobs
    if shell.json:
        shell.emit(
            {
                "offers": [_offer_fields(one) for one in offered],
                "may_run": others,
                "http": url or None,
                "used_today": {did: usage_fields(usage) for did, usage in used.items()},
                "refused_today": [
                    {"customer": did or None, "code": code, "count": count}
                    for did, code, count in refused
                ],
            }
        )
        return
    for one in offered:
        shell.line(f"{_called(book, one.to):<12}  {one.command[1:]}{_bounds(one.terms)}")
    for did in others:
        told = "it has the right run, and may have what `ipvm ucan delegate` gave it"
        shell.line(f"{_called(book, did):<12}  {told}")
    if url:
        shell.line(f"by HTTP       {url}")
    if not offered and not others:
        shell.note("ipvm: nothing is done for others; `ipvm provider enable --for NAME` lets them")
    for did, usage in used.items():
        seconds = f"{usage.time_ms / 1000:.1f} s"
        who = _called(book, did)
        shell.line(f"{who:<12}  today: {usage.jobs} jobs, {usage.fuel} fuel, {seconds}")
    for did, code, count in refused:
        who = _called(book, did) if did else "strangers"
        shell.line(f"{who:<12}  refused today: {count} x {code}")


@verb("list", in_group=provider, example="ipvm provider list\nipvm provider list --json")
@click.option(
    "--last",
    metavar="N",
    type=click.IntRange(1, 10_000),
    default=NEWEST,
    show_default=True,
    help="How many.",
)
@click.pass_obj
def list_(shell: Shell, last: int) -> None:
    """List the jobs of others, those that changed last first, and providers that are known by
    URL."""
    node, book = book_of(shell)
    jobs = node.store.jobs.newest(last)
    urls = node.store.jobs.providers()
    if shell.json:
        shell.emit(
            {
                "jobs": [
                    {
                        "inv": str(job.invocation),
                        "ins": str(job.instruction),
                        "customer": job.customer,
                        "state": job.state,
                        "begun": job.begun,
                        "code": job.code,
                        "message": job.message,
                        "arrived_at": job.arrived_at,
                        "changed_at": job.changed_at,
                    }
                    for job in jobs
                ],
                "providers": urls,
            }
        )
        return
    now = node.clock.now()
    for job in jobs:
        why = f"  {job.code}: {one_line(job.message)}" if job.code else ""
        who = _called(book, job.customer)
        shell.line(f"{job.state:<9}  {who:<12}  {age(job.changed_at, now)}  {job.invocation}{why}")
    for did, url in urls.items():
        shell.line(f"provider   {_called(book, did):<12}  {one_line(url)}")
    if not jobs and not urls:
        shell.note("ipvm: no jobs of others yet")


def _check_ops(node: Node, ops: tuple[str, ...]) -> None:
    allowed = node.config["ops.allowed_for_others"]
    for op in ops:
        if op not in allowed:
            both = ",".join((*allowed, op))
            raise UsageError(
                f"this node does {op} for its owner only",
                hint=f"`ipvm config set ops.allowed_for_others {both}` opens it.",
            )


def _terms(node: Node, modules: tuple[str, ...], bounds: dict[str, Any]) -> Terms:
    from lite.config import setting
    from lite.offload.terms import MODULES_MAX, Terms

    if len(modules) > MODULES_MAX:
        raise UsageError(f"--module: at most {MODULES_MAX} of them")

    def read(flag: str, like: str) -> int:
        text = bounds[flag.replace("-", "_")]
        try:
            return 0 if text is None else int(setting(f"limits.{like}").parse(text))
        except ConfigError as error:
            raise UsageError(f"--{flag}: {error}", hint=error.hint) from None

    return Terms(
        tuple(node.resolve(text) for text in modules),
        read("fuel", "fuel"),
        read("memory", "memory"),
        read("time", "time"),
        read("output", "output"),
        bounds["per_day"] or 0,
        read("fuel-per-day", "fuel"),
        bounds["subcontract"],
    )


def _called(book: PeerBook, did: str) -> str:
    if not did:
        return ANYONE
    peer = book.peer(did)
    return called(did, "" if peer is None else peer.name)


def _bounds(terms: Terms) -> str:
    """The terms in words, behind what they are for."""
    from lite.quantities import render_duration, render_fuel, render_size

    told = [f"only {', '.join(map(str, terms.modules))}"] if terms.modules else []
    told += [f"{render_fuel(terms.fuel)} fuel"] if terms.fuel else []
    told += [f"{render_size(terms.memory)} memory"] if terms.memory else []
    told += [render_duration(terms.time)] if terms.time else []
    told += [f"{render_size(terms.output)} output"] if terms.output else []
    told += [f"{terms.jobs} jobs a day"] if terms.jobs else []
    told += [f"{render_fuel(terms.day_fuel)} fuel a day"] if terms.day_fuel else []
    told += ["may be passed on"] if terms.subcontract else []
    return f" ({', '.join(told)})" if told else ""


def _fields(terms: Terms) -> dict[str, Any]:
    return {**terms.value(), "modules": [str(cid) for cid in terms.modules]}


def _offer_fields(offer: Offer) -> dict[str, Any]:
    return {
        "for": offer.to or ANYONE,
        "op": offer.command[1:],
        "delegation": None if offer.token is None else str(offer.token),
        "expires_at": offer.expires_at,
        "terms": _fields(offer.terms),
    }
