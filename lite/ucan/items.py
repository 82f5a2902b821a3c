"""How many values tokens hold, and how many are read: of one token, and for one check.

Whoever signs a token asks here as well, so that none is made that nobody reads.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from lite import keys
from lite.errors import CodecError, LimitError
from lite.ipld import dag_cbor
from lite.ucan import envelope, heads

ITEMS_MAX: Final = 4_096  # values in one token, nested ones included
RECEIPT_ITEMS_MAX: Final = 2 * ITEMS_MAX  # their result alone may have 4 KiB; no policy sees it
CHECK_ITEMS_MAX: Final = 5_000  # values in an invocation and its proofs, small tokens aside
SMALL_BYTES: Final = 512  # so few that their values need no count

_RECEIPT: Final = b"/ucan/assert/receipt"
_LINK_BYTES: Final = 41  # of a link to a token: tag, head, prefix and CID
_LINK_ITEMS: Final = 2
_SIGNATURE: Final = bytes(keys.SIGNATURE_BYTES)


def items_in(data: bytes) -> int:
    """How many values there are in a token, as far as it is worth to count them.

    In the policy of a delegation a text can be as much work as many values, so the parts of
    selectors and patterns count too, by the signs that begin them: one of a selector takes as long
    as two values, three of a pattern as long as one.
    """
    count = 0 if len(data) <= SMALL_BYTES else heads.items(data, RECEIPT_ITEMS_MAX)
    if envelope.is_delegation(data):
        of = data.count
        count += 2 * (of(b".") + of(b"[")) + (of(b"*") + of(b"\\")) // 3
    return count


def are_too_many(data: bytes, count: int) -> bool:
    """Whether so many values of a token are more than are read of one: by what it says that it is,
    not by what stands somewhere in it."""
    if count <= ITEMS_MAX:
        return False
    is_receipt = not envelope.is_delegation(data) and envelope.command_of(data) == _RECEIPT
    return not is_receipt or count > RECEIPT_ITEMS_MAX


def check_few(data: bytes, hint: str) -> None:
    """Raises LimitError, with the hint, when a token has so many values that no node reads it."""
    if are_too_many(data, items_in(data)):
        raise LimitError(
            f"a token of over {ITEMS_MAX} values, the parts of its selectors and patterns "
            "included, more than are read",
            hint=hint,
        )


class Budget:
    """The values that the proofs of one check may have together. Small tokens are counted only when
    they could be too many.

    Attributes:
        over: whether there were more.
    """

    __slots__ = ("_at_most", "_left", "_small", "over")

    def __init__(self, items: int) -> None:
        self._left = items
        self._at_most = 0  # what the small ones, not counted yet, could have
        self._small: list[bytes] = []
        self.over = False

    def spend(self, data: bytes) -> int:
        """Count a delegation; how many values it has, 0 for one that is too small to matter."""
        if len(data) > SMALL_BYTES:
            items = items_in(data)
            self._left -= items
        else:
            items = 0
            self._at_most += 2 * len(data)
            self._small.append(data)
        if self._at_most > self._left:
            self._left -= sum(map(items_in, self._small))
            self._at_most = 0
            self._small.clear()
            self.over = self._left < 0
        return items


@dataclass(frozen=True, slots=True)
class Beside:
    """What one check reads beside the chain that is looked for: an invocation, which names each
    link of the chain, and perhaps a delegation that is to be the last link.

    Attributes:
        size, count: bytes and values of the invocation without proofs.
        last: values of the delegation; None when there is none.
    """

    size: int
    count: int
    last: int | None = None

    @staticmethod
    def of(payload: Mapping[str, Any], last: int | None = None) -> Beside:
        """Of an invocation with such a payload, whose proofs are not known yet."""
        signed = {"h": bytes(8), envelope.TAG_INVOCATION: {**payload, "prf": []}}
        try:
            data = dag_cbor.encode([_SIGNATURE, signed])
        except CodecError:  # whoever signs it will say so
            return Beside(0, 0, last)
        return Beside(len(data), heads.items(data, ITEMS_MAX), last)

    @staticmethod
    def least(
        subject: str,
        audience: str,
        command: str,
        args: Mapping[str, Any] | None = None,
        last: int | None = None,
    ) -> Beside:
        """Of the smallest invocation that asks for this; `args` None: without arguments."""
        fields = {"iss": audience, "sub": subject, "cmd": command, "args": dict(args or {})}
        return Beside.of({**fields, "nonce": b"", "exp": None}, last)

    def items(self, links: int) -> int:
        """How many values they have, beside a chain of so many links."""
        links += self.last is not None
        count = 0
        if self.size + _LINK_BYTES * links > SMALL_BYTES:
            count = self.count + _LINK_ITEMS * links
        return count + (self.last or 0)


def fit(beside: Beside, chain: Iterable[bytes]) -> bool:
    """Whether every delegation of a chain, and all that one check reads, are read.

    Args:
        chain: the tokens of the delegations.
    """
    counts = [items_in(data) for data in chain]
    if max(counts, default=0) > ITEMS_MAX:
        return False
    return beside.items(len(counts)) + sum(counts) <= CHECK_ITEMS_MAX
