"""How safe it is to run an operation, to run it again, and to take an old result.

    pure                  always the same result: memoised for ever, repeated freely
    query                 reads the world: repeated freely, never memoised
    idempotent-mutation   changes the world, once or several times alike: may be repeated
    mutation              changes the world each time: never repeated once it may have happened

Source: the IPVM draft on effects (pure, query, command), with its commands split by idempotency.
"""

from __future__ import annotations

from typing import Final, Literal

Level = Literal["pure", "query", "idempotent-mutation", "mutation"]
"""Safety levels, as the operation declares them. Only `pure` results are memoised for ever."""

LEVELS: Final[tuple[Level, ...]] = ("pure", "query", "idempotent-mutation", "mutation")
"""From the safest on."""


def is_mutation(level: Level) -> bool:
    """Whether it changes the world, so that it comes last and is not run without a reason."""
    return level in ("idempotent-mutation", "mutation")
