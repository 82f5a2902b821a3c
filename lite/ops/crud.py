"""`crud/read`, `crud/update`, `crud/destroy`: files below one folder, the setting `ops.crud_root`.

`rsc` is `file:///name/below/the/root`. Without the setting every step waits.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, Final

from lite.config import Config
from lite.engine.base import Outcome
from lite.errors import QueuedError
from lite.ops.arguments import Arguments, bad
from lite.ops.base import Level, Ready, outcome_of
from lite.ops.rooted import WRITING, Root

PARTS_MAX: Final = 64
PART_BYTES_MAX: Final = 255
_FILE_URI = re.compile(r"file://(?:localhost)?/([^?#]*)", re.IGNORECASE)


class _Crud(ABC):
    """What the three have in common."""

    name: str
    level: Level
    needs: frozenset[str] = frozenset()
    keys: frozenset[str] = frozenset()

    def __init__(self, config: Config) -> None:
        self._folder: Path | None = config["ops.crud_root"]
        own = (config[f"ops.{name}"] for name in ("exec", "http_netrc", "smtp_password_file"))
        self._closed = (config.home, *(path for path in own if path is not None))

    def missing(self, ready: Ready) -> str | None:
        self._root()
        return None

    def _root(self) -> Root:
        if self._folder is None:
            raise QueuedError(
                "no folder is given to operations on files",
                hint="Give one: ipvm config set ops.crud_root FOLDER",
            )
        return Root(self._folder, self._closed)

    def run(self, ready: Ready) -> Outcome:
        root = self._root()
        return outcome_of(
            lambda: self._do(root, path_of(str(ready.instruction.rsc)), ready, self._given(ready))
        )

    def _given(self, ready: Ready) -> Arguments:
        return Arguments(ready, self.keys)

    @abstractmethod
    def _do(self, root: Root, parts: tuple[str, ...], ready: Ready, given: Arguments) -> Any:
        """Act on the file at these parts of a path below the root; the value of the step."""


def path_of(rsc: str) -> tuple[str, ...]:
    """The parts of the path in a file URI; raises `GuestFailure` (`bad-argument`) for any other, or
    for one that is not plainly below the root."""
    from urllib.parse import unquote_to_bytes

    found = _FILE_URI.fullmatch(rsc)
    if found is None:
        raise bad("files are named by file:///name/below/the/root, without ? and #")
    try:
        parts = tuple(unquote_to_bytes(part).decode() for part in found[1].split("/"))
    except UnicodeDecodeError:
        raise bad("the file URI is not UTF-8") from None
    if len(parts) > PARTS_MAX:
        raise bad(f"the file URI has more than {PARTS_MAX} parts")
    for part in parts:
        if part in ("", ".", "..") or "/" in part or "\0" in part:
            raise bad("the file URI has an empty part, . or .., a slash or a zero byte in a part")
        if len(part.encode()) > PART_BYTES_MAX or part.casefold() == WRITING:
            raise bad(f"the file URI has a part that is too long, or {WRITING}")
    return parts


class Read(_Crud):
    """The bytes of a file."""

    name = "crud/read"
    level: Level = "query"

    def _do(self, root: Root, parts: tuple[str, ...], ready: Ready, given: Arguments) -> Any:
        return root.read(parts, ready.limits.output_bytes)


class Update(_Crud):
    """Make a file be what is given."""

    name = "crud/update"
    level: Level = "idempotent-mutation"
    keys = frozenset({"body"})

    def _do(self, root: Root, parts: tuple[str, ...], ready: Ready, given: Arguments) -> Any:
        if "body" not in given:
            raise bad("input.body is missing: bytes, text or a link to a file")
        body = given.bytes("body")
        root.write(parts, body, ready.instruction.cid.digest.hex()[:32])
        return {"bytes": body.size}


class Destroy(_Crud):
    """Make a file be gone."""

    name = "crud/destroy"
    level: Level = "idempotent-mutation"

    def _do(self, root: Root, parts: tuple[str, ...], ready: Ready, given: Arguments) -> Any:
        root.remove(parts)
        return {}
