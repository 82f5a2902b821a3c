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

from lite.frozen import frozen
from lite.limits import (
    RETRY_ATTEMPTS,
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
        """The policy of a step, whose `meta` was checked when it was read
        (`lite.model.known_meta`)."""
        asked = meta.get("retry") or {}
        attempts = asked.get("attempts", _ATTEMPTS.get(level, 1))
        return Retry(attempts, asked.get("backoff_ms", RETRY_BACKOFF_MS))

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
