"""Nodes that give rights to each other, as the tests of authority need them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lite import Node, wasm
from lite.invocations import args_of, nonce_for
from lite.ipld.cid import CID
from lite.model.instruction import Instruction
from lite.ucan import container
from lite.ucan.invocation import Invocation
from tests.guests import ADD

DAY = 86_400

Opener = Callable[..., Node]


def give(giver: Node, taker: Node, command: str = "/wasm/run", **told: Any) -> CID:
    """Delegate and carry the chain over, as a person would; the CID of the new link."""
    told = {"expires_in_s": DAY, **told}
    issued = giver.authority.delegate(taker.did, command, **told)
    taker.authority.import_(container.write(link.data for link in issued.chain))
    return issued.token.cid


def ask(
    node: Node, pi: Node, job: Instruction, limits: dict[str, int] | None = None, **told: Any
) -> bytes:
    """A container with an invocation of a job at the Pi and its proofs."""
    told = {"nonce": nonce_for(job), **told}
    return container.write(
        node.authority.invoke(pi.did, f"/{job.op}", args_of(job, limits), **told)
    )


def invocation_in(data: bytes) -> Invocation:
    parts = container.read(data)
    return next(Invocation.parse(part) for part in parts if b"ucan/inv" in part)


def add(pi: Node, left: int = 2, right: int = 40) -> Instruction:
    return wasm(pi.add(ADD), "add", left, right)
