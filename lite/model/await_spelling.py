"""Maps in a file that look like awaits and are none.

To an instruction they would be plain data, and the step would silently wait for nothing. So in
files keys that begin with `await/` are kept for awaits, and a link under a key that is nearly one
of the three is taken for a slip.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from lite.errors import CidError
from lite.ipld.cid import CID
from lite.model.place import shown

_PREFIX: Final = "await/"
_KEYS: Final = ("await/ok", "await/error", "await/*")
_THREE: Final = "There are await/ok, await/error and await/*."
_SHORT_OF: Final = {"await/ok": 2, "await/error": 2, "await/*": 1}  # letters that may differ


def misspelt_await(value: Mapping[str, Any]) -> tuple[str, str] | None:
    """What is wrong with a map, and what would be right; None when it is an await or data.

    Args:
        value: its links as CIDs.
    """
    for key in value:
        if key.startswith(_PREFIX):
            return _kept_key(key, value)
    if len(value) != 1:
        return None
    ((key, link),) = value.items()
    meant = _nearest(key) if type(link) is CID else None
    if meant is None:
        return None
    return f"{shown(key)} with a link is no await", f"Did you mean {meant}? {_THREE}"


def _kept_key(key: str, value: Mapping[str, Any]) -> tuple[str, str] | None:
    if key not in _KEYS:
        return f"{shown(key)} is no kind of await", _THREE
    if len(value) > 1:
        return f"{key} has to be the only key of its map", "Put the await in a map of its own."
    inner = value[key]
    if type(inner) is CID:
        return None
    part = key.removeprefix(_PREFIX)
    step = "${label}" if part == "ok" else f"${{label.{part}}}"
    link = f'{{"{key}": {{"/": "{_cid_text(inner) or "bafy…"}"}}}}'
    hint = f'Write {link} with the CID of an instruction; in the form with steps also "{step}".'
    return f"{key} needs a link", hint


def _cid_text(value: Any) -> str | None:
    try:
        return str(CID.parse(value)) if type(value) is str else None
    except CidError:
        return None


def _nearest(key: str) -> str | None:
    if len(key) > len("await/error") + 2:
        return None
    distances = {right: _distance(key.lower(), right) for right in _KEYS}
    meant = min(_KEYS, key=distances.__getitem__)
    return meant if distances[meant] <= _SHORT_OF[meant] else None


def _distance(one: str, other: str) -> int:
    """How many letters have to be put in, taken out or changed (Levenshtein)."""
    row = list(range(len(other) + 1))
    for number, letter in enumerate(one, 1):
        before, row[0] = row[0], number
        for at, wanted in enumerate(other, 1):
            changed = before + (letter != wanted)
            before, row[at] = row[at], min(changed, row[at] + 1, row[at - 1] + 1)
    return row[-1]
