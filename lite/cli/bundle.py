"""`ipvm bundle`: one file that carries work between nodes that never meet."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from lite.cli.command import group, offers, verb
from lite.cli.outfile import writing
from lite.cli.present import counted, file_name, one_line, size
from lite.cli.progress import metered
from lite.cli.shell import Shell, read_stdin
from lite.errors import UsageError

if TYPE_CHECKING:
    from lite.bundle import Gathered, Merged, Wish
    from lite.ipld.cid import CID
    from lite.model.workflow import Workflow
    from lite.node import Node

ABSENT_SHOWN = 20

bundle = group(
    "bundle",
    help="Carry workflows, results and rights to a node that no network reaches.",
    example="ipvm bundle create --workflow thumbs.yaml -o trip.car\nipvm bundle import trip.car",
)


@verb(
    "create",
    in_group=bundle,
    example="ipvm bundle create --workflow thumbs.yaml -o trip.car\n"
    "ipvm bundle create --receipts all --no-code --no-inputs -o back.car\n"
    "ipvm bundle create --delegations --token ask.ucan --for did:key:z6Mk… -o rights.car",
)
@click.option("-o", "--out", metavar="FILE", required=True, help="The bundle; - for stdout.")
@click.option(
    "--workflow",
    "workflows",
    metavar="FILE|RUN",
    multiple=True,
    shell_complete=offers("runs"),
    help="A workflow, or a run of one, with what is known of its steps; repeatable.",
)
@click.option(
    "--receipts",
    "refs",
    metavar="all|none|REF",
    multiple=True,
    help="All receipts, none but those named, or a receipt; repeatable. Default: those of the "
    "workflows.",
)
@click.option("--delegations", is_flag=True, help="Delegations with their chains, revocations.")
@click.option("--invocations", is_flag=True, help="Invocations that came here and wait.")
@click.option(
    "--token",
    "tokens",
    metavar="FILE|TEXT",
    multiple=True,
    help="A token or container of them, as `ipvm ucan` writes it; repeatable.",
)
@click.option("--no-code", is_flag=True, help="Without the modules.")
@click.option("--no-inputs", is_flag=True, help="Without the files that are given to them.")
@click.option("--for", "audience", metavar="DID", default="", help="Tokens for this node only.")
@click.option("--complete", is_flag=True, help="Fail when something that belongs to it is absent.")
@click.option("--with-secrets", is_flag=True, help="Also what was marked secret.")
@click.pass_obj
def create(shell: Shell, /, out: str, complete: bool, **asked: Any) -> None:
    """Write a bundle: workflows, their code and inputs, receipts with their outputs, and tokens.

    What belongs to it and is not here is said, and named in it as absent. An existing file is
    replaced when the new one is complete. A workflow or receipt that is secret is refused without
    --with-secrets; what else is secret is left out.
    """
    from lite import bundle as bundles

    node = shell.node()
    gathered = bundles.prepare(node, _wish(node, asked))
    if not gathered.blocks and not gathered.absent:
        raise UsageError(
            "there is nothing to put into it",
            hint="Name a --workflow, --receipts, --delegations, --invocations or a --token.",
        )
    if complete:
        bundles.complete(gathered.absent)
    with writing(out) as file, metered(shell, file, "bundle") as stream:
        written = bundles.write(node, gathered, stream)
    _say_absent(shell, gathered)
    if shell.json and out != "-":
        shell.emit({"file": out, "bytes": written, **_index_fields(gathered)})
    where = "" if out == "-" else f" to {file_name(out)}"
    shell.note(f"ipvm: wrote {size(written)}{where}: {_contents(gathered)}")


def _wish(node: Node, asked: dict[str, Any]) -> Wish:
    from lite import bundle as bundles
    from lite.cli.ucan_source import load

    refs = asked["refs"]
    swept = [ref for ref in refs if ref in ("all", "none")]
    if len(set(swept)) > 1:
        raise UsageError("--receipts all and --receipts none contradict each other")
    audience = _did(asked["audience"])
    tokens = bundles.collect(
        node,
        delegations=asked["delegations"],
        invocations=asked["invocations"],
        given=[load(node, token) for token in asked["tokens"]],
        audience=audience,
    )
    return bundles.Wish(
        workflows=[_workflow(node, ref) for ref in asked["workflows"]],
        receipts=[node.receipt(ref).cid for ref in refs if ref not in swept],
        sweep=swept[0] if swept else "workflows",
        code=not asked["no_code"],
        inputs=not asked["no_inputs"],
        tokens=tokens,
        audience=audience,
        with_secrets=asked["with_secrets"],
    )


def _did(text: str) -> str:
    from lite.peering.book import checked_did

    return checked_did(text) if text else ""


def _workflow(node: Node, ref: str) -> tuple[Workflow, str, str]:
    """A workflow, what to call it, and the id of the run that counts."""
    from lite.cli.workflow_files import find_run, read_named, workflow_of

    run = find_run(node, ref)
    if run is not None:
        return workflow_of(node, run), run.name, run.id
    named = read_named(node, ref)
    named.keep(node)
    return named.workflow, named.called, ""


def _say_absent(shell: Shell, gathered: Gathered) -> None:
    for cid, what in list(gathered.absent.items())[:ABSENT_SHOWN]:
        shell.note(f"ipvm: not in it: {cid}, {one_line(what)}")
    more = len(gathered.absent) - ABSENT_SHOWN
    if more > 0:
        shell.note(f"ipvm: … and {more} more that are not in it")
    if gathered.withheld:
        shell.note(f"ipvm: left out as secret: {gathered.withheld} (--with-secrets takes them)")


def _index_fields(gathered: Gathered) -> dict[str, Any]:
    index = gathered.index
    return {
        "root": str(index.block().cid),
        "workflows": [str(cid) for cid in index.workflows],
        "receipts": [str(cid) for cid in index.receipts],
        "blocks": index.blocks,
        "absent": [{"cid": str(cid), "what": what} for cid, what in gathered.absent.items()],
        "withheld": gathered.withheld,
    }


def _contents(gathered: Gathered) -> str:
    index = gathered.index
    parts = [(len(index.workflows), "workflow"), (len(index.receipts), "receipt")]
    parts += [(index.blocks, "block"), (len(gathered.absent), "absent block")]
    return ", ".join(counted(number, one) for number, one in parts if number)


@verb(
    "import",
    in_group=bundle,
    example="ipvm bundle import trip.car\n"
    "ipvm bundle import trip.car --dry-run --json\n"
    "ipvm bundle import trip.car --names --pin && ipvm workflow run thumbs",
)
@click.argument("file")
@click.option("--dry-run", is_flag=True, help="Check all of it, and only say what is in it.")
@click.option(
    "--all", "everything", is_flag=True, help="Also receipts of strangers, and forgotten ones."
)
@click.option("--names", is_flag=True, help="Name each workflow as it is called, if that is free.")
@click.option("--pin", is_flag=True, help="Keep workflows, code and inputs from being collected.")
@click.pass_obj
def import_(
    shell: Shell, file: str, dry_run: bool, everything: bool, names: bool, pin: bool
) -> None:
    """Take in a bundle, as from a peer: every block is hashed and every signature checked first.

    Receipts of whoever is neither a peer nor in the setting trust.issuers are left out, and so are
    those that were forgotten here. The CIDs of the workflows go to stdout: `ipvm workflow run CID`.
    Importing again changes nothing; a damaged file brings nothing.
    """
    from lite import bundle as bundles
    from lite.files import open_file

    node = shell.node()
    told = {"everything": everything, "dry_run": dry_run}
    if file == "-":
        found = bundles.import_(node, read_stdin(), **told)
    else:
        # A bundle that is sound is read more than once, so that a share of it would say little.
        label = f"import {file_name(file)}"
        with open_file(file) as opened, metered(shell, opened, label) as stream:
            found = bundles.import_(node, stream, **told)
    named: dict[CID, str] = {}
    if not dry_run:
        named = _name(node, found) if names else {}
        for root in bundles.roots_of(found.index) if pin else ():
            if node.store.has(root):
                node.store.pins.add(root)
    _show(shell, node, file, found, named, dry_run=dry_run)


def _name(node: Node, found: Merged) -> dict[CID, str]:
    """Give the workflows their names where those are free, or theirs already."""
    from lite.store.names import may_be_name

    named = {}
    for cid, name in found.index.workflows.items():
        if name and may_be_name(name) and node.store.names.get(name) in (None, cid):
            try:
                node.store.names.set(name, cid)
            except UsageError:  # looks like a CID
                continue
            named[cid] = name
    return named


def _show(
    shell: Shell, node: Node, file: str, found: Merged, named: dict[CID, str], *, dry_run: bool
) -> None:
    index = found.index
    if shell.json:
        shell.emit(_merged_fields(found, named, dry_run=dry_run))
    else:
        for cid, name in index.workflows.items():
            shell.line(f"{cid}  {one_line(name)}".rstrip())
    if index.audience and index.audience != node.did:
        shell.note(f"ipvm: it was made for {one_line(index.audience)}, which is not this node")
    for reason, count in found.unwanted.items():
        shell.note(f"ipvm: left out {counted(count, 'receipt')} {one_line(reason)}")
    for token, reason in found.tokens.left_out:
        shell.note(f"ipvm: left out {token}, {one_line(reason)}")
    for cid in index.absent[:ABSENT_SHOWN]:
        if not node.store.has(cid):
            shell.note(f"ipvm: not in it, and not here: {cid}")
    would = "would take" if dry_run else "took"
    shell.note(f"ipvm: {would} {_brought(found)} from {file_name(file)}")


def _brought(found: Merged) -> str:
    parts = [
        counted(found.blocks, "new block") + f" ({size(found.bytes)})",
        counted(found.receipts, "new receipt"),
        counted(len(found.tokens.kept), "token"),
        counted(len(found.tokens.waiting), "invocation"),
    ]
    return ", ".join(part for part in parts if not part.startswith("0 ")) or "nothing new"


def _merged_fields(found: Merged, named: dict[CID, str], *, dry_run: bool) -> dict[str, Any]:
    index, tokens = found.index, found.tokens
    return {
        "root": str(found.root),
        "dry_run": dry_run,
        "for": index.audience or None,
        "workflows": [
            {"cid": str(cid), "called": called, "name": named.get(cid)}
            for cid, called in index.workflows.items()
        ],
        "new": {"blocks": found.blocks, "bytes": found.bytes, "receipts": found.receipts},
        "known": {"receipts": found.known},
        "unwanted": [{"count": n, "reason": reason} for reason, n in found.unwanted.items()],
        "tokens": [{"cid": str(cid), "kind": k, "note": note} for cid, k, note in tokens.kept],
        "invocations": [str(cid) for cid in tokens.waiting],
        "left_out": [{"cid": str(cid), "reason": reason} for cid, reason in tokens.left_out],
        "absent": [str(cid) for cid in index.absent],
    }
