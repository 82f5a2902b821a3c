"""Whether each of many tokens holds, within bounds: their chains may be a web that has no end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from lite.cli.ucan_items import structure
from lite.frozen import frozen, replace
from lite.ucan.refusals import (
    InvalidSignature,
    IssuerUnknown,
    SignatureAlgorithm,
    SignatureKey,
    SignatureVersion,
    UnavailableProof,
)

if TYPE_CHECKING:
    from lite.cli.ucan_items import Item
    from lite.gate import Verdict
    from lite.ipld.cid import CID
    from lite.node import Node

NOT_JUDGED = "not judged: too much to search; `ipvm ucan verify` judges one"
_SIGNATURE = (InvalidSignature, SignatureVersion, SignatureAlgorithm, SignatureKey, IssuerUnknown)
_UNSOUND = frozenset(kind.code for kind in _SIGNATURE)


@frozen
class Judged:
    """What is said of one token.

    Attributes:
        holds: None when it was not judged.
        until: last second in which it holds; None: for ever, or it does not.
        refusal: why it does not hold or was not judged; None when it holds.
        code: of that refusal.
        note: what else to know of it.
        chain: the delegations that it rests on, as far as they were found, the root first.
    """

    holds: bool | None
    until: int | None
    refusal: str | None
    code: str | None = None
    note: str = ""
    chain: tuple[CID, ...] = ()

    @property
    def reason(self) -> str:
        """The refusal as a sentence."""
        if self.holds is None:
            return str(self.refusal)
        return "" if self.holds else f"it does not hold: {self.refusal}"


class Judge:
    """Judges the tokens of one file, or of the store.

    Args:
        tokens: those of the file.

    Attributes:
        skipped: how many were not judged so far.
    """

    def __init__(self, node: Node, tokens: Sequence[bytes] = ()) -> None:
        from lite.parcel import Parcel

        self._authority = node.authority
        self._searches = self._authority.searches()
        self._along = self._authority.along(Parcel.of(tokens), self._searches)
        self.skipped = 0

    def all(self, items: Sequence[Item]) -> dict[CID, Judged]:
        """Each of the tokens of the file by its CID."""
        found = {item.cid: self.one(item) for item in items}
        for item, giver in structure(items).items():
            judged, above = found[item], found[giver]
            # With a giver that is no sound token it is that which is wrong.
            if judged.code == UnavailableProof.code and above.code in _UNSOUND:
                found[item] = replace(judged, refusal=above.refusal, code=above.code)
        return found

    def one(self, item: Item) -> Judged:
        """Whether a token holds now, with what came beside it and what is in the store."""
        if item.token is None:
            return Judged(False, None, item.problem, item.code)
        if self._searches.exhausted:
            return self._skip()
        verdict = self._authority.judge(item.data, self._along)
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
    chain = tuple(link.cid for link in verdict.chain)
    return Judged(verdict.holds, verdict.until, reason, code, verdict.note, chain)
