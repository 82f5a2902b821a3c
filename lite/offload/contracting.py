"""Passing on a job that lacks something here: it becomes the one step of a run of this node, which
goes out as any step that cannot run here does; its answer is signed once more for the customer.

The setting `provider.subcontract` and the delegation (`Terms.subcontract`) have to allow it. Who
does the job in the end is asked under the delegations that this node itself was given. The step may
go neither to the customer nor back here. The receipt says whose it was:

    meta: {…, by: {iss, receipt: link, inv: link, prf: [link, …], did?}}

`iss` signed that receipt; `did` is who did it, where that one had passed it on as well. What it
says that it used counts, and is said again, within what the job was allowed. A job that was passed
on counts from then on, however it ends.
"""

from __future__ import annotations

from typing import Any, Final

from lite.errors import IpvmError
from lite.executor import Settled, Warrant
from lite.frozen import frozen
from lite.ipld.cid import CID
from lite.limits import Limits
from lite.model.instruction import WASM_RUN, Instruction
from lite.model.receipt import Receipt
from lite.model.task import Task
from lite.model.trust import doer
from lite.model.workflow import Step, Workflow
from lite.needs.capabilities import Capabilities
from lite.needs.fit import Fit, fit
from lite.needs.requirements import Requirements
from lite.node import Node
from lite.offload.accounts import within
from lite.offload.holding import Holding
from lite.offload.terms import Terms, terms_of
from lite.settled import Reified, finished_of
from lite.store.jobs import StoredJob
from lite.ucan.invocation import Invocation

__all__ = ["LABEL", "RUN_NAME", "Contracting", "Lost"]

LABEL: Final = "job"
RUN_NAME: Final = "job "  # and the CID of its invocation
_EXPIRED: Final = "expired"  # of a receipt in which `lite.offload.clerk` says that nobody did it
_GOES_ON: Final = ("running", "queued", "interrupted")
_NOT_DECLARED: Final = ("limits", "module", "inputs")


@frozen
class Lost:
    """Nobody did it, or nobody knows whether somebody did."""

    message: str
    begun: bool


