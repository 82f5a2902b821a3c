"""When a step is tried again: what may be repeated, how often, and after how long.

    a failure that every run would meet again      never
    the machine's or the network's fault           as often as `meta.retry` says; by default not for
                                                   pure steps, three times for queries and for
                                                   mutations that may be repeated
    a plain mutation                               when the operation says nothing was done
    it cannot begin (no network, no input)         queued; tried again when the run waits

`meta.retry` is `{"attempts": n, "backoff_ms": ms}`; the pause doubles each time.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from lite.errors import UsageError
from lite.frozen import frozen
from lite.limits import (
    RETRY_ATTEMPTS,
    RETRY_ATTEMPTS_MAX,
    RETRY_BACKOFF_MS,
    RETRY_BACKOFF_MS_MAX,
)
from lite.ops.base import Level, is_transient

__all__ = ["TRANSIENT_ERRORS", "Retry"]

TRANSIENT_ERRORS: Final = frozenset({"engine-crash", "time-limit", "compile-limit"})
"""Failures of this machine at this time, whatever ran."""

_ATTEMPTS: Final[Mapping[str, int]] = {
    "query": RETRY_ATTEMPTS,
    "idempotent-mutation": RETRY_ATTEMPTS,
}


@frozen
class Retry:
    """How often and when one step is tried.

    Attributes:
        attempts: in all, so 1 is not again.
        backoff_ms: the pause before the second one.
    """

    attempts: int
    backoff_ms: int = RETRY_BACKOFF_MS

    @staticmethod
    def of(meta: Mapping[str, Any], level: Level | str) -> Retry:
        """The policy of a step.

        Raises:
            UsageError: `meta.retry` is not as above.
        """
        asked = meta.get("retry")
        default = Retry(_ATTEMPTS.get(level, 1))
        if asked is None:
            return default
        if not isinstance(asked, Mapping) or asked.keys() - {"attempts", "backoff_ms"}:
            raise UsageError("meta.retry: a map with attempts and backoff_ms is needed")
        return Retry(
            _number(asked, "attempts", default.attempts, 1, RETRY_ATTEMPTS_MAX),
            _number(asked, "backoff_ms", default.backoff_ms, 0, RETRY_BACKOFF_MS_MAX),
        )

    def pause_ms(self, attempts: int) -> int:
        """How long to wait after so many attempts."""
        return min(self.backoff_ms << min(max(attempts - 1, 0), 20), RETRY_BACKOFF_MS_MAX)

    def after(self, error: Mapping[str, Any], level: Level | str, attempts: int) -> int | None:
        """The pause in ms before the next attempt after a failure, or None: it is final.

        Args:
            error: of the outcome.
            attempts: made so far, this one included.
        """
        if attempts >= self.attempts:
            return None
        harmless = is_transient(error)
        may = harmless if level == "mutation" else harmless or error["code"] in TRANSIENT_ERRORS
        return self.pause_ms(attempts) if may else None


def _number(asked: Mapping[str, Any], name: str, default: int, low: int, high: int) -> int:
    value = asked.get(name, default)
    if type(value) is not int or not low <= value <= high:
        raise UsageError(f"meta.retry.{name}: a whole number from {low} to {high} is needed")
    return value
