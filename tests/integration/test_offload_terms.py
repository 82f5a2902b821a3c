"""Terms are read from what a provider signed itself, and from nothing that others add to it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lite.ipld.cid import CID, RAW
from lite.keys import Key
from lite.model.instruction import Instruction, wasm
from lite.offload.terms import KEY as TERMS
from lite.offload.terms import Terms, issue, terms_of
from lite.ucan.delegation import Delegation
from sync.peers import RUN
from tests.guests import ADD
from tests.peering_support import PeerNode
from tests.provider_support import ProviderNode, client, dealing, ended, signed, value_of

OWN, CUSTOMER = (Key.from_seed(bytes([seed]) * 32) for seed in (1, 2))
ABSENT_OP = "cuda/matmul"
ODD_MODULES = (
    [["==", ".rsc", 5], ["like", ".rsc", "*"]],
    [["==", ".rsc", "ipfs://nonsense"], ["like", ".rsc", "*"]],
    [["==", ".rsc", None], ["and", []]],
)


def own(policy: list[Any], terms: dict[str, Any]) -> Delegation:
    return Delegation.issue(
        OWN,
        audience=CUSTOMER.did,
        subject=OWN.did,
        command="/wasm/run",
        expires_at=None,
        policy=policy,
        meta={TERMS: terms},
    )


def test_terms_are_read_back_with_their_modules() -> None:
    terms = Terms((CID.of(b"a", RAW), CID.of(b"b", RAW)), fuel=10, jobs=2)
    token = issue(OWN, terms, to=CUSTOMER.did, command="/wasm/run", expires_at=None)
    assert terms_of(token) == terms


def test_bounds_hold_whatever_else_the_policy_says() -> None:
    for odd in ODD_MODULES:
        assert terms_of(own([["or", odd]], {"jobs": 2})) == Terms(jobs=2)


def passed_down(
    pi: ProviderNode, phone: PeerNode, to: PeerNode, top: Delegation, **said: Any
) -> Delegation:
    """What a customer gives somebody else of what it was given; in a container it stands first."""
    given = {"audience": to.did, "subject": pi.did, "command": top.command, "expires_at": None}
    while (sub := Delegation.issue(phone.key, **given, **said)).data > top.data:
        pass  # another nonce is another signature
    return sub


def test_what_a_customer_adds_to_its_chain_widens_nothing(tmp_path: Path) -> None:
    """A step that this node lacks, offered to whoever asks, and not to be passed on."""

    async def story(pi: ProviderNode, phone: PeerNode, other: PeerNode) -> None:
        pi.node.store.jobs.offer(f"/{ABSENT_OP}", Terms().encode())
        async with client(phone, pi) as wire:
            (given,) = await wire.offers()
        top = Delegation.parse(given)
        claimed = {TERMS: {"anyone": True, "subcontract": True}}
        sub = passed_down(pi, phone, other, top, policy=[], meta=claimed)
        job = Instruction("cuda:any", ABSENT_OP, {"a": [[1]]}, "")
        async with client(other, pi) as wire:
            asked = signed(other, pi, job, [top.cid, sub.cid])
            await wire.send([asked.data, top.data, sub.data])
            (over,) = await ended(wire, asked.cid)
        assert over.state == "refused" and over.code != "passed-on"
        assert pi.node.store.runs.list() == []

    settings = {"provider.subcontract": True, "ops.allowed_for_others": ("wasm/run", ABSENT_OP)}
    dealing(story, tmp_path, "phone", "other", **settings)


def test_odd_policies_of_a_customer_do_its_job_no_harm(tmp_path: Path) -> None:
    async def story(pi: ProviderNode, phone: PeerNode, other: PeerNode) -> None:
        for one in (phone, other):
            pi.peering.book.trust(one.did, (RUN,), one.home.name)
        pi.peering.poke()
        top = issue(pi.key, Terms(), to=phone.did, command="/wasm/run", expires_at=None)
        async with client(other, pi) as wire:
            for at, odd in enumerate(ODD_MODULES[:2]):
                policy = [["or", odd]]
                sub = passed_down(pi, phone, other, top, policy=policy, meta={TERMS: {}})
                asked = signed(other, pi, wasm(pi.node.add(ADD), "add", at, 40), [top.cid, sub.cid])
                await wire.send([asked.data, top.data, sub.data])
                (over,) = await ended(wire, asked.cid)
                assert (over.state, value_of(over)) == ("done", at + 40)

    dealing(story, tmp_path, "phone", "other")