class Contracting:
    """See the module. Everything is called in threads."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._store = node.store

    def may(self, terms: Terms | None) -> bool:
        """Whether a job under these terms may be passed on."""
        allowed = bool(self._node.config["provider.subcontract"])
        return allowed and terms is not None and terms.subcontract

    def may_for(self, customer: str, op: str) -> bool:
        """Whether some delegation of this node to a customer says so."""
        if not self._node.config["provider.subcontract"]:
            return False
        return any(
            one.issuer == self._node.did and one.command == f"/{op}" and self.may(terms_of(one))
            for one in self._store.tokens.given_to(
                customer, self._node.did, f"/{op}", (self._node.did,)
            )
        )

    def elsewhere(self, needs: Requirements, customer: str) -> bool:
        """Whether some other node that this one may ask says that it has what a step needs. What it
        holds is not known: it is taken to hold nothing."""
        from lite.offload.invoking import Rights
        from lite.peering.capability_set import known_capabilities

        node = self._node
        known = known_capabilities(self._store, node.clock.now())
        able = [did for did, has in known.items() if fit(needs, has, lambda _: False).ok]
        if not set(able) - {customer, node.did}:
            return False
        rights = Rights(self._store, node.key, node.clock)
        asked = {did for op in needs.ops for did in rights.providers(f"/{op}")}
        return bool(asked.intersection(able) - {customer})

    def unfit(self, needs: Requirements, has: Capabilities) -> Fit:
        """Whether a step fits here, and why not."""
        return fit(needs, has, Holding(self._store), "this provider")

    def begin(
        self, job: StoredJob, instruction: Instruction, needs: Requirements, limits: Limits
    ) -> str:
        """Put a job into the outbox of this node, once; the id of its run.

        Raises:
            IpvmError: it cannot be put there.
        """
        requires = _declared(needs, (self._node.did, job.customer))
        meta = {"requires": requires, "limits": _named(needs.limits)}
        step = Step(LABEL, Task(instruction, meta))
        workflow = Workflow.of([step], name=f"{RUN_NAME}{job.invocation}")
        fuel = limits.fuel if instruction.op == WASM_RUN else 0
        self._store.jobs.ran(job.number, fuel=fuel, time_ms=limits.time_ms)
        known = self._store.runs.latest(workflow.cid)
        if known is not None and known.state not in _GOES_ON:
            return known.id
        left_ms = max(1, job.expires_at - self._node.clock.now()) * 1_000
        run = self._node.workflows.begin(workflow, limits=limits, deadline_ms=left_ms)
        run.go()
        return run.id

    def end(self, run: str) -> Receipt | Lost | None:
        """What came of it; None: it goes on."""
        row = self._store.runs.get(run)
        if row is None:
            return Lost("its run is not here any more", begun=True)
        steps = self._store.runs.steps(run)
        cid = next((step.receipt for step in steps if step.receipt is not None), None)
        receipt = None if cid is None else self._store.receipts.get(cid)
        if receipt is not None and self._may_tell(receipt):
            return receipt
        if row.state in _GOES_ON and receipt is None:
            return None
        reason = next((step.reason for step in steps if step.reason), row.state)
        return Lost(f"passed on, and not done: {reason}", begun=row.state == "in-doubt")

    def _may_tell(self, receipt: Receipt) -> bool:
        """Whether what answered the run answers the job: not a secret, which is for others, nor
        what this node says of its own outbox."""
        said = receipt.error_code == _EXPIRED and receipt.issuer == self._node.did
        return not said and not self._store.secrets.is_secret(receipt.cid)

    def runs_of(self, job: StoredJob) -> list[str]:
        """The runs that a job was passed on by, as far as they have not ended."""
        return self._store.runs.going(f"{RUN_NAME}{job.invocation}")

    def cancel(self, run: str) -> None:
        """Nobody wants it any more."""
        self._store.runs.cancel(run)
        self._node.workflows.end_unattended(run)

    def sign(
        self, theirs: Receipt, warrant: Warrant, instruction: Instruction, limits: Limits
    ) -> Settled:
        """Answer an invocation by what another node signed, or this one before; for
        `lite.invocations.serve`."""
        warrant.permit(instruction)
        meta = dict(theirs.meta)
        if theirs.issuer != self._node.did:
            meta |= within(theirs, limits, instruction.op) | {"by": self._by(theirs)}
        receipt = Receipt.issue(
            self._node.key,
            instruction,
            theirs.out,
            linked=theirs.linked,
            meta=meta,
            fork=theirs.fork,
            join=theirs.join,
            now=self._node.clock.now(),
            invocation=warrant.invocation,
            ran=warrant.ran,
        )
        reified = Reified(instruction, instruction)
        finished = finished_of(reified, receipt, [], warrant, lasting=True, secret=False)
        self._store.commit_runs((finished,))
        return Settled(receipt, "ran", "")

    def _by(self, theirs: Receipt) -> dict[str, Any]:
        by: dict[str, Any] = {"iss": theirs.issuer, "receipt": theirs.cid}
        if theirs.invocation is not None:
            by |= {"inv": theirs.invocation, "prf": self._proofs(theirs.invocation)}
        if (did := doer(theirs)) != theirs.issuer:
            by["did"] = did
        return by

    def _proofs(self, invocation: CID) -> list[CID]:
        """The delegations that this node asked under."""
        sent = self._store.outbox.job(invocation)
        try:
            return [] if sent is None else list(Invocation.parse(sent.token).proofs)
        except IpvmError:  # the disk changed it
            return []


def _declared(needs: Requirements, excluded: tuple[str, ...]) -> dict[str, Any]:
    """What a step has to declare to need as much, wherever it goes but to those."""
    told = {key: item for key, item in needs.value().items() if key not in _NOT_DECLARED}
    for key in ("affinity", "anti_affinity"):
        told[key] = [term for term in told.get(key, ()) if "soft" not in term]
    told["anti_affinity"].append({"did": sorted(set(excluded))})
    return {key: item for key, item in told.items() if item}


def _named(limits: Limits) -> dict[str, int]:
    """Those that its customer named: whoever does it in the end has to allow them as well."""
    told = {
        "fuel": limits.fuel,
        "memory": limits.memory_bytes,
        "time": limits.time_ms,
        "output": limits.output_bytes,
    }
    return {key: number for key, number in told.items() if number}
