"""Tokens in which a key speaks for itself: invocations that their issuer makes to itself.

    iss = sub    no aud    prf []    nonce    iat: seconds    exp: seconds or null

Receipts and records of capabilities are such tokens. Which fields else there are, and what they
may hold, each kind says itself; here is what they have in common.
Source: UCAN Invocation 1.0.0-rc.1.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lite import keys
from lite.errors import IntegrityError
from lite.frozen import frozen
from lite.keys import Key
from lite.limits import TIME_MAX_S
from lite.ucan import envelope
from lite.ucan.envelope import Token
from lite.ucan.show import printable


def payload(
    key: Key,
    command: str,
    args: dict[str, Any],
    *,
    now: int,
    expires_at: int | None,
    nonce: bytes | None = None,
) -> dict[str, Any]:
    """What the key is to sign.

    Args:
        now: seconds since 1970; becomes `iat`.
        expires_at: last second in which it holds; None: for ever.
        nonce: 12 random bytes when absent.
    """
    return {
        "iss": key.did,
        "sub": key.did,
        "cmd": command,
        "args": args,
        "prf": [],
        "nonce": keys.random_nonce() if nonce is None else nonce,
        "iat": now,
        "exp": expires_at,
    }


def read(data: bytes, check: Callable[[Token], None], *, verify: bool) -> Token:
    """Read a token from outside.

    Args:
        check: raises IntegrityError for a token of another kind or form.
        verify: check the signature as well.

    Raises:
        CodecError: not the canonical bytes of a token.
        IntegrityError: what `check` says.
        SignatureError: not signed by its issuer.
    """
    token = envelope.parse(data)
    check(token)
    if verify:
        envelope.verify(token)
    return token


def is_time(value: Any) -> bool:
    """Whether it is whole seconds since 1970."""
    return type(value) is int and 0 <= value <= TIME_MAX_S


@frozen
class Form:
    """How errors name a kind of token: "receipt"."""

    kind: str

    def need(self, holds: bool, field: str, problem: str) -> None:
        """Raises IntegrityError, naming the field, when it does not hold."""
        if not holds:
            raise self.bad(field, problem)

    def bad(self, field: str, problem: str) -> IntegrityError:
        return self.invalid(f"{field}: {problem}")

    def invalid(self, why: object) -> IntegrityError:
        return IntegrityError(printable(f"not a valid {self.kind}: {why}"))
