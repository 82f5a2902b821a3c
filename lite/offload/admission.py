"""Which jobs a provider takes in: the gate, what it does for others at all, and how many.

Nothing is kept of what is refused but a count. Everything here may wait for the disk.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final

from lite.errors import AuthorityError, IpvmError, UsageError
from lite.frozen import frozen
from lite.invocations import admit, check_open, instruction_of, limits_of, whose_secret
from lite.ipld.cid import CID, DAG_CBOR
from lite.limits import MIB, Limits
from lite.model.instruction import Instruction
from lite.model.known_meta import is_private
from lite.needs.capabilities import Capabilities
from lite.needs.fit import fit
from lite.needs.requirements import Requirements
from lite.node import Node
from lite.offload import refused
from lite.offload.contracting import Contracting
from lite.offload.holding import Holding
from lite.offload.limiting import beyond
from lite.offload.offers import Offers
from lite.offload.terms import NO_TERMS, Terms, counted_as, terms_of
from lite.offload.wire import JOBS_MAX, NEEDS, Denied, Job
from lite.parcel import Parcel
from lite.store.jobs import DAY_S, Load, NewJob, StoredJob, Usage
from lite.store.jobs_used import COUNT_MAX
from lite.ucan import container
from lite.ucan.authorised import Authorised
from lite.ucan.invocation import Invocation

__all__ = ["Admission", "Bounds", "Caller", "DeniedError", "RefusedError", "job_of"]

WAIT_S_MAX: Final = 7 * 86_400  # that a job may wait, however late it expires


@frozen
class Caller:
    """Who asks.

    Attributes:
        did: as the channel proved it; empty: whoever signed each invocation.
        trusted: it has the right `run`.
    """

    did: str
    trusted: bool


@frozen
class Bounds:
    """How much may wait or run.

    Attributes:
        jobs: in all. each: of one customer; strangers count as one.
        size, each_size: bytes of tokens. each_fuel: that one customer's jobs may use together.
    """

    jobs: int = 4_096
    each: int = 2_048
    size: int = 64 * MIB
    each_size: int = 32 * MIB
    each_fuel: int = 10**15


class DeniedError(IpvmError):
    """A request as a whole leads to nothing; `denied` is what goes over the wire."""

    code = "denied"

    def __init__(self, status: int, denied: Denied) -> None:
        super().__init__(denied.message, hint=denied.hint or None)
        self.status = status
        self.denied = denied


class RefusedError(AuthorityError):
    """One job is refused, by the code of `lite.offload.refused`."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.reason = code


