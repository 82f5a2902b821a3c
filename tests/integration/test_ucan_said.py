"""What is said where there is no token yet, no module, or no chain."""

from __future__ import annotations

from pathlib import Path

import pytest

from lite import Node
from lite.errors import ModuleError, UsageError
from lite.ipld.block import Block
from lite.ipld.cid import DAG_PB
from lite.model.instruction import Instruction, wasm
from lite.ucan import container
from lite.ucan.checks import unpack
from lite.ucan.refusals import MalformedToken
from tests.authority_support import ask, give
from tests.integration.test_cli_ucan import At
from tests.integration.test_cli_ucan import laptop as laptop
from tests.ucan_support import LAPTOP, PHONE, PI, STRANGER, TABLET, delegation


@pytest.mark.parametrize(
    "data", [b"", b"\x00", b"junk", b"B!", b"M\x1f\x8b", b"\xa1\x66ctn-v1\x9b"]
)
def test_a_refusal_before_any_token_is_seen_names_its_step(data: bytes) -> None:
    with pytest.raises(MalformedToken) as refused:
        unpack(data)
    assert refused.value.step == "1"
    assert str(refused.value).endswith(" (step 1)")


def test_the_line_about_what_is_empty_names_its_step(laptop: At, here: Path) -> None:
    (here / "empty.ucan").write_bytes(b"\n")
    assert laptop("id").status == 0
    for verb in ("verify", "run", "import"):
        (line, *_) = laptop("ucan", verb, "empty.ucan").err.splitlines()
        assert line == "ipvm: empty.ucan is empty, not a token (step 1)"


@pytest.mark.parametrize("path", ["", "/m"])
def test_a_module_that_cannot_be_read_is_said_to_be_that(pi: Node, phone: Node, path: str) -> None:
    give(pi, phone, policy=[["!=", ".input.func", "other"]])
    broken = Block.make(b"\x0a", DAG_PB)
    pi.store.blocks.put_many([broken])
    job = Instruction(f"ipfs://{broken.cid}{path}", "wasm/run", {"func": "add", "args": [1, 2]})
    with pytest.raises(ModuleError, match=rf"the module ipfs://{broken.cid}{path} cannot be read"):
        pi.run_invocation(ask(phone, pi, job))
    with pytest.raises(ModuleError):  # it is no replay
        pi.run_invocation(ask(phone, pi, job))
    assert pi.run(wasm(pi.add(b"x"), "f")).receipt.out.is_ok is False


def test_a_powerline_beside_delegations_that_lead_nowhere_is_not_said_to_hold(pi: Node) -> None:
    power = delegation(STRANGER, TABLET, subject=None, expires_at=None)
    circle = [
        delegation(LAPTOP, PHONE, subject=PI.did, expires_at=None),
        delegation(PHONE, LAPTOP, subject=PI.did, expires_at=None),
    ]
    assert pi.authority.verify(power.data).holds
    data = container.write([power.data, *(link.data for link in circle)])
    with pytest.raises(UsageError, match="do not lead to the powerline"):
        pi.authority.verify(data)
    root = delegation(PI, STRANGER, subject=PI.did, expires_at=None)
    assert pi.authority.verify(container.write([power.data, root.data])).holds
