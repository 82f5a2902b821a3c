"""Where in a value, and where in which file, something is wrong, and how to say it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from lite.errors import UsageError, quoted

if TYPE_CHECKING:
    from lite.model.workflow_yaml import Document

Path = tuple["str | int", ...]
"""Keys and positions, from the outermost value inwards."""

_PLAIN_KEY = re.compile(r"[\w/-]{1,100}")


class FieldError(UsageError):
    """A field that is wrong: `run.op: an ability like wasm/run is needed`.

    Attributes:
        path: of the field within the value that was read.
        problem: what is wrong with it, without the path.
    """

    def __init__(self, path: Path, problem: str, *, hint: str | None = None) -> None:
        super().__init__(f"{path_text(path)}: {problem}" if path else problem, hint=hint)
        self.path = path
        self.problem = problem


def within(path: Path, error: UsageError) -> FieldError:
    """The same error, seen from further out: `path` goes in front of its own."""
    if isinstance(error, FieldError):
        return FieldError((*path, *error.path), error.problem, hint=error.hint)
    return FieldError(path, str(error), hint=error.hint)


class Place:
    """A file, for messages about parts of it.

    Args:
        source: its name.
        document: knows the lines, where the file was YAML.
    """

    def __init__(self, source: str, document: Document | None) -> None:
        self._source = source
        self._document = document

    def error(self, path: Path, problem: str, hint: str | None = None) -> UsageError:
        """The error at a place: `file: steps.blur.args[0]: problem (line 12)`."""
        return UsageError(self.message(path, problem), hint=hint)

    def of(self, error: UsageError, path: Path = ()) -> UsageError:
        """The error of a part that was read by itself, at its place in the file."""
        whole = within(path, error)
        return self.error(whole.path, whole.problem, whole.hint)

    def message(self, path: Path, problem: str) -> str:
        line = self._document.line(path) if self._document and path else None
        end = f" (line {line})" if line else ""
        at = f"{path_text(path)}: " if path else ""
        return f"{self._source}: {at}{problem}{end}"


def path_text(path: Path) -> str:
    """`steps.blur.args[0]`; keys that are not plain words are quoted."""
    parts: list[str] = []
    for key in path:
        if isinstance(key, int):
            parts.append(f"[{key}]")
        elif _PLAIN_KEY.fullmatch(key):
            parts.append(f".{key}" if parts else key)
        else:
            parts.append(f"[{shown(key)}]")
    return "".join(parts)


def shown(value: object) -> str:
    """A value from a file, short and escaped, for a message."""
    text = quoted(value)
    return text if len(text) <= 60 else f"{text[:57]}…"


def did_you_mean(wrong: str, known: Iterable[str]) -> str | None:
    """A hint that names the nearest of the known words, or all of a few."""
    from difflib import get_close_matches

    names = sorted(known)
    near = get_close_matches(wrong[:100], names[:2000], n=1, cutoff=0.6)
    if near:
        return f"Did you mean {near[0]}?"
    if not names:
        return None
    more = f" … ({len(names)} in all)" if len(names) > 20 else ""
    return f"There is {', '.join(names[:20])}{more}."