class Admission:
    """See the module. Thread-safe.

    Args:
        capabilities: what of this node others may count on.
    """

    def __init__(
        self, node: Node, capabilities: Callable[[], Capabilities], bounds: Bounds
    ) -> None:
        self._node = node
        self._capabilities = capabilities
        self._bounds = bounds
        self._jobs = node.store.jobs
        self._contracting = Contracting(node)
        self._offers = Offers(node)
        self._lock = threading.Lock()

    def take(self, data: bytes, caller: Caller) -> tuple[list[Job], list[StoredJob]]:
        """Take in what a customer sent, or refuse it job by job. What is new survives the death of
        the process, and a power cut once it was kept (`lite.offload.unsaid`).

        Returns:
            How each stands, in the order of the container; and those that are new.

        Raises:
            DeniedError: it cannot be read, or this customer may not ask at all.
        """
        parcel = self._read(data)
        self.check_caller(caller)
        found: list[Job | NewJob] = []
        with self._lock:
            room = _Room(self._bounds, self._jobs.load())
            for invocation in parcel.invocations:
                found.append(self._one(invocation, parcel, caller, room))
            new = [one for one in found if isinstance(one, NewJob)]
            added = {job.invocation: job for job in self._jobs.add(new)} if new else {}
        jobs = [job_of(added[one.invocation]) if isinstance(one, NewJob) else one for one in found]
        return jobs, list(added.values())

    def check_caller(self, caller: Caller) -> None:
        """Raises DeniedError for somebody for whom nothing is done here."""
        if not caller.trusted and not self._jobs.offers():
            told = "this node does nothing for you"
            hint = "Its owner can let you: `ipvm provider enable --for DID`."
            raise DeniedError(403, Denied("no-right", told, hint))

    def refuse(self, data: bytes, caller: Caller, code: str, message: str, name: str = "") -> Job:
        """A refusal that is counted, and of which nothing else is kept."""
        self._jobs.refused(caller.did if caller.trusted else "", code)
        signed = self.statement(data, code, message, name)
        cid, now = CID.of(data, DAG_CBOR), self._node.clock.now()
        return Job(cid, "refused", 0, now, False, None, code, message[:1_000], signed)

    def statement(self, data: bytes, code: str, message: str, name: str = "") -> bytes:
        """This node's word on an invocation that is not answered (now)."""
        now = self._node.clock.now()
        return refused.state(self._node.key, data, code, message, now=now, name=name).data

    def _read(self, data: bytes) -> Parcel:
        try:
            parcel = Parcel.read(data)
        except IpvmError as error:
            raise DeniedError(400, Denied(error.code, str(error), error.hint or "")) from None
        count = len(parcel.invocations)
        if not 1 <= count <= JOBS_MAX:
            told = f"{count} invocations in it, 1 to {JOBS_MAX} are taken at once"
            raise DeniedError(400, Denied("usage", told))
        return parcel

    def _one(self, data: bytes, parcel: Parcel, caller: Caller, room: _Room) -> Job | NewJob:
        known = self._jobs.get(CID.of(data, DAG_CBOR))
        if known is not None and known.customer == (caller.did or known.customer):
            return job_of(known)
        try:
            new, terms = self._judged(data, parcel, caller)
            self._check_day(new, terms, room)
            room.take(new)
            return new
        except RefusedError as error:
            return self.refuse(data, caller, error.reason, str(error))
        except (AuthorityError, UsageError) as error:
            code, name = refused.code_of(error)
            return self.refuse(data, caller, code, str(error), name)

    def _judged(self, data: bytes, parcel: Parcel, caller: Caller) -> tuple[NewJob, Terms]:
        """Whether one may be done, as far as can be said now. Raises RefusedError, IpvmError."""
        node = self._node
        allowed = admit(node.authority, parcel, data, node.did, None)
        invocation = allowed.invocation
        if caller.did and invocation.issuer != caller.did:
            raise RefusedError("not-yours", f"it was signed by {invocation.issuer}, not by you")
        instruction = instruction_of(invocation)
        most = self.limits(allowed)
        limits = limits_of(invocation, most)
        customer = whose_secret(invocation, instruction, self._node.store)
        self._check_open(instruction, customer)
        top = allowed.chain[0] if allowed.chain else None
        if not self._offers.stands(instruction.op, top, caller.trusted):
            raise RefusedError("no-right", f"this node does not do {instruction.op} for you")
        passes = not is_private(invocation.meta) and self._contracting.may(terms_for(allowed))
        self._check_limits(invocation, most)
        if not passes or instruction.awaits():
            self._check_fit(invocation)
        now = node.clock.now()
        tokens = [data, *(link.data for link in allowed.chain), *parcel.revocations]
        ends = now + WAIT_S_MAX if allowed.expires_at is None else allowed.expires_at
        new = NewJob(
            invocation.cid,
            invocation.issuer,
            invocation.issuer if caller.trusted else "",
            counted_as(top) if top is not None else None,
            instruction.cid,
            limits.fuel,
            min(ends, now + WAIT_S_MAX),
            container.write(tokens, "bare"),
        )
        return new, terms_for(allowed)

    def limits(self, allowed: Authorised) -> Limits:
        """What a job may use at most."""
        own = self._node.config.limits
        return terms_for(allowed).limits(Limits.guest().clamp(own), own)

    def _check_open(self, instruction: Instruction, customer: str) -> None:
        allowed = self._node.config["ops.allowed_for_others"]
        if instruction.op not in allowed:
            raise RefusedError("op-own", f"this node does {instruction.op} for its owner only")
        try:
            check_open(instruction, self._node.store, allowed, customer)
        except AuthorityError as error:
            raise RefusedError("secret", str(error)) from error

    def _check_limits(self, invocation: Invocation, most: Limits) -> None:
        """Whether the limits that the step names are allowed; the rest is cut."""
        found = beyond(_needs(invocation).limits, most, "this provider")
        if not found.ok:
            raise RefusedError(found.codes[0], str(found))

    def _check_fit(self, invocation: Invocation) -> None:
        """Whether this node has what the customer says that the job needs."""
        if NEEDS not in invocation.meta:
            return
        needs = _needs(invocation)
        holds = Holding(self._node.store)
        found = fit(needs, self._capabilities(), holds, "this provider")
        if not found.ok:
            raise RefusedError(found.codes[0], str(found))

    def _check_day(self, job: NewJob, terms: Terms, room: _Room) -> None:
        if job.grant is None or not (terms.jobs or terms.day_fuel):
            return
        waits, comes = self._jobs.open_under(job.grant), room.under(job.grant)
        used = self._jobs.used_of(job.grant, self._node.clock.now() // DAY_S)  # what just ended too
        jobs, fuel = (
            used.jobs + waits.jobs + comes.jobs,
            used.fuel + waits.fuel + comes.fuel,
        )
        if terms.jobs and jobs >= terms.jobs:
            raise RefusedError("per-day", f"{terms.jobs} jobs a day are allowed, and are used up")
        day_fuel = min(terms.day_fuel, COUNT_MAX)
        if day_fuel and fuel + job.fuel > day_fuel:
            left = max(0, day_fuel - fuel)
            told = f"of {day_fuel} fuel a day {left} are left, and it may use {job.fuel}"
            raise RefusedError("per-day", told)


class _Room:
    """How much more may be taken in, while one request is looked at."""

    def __init__(self, bounds: Bounds, load: dict[str, Load]) -> None:
        self._bounds = bounds
        self._load = load
        self._under: dict[CID, Usage] = {}

    def under(self, grant: CID) -> Usage:
        """What was taken in under a delegation by this request."""
        return self._under.get(grant, Usage())

    def take(self, job: NewJob) -> None:
        """Raises RefusedError when there is no room for a job; else it is counted."""
        bounds, loads = self._bounds, self._load.values()
        if sum(one.jobs for one in loads) >= bounds.jobs:
            raise RefusedError("busy", f"{bounds.jobs} jobs wait here, as many as may")
        if sum(one.size for one in loads) + len(job.tokens) > bounds.size:
            raise RefusedError("busy", f"more than {bounds.size} bytes of jobs would wait here")
        own = self._load.get(job.party, Load())
        after = Load(own.jobs + 1, own.size + len(job.tokens), own.fuel + job.fuel)
        whose = "yours" if job.party else "customers without a name here"
        if after.jobs > bounds.each:
            raise RefusedError("too-many", f"{own.jobs} jobs of {whose} wait, as many as may")
        if after.size > bounds.each_size:
            raise RefusedError("too-many", f"jobs of {whose} have {own.size} bytes already")
        if after.fuel > bounds.each_fuel:
            raise RefusedError("too-many", f"jobs of {whose} may use {own.fuel} fuel already")
        self._load[job.party] = after
        if job.grant is not None:
            before = self.under(job.grant)
            self._under[job.grant] = Usage(before.jobs + 1, before.fuel + job.fuel)


def _needs(invocation: Invocation) -> Requirements:
    """What the customer says that a job needs. Raises UsageError."""
    told = invocation.meta.get(NEEDS)
    return Requirements() if told is None else Requirements.from_value(told, ("meta", NEEDS))


def terms_for(allowed: Authorised) -> Terms:
    """The terms in the delegation of this node itself that an invocation rests on."""
    return (terms_of(allowed.chain[0]) if allowed.chain else None) or NO_TERMS


def job_of(job: StoredJob) -> Job:
    """A stored job as it goes over the wire."""
    return Job(
        job.invocation,
        job.state,  # type: ignore[arg-type]
        job.seq,
        job.changed_at,
        job.begun,
        job.instruction,
        job.code,
        job.message,
        job.answer,
    )
