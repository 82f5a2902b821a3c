"""`ipvm pin add` of a receipt: whole is what has its result too."""

from __future__ import annotations

from pathlib import Path

import pytest

from lite import Node
from tests.integration.conftest import Ipvm

TEXT = "so long that it stands outside of its receipt " * 200


@pytest.mark.parametrize(
    ("options", "why"), [((), "no daemon runs that has peers"), (("--offline",), "--offline")]
)
def test_a_receipt_whose_result_is_not_here_is_not_whole(
    ipvm: Ipvm, here: Path, home: Path, options: tuple[str, ...], why: str
) -> None:
    ran = ipvm("--home", "other", "run", "typed.wasm:greet", TEXT, "--json").json
    assert ipvm("--home", "other", "pin", "add", ran["receipt"]).status == 0
    with Node.open(here / "other") as other, Node.open(home) as node:
        node.store.receipts.add(other.receipt(ran["receipt"]))
    ended = ipvm(*options, "pin", "add", ran["receipt"], "--json")
    assert ended.status == 3
    assert ended.json["pinned"] == ran["receipt"]
    assert (ended.json["missing"], ended.json["absent"]) == (1, [ran["output"]])
    assert ended.json["why"] == why
    assert f"1 block of it missing, as {ran['output']}: {why}" in ended.err
    assert ipvm("run", "typed.wasm:greet", TEXT, "--no-cache", "--json").json["ok"]
    again = ipvm(*options, "pin", "add", ran["receipt"], "--json")
    assert (again.status, again.json["missing"], again.json["why"]) == (0, 0, "")
