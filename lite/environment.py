"""The only place that reads environment variables (the key file and the clock need none)."""

from __future__ import annotations

import os


def environment(name: str) -> str | None:
    """An environment variable, None when it is unset or empty."""
    return os.environ.get(name) or None


def all_of(prefix: str) -> dict[str, str]:
    """The variables that are set and whose names begin with `prefix`."""
    return {name: text for name, text in os.environ.items() if name.startswith(prefix) and text}


def for_child(**changed: str) -> dict[str, str]:
    """All variables as a process to be started gets them, those given among them."""
    return {**os.environ, **changed}
