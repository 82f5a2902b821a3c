"""Statements of a policy, as they are once parsed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from lite.ucan.glob import Glob
from lite.ucan.selector import Selector


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement. Equal to another when its IPLD form is.

    Attributes:
        source: the list that it was read from, not to be changed.
        op: `==`, `!=`, `<`, `<=`, `>`, `>=`, `like`, `and`, `or`, `not`, `all` or `any`.
        selector: where the value is; None for `and`, `or` and `not`.
        literal: what `==`, `!=` and the orderings compare with.
        glob: the pattern of `like`.
        inner: the statements of `and` and `or`, the only one of `not`, `all` and `any`.
    """

    source: list[Any]
    op: str = field(compare=False)
    selector: Selector | None = field(compare=False, repr=False, default=None)
    literal: Any = field(compare=False, repr=False, default=None)
    glob: Glob | None = field(compare=False, repr=False, default=None)
    inner: tuple[Statement, ...] = field(compare=False, repr=False, default=())
