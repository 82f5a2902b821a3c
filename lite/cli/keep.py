"""`ipvm pin`, `ipvm gc` and `ipvm name`: what stays, what goes, and what things are called."""

from __future__ import annotations

import click

from lite.cli.command import group, offers, verb
from lite.cli.files import resolve_path
from lite.cli.present import counted, file_name, one_line, size
from lite.cli.shell import Shell, TaskEnded
from lite.errors import IpvmError, NotFoundError, QueuedError, UsageError
from lite.files import is_file
from lite.quantities import parse_duration_ms

_ABSENT_SHOWN = 100
_ABSENT_HINT = (
    "Add its file with `ipvm add`, or import an archive that holds it, then pin it. A receipt is "
    "no block: it comes by sync, from a peer that gave this node the right `read`."
)
_OF_FILES = ("/", "./", "../", "~")  # what no CID and no name begins with

pin = group("pin", help="Keep blocks from being collected.", example="ipvm pin add photo")


@verb("add", in_group=pin, example="ipvm pin add bafy…/docs --label manuals")
@click.argument("ref", shell_complete=offers("names"))
@click.option("--label", metavar="TEXT", default="", help="A note on why.")
@click.pass_obj
def pin_add(shell: Shell, ref: str, label: str) -> None:
    """Keep REF and everything below it; of a receipt, what came out of its run. What is not here is
    fetched from peers, where a daemon runs; else it cannot be kept. Exit status 3: it is pinned,
    and not all of it is here."""
    from lite.peering.shelf import missing, with_outputs

    node = shell.node()
    store, cid = node.store, resolve_path(node, ref)
    why, lacking = "", missing(store, with_outputs(store, cid), deep=True)
    if lacking:
        from lite.cli.fetching import fetch_from_peers

        why = fetch_from_peers(shell, node, with_outputs(store, cid))
        lacking = missing(store, with_outputs(store, cid), deep=True)
    if lacking and not why:
        why = "--offline" if shell.offline else "no daemon runs that has peers"
    if not store.has(cid):
        raise NotFoundError(
            f"{cid} is not here, so that it cannot be kept{': ' if why else ''}{why}",
            hint=_ABSENT_HINT,
        )
    store.pins.add(cid, label)
    if shell.json:
        absent = [str(one) for one in lacking[:_ABSENT_SHOWN]]
        told = {"missing": len(lacking), "absent": absent, "why": why}
        shell.emit({"pinned": str(cid), "label": label, **told})
    else:
        shell.line(str(cid))
    if lacking:
        what = f"{counted(len(lacking), 'block')} of it missing, as {lacking[0]}"
        shell.failure(f"ipvm: pinned, and not whole here, {what}: {why}")
        shell.note("  → The same again fetches more; a daemon goes on with it where it may")
        raise TaskEnded(QueuedError.exit_code)


@verb("rm", in_group=pin, example="ipvm pin rm photo")
@click.argument("ref", shell_complete=offers("names"))
@click.pass_obj
def pin_rm(shell: Shell, ref: str) -> None:
    """Let `ipvm gc` collect REF again, if nothing else keeps it."""
    node = shell.node()
    cid = resolve_path(node, ref)
    if not node.store.pins.remove(cid):
        raise NotFoundError(f"{cid} is not pinned", hint="`ipvm pin list` shows what is.")
    if shell.json:
        shell.emit({"unpinned": str(cid)})


@verb("list", in_group=pin, example="ipvm pin list --json")
@click.pass_obj
def pin_list(shell: Shell) -> None:
    """List what is pinned."""
    pins = shell.node().store.pins.list()
    if shell.json:
        shell.emit({"pins": [{"cid": str(p.cid), "label": p.label} for p in pins]})
        return
    for p in pins:
        shell.line(f"{p.cid}  {one_line(p.label)}".rstrip())


@verb("gc", example="ipvm gc --dry-run\nipvm gc --grace 0s")
@click.option("--dry-run", is_flag=True, help="Only say what would go.")
@click.option(
    "--grace",
    metavar="TIME",
    default="1h",
    show_default=True,
    help="Keep what was added so short a time ago, whatever it is.",
)
@click.pass_obj
def gc(shell: Shell, dry_run: bool, grace: str) -> None:
    """Delete blocks that no pin, name, run or receipt needs.

    Private files of up to 4 KiB stay: what is new is compared with them.
    """
    grace_s = parse_duration_ms(grace) // 1000
    report = shell.node().store.gc(dry_run=dry_run, grace_s=grace_s)
    if shell.json:
        shell.emit(
            {
                "dry_run": dry_run,
                "kept": report.kept,
                "removed": report.removed,
                "bytes": report.bytes,
            }
        )
        return
    would = "would remove" if dry_run else "removed"
    shell.line(
        f"{would} {counted(report.removed, 'block')}, {size(report.bytes)}; kept {report.kept}"
    )


name = group("name", help="Names of your own for CIDs.", example="ipvm name set photo bafy…")


@verb(
    "set", in_group=name, example="ipvm name set photo bafy…\nipvm name set thumb photos/thumb.png"
)
@click.argument("petname", metavar="NAME")
@click.argument("ref", shell_complete=offers("names"))
@click.pass_obj
def name_set(shell: Shell, petname: str, ref: str) -> None:
    """Call REF by NAME. A name also keeps it from being collected."""
    node = shell.node()
    try:
        cid = resolve_path(node, ref)
    except IpvmError:
        if not (ref.startswith(_OF_FILES) or is_file(ref)):
            raise
        raise UsageError(
            f"a name stands for a CID, and {file_name(ref)} is a path",
            hint="`ipvm add FILE --name NAME` stores a file or a folder under a name.",
        ) from None
    node.store.names.set(petname, cid)
    if shell.json:
        shell.emit({"name": petname, "cid": str(cid)})
    else:
        shell.line(str(cid))


@verb("list", in_group=name, example="ipvm name list")
@click.pass_obj
def name_list(shell: Shell) -> None:
    """List the names and what they stand for."""
    names = shell.node().store.names.list()
    if shell.json:
        shell.emit({"names": [{"name": text, "cid": str(cid)} for text, cid in names]})
        return
    for text, cid in names:
        shell.line(f"{cid}  {one_line(text)}")


@verb("rm", in_group=name, example="ipvm name rm photo")
@click.argument("petname", metavar="NAME", shell_complete=offers("petnames"))
@click.pass_obj
def name_rm(shell: Shell, petname: str) -> None:
    """Remove a name; what it stood for stays until `ipvm gc`."""
    if not shell.node().store.names.remove(petname):
        raise NotFoundError(
            f"there is no name “{petname}”", hint="`ipvm name list` shows the names."
        )
    if shell.json:
        shell.emit({"removed": petname})
