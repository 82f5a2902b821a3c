"""Whether each of many tokens holds, within bounds: their chains may be a web that has no end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from lite.errors import UsageError
from lite.frozen import frozen

if TYPE_CHECKING:
    from lite.cli.ucan_items import Branch, Item
    from lite.gate import Verdict
    from lite.node import Node

NOT_JUDGED = "not judged: too much to search; `ipvm ucan verify` judges one"
PACKED_COST = 10  # looks of a search: to pack a token with another, and to unpack it


@frozen
class Judged:
    """What is said of one token.

    Attributes:
        holds: None when it was not judged.
        until: last second in which it holds; None: for ever, or it does not.
        refusal: why it does not hold or was not judged; None when it holds.
        code: of that refusal.
        note: what else to know of it.
    """

    holds: bool | None
    until: int | None
    refusal: str | None
    code: str | None = None
    note: str = ""

    @property
    def reason(self) -> str:
        """The refusal as a sentence."""
        if self.holds is None:
            return str(self.refusal)
        return "" if self.holds else f"it does not hold: {self.refusal}"


class Judge:
    """Judges the tokens of one file, or of the store.

    Attributes:
        skipped: how many were not judged so far.
    """

    def __init__(self, node: Node, items: Sequence[Item] = ()) -> None:
        self._node = node
        self._beside = {item.cid: item for item in items}
        self._searches = node.authority.searches()
        self.skipped = 0

    def branch(self, branch: Branch) -> Judged:
        """Whether the token holds now, with what came beside it and what is in the store."""
        from lite.ucan import container
        from lite.ucan.invocation import Invocation

        if self._searches.exhausted:
            return self._skip()
        beside = branch.above
        token = branch.item.token
        if branch.item.kind == "invocation" and isinstance(token, Invocation):
            beside = tuple(self._beside[cid] for cid in token.proofs if cid in self._beside)
        parts = [branch.item.data, *(item.data for item in beside)]
        self._searches.spend(PACKED_COST * len(parts))
        return self.data(container.write(parts))

    def data(self, data: bytes) -> Judged:
        """Whether a token or a container holds now."""
        if self._searches.exhausted:
            return self._skip()
        try:
            verdict = self._node.authority.verify(data, searches=self._searches)
        except UsageError as error:  # what gave the right goes round in a circle
            return Judged(False, None, str(error), error.code)
        if not verdict.holds and self._searches.exhausted:
            return self._skip()
        return _judged(verdict)

    def left_out(self) -> str:
        """A line about those that were not judged."""
        return f"{self.skipped} of these not judged; `ipvm ucan verify` judges one"

    def _skip(self) -> Judged:
        self.skipped += 1
        return Judged(None, None, NOT_JUDGED)


def _judged(verdict: Verdict) -> Judged:
    refusal = verdict.refusal
    reason, code = (None, None) if refusal is None else (str(refusal), refusal.code)
    return Judged(verdict.holds, verdict.until, reason, code, verdict.note)
