"""What a workflow file names that is not in it: files beside it, petnames, instructions."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from pathlib import Path

from lite.errors import CodecError, NotFoundError, UsageError
from lite.ipld import unixfs
from lite.ipld.cid import CID
from lite.model.instruction import Instruction
from lite.model.workflow import Workflow
from lite.store import Store

__all__ = ["LocalContent", "is_secret_file", "keep_files", "mark_steps"]


def keep_files(
    store: Store,
    workflow: Workflow,
    files: Mapping[CID, Path],
    add: Callable[..., CID],
    *,
    private: bool = False,
    from_secret: bool = False,
) -> bool:
    """Store the files that a workflow names and that were only hashed: those that its secret steps
    use alone are secret from their first moment here. Its own block, which is not stored, is marked
    as well. Secret are also steps that hold the content of a secret file.

    Args:
        add: `Node.add`.
        private: all of its steps are secret.
        from_secret: its file is: so are its instructions, from now on, and what came of them.

    Returns:
        Whether any of its steps is.

    Raises:
        UsageError: a file has changed since it was hashed. StoreError: they do not fit.
    """
    if from_secret:
        mark_steps(store, workflow)
    marked = store.secrets.instructions_among(step.instruction for step in workflow)
    steps = workflow.secret_steps(private=private)
    steps += [step for step in workflow if step.instruction.cid in marked]
    secret = set(store.secrets.own_inputs([step.instruction for step in steps]))
    holds = bool(steps) or store.secrets.holds_any(workflow)
    if holds:
        store.secrets.mark([workflow.cid])
    for cid, path in files.items():
        if add(path, secret=cid in secret) != cid:
            raise UsageError(f"{path} changed while it was read", hint="Try it again.")
    return holds


def mark_steps(store: Store, workflow: Workflow) -> list[CID]:
    """Make all steps of a workflow secret, with what came of them, and its block.

    Returns:
        Those that were not secret before.
    """
    from lite.privacy import make_secret

    store.secrets.mark([workflow.cid])
    return make_secret(store, [step.instruction.cid for step in workflow])


def is_secret_file(store: Store, data: bytes) -> bool:
    """Whether the file with this content, cut into blocks in any way that is known here, is
    marked."""
    if store.secrets.is_empty():
        return False
    ways = unixfs.PROFILES.values()
    cids = [unixfs.write_file(io.BytesIO(data), lambda _: None, way) for way in ways]
    return bool(store.secrets.any_secret(cids))


class LocalContent:
    """The `Content` of a workflow file on this machine.

    Args:
        folder: that of the workflow file; relative paths start there.
        add: hashes a file, or keeps it as well, and gives its CID.
        named: what a petname stands for, or None.
        known: the instruction that a CID names, or None.

    Attributes:
        files: the CIDs of the files that were named, by path as it was written.
    """

    def __init__(
        self,
        folder: Path,
        add: Callable[[Path], CID],
        named: Callable[[str], CID | None],
        known: Callable[[CID], Instruction | None],
    ) -> None:
        self.files: dict[str, CID] = {}
        self._folder = folder
        self._add = add
        self._named = named
        self._known = known

    def file(self, path: str) -> CID:
        """Add a file. A folder is none, so that a petname may stand beside a folder of its name.

        Raises:
            NotFoundError: there is no such file.
            UsageError: it cannot be read.
        """
        target = self._folder / path
        kind = _kind(target)
        if kind == "pipe":
            raise UsageError(f"{path} is a pipe, which can be read once; a file is needed")
        if not kind and "/" in path and ":" not in path:  # else perhaps a name or a function
            from lite.files import unusable

            if (hidden := unusable(target)) is not None:
                raise hidden
        if kind != "file":
            why = f"{path} is a folder, not a file" if kind else f"there is no file {path}"
            raise NotFoundError(why)
        self.files[path] = cid = self._add(target)
        return cid

    def name(self, petname: str) -> CID:
        """What a petname stands for. Raises `NotFoundError`."""
        cid = self._named(petname)
        if cid is None:
            raise NotFoundError(
                f"nothing here is called {petname!r}", hint="`ipvm name list` shows the names."
            )
        return cid

    def instruction(self, cid: CID) -> Instruction | None:
        """The instruction that a CID names, or None when it is not here.

        Raises:
            UsageError: it names something else.
        """
        try:
            return self._known(cid)
        except CodecError as error:
            raise UsageError(f"{cid} names a block that is no instruction: {error}") from None


def _kind(path: Path) -> str:
    """What a path is here; text that cannot be a path is nothing."""
    try:
        if path.is_dir():
            return "folder"
        return "pipe" if path.is_fifo() else "file" if path.exists() else ""
    except (OSError, ValueError):  # too long, or with a NUL
        return ""
