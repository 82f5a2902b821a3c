"""Several providers about one step: whether enough of them say the same, and who was wrong.

All receipts are kept, those that differ too. While they differ the step is run once more, here
where that is possible, and then that is right; else by one more provider, until enough say the
same. Who said otherwise is marked: it is not asked any more.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

from lite.frozen import frozen
from lite.ipld import dag_cbor
from lite.model.receipt import Receipt
from lite.model.result import MEMOISABLE_ERRORS
from lite.model.trust import votes

__all__ = ["WRONG", "Verdict", "same", "settles", "weigh"]

WRONG: Final = "wrong-answer"  # the code under which it is counted

State = Literal["agreed", "waiting", "more", "disputed"]


@frozen
class Verdict:
    """What the answers of several come to.

    Attributes:
        state: agreed: enough say the same. waiting: others are at it. more: too few were asked, or
            answered. disputed: they differ, and a referee has to run it.
        right: the receipts that say what counts, the lowest digest first.
        wrong: those that say something else.
    """

    state: State
    right: tuple[Receipt, ...] = ()
    wrong: tuple[Receipt, ...] = ()

    @property
    def votes(self) -> int:
        """How many did it, of whom the receipts are that say what counts."""
        return votes(self.right)


def weigh(receipts: Sequence[Receipt], wanted: int, *, pending: bool) -> Verdict:
    """Whether enough who did it say the same: what was passed on is the word of who did it.

    Args:
        wanted: how many have to. pending: more may come.
    """
    groups: dict[bytes, list[Receipt]] = {}
    for one in sorted(receipts, key=lambda receipt: receipt.cid.digest):
        groups.setdefault(same(one), []).append(one)
    ranked = sorted(groups.values(), key=lambda group: (-votes(group), group[0].cid.digest))
    if not ranked:
        return Verdict("waiting" if pending else "more")
    best, rest = ranked[0], [one for group in ranked[1:] for one in group]
    if votes(best) >= wanted:
        return Verdict("agreed", tuple(best), tuple(rest))
    if rest:
        return Verdict("waiting" if pending else "disputed", tuple(best), tuple(rest))
    return Verdict("waiting" if pending else "more", tuple(best))


def settles(receipt: Receipt) -> bool:
    """Whether it follows from the step alone. An error of one machine, as that it took too long,
    shows nobody to be wrong, and is no lie."""
    return receipt.out.is_ok or receipt.error_code in MEMOISABLE_ERRORS


def same(receipt: Receipt) -> bytes:
    """Equal for receipts that say the same."""
    return dag_cbor.encode([receipt.out.value(), receipt.linked])
