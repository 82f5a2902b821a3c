"""Finding the export that a user means.

Export names are long (`ns:pkg/iface@1.0.0#my-func`) and in kebab-case; people write `my_func`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

from lite.engine.base import GuestFailure

LISTED_MAX = 20
SHOWN_CHARS_MAX = 100
_COMPARED_MAX = 1_000  # names that a misspelt one is compared with

_VERSION = re.compile(r"@[^#/]*(?=#|$)")
_SEPARATORS = str.maketrans("", "", "-_")


def find(func: str | None, exports: Collection[str]) -> str:
    """The name in `exports` that `func` stands for. See `ModuleInfo.find`.

    Raises:
        GuestFailure: `no-such-function`.
    """
    if func is None:
        if len(exports) == 1:
            return next(iter(exports))
        raise _failure("no function is named", exports)
    if func in exports:
        return func
    written = _plain(func)
    for same in (lambda tail: tail == func, lambda tail: _plain(tail) == written):
        found = [name for name in exports if any(map(same, _tails(name)))]
        if len(found) == 1:
            return found[0]
        if found:
            raise _failure(f'"{_short(func)}" is more than one function', found)
    raise _failure(f'no function "{_short(func)}"{_nearest(func, exports)}', exports)


def _tails(name: str) -> set[str]:
    """What may be written for an export of an interface: less of its package and version."""
    whole = {name, _VERSION.sub("", name)}
    interface = {tail.rpartition("/")[2] for tail in whole}
    return whole | interface | {name.rpartition("#")[2]}


def _plain(name: str) -> str:
    """The name without its case style: kebab, snake, camel, Pascal and upper case are one."""
    return name.removeprefix("%").translate(_SEPARATORS).lower()


def _nearest(func: str, exports: Collection[str]) -> str:
    if len(exports) > _COMPARED_MAX or len(func) > SHOWN_CHARS_MAX:
        return ""
    import difflib

    by_tail = {name.rpartition("#")[2][:SHOWN_CHARS_MAX]: name for name in exports}
    close = difflib.get_close_matches(func.rpartition("#")[2], by_tail, n=1, cutoff=0.6)
    return f'; the nearest is "{_short(by_tail[close[0]])}"' if close else ""


def _failure(message: str, candidates: Collection[str]) -> GuestFailure:
    names = sorted(candidates)
    listed = [_short(name) for name in names[:LISTED_MAX]]
    return GuestFailure("no-such-function", f"{message}; {_listed(listed, len(names))}",
                        functions=listed)  # fmt: skip


def _listed(names: Sequence[str], count: int) -> str:
    if not names:
        return "the module exports no function"
    more = f" and {count - len(names)} more" if count > len(names) else ""
    return f"there is {', '.join(names)}{more}"


def _short(name: str) -> str:
    return name if len(name) <= SHOWN_CHARS_MAX else name[: SHOWN_CHARS_MAX - 1] + "…"
