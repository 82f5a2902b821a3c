"""Values in the friendly form of a workflow file: references, files, links and plain data.

| text                                    | stands for                                        |
|-----------------------------------------|---------------------------------------------------|
| `${label}`, `${label.ok}`               | the value of a step                               |
| `${label.error}`, `${label.*}`          | its error; its whole result, keyed ok or error    |
| `@path`                                 | a link to a local file, which is added as content |
| `$${x}`, `@@x`                          | the texts `${x}` and `@x`                         |

Only a text that is exactly this is read so; inside of longer text it stays text. `{"/": "bafy…"}`
is a link and `{"/": {"bytes": "…"}}` bytes, as in DAG-JSON.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, Protocol

from lite.errors import CidError, NotFoundError, UsageError
from lite.frozen import frozen
from lite.ipld.cid import CID
from lite.limits import INTEGER_MAX, INTEGER_MIN, NESTING_MAX
from lite.model.await_spelling import misspelt_await
from lite.model.place import Path, Place, did_you_mean, shown
from lite.model.promise import Await, AwaitBranch

if TYPE_CHECKING:
    from lite.model.instruction import Instruction

REFERENCE = re.compile(r"\$\{([^{}]*)\}")
_RESERVED = (str, dict, CID, bytes)  # under the only key "/": what may stand there, or nearly
_ESCAPED = re.compile(r"\$+\$\{[^{}]*\}")
_BRANCHES: Final[dict[str, AwaitBranch]] = {"ok": "ok", "error": "error", "*": "*"}


class Content(Protocol):
    """What a workflow file may name that is not in it."""

    def file(self, path: str) -> CID:
        """Add a local file; `path` is relative to the workflow file. Raises `NotFoundError` when
        there is none, `UsageError` when it cannot be read."""

    def name(self, petname: str) -> CID:
        """What a petname stands for. Raises `NotFoundError` when it is not known."""

    def instruction(self, cid: CID) -> Instruction | None:
        """The instruction that a CID names, under any hash function, or None when it is not here.
        Raises `UsageError` when it names something else."""


@frozen
class Reference:
    """A step's result, by label."""

    label: str
    branch: AwaitBranch
    path: Path


@frozen
class LocalFile:
    """A file to be added, and the place where it is named."""

    name: str
    path: Path


