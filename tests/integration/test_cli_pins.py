"""`ipvm pin add` of a receipt: whole is what has its result too."""

from __future__ import annotations

from pathlib import Path

import pytest

from lite import Node
from tests.integration.conftest import Ipvm
from tests.store_support import node_block

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


def test_what_is_not_here_may_be_a_receipt_which_is_no_block(ipvm: Ipvm) -> None:
    ended = ipvm("pin", "add", str(node_block(["a receipt elsewhere"]).cid))
    assert ended.status != 0 and "is not here, so that it cannot be kept" in ended.err
    assert "A receipt is no block: it comes by sync" in ended.err


@pytest.mark.parametrize("keep", ["pin", "name"])
def test_a_receipt_that_is_kept_is_not_forgotten_before_it_is_let_go_of(
    ipvm: Ipvm, here: Path, keep: str
) -> None:
    (here / "data").write_bytes(bytes(200_000))
    cid = ipvm("run", "typed.wasm:echo", "@data", "--json").json["receipt"]
    kept = ("pin", "add", cid) if keep == "pin" else ("name", "set", "kept", cid)
    assert ipvm(*kept).status == 0
    refused = ipvm("receipt", "forget", cid)
    assert refused.status == 2
    letting_go = f"ipvm pin rm {cid}" if keep == "pin" else "ipvm name rm kept"
    assert f"`{letting_go}` lets go of it" in refused.err
    (here / "data").unlink()
    assert ipvm("gc", "--grace", "0s").status == 0
    assert ipvm("receipt", "verify", cid).status == 0
    assert ipvm(*kept[:1], "rm", cid if keep == "pin" else "kept").status == 0
    assert ipvm("receipt", "forget", cid).status == 0
    assert ipvm("receipt", "show", cid).status == 5
    assert "not here" not in ipvm("doctor").text
