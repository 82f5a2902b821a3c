"""Fields that delegations and invocations have in common, read with their types checked.

An optional field is absent, never null. Fields that the spec does not know are ignored, as its
words "at least" ask; none of them can widen a right.
Source: UCAN 1.0, Payload.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

from lite.ipld.cid import CID
from lite.limits import TIME_MAX_S
from lite.ucan import command as commands
from lite.ucan.refusals import InvalidField, InvalidTime, MissingField
from lite.ucan.show import value as shown

DID_CHARS_MAX: Final = 512

_DID = re.compile(r"did:[a-z0-9]+:[A-Za-z0-9._%:-]*[A-Za-z0-9._%-](?:#[!-~]*)?")
_NEVER_NULL = object()


def check_needed(payload: Mapping[str, Any], names: tuple[str, ...]) -> None:
    """Raises MissingField when one of the fields is absent."""
    for name in names:
        if name not in payload:
            more = ": a powerline says it with null" if name == "sub" and "pol" in names else ""
            raise MissingField(f"{name} is missing{more}", details={"field": name})


@lru_cache(maxsize=1024)
def principal(did: str) -> str:
    """A DID without its fragment, which counts for nothing when principals are compared.

    Raises:
        InvalidField: not a DID.
    """
    if len(did) > DID_CHARS_MAX or not _DID.fullmatch(did):
        raise InvalidField(f"{shown(did)} is not a DID")
    return did.partition("#")[0]


def did(payload: Mapping[str, Any], name: str) -> str:
    """The principal in a field that must hold one."""
    item = payload[name]
    if type(item) is not str:
        raise bad(name, "a DID", item)
    try:
        return principal(item)
    except InvalidField:
        raise bad(name, "a DID", item) from None


def command(payload: Mapping[str, Any]) -> str:
    """The field `cmd`, of the right form."""
    item = payload["cmd"]
    if type(item) is not str:
        raise bad("cmd", "a command", item)
    commands.check(item)
    return item


def time(payload: Mapping[str, Any], name: str) -> int | None:
    """Seconds since 1970 in an optional field, None when it is absent; null only for `exp`.

    Raises:
        InvalidTime: not whole seconds, or outside ±(2^53 - 1).
    """
    item = payload.get(name, _NEVER_NULL)
    if item is _NEVER_NULL or (item is None and name == "exp"):
        return None
    if type(item) is not int:
        raise InvalidTime(f"{name} {shown(item)} is not whole seconds", details={name: item})
    if not -TIME_MAX_S <= item <= TIME_MAX_S:
        raise InvalidTime(f"{name} {item} is outside ±(2^53 - 1)", details={name: item})
    return item


def raw(payload: Mapping[str, Any], name: str) -> bytes:
    """The bytes in a field that must hold some."""
    item = payload[name]
    if type(item) is not bytes:
        raise bad(name, "bytes", item)
    return item


def mapping(payload: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The map in a field; an absent one is empty."""
    item = payload.get(name, _NEVER_NULL)
    if item is _NEVER_NULL:
        return {}
    if type(item) is not dict:
        raise bad(name, "a map", item)
    return item


def link(payload: Mapping[str, Any], name: str) -> CID | None:
    """The link in an optional field."""
    item = payload.get(name, _NEVER_NULL)
    if item is _NEVER_NULL:
        return None
    if type(item) is not CID:
        raise bad(name, "a link", item)
    return item


def links(payload: Mapping[str, Any], name: str) -> tuple[CID, ...]:
    """The list of links in a field that must hold one."""
    item = payload[name]
    if type(item) is not list or any(type(part) is not CID for part in item):
        raise bad(name, "a list of links", item)
    return tuple(item)


def bad(name: str, wanted: str, item: object) -> InvalidField:
    return InvalidField(f"{name} is {shown(item)}, not {wanted}", details={"field": name})
