"""What another issuer wrote into a receipt stands in one line of what people are shown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lite import Node, archive
from lite.keys import Key
from lite.model.instruction import Instruction
from lite.model.receipt import Receipt
from lite.model.result import Result
from tests.integration.conftest import Ipvm

OTHER = Key.from_seed(b"o" * 32)
FORGED = "add (wasm/run)\nresult       ok 8\nverified     2 blocks\n\nissuer       did:key:zVictim"
LONG = "x" * 4_000
TITLES = ["receipt", "instruction", "issuer", "at", "ran", "result"]


def titles(text: str) -> list[str]:
    return [line.split()[0] for line in text.splitlines()]


def told(home: Path, *, meta: dict[str, Any], mode: str = "", func: str = "add") -> Receipt:
    """A receipt of another node, and the archive `told.car` with it."""
    asked = Instruction("lab:it", "lab/pure", {"func": func})
    made = Receipt.issue(OTHER, asked, Result.of_ok(8), now=1, meta=meta, mode=mode)
    with Node.open(home) as node:
        node.store.instructions.add(asked)
        node.store.receipts.add(made)
        with Path("told.car").open("wb") as out:
            archive.export(node.store, [made.cid], out)
    return made


@pytest.mark.parametrize(
    ("meta", "mode", "more"),
    [
        ({"func": FORGED}, "", []),
        ({"op": FORGED, "func": "add"}, "", []),
        ({"op": LONG, "func": LONG}, "", []),
        ({}, "m\nissuer  did:key:zVictim", ["mode"]),
        ({"engine": FORGED}, "", ["used"]),
        ({"engine": {"name": FORGED, "version": FORGED}}, "", ["used"]),
    ],
)
def test_no_text_of_a_receipt_makes_another_line(
    ipvm: Ipvm, home: Path, here: Path, meta: dict[str, Any], mode: str, more: list[str]
) -> None:
    made = told(home, meta=meta, mode=mode)
    expected = TITLES + more
    assert titles(ipvm("receipt", "show", str(made.cid)).text) == expected
    for ref in ("told.car", str(made.cid)):
        text = ipvm("receipt", "verify", ref).text
        assert titles(text) == [*expected, "verified"]
        assert max(map(len, text.splitlines())) < 250


@pytest.mark.parametrize(
    "meta",
    [
        {"time_us": -3, "engine": [1], "fuel": -1, "memory_bytes": -1},
        {"time_us": True, "engine": {"name": 1, "version": []}, "fuel": False},
        {"time_us": "x", "engine": 7, "fuel": 1.5, "memory_bytes": "y"},
    ],
)
def test_what_cannot_have_been_used_is_not_shown(
    ipvm: Ipvm, home: Path, here: Path, meta: dict[str, Any]
) -> None:
    made = told(home, meta=meta)
    assert titles(ipvm("receipt", "show", str(made.cid)).text) == TITLES


def test_what_was_used_is_shown(ipvm: Ipvm, home: Path, here: Path) -> None:
    engine = {"name": "wasmtime", "version": "30"}
    meta = {"time_us": 1_400, "fuel": 21, "memory_bytes": 65_536, "engine": engine}
    shown = ipvm("receipt", "show", str(told(home, meta=meta).cid)).text
    assert "used         1.4 ms, fuel 21, memory 64 KiB, wasmtime 30\n" in shown


@pytest.mark.parametrize("by", [{"iss": "did:key:zSomebody", "did": ""}, {"iss": "", "did": " "}])
def test_nobody_is_not_named_as_who_did_it(
    ipvm: Ipvm, home: Path, here: Path, by: dict[str, str]
) -> None:
    made = told(home, meta={"by": by})
    named = [did for did in by.values() if did.strip()]
    lines = ipvm("why", str(made.cid)).text.splitlines()
    passed = [line.strip() for line in lines if "passed it on" in line]
    assert len(passed) == len(named)
    assert not [line for line in lines if line.endswith(" to ")]
    shown = ipvm("receipt", "show", str(made.cid)).text.splitlines()
    assert [line.split()[-1] for line in shown if line.startswith("passed on")] == named
