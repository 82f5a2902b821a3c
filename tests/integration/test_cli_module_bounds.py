"""A module that declares too much is told in the same way wherever it is run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lite import Node, wasm
from lite.limits import MODULE_NAMES_MAX
from tests.integration.conftest import Ipvm
from tests.unit.wasm_bytes import CORE, custom, name, section, vec
from tests.wat_guests import wat

TYPE = section(1, vec(b"\x60\0\0"))
FUNC = section(3, vec(b"\0"))
CODE = section(10, vec(b"\x02\0\x0b"))
PLAIN = CORE + TYPE + FUNC + section(7, vec(name("f") + b"\0\0")) + CODE
INNER = "".join("(core module)" for _ in range(1_001))


@pytest.mark.parametrize(
    "module",
    [PLAIN + custom("c", b"") * (MODULE_NAMES_MAX + 1), wat(f"(component {INNER})")],
    ids=["names", "inner modules"],
)
def test_it_is_a_receipt_with_its_limit_and_never_waited_for(
    ipvm: Ipvm, here: Path, home: Path, module: bytes
) -> None:
    (here / "much.wasm").write_bytes(module)
    ended = ipvm("run", "much.wasm:f", "--json")
    assert ended.status == 8
    assert ended.json["error"]["code"] == "module-too-large"
    assert "declares more than" in ended.json["error"]["message"]
    with Node.open(home) as node:
        receipt = node.receipt(ended.json["receipt"])
        assert receipt.error_code == "module-too-large"
        again = node.run(wasm(node.add(module), "f"))
        assert again.out.body == receipt.out.body and again.out.body["limit"] > 0
    (here / "flow.json").write_text(json.dumps({"steps": {"a": {"run": "much.wasm:f"}}}))
    flow = ipvm("workflow", "run", "flow.json")
    assert flow.status in (1, 8) and "failed" in flow.err and "queued  " not in flow.err
    looked = ipvm("inspect", "much.wasm")
    assert looked.status == 8 and "much.wasm" in looked.err and "declares more than" in looked.err
