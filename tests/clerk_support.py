"""The customer's books with a provider that a test plays: it signs what it likes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lite.frozen import replace
from lite.keys import Key
from lite.limits import Limits
from lite.model.instruction import Instruction
from lite.model.receipt import Receipt
from lite.model.result import Result
from lite.model.workflow import Workflow
from lite.needs.bids import Bid
from lite.needs.capabilities import Capabilities
from lite.needs.choice import Wish, choose
from lite.offload import refused, wire
from lite.offload.clerk import Clerk
from lite.offload.plans import Plan
from lite.store.outbox_rows import Item, Job
from lite.ucan.delegation import Delegation
from lite.workflow_run import Run
from tests.outbox_support import OTHER_KEY, Far
from tests.store_support import KEY, FakeClock

LEASE_S = 60


class Shop:
    """A lab, its clerk, and providers by their keys, each with a delegation of `/lab`."""

    def __init__(self, lab: Far, clock: FakeClock, *keys: Key) -> None:
        self.lab = lab
        self.clock = clock
        self.keys = {key.did: key for key in keys or (OTHER_KEY,)}
        self.told: list[tuple[str, dict[str, Any]]] = []
        self.clerk = Clerk(
            lab.store,
            KEY,
            clock,
            base=Limits(),
            lease_s=LEASE_S,
            fits=lambda item, needs: False,
            tell=lambda kind, item, data: self.told.append((kind, data)),
        )
        for key in self.keys.values():
            self.allow(key)

    def allow(self, key: Key, command: str = "/lab", **terms: Any) -> Delegation:
        """A provider lets this node have a command."""
        given = {"audience": KEY.did, "subject": key.did, "policy": [], "expires_at": None}
        delegation = Delegation.issue(key, command=command, **{**given, **terms})
        self.lab.store.tokens.add([delegation])
        return delegation

    def queue(self, workflow: Workflow, **asked: Any) -> Run:
        """Run a workflow as far as that goes here."""
        return self.lab.run(workflow, **asked)

    def plan(self) -> Plan:
        """The only one there is."""
        (plan,) = self.clerk.plans(10)
        return plan

    def send(self, *, wait_ms: int = 0) -> list[Job]:
        """Offer what is ready to all providers that may have it, and write down what goes."""
        sold = []
        for plan in self.clerk.plans(10):
            now = self.clock.now()
            ins = plan.group.lead.instruction.cid
            bids = [
                Bid(ins, did, wait_ms=wait_ms + at, until=now + 60)
                for at, did in enumerate(plan.providers)
            ]
            wish = Wish(ins, replace(plan.group.lead.needs, gpu=None))
            has = {did: Capabilities(did, ops=("lab/pure",), cores=99) for did in plan.providers}
            ops = plan.group.lead.needs.ops
            has = {did: replace(one, ops=ops) for did, one in has.items()}
            sold.append((plan, choose(bids, wish, has, {}, now)))
        return [job for cargo in self.clerk.pack(sold) for job in cargo.jobs]

    def item(self, job: Job) -> Item:
        return self.lab.store.outbox.get(job.item)

    def job(self, job: Job) -> Job:
        """As it is now."""
        found = self.lab.store.outbox.job(job.invocation)
        assert found is not None
        return found

    def receipt(self, job: Job, value: Any = 42, **more: Any) -> Receipt:
        """What its provider would sign."""
        instruction = more.pop("instruction", None) or self.asked(job)
        key = more.pop("key", None) or self.keys[job.provider]
        out = more.pop("out", None) or Result.of_ok(value)
        given = {"invocation": job.invocation, "now": self.clock.now()}
        given["meta"] = {"op": instruction.op, "level": "pure"}
        return Receipt.issue(key, instruction, out, **{**given, **more})

    def asked(self, job: Job) -> Instruction:
        found = self.lab.store.instructions.get(job.instruction)
        assert found is not None
        return found

    def hear(self, job: Job, receipt: Receipt | bytes, state: Any = "done", **more: Any) -> Any:
        """Its provider tells how it ended."""
        data = receipt if isinstance(receipt, bytes) else receipt.data
        given = {"begun": True, "seq": 1, "at": self.clock.now(), **more}
        told = wire.Job(job.invocation, state, instruction=job.instruction, receipt=data, **given)
        return self.clerk.heard(job.provider, told)

    def accept(self, job: Job, *, begun: bool = False) -> None:
        """Its provider has taken it in."""
        told = wire.Job(job.invocation, "running", 1, self.clock.now(), begun)
        self.clerk.heard(job.provider, told)

    def refuse(self, job: Job, code: str, *, begun: bool = False, key: Key | None = None) -> None:
        """Its provider does not do it, and signs that."""
        signer = key or self.keys[job.provider]
        said = refused.state(signer, job.token, code, f"because of {code}", now=self.clock.now())
        self.hear(job, said.data, "refused", begun=begun)


@contextmanager
def shops(home: Path) -> Iterator[Callable[..., Shop]]:
    """Opens shops on one home, with the keys of their providers, and closes them in the end."""
    clock = FakeClock()
    labs: list[Far] = []

    def make(*keys: Key) -> Shop:
        labs.append(Far(home, clock))
        return Shop(labs[-1], clock, *keys)

    yield make
    for lab in labs:
        lab.close()
