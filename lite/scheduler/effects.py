"""How many steps the results of others may add to a run, and what those are called."""

from __future__ import annotations

from lite.limits import EFFECTS_DEPTH_MAX, EFFECTS_MAX
from lite.model.effects import Effects

__all__ = ["beyond", "labels"]


def beyond(effects: Effects, depth: int, added: int) -> str | None:
    """Which bound they break in a run, in words, or None.

    Args:
        depth: of the step that asks.
        added: steps that effects have added to the run so far.
    """
    wanted = len(effects.all)
    if wanted and depth + 1 > EFFECTS_DEPTH_MAX:
        return f"effects of effects are run to a depth of {EFFECTS_DEPTH_MAX}, not beyond"
    if added + wanted > EFFECTS_MAX:
        return f"effects would add more than {EFFECTS_MAX} steps to one run"
    return None


def labels(parent: str, effects: Effects) -> list[str]:
    """Labels for the steps of `effects.all`: `crop/1`, `crop/2`, `crop/join`."""
    named = [f"{parent}/{number}" for number in range(1, len(effects.fork) + 1)]
    if len(effects.all) > len(effects.fork):
        named.append(f"{parent}/join")
    return named