class Values:
    """Reads the values of one file.

    Args:
        place: for messages.
        labels: of all steps.
    """

    def __init__(self, place: Place, labels: Mapping[str, Any]) -> None:
        self._place = place
        self._labels = labels

    def read(self, value: Any, path: Path) -> Any:
        """The value with `Reference`, `LocalFile`, CIDs and bytes in their places.

        Raises:
            UsageError: something that is no IPLD, or that names no step.
        """
        return self._read(value, path, refer=True)

    def plain(self, value: Any, path: Path) -> Any:
        """The same for data in which text is only text.

        Raises:
            UsageError: something that is no IPLD.
        """
        return self._read(value, path, refer=False)

    def reference(self, inside: str, path: Path) -> Reference:
        """Read what stands between `${` and `}`.

        Raises:
            UsageError: no such step or branch.
        """
        label, dot, branch = inside.strip().partition(".")
        if label not in self._labels:
            raise self._place.error(
                path, f"there is no step {shown(label)}", did_you_mean(label, self._labels)
            )
        if dot and branch not in _BRANCHES:
            raise self._place.error(
                path,
                f"{shown(inside)} names no part of a result",
                f"Write ${{{label}}}, ${{{label}.error}} or ${{{label}.*}}.",
            )
        return Reference(label, _BRANCHES[branch or "ok"], path)

    def _read(self, value: Any, path: Path, *, refer: bool) -> Any:
        kind = type(value)
        if kind is str:
            return self._text(value, path) if refer else value
        if kind is dict:
            if len(path) > NESTING_MAX:
                raise self._place.error(path[:8], f"nested deeper than {NESTING_MAX} levels")
            if "/" in value and len(value) == 1 and type(value["/"]) in _RESERVED:
                return self._link_or_bytes(value["/"], path)
            read = {key: self._read(item, (*path, key), refer=refer) for key, item in value.items()}
            if refer and (wrong := misspelt_await(read)):
                raise self._place.error(path, *wrong)
            return read
        if kind is list:
            if len(path) > NESTING_MAX:
                raise self._place.error(path[:8], f"nested deeper than {NESTING_MAX} levels")
            return [self._read(item, (*path, i), refer=refer) for i, item in enumerate(value)]
        if kind is int and not INTEGER_MIN <= value <= INTEGER_MAX:
            raise self._place.error(
                path, "an integer outside of -2^64 … 2^64-1", "Write it as text or as a float."
            )
        return value

    def _text(self, text: str, path: Path) -> Any:
        if text.startswith("@"):
            if text.startswith("@@"):
                return text[1:]
            if text == "@" or "\0" in text:
                raise self._place.error(
                    path, f"{shown(text)} names no file", 'Write "@@" for the text "@".'
                )
            return LocalFile(text[1:], path)
        if text.startswith("$"):
            found = REFERENCE.fullmatch(text)
            if found:
                return self.reference(found[1], path)
            if _ESCAPED.fullmatch(text):
                return text[1:]
        return text

    def _link_or_bytes(self, inner: Any, path: Path) -> CID | bytes:
        if type(inner) is str:
            try:
                return CID.parse(inner)
            except CidError as error:
                raise self._place.error(path, f"no link: {error}") from None
        digits = inner.get("bytes") if type(inner) is dict and len(inner) == 1 else None
        if type(digits) is bytes:
            return digits
        if type(digits) is str:
            try:
                raw = base64.b64decode(digits + "=" * (-len(digits) % 4), validate=True)
                if base64.b64encode(raw).decode().rstrip("=") == digits:
                    return raw
            except ValueError:
                pass  # answered below
        raise self._place.error(
            path, '{"/": …} is a link or bytes', '{"/": {"bytes": "…"}} is base64 without padding.'
        )


class Resolver:
    """Puts awaits and CIDs where `Values` left references and files.

    Args:
        awaited: the instructions' CIDs by label, filled in dependency order.
    """

    def __init__(self, place: Place, content: Content, awaited: Mapping[str, CID]) -> None:
        self._place = place
        self._content = content
        self._awaited = awaited
        self._files: dict[str, CID] = {}

    def resolve(self, value: Any) -> Any:
        """Raises:
        NotFoundError: a file that is not there; the message names the place.
        """
        kind = type(value)
        if kind is dict:
            return {key: self.resolve(item) for key, item in value.items()}
        if kind is list:
            return [self.resolve(item) for item in value]
        if kind is Reference:
            return Await(value.branch, self._awaited[value.label])
        if kind is LocalFile:
            return self._file(value)
        return value

    def _file(self, wanted: LocalFile) -> CID:
        try:
            return self.file(wanted.name)
        except NotFoundError as error:
            raise NotFoundError(
                self._place.message(wanted.path, str(error)),
                hint=f'Paths start at the workflow file. Write "@@{wanted.name[:60]}" for text.',
            ) from None
        except UsageError as error:
            raise self._place.error(wanted.path, str(error), error.hint) from None

    def file(self, name: str) -> CID:
        """The CID of a local file, added once; raises what `Content.file` raises."""
        if name not in self._files:
            self._files[name] = self._content.file(name)
        return self._files[name]

    def name(self, petname: str) -> CID:
        """What a petname stands for; raises what `Content.name` raises."""
        return self._content.name(petname)


def references(value: Any) -> list[Reference]:
    """Every reference in what `Values.read` gave."""
    found: list[Reference] = []
    pending = [value]
    while pending:
        part = pending.pop()
        if type(part) is Reference:
            found.append(part)
        elif type(part) is dict:
            pending.extend(part.values())
        elif type(part) is list:
            pending.extend(part)
    return found
