"""What is said over and over, such as that no file can be opened any more, said once in a while."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

__all__ = ["Repeats"]

AGAIN_S: Final = 60.0
_TEXTS_MAX: Final = 64  # that are remembered


class Repeats:
    """Lines, each of them at most once in `AGAIN_S`.

    Args:
        say: told a line, with how often it was left out since it was last said.
        monotonic: seconds.
    """

    def __init__(self, say: Callable[[str], None], monotonic: Callable[[], float]) -> None:
        self._say = say
        self._monotonic = monotonic
        self._said: dict[str, tuple[float, int]] = {}  # when, and how often not; the oldest first

    def say(self, text: str) -> None:
        """Say a line, unless it was just said."""
        now = self._monotonic()
        at, left_out = self._said.get(text, (None, 0))
        if at is not None and now - at < AGAIN_S:
            self._said[text] = at, left_out + 1
            return
        self._said.pop(text, None)
        self._said[text] = now, 0
        if len(self._said) > _TEXTS_MAX:
            del self._said[next(iter(self._said))]
        self._say(f"{text} ({left_out} times more since it was last said)" if left_out else text)
