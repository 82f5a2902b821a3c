"""`ipvm add`, `ipvm cat` and `ipvm ls`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lite.cli.command import offers, verb
from lite.cli.numbers import BYTES
from lite.cli.outfile import writing
from lite.cli.present import counted, file_name, size, visible
from lite.cli.progress import metered
from lite.cli.shell import Shell, read_stdin
from lite.errors import UsageError

if TYPE_CHECKING:
    from lite.ipld.cid import CID
    from lite.node import Node


@verb(
    "add",
    example="ipvm add photo.png\nipvm add tools/ --name tools --pin\ncurl … | ipvm add -\n"
    "ipvm add diary.txt --private",
)
@click.argument("paths", metavar="PATH...", nargs=-1, required=True)
@click.option("--name", metavar="NAME", help="Also give it this name.")
@click.option("--pin", is_flag=True, help="Keep it when `ipvm gc` collects.")
@click.option("--private", is_flag=True, help="They, and what is made from them, stay here.")
@click.option(
    "--profile",
    metavar="NAME",
    help="How files are cut into blocks.",
    shell_complete=offers("profiles"),
)
@click.pass_obj
def add(
    shell: Shell,
    paths: tuple[str, ...],
    name: str | None,
    pin: bool,
    private: bool,
    profile: str | None,
) -> None:
    """Store files and folders and print their CIDs. A - is standard input.

    With --private they are secret: they, all that is or was computed from them, and anything that
    holds the content of a small one, do not leave this node, unless by `ipvm export
    --with-secrets`. What was given to others before is theirs.
    """
    if name is not None and len(paths) > 1:
        raise UsageError("--name is for one path", hint="Add them one by one, or their folder.")
    if "" in paths:
        raise UsageError("an empty PATH names no file", hint="The current folder is . (a dot).")
    node = shell.node()
    if profile is not None:
        from lite.config import setting

        profile = setting("unixfs.profile").parse(profile)
    added: list[dict[str, Any]] = []
    shell.done["added"] = added
    for path in paths:
        cid = _add(shell, node, path, profile, private)
        if private:
            _make_private(shell, node, path, cid)
        if name is not None:
            node.store.names.set(name, cid)
        if pin:
            node.store.pins.add(cid)
        secret = node.store.secrets.is_secret(cid)
        added.append({"path": path, "cid": str(cid), "secret": secret})
        if not shell.json:
            shell.line(str(cid) if len(paths) == 1 else f"{cid}  {file_name(path)}")
    if shell.json:
        shell.emit({"added": added})


def _make_private(shell: Shell, node: Node, path: str, cid: CID) -> None:
    """Mark what was added; say how much had come of it before."""
    from lite.privacy import make_secret

    fresh = [*make_secret(node.store, [cid]), *_make_steps_private(node, path)]
    receipts = sum(node.store.receipts.has(one) for one in fresh)
    if receipts:
        what = counted(receipts, "receipt")
        shell.note(f"ipvm: {file_name(path)}: {what} that came of it, secret from now on as well")


def _make_steps_private(node: Node, path: str) -> list[CID]:
    """Of a file that is a workflow, mark what runs of it were kept."""
    from lite.cli.workflow_files import SUFFIXES, read_named
    from lite.errors import IpvmError
    from lite.files import is_file

    if Path(path).suffix not in SUFFIXES or not is_file(path):
        return []
    from lite.workflow_content import mark_steps

    try:
        return mark_steps(node.store, read_named(node, path).workflow)
    except IpvmError:  # no workflow, or one that cannot be read now: then none came of it as it is
        return []


def _add(shell: Shell, node: Node, path: str, profile: str | None, private: bool) -> CID:
    try:
        return _add_any(shell, node, path, profile, private)
    except OSError as error:  # reading failed half-way: such errors do not name the file
        raise OSError(error.errno, error.strerror, error.filename or path) from None


def _add_any(shell: Shell, node: Node, path: str, profile: str | None, private: bool) -> CID:
    if path == "-":
        with metered(shell, read_stdin(), "add -") as stream:
            return node.add(stream, profile=profile, secret=private)
    from lite.files import check_no_home, is_folder, left_out, open_file

    if is_folder(path):
        cid = node.add(path, profile=profile, secret=private)
        odd, homes = left_out(Path(path))
        told = [f"{odd} symbolic links and special files"] if odd else []
        told += [counted(homes, "home") + " of nodes"] if homes else []
        if told:
            shell.note(f"ipvm: {file_name(path)}: left out {' and '.join(told)}")
        return cid

    check_no_home(Path(path))
    with (
        open_file(path) as file,
        metered(shell, file, f"add {file_name(path)}", Path(path).stat().st_size) as stream,
    ):
        return node.add(stream, profile=profile, secret=private)


@verb("cat", example="ipvm cat bafy…/tools/readme.txt\nipvm cat photo --out photo.png")
@click.argument("ref", shell_complete=offers("names"))
@click.option("--offset", metavar="N", type=BYTES, default=0, help="First byte.")
@click.option("--length", metavar="N", type=BYTES, help="How many bytes.")
@click.option("--out", metavar="FILE", default="-", help="Write there instead of to stdout.")
@click.pass_obj
def cat(shell: Shell, ref: str, offset: int, length: int | None, out: str) -> None:
    """Print a stored file, or a stored value as DAG-JSON.

    REF is a CID, a part of one, or a name, with a path behind it if needed.
    """
    node = shell.node()
    cid = resolve_path(node, ref)
    value = _value(node, cid)
    chunks = node.cat(cid, offset=offset, length=length) if value is None else iter([value])
    if shell.json and out == "-":
        shell.emit({"cid": str(cid), "data": b"".join(chunks)})
        return
    if out == "-" and sys.stdout.isatty():
        _show(shell, cid, chunks)
        return
    with writing(out) as stream:
        for chunk in chunks:
            stream.write(chunk)
    if shell.json:
        shell.emit({"cid": str(cid), "file": out})


def _show(shell: Shell, cid: CID, chunks: Iterator[bytes]) -> None:
    """On a terminal: text, in which nothing drives it; of anything else the CID and the size."""
    from codecs import getincrementaldecoder

    decoder, bytes_seen = getincrementaldecoder("utf-8")(), 0
    for chunk in chunks:
        bytes_seen += len(chunk)
        try:
            shell.write(visible(decoder.decode(chunk)).encode())
        except UnicodeDecodeError:
            bytes_seen += sum(len(more) for more in chunks)
            shell.line(f"{cid}  {size(bytes_seen)}, not text; --out FILE writes it")
            return


def resolve_path(node: Node, ref: str) -> CID:
    """The CID of `REF[/path]`, where REF is anything that the node resolves; of an instruction that
    is known by another name, the one that its block has here."""
    from lite.ipld import unixfs
    from lite.ipld.cid import root_and_path

    scheme, text = ("ipfs://", ref[7:]) if ref.startswith("ipfs://") else ("", ref)
    root, _, path = root_and_path(text)
    cid = node.resolve(scheme + root)
    if path:
        return unixfs.resolve_path(cid, path, node.store.blocks.get)
    return node.store.instructions.canonical(cid)


def _value(node: Node, cid: CID) -> bytes | None:
    """A dag-cbor or dag-json block as DAG-JSON; None for files."""
    from lite.ipld import dag_cbor, dag_json
    from lite.ipld.cid import DAG_CBOR, DAG_JSON

    if cid.codec == DAG_JSON:
        return node.store.blocks.get(cid) + b"\n"
    if cid.codec == DAG_CBOR:
        receipt = node.store.receipts.get(cid)
        data = receipt.data if receipt is not None else node.store.blocks.get(cid)
        return dag_json.shown(dag_cbor.decode(data)) + b"\n"
    return None


@verb("ls", example="ipvm ls tools\nipvm ls bafy…/docs --json")
@click.argument("ref", shell_complete=offers("names"))
@click.pass_obj
def ls(shell: Shell, ref: str) -> None:
    """List a stored folder: CID, size with all below it, name; "(secret)" behind what is."""
    node = shell.node()
    cid = resolve_path(node, ref)
    entries = node.ls(cid)
    secret = node.store.secrets.any_secret(entry.cid for entry in entries)
    if shell.json:
        shell.emit(
            {
                "cid": str(cid),
                "entries": [
                    {
                        "name": entry.name,
                        "cid": str(entry.cid),
                        "bytes": entry.tsize,
                        "secret": entry.cid in secret,
                    }
                    for entry in entries
                ],
            }
        )
        return
    width = max((len(str(entry.tsize)) for entry in entries), default=0)
    for entry in entries:
        mark = "  (secret)" if entry.cid in secret else ""
        shell.line(f"{entry.cid}  {entry.tsize:>{width}}  {file_name(entry.name)}{mark}")
