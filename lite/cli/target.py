"""What to run: a module by file, CID or petname, and the function after the colon."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from lite.absent_module import SCHEME, Bring, find_module, info_of
from lite.cli.present import short
from lite.errors import CidError, LimitError, ModuleError, NotFoundError, UsageError
from lite.frozen import frozen
from lite.ipld.cid import CID, root_and_path

if TYPE_CHECKING:
    from lite.engine.module import ModuleInfo
    from lite.node import Node

COMMAND = "_start"  # what a WASI command exports


@frozen
class Target:
    """A module in the store and the function that was asked for.

    Attributes:
        label: the module as the user wrote it.
        func: None when no function was named.
    """

    cid: CID
    label: str
    func: str | None

    @property
    def stem(self) -> str:
        """A short name for people: `add` of `tools/add.wasm`; a CID is cut."""
        text = self.label.removeprefix(SCHEME)
        root, slash, _ = root_and_path(text)
        if text == str(self.cid) or (not slash and "/" in root):
            return short(self.cid)
        return Path(self.label).stem[:40] or self.label[:40]

    def called(self, name: str | None) -> str:
        """What a run is called for people: the function as it was asked for; without one the
        module's name, or for a CID the only function's, `name`."""
        stem = self.stem
        if self.func is not None or name is None or "…" not in stem:
            return self.func or stem
        return name.rpartition("#")[2]


def find_target(
    node: Node, text: str, bring: Bring | None = None, *, later: bool = False
) -> Target:
    """Read `FILE[:func]`, `CID[/path][:func]`, `ipfs://CID[/path][:func]` or `NAME[:func]`.

    A file is added to the store. Colons may be part of a file's name and of a function's, so the
    longest part in front of a colon that names something wins.

    Args:
        bring: gets what is missing here from elsewhere, if it can.
        later: the module itself need not be here; `module_info` sees to that.

    Raises:
        NotFoundError: no such file or name.
        QueuedError: a CID whose blocks are not here.
        UsageError: a folder, or text that cannot be a reference.
    """
    failure: Exception | None = None
    for label, func in _splits(text):
        kind = _kind(label)
        if kind == "file":
            bound = node.config.engine_caps.module_bytes
            return Target(node.add(label, bytes_max=bound), label, func)
        if kind == "folder":
            failure = failure or UsageError(f"{label} is a folder, not a module")
    for label, func in _splits(text):
        if label == SCHEME.partition(":")[0]:
            continue
        try:
            return Target(find_module(node, label, bring, later=later), label, func)
        except (CidError, NotFoundError) as error:
            if not isinstance(failure, UsageError) or label.startswith(SCHEME):
                failure = _explain(label, error)  # the last is the shortest: the file's name alone
    if not isinstance(failure, UsageError):
        failure = _hidden(text) or failure
    raise failure or NotFoundError(f"there is no file {text}")


def _hidden(text: str) -> UsageError | None:
    """The error for a file that permissions hide, under the shortest name that it may have."""
    from lite.files import unusable

    labels = [label for label, _ in _splits(text) if label]
    return next((fault for label in reversed(labels) if (fault := unusable(label))), None)


def _kind(label: str) -> str:
    """What a path is here; text that cannot be a path is nothing."""
    path = Path(label)
    try:
        if not label:
            return ""
        return "folder" if path.is_dir() else "file" if path.exists() else ""
    except (OSError, ValueError):
        return ""


def _splits(text: str) -> Iterator[tuple[str, str | None]]:
    """The whole, then every way to cut it at a colon, the longest first part first."""
    yield text, None
    at = len(text)
    while (at := text.rfind(":", 0, at)) > 0:
        yield text[:at], text[at + 1 :] or None


def _explain(label: str, error: Exception) -> Exception:
    """A name that is nothing: most likely a file was meant."""
    if not label.startswith(SCHEME):
        return NotFoundError(
            f"there is no file {label}, and no module here is called that",
            hint="Name a .wasm file, a CID, ipfs://CID, or a name of `ipvm name list`.",
        )
    return error


def module_info(node: Node, target: Target, bring: Bring | None = None) -> ModuleInfo:
    """What the module is; what is wrong with it is said under the user's own name for it.

    Raises:
        ModuleError: it is not a module that runs here. LimitError: it is too much of one.
        QueuedError: it is not here, nothing is known of it, and `bring` brought it not.
    """
    try:
        return info_of(node, target.cid, bring)
    except (LimitError, ModuleError) as error:
        message = str(error).replace(str(target.cid), target.label)
        raise type(error)(message, hint=error.hint) from None


def function_name(info: ModuleInfo, target: Target) -> str:
    """The full name of the export to call."""
    from lite.engine.base import GuestFailure

    if target.func is None:
        if info.kind == "wasi-command":
            return COMMAND
        if len(info.exports) != 1:
            if not info.exports:
                raise UsageError(f"{target.label} exports no function, so that none can be called")
            from lite.cli.examples import operand

            names, named = ", ".join(sorted(info.exports)[:20]), operand(target.label)
            raise UsageError(
                f"{target.label} exports {names}; name one of them",
                hint=f"Write {named}:FUNC; `ipvm inspect {named}` shows the types.",
            )
        return next(iter(info.exports))
    try:
        return info.find(target.func)
    except GuestFailure as failure:
        from lite.cli.examples import operand

        hint = f"See `ipvm inspect {operand(target.label)}`."
        raise UsageError(f"{target.label}: {failure.message}", hint=hint) from None
