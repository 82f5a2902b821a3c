"""Refusals: a code and a name for each, as the docstring draws them."""

from __future__ import annotations

import re
from typing import Any

from lite import errors
from lite.errors import AuthorityError
from lite.ucan import refusals
from lite.ucan.refusals import Refusal

LINE = re.compile(r"^ *[│ ]*(?:[├└]── )?([A-Z]\w+)\s+(ucan-[a-z-]+)\s+(\w+)?", re.MULTILINE)


def kinds(kind: type[AuthorityError] = Refusal) -> list[type[Any]]:
    return [kind] + [deeper for one in kind.__subclasses__() for deeper in kinds(one)]


def test_every_refusal_has_its_own_code_and_that_of_nothing_else() -> None:
    codes = [kind.code for kind in kinds()]
    assert all("code" in vars(kind) for kind in kinds())
    others = {one.code for one in vars(errors).values() if hasattr(one, "code")}
    assert len(set(codes)) == len(codes)
    assert not others & set(codes)
    assert {kind.exit_code for kind in kinds()} == {4}


def test_the_drawing_in_the_docstring_is_the_tree() -> None:
    drawn = {line[1]: (line[2], line[3]) for line in LINE.finditer(refusals.__doc__ or "")}
    expected = {kind.__name__: (kind.code, kind.wire_name) for kind in kinds()}
    del expected["Refusal"], drawn["Refusal"]
    assert drawn == expected


def test_a_refusal_becomes_the_error_of_a_receipt() -> None:
    error = refusals.Expired("expired", details={"now": 1}, hint="wait")
    placed = error.at("proof 1 of 2", "7d", None, 0)
    assert type(placed) is refusals.Expired
    assert placed.value() == {"name": "Expired", "message": "proof 1 of 2: expired (step 7d)"}
    assert (placed.step, placed.position) == ("7d", 0)
    assert (placed.details, placed.hint) == ({"now": 1}, "wait")
