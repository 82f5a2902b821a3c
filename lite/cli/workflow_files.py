"""Which workflow, and which run of one, a person means."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from lite.errors import CidError, CodecError, NotFoundError, UsageError
from lite.files import open_file, unusable
from lite.frozen import field, frozen, replace
from lite.ipld.cid import CID, DAG_CBOR, is_cid
from lite.model.workflow import Workflow
from lite.store.names import may_be_name

if TYPE_CHECKING:
    from lite.node import Node
    from lite.store.runs_rows import RunRow

ID_SHOWN = 8
SUFFIXES = (".yaml", ".yml", ".json", ".cbor")


@frozen
class Named:
    """A workflow and what to call it.

    Attributes:
        title: its name, else that of its file.
        source: where it came from, as the user wrote it.
        hashed: the local files that it names, which were only hashed, by CID.
        called: what to call its runs when it has no name; "" when that would be a CID.
        secret: its file is, and so are its steps.
    """

    workflow: Workflow
    title: str
    source: str
    hashed: Mapping[CID, Path] = field(default_factory=dict)
    called: str = ""
    secret: bool = False

    def keep(self, node: Node, *, private: bool = False) -> bool:
        """Store the files that it names; whether it has secret steps. See `keep_files`."""
        from lite.workflow_content import keep_files

        of = (node.store, self.workflow, self.hashed, node.add)
        return keep_files(*of, private=private, from_secret=self.secret)


def read_named(node: Node, ref: str, *, lend: bool = False) -> Named:
    """The workflow in a file, on standard input (`-`), or stored under a CID or a petname. The
    local files that it names are only hashed.

    Args:
        lend: this node finds their blocks until it is closed, as if they were stored.

    Raises:
        UsageError: not a workflow; the message says where in it.
        NotFoundError: no such file, name or block; or a file that the workflow names.
    """
    from lite.files import Hashed
    from lite.ipld import unixfs

    hashed = Hashed(unixfs.PROFILES[node.config.unixfs_profile], node.config.stream_bytes)
    if lend:
        node.store.blocks.lend(hashed.get)
    add = hashed.add
    if ref == "-":
        return _of_file(node, sys.stdin.buffer, "standard input", Path(), add)
    path = Path(ref)
    if _exists(path):
        with open_file(path) as file:
            found = _of_file(node, file, ref, path.parent, add)
        return replace(found, called=_printable(path.stem))
    is_other = ref.startswith("ipfs://") or is_cid(ref)
    if not is_other and (path.suffix in SUFFIXES or not may_be_name(ref)):
        raise unusable(path) or NotFoundError(f"there is no file {ref}")
    return _stored(node, ref, add)


def _printable(stem: str) -> str:
    """The name of a file as the name of a run."""
    from lite.model.workflow import NAME_CHARS_MAX

    text = stem.encode("utf-8", "replace").decode()
    return "".join(char if char.isprintable() else "?" for char in text)[:NAME_CHARS_MAX]


def find_run(node: Node, ref: str) -> RunRow | None:
    """The run whose id begins so, or None when the text is no such id, or the name of something.

    Raises:
        UsageError: several runs begin so.
    """
    from lite.store.runs import PREFIX_MIN

    if len(ref) < PREFIX_MIN or ref.lower().strip("0123456789abcdef"):
        return None
    if _exists(Path(ref)) or node.store.names.get(ref) is not None:
        return None
    try:
        return node.store.runs.find(ref)
    except NotFoundError:
        return None


def run_or_named(node: Node, ref: str) -> RunRow | Named:
    """A run by the beginning of its id, else a workflow as `read_named` finds it."""
    found = find_run(node, ref)
    if found is not None:
        return found
    try:
        return read_named(node, ref)
    except (NotFoundError, CidError) as error:
        if _exists(Path(ref)):
            raise
        raise NotFoundError(
            f"{ref} is neither a run here nor a workflow",
            hint=error.hint or "`ipvm workflow list` shows the runs.",
        ) from None


def workflow_of(node: Node, run: RunRow) -> Workflow:
    """The workflow of a run.

    Raises:
        NotFoundError: it was collected.
    """
    try:
        return Workflow.parse(node.store.blocks.get(run.workflow))
    except NotFoundError:
        raise NotFoundError(
            f"the workflow {run.workflow} of this run is not here any more"
        ) from None


def short_id(run: str) -> str:
    """Enough of the id of a run to name it again."""
    return run[:ID_SHOWN]


def run_title(run: RunRow) -> str:
    """What to call a run's workflow."""
    from lite.cli.present import short

    return run.name or short(run.workflow)


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # too long for a path, or with a NUL
        return False


def _of_file(
    node: Node, file: BinaryIO, source: str, folder: Path, add: Callable[[Path], CID]
) -> Named:
    from lite.model.workflow_read import FILE_BYTES_MAX

    return _read(node, file.read(FILE_BYTES_MAX + 1), source, folder, add)


def _read(
    node: Node,
    data: bytes,
    source: str,
    folder: Path,
    add: Callable[[Path], CID],
    *,
    secret: bool = False,
) -> Named:
    """`secret`: what it stands in is; else its bytes are looked for among what is."""
    from lite.model.workflow_read import read_workflow
    from lite.workflow_content import LocalContent, is_secret_file

    content = LocalContent(folder, add, node.store.names.get, node.store.instructions.get)
    workflow = read_workflow(data, source=source, content=content)
    hashed = {cid: folder / path for path, cid in content.files.items()}
    secret = secret or is_secret_file(node.store, data)
    return Named(workflow, workflow.name or Path(source).stem, source, hashed, secret=secret)


def _stored(node: Node, ref: str, add: Callable[[Path], CID]) -> Named:
    cid = node.resolve(ref)
    if cid.codec == DAG_CBOR:
        data = node.store.blocks.get(cid)
        try:
            found = Workflow.parse(data)
        except CodecError:
            return _read(node, data, ref, Path(), add, secret=node.store.secrets.is_secret(cid))
        return Named(found, found.name or ref, ref)
    from lite.model.workflow_read import FILE_BYTES_MAX

    size = node.size(cid)
    if size > FILE_BYTES_MAX:
        raise UsageError(f"{ref} has {size} bytes, too many for a workflow")
    return _read(node, b"".join(node.cat(cid)), ref, Path(), add)
