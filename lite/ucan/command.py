"""Commands: `/`-separated paths of what may be done. A shorter one covers all below it.

`/crypto` covers `/crypto` and `/crypto/sign`, not `/cryptocurrency`; `/` covers everything.
Source: UCAN 1.0, Command. Empty segments, on which it is silent, are refused.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from lite.ucan.refusals import InvalidCommand
from lite.ucan.show import value as shown

TOP: Final = "/"
COMMAND_CHARS_MAX: Final = 512


@lru_cache(maxsize=1024)
def check(command: str) -> None:
    """Check the form of a command.

    Raises:
        InvalidCommand: it says which rule is broken.
    """
    if len(command) > COMMAND_CHARS_MAX:
        raise InvalidCommand(f"a command of {len(command)} characters, at most {COMMAND_CHARS_MAX}")
    if not command.startswith(TOP):
        raise _bad(command, "does not begin with /")
    if command == TOP:
        return
    if "//" in command:
        raise _bad(command, "has an empty segment: //")
    if command.endswith("/"):
        raise _bad(command, "ends with /")
    if command != command.lower():
        raise _bad(command, "has upper-case letters")
    if not command.isprintable():
        raise _bad(command, "has control characters")


def covers(broad: str, narrow: str) -> bool:
    """Whether the right to do `broad` holds the right to do `narrow`, segment by segment."""
    if broad in (narrow, TOP):
        return True
    return narrow.startswith(broad) and narrow[len(broad)] == "/"


def above(command: str) -> list[str]:
    """All commands that cover one, the broadest first, itself last."""
    ends = [at for at, letter in enumerate(command) if letter == TOP and at]
    narrower = [command[:end] for end in ends] + ([command] if command != TOP else [])
    return [TOP, *narrower]


def _bad(command: str, problem: str) -> InvalidCommand:
    return InvalidCommand(f"command {shown(command)} {problem}", details={"cmd": command})
