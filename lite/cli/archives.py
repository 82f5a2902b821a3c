"""`ipvm export` and `ipvm import`: receipts and files as CAR archives."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from lite.cli.command import offers, verb
from lite.cli.files import resolve_path
from lite.cli.outfile import writing
from lite.cli.present import counted, file_name, size
from lite.cli.progress import metered
from lite.cli.shell import Shell, read_stdin

if TYPE_CHECKING:
    from lite.ipld.cid import CID
    from lite.node import Node


@verb(
    "export",
    example="ipvm export q4wz7ka -o result.car\nipvm export q4wz7ka --with-code --with-inputs -o -",
)
@click.argument("refs", metavar="REF...", nargs=-1, required=True, shell_complete=offers("names"))
@click.option("-o", "--out", metavar="FILE", required=True, help="The archive; - for stdout.")
@click.option("--with-code", is_flag=True, help="Also the modules.")
@click.option("--with-inputs", is_flag=True, help="Also the files that were given to them.")
@click.option("--with-secrets", is_flag=True, help="Also what was marked secret.")
@click.pass_obj
def export(
    shell: Shell,
    refs: tuple[str, ...],
    out: str,
    with_code: bool,
    with_inputs: bool,
    with_secrets: bool,
) -> None:
    """Write receipts, with their instruction and large outputs, or files into one CAR archive.

    REF is a receipt, an instruction that has one, a CID, a part of one, or a name. An existing
    file is replaced when the new one is complete. What is secret stays here, and with it the whole
    archive, unless --with-secrets says otherwise.
    """
    node = shell.node()
    roots = [_root(node, ref) for ref in refs]
    told = {"with_code": with_code, "with_inputs": with_inputs, "with_secrets": with_secrets}
    with writing(out) as file, metered(shell, file, "export") as stream:
        written = node.export(roots, stream, **told)
    if shell.json and out != "-":
        shell.emit({"file": out, "bytes": written, "roots": [str(root) for root in roots]})
    shell.note(f"ipvm: wrote {size(written)}" + ("" if out == "-" else f" to {file_name(out)}"))


def _root(node: Node, ref: str) -> CID:
    """The receipt when `ref` names one or its instruction, else what it names."""
    cid = resolve_path(node, ref)
    if node.store.receipts.get(cid) is None:
        found = node.best_receipt(cid)
        if found is not None:
            return found.cid
    return cid


@verb("import", example="ipvm import result.car\nssh pi ipvm export q4wz7ka -o - | ipvm import -")
@click.argument("file")
@click.pass_obj
def import_(shell: Shell, file: str) -> None:
    """Take in a CAR archive: every block is hashed and every receipt checked first."""
    from lite.files import open_file

    node = shell.node()
    if file == "-":
        report = node.import_(read_stdin())
    else:
        with open_file(file) as opened:
            total = Path(file).stat().st_size
            with metered(shell, opened, f"import {file_name(file)}", total) as stream:
                report = node.import_(stream)
    if shell.json:
        shell.emit(
            {
                "roots": [str(root) for root in report.roots],
                "receipts": [str(receipt.cid) for receipt in report.receipts],
                "blocks": report.blocks,
                "bytes": report.bytes,
            }
        )
    else:
        for root in report.roots:
            shell.line(str(root))
    shell.note(
        f"ipvm: {counted(report.blocks, 'block')}, {size(report.bytes)}, "
        + counted(len(report.receipts), "receipt")
    )
