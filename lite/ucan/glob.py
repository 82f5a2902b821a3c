"""Glob patterns of the policy language: `*` is any run of characters, `\\*` a star, any other
character itself.

Source: UCAN Delegation 1.0.0-rc.1, Glob Matching.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_PIECES = re.compile(r"\\\*|\*|[^*\\]+|\\")


@dataclass(frozen=True, slots=True)
class Glob:
    """A parsed pattern: the literal runs before, between and after its wildcards."""

    runs: tuple[str, ...]

    @staticmethod
    def parse(pattern: str) -> Glob:
        """Every text is a pattern; a backslash counts only before a star."""
        runs: list[list[str]] = [[]]
        for piece in _PIECES.findall(pattern):
            if piece == "*":
                runs.append([])
            else:
                runs[-1].append("*" if piece == r"\*" else piece)
        return Glob(tuple(map("".join, runs)))

    def cost(self, text: str) -> int:
        """Steps that a match may take, as the policy evaluation counts them."""
        longest = max(map(len, self.runs))
        return 1 + len(self.runs) // 8 + len(text) * min(longest, 128) // 256

    def matches(self, text: str) -> bool:
        """Whether the whole text has this form. Each run is looked for once, from the left."""
        if len(self.runs) == 1:
            return text == self.runs[0]
        first, *between, last = self.runs
        if len(text) < len(first) + len(last):
            return False
        if not text.startswith(first) or not text.endswith(last):
            return False
        at, end = len(first), len(text) - len(last)
        for run in between:
            found = text.find(run, at, end)
            if found < 0:
                return False
            at = found + len(run)
        return True
