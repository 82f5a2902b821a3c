"""Awaits: one instruction's result in the place of another's input.

An await is written inside ordinary data, as a map with one of three keys and a link, so a leaf of
the data can be an await wherever it stands. Dataflow comes from awaits alone.
Source: UCAN Invocation 0.2.0, Await.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, Literal

from lite.frozen import frozen
from lite.ipld.cid import CID
from lite.model.result import Result

AwaitBranch = Literal["ok", "error", "*"]

_KEYS: Final[dict[str, AwaitBranch]] = {
    "await/ok": "ok",
    "await/error": "error",
    "await/*": "*",
}


class BranchMismatch(Exception):
    """An await wanted the other branch of a result. Becomes an error receipt.

    Attributes:
        expected, got: "ok" or "error".
    """

    def __init__(self, expected: str, got: str) -> None:
        super().__init__(f"the awaited result is {got}, its {expected} was wanted")
        self.expected = expected
        self.got = got

    def to_error(self, receipt: CID) -> dict[str, Any]:
        """The error value of the awaiting instruction; `receipt` is that of the awaited one."""
        return {
            "code": "branch-mismatch",
            "message": str(self),
            "reason": "branch mismatch",
            "expected": self.expected,
            "got": self.got,
            "from": receipt,
        }


@frozen
class Await:
    """A promise: the result of another instruction, or one branch of it.

    Attributes:
        branch: "ok" and "error" stand for the bare value, "*" for the whole keyed result.
        instruction: the CID of the awaited instruction, under any hash function.
    """

    branch: AwaitBranch
    instruction: CID

    def value(self) -> dict[str, Any]:
        """`{"await/ok": link}`, `{"await/error": link}` or `{"await/*": link}`."""
        return {f"await/{self.branch}": self.instruction}

    @staticmethod
    def from_value(value: Any) -> Await | None:
        """The await that a value encodes, or None when it is plain data."""
        if type(value) is not dict or len(value) != 1:
            return None
        ((key, link),) = value.items()
        if key not in _KEYS or type(link) is not CID:
            return None
        return Await(_KEYS[key], link)

    def select(self, out: Result) -> Any:
        """What takes the place of this await, given the result of the awaited instruction.

        Raises:
            BranchMismatch: the result is on the other branch; the awaiting instruction fails.
        """
        if self.branch == "*":
            return out.value()
        if out.branch != self.branch:
            raise BranchMismatch(self.branch, out.branch)
        return out.body


def leaves(value: Any) -> Iterator[Any]:
    """Every leaf of a value in the order of its encoded form; an await counts as one leaf."""
    pending = [value]
    while pending:
        part = pending.pop()
        if type(part) is dict:
            found = Await.from_value(part)
            if found:
                yield found
            else:
                pending.extend(part[key] for key in sorted(part, key=_key_order, reverse=True))
        elif type(part) is list:
            pending.extend(reversed(part))
        else:
            yield part


def _key_order(key: str) -> tuple[int, bytes]:
    raw = key.encode()
    return len(raw), raw
