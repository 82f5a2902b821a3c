"""UCAN 1.0: who may do what, on whose word, checked offline with nothing but bytes.

The names below are the library; each is imported when it is first asked for.

    Delegation, Invocation, Revocation   tokens: `issue` signs, `parse` reads
    Policy                               what the arguments must be like
    check, check_delegation, Memo        the only gate, and what it remembers
    find, Wanted, extend                 chains: finding one, and adding a link
    read, write                          containers of tokens
    Refusal                              why not; its subclasses are in `lite.ucan.refusals`
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lite.ucan.chains import Wanted, extend, find
    from lite.ucan.container import read, write
    from lite.ucan.delegation import Delegation
    from lite.ucan.invocation import Invocation
    from lite.ucan.memo import Memo
    from lite.ucan.policy import Policy
    from lite.ucan.proofs import check, check_delegation
    from lite.ucan.refusals import Refusal
    from lite.ucan.revocation import Revocation, Revocations

__all__ = [
    "Delegation",
    "Invocation",
    "Memo",
    "Policy",
    "Refusal",
    "Revocation",
    "Revocations",
    "Wanted",
    "check",
    "check_delegation",
    "extend",
    "find",
    "read",
    "write",
]

_HOME = {
    "Delegation": "delegation",
    "Invocation": "invocation",
    "Memo": "memo",
    "Policy": "policy",
    "Refusal": "refusals",
    "Revocation": "revocation",
    "Revocations": "revocation",
    "Wanted": "chains",
    "check": "proofs",
    "check_delegation": "proofs",
    "extend": "chains",
    "find": "chains",
    "read": "container",
    "write": "container",
}


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
