"""Doing one job: what it waits for, then `lite.invocations.serve`, then how it ended as a value.

Everything here runs in a thread. The claim that `serve` makes before anything is done, and the
receipt that it keeps with it, say after a crash what became of a job: answered, free to be done
again because it is pure, or in doubt.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final

from lite.engine.stop import Stop
from lite.errors import Interrupted, IpvmError
from lite.frozen import frozen
from lite.invocations import (
    Act,
    admit,
    answer_to,
    limits_of,
    permit_of,
    serve,
)
from lite.ipld.cid import CID
from lite.limits import Limits
from lite.model.instruction import WASM_RUN, Instruction
from lite.model.known_meta import is_private
from lite.model.receipt import Receipt
from lite.needs.capabilities import Capabilities
from lite.needs.fit import fit
from lite.needs.requirements import Requirements
from lite.node import Node
from lite.offload import refused
from lite.offload.accounts import used_by
from lite.offload.contracting import Contracting, Lost
from lite.offload.holding import Holding
from lite.offload.private_jobs import private_roots
from lite.offload.standing import Asked, NotDone, Standing
from lite.offload.supplying import Supplied, supply
from lite.offload.terms import terms_of
from lite.offload.wire import NEEDS
from lite.peering.shelf import missing
from lite.settled import Results, Watch
from lite.store.database import Transaction
from lite.store.jobs import StoredJob, Usage
from lite.ucan.authorised import Authorised
from lite.ucan.invocation import Invocation
from lite.ucan.refusals import InDoubt, Replayed

__all__ = ["PASSED_ON", "Broken", "Doing", "Done", "End", "Needs", "NotDone", "PassedOn", "Stopped"]

PASSED_ON: Final = "passed-on"


@frozen
class Done:
    """It was answered; `used` is None when nothing ran for it. `written`: the job has ended in the
    books already, with its receipt."""

    receipt: Receipt
    used: Usage | None
    written: bool = False


@frozen
class Needs:
    """It cannot begin yet.

    Attributes:
        awaited: instructions whose answers are not known here.
        blocks: roots below which something is missing.
        private: those of them that are secrets of the customer, so that it alone is asked for them.
    """

    awaited: tuple[CID, ...] = ()
    blocks: tuple[CID, ...] = ()
    private: frozenset[CID] = frozenset()


@frozen
class PassedOn:
    """It lacks something here, and became a run of this node that goes elsewhere."""

    run: str


@frozen
class Stopped:
    """It was ended from outside; `begun`: it may have had an effect."""

    begun: bool


class Broken(Exception):
    """What should not break did, and may have acted before; its cause says what."""


End = Done | NotDone | Needs | PassedOn | Stopped


class Doing:
    """Does jobs. Thread-safe.

    Args:
        limits: what a job that was let in may use at most.
        capabilities: what of this node others may count on.

    Attributes:
        standing: whether jobs would be let in still.
    """

    def __init__(
        self,
        node: Node,
        limits: Callable[[Authorised], Limits],
        capabilities: Callable[[], Capabilities],
    ) -> None:
        self._node = node
        self._capabilities = capabilities
        self._contracting = Contracting(node)
        self.standing = Standing(node)
        self._store = node.store
        self._limits = limits

    def do(
        self,
        job: StoredJob,
        stop: Stop,
        on_trace: Callable[[bytes], None],
        began: Callable[[], object],
        *,
        trusted: bool = True,
    ) -> End:
        """Do a job, or say why it cannot begin. A job that is over is never begun again: what
        answered it is found by its invocation.

        Args:
            began: told that it is running, once that is written down: before what acts begins. Of
                what may be done again whoever calls this writes it, if it takes long enough.
            trusted: its customer has the right `run` now.

        Raises:
            Broken: something that is no error of the world, in what may have acted.
            BugError, and whatever else is none.
        """
        earlier = answer_to(job.invocation, self._store)
        if earlier is not None:
            return Done(earlier.receipt, used_by(earlier.receipt) if job.begun else None)
        asked = self.standing.asked(job.number)
        data, instruction = asked.data, asked.instruction
        if (gone := self.standing.no_right(asked, trusted)) is not None:
            return gone
        needs = self._needs(instruction, job)
        if needs is not None:  # nothing is fetched for what would be refused then
            return self.standing.refusal(job, trusted=trusted) or needs
        known = self._answered(instruction, job.customer)
        try:
            if not known and (run := self._pass_on(job, asked)) is not None:
                return PassedOn(run)
        except IpvmError as error:
            return self._failed(job, error, begun=False)
        acted: list[bool] = []
        harmless = self._node.executor.may_repeat(instruction)
        if not harmless:
            self._store.jobs.change(job.number, "running")
            began()
        try:
            begins = partial(self._ran, job.number, instruction)
            watch = Watch(None, on_trace, stop, True, _declared(asked.invocation), begins)
            return self._serve(job, data, watch, acted)
        except IpvmError as error:
            return self._failed(job, error, begun=bool(acted) and not harmless)
        except Exception as error:
            if harmless or not acted:
                raise
            raise Broken(f"{instruction.op} broke") from error

    def end_of(self, job: StoredJob, run: str) -> Done | NotDone | None:
        """What came of a job that was passed on; None: it goes on."""
        ended = self._contracting.end(run)
        if ended is None:
            return None
        if isinstance(ended, Lost):
            return NotDone(PASSED_ON, ended.message, begun=ended.begun)
        if not self._store.jobs.tokens(job.number):
            return None  # it ended while this looked
        data, act = self.standing.asked(job.number).data, partial(self._contracting.sign, ended)
        try:
            done = self._serve(job, data, Watch(for_others=True), [], act)
        except IpvmError as error:
            done = self._failed(job, error, begun=True)
        return done if isinstance(done, (Done, NotDone)) else None

    def _ran(self, number: int, instruction: Instruction, limits: Limits) -> None:
        fuel = limits.fuel if instruction.op == WASM_RUN else 0
        self._store.jobs.ran(number, fuel=fuel, time_ms=limits.time_ms)

    def acting(self, jobs: Sequence[StoredJob]) -> list[int]:
        """The numbers of those that must not be stopped and run again."""
        executor, tokens = self._node.executor, self._store.jobs.tokens
        loaded = [job.number for job in jobs if tokens(job.number)]  # those not over meanwhile
        asked = ((number, self.standing.asked(number).instruction) for number in loaded)
        return [number for number, instruction in asked if not executor.may_repeat(instruction)]

    def supplied(
        self, customer: str, waiting: Mapping[int, Needs], data: bytes, left: Mapping[int, int]
    ) -> Supplied:
        """Take blocks for jobs of one customer that wait for what is below some roots: see
        `lite.offload.supplying.supply`.

        Args:
            left: how many bytes may come for each still.
        """
        roots = {number: needs.blocks for number, needs in waiting.items()}
        private = list({root for needs in waiting.values() for root in needs.private})
        return supply(self._store, roots, data, left, private=private, customer=customer)

    def call_off(self, job: StoredJob) -> None:
        """A job that was passed on is not wanted any more: what did not leave stays here, and who
        was sent it is told."""
        for run in self._contracting.runs_of(job):
            self._contracting.cancel(run)

    def _pass_on(self, job: StoredJob, asked: Asked) -> str | None:
        """The run of a job that does not fit here and may be passed on, else None."""
        parcel, invocation, instruction = asked.parcel, asked.invocation, asked.instruction
        if not self._contracting.may(None if asked.top is None else terms_of(asked.top)):
            return None
        told = invocation.meta.get(NEEDS)
        plain = Requirements(ops=(instruction.op,))
        needs = plain if told is None else Requirements.from_value(told)
        if is_private(invocation.meta) or needs.key:
            return None  # what only this node may know is not for others
        goes = self._contracting.runs_of(job) if job.code == PASSED_ON else []
        if not goes and fit(needs, self._capabilities(), Holding(self._store)).ok:
            return None
        allowed = admit(self._node.authority, parcel, invocation.data, self._node.did, None)
        permit_of(allowed, instruction, self._store, self._node.info)(instruction)
        if goes:
            return goes[0]
        limits = limits_of(invocation, self._limits(allowed))
        return self._contracting.begin(job, instruction, needs, limits)

    def knows(self, job: StoredJob) -> bool:
        """Whether a job can be answered at once, without running anything."""
        return self._answered(self.standing.asked(job.number).instruction, job.customer)

    def show(self, job: StoredJob) -> bool:
        """Write down that a job runs, if it may be done again; of what acts `do` does that, in its
        turn."""
        if not self._node.executor.may_repeat(self.standing.asked(job.number).instruction):
            return False
        return self._store.jobs.change(job.number, "running")

    def _answered(self, instruction: Instruction, customer: str) -> bool:
        """Whether a receipt of this node answers an instruction of a customer without running."""
        executor = self._node.executor
        if executor.level_of(instruction) != "pure":
            return False
        limits, results = self._node.config.limits, self._results(customer)
        return executor.said_before(instruction.cid, limits, results) is not None

    def _results(self, customer: str) -> Results:
        """The receipts that jobs of a customer got here."""

        def result(instruction: CID) -> Receipt | None:
            cid = self._store.instructions.canonical(instruction)
            return self._store.jobs.answer(cid, customer)

        return result

    def _needs(self, instruction: Instruction, job: StoredJob) -> Needs | None:
        """What it waits for; None when it can begin."""
        if self._answered(instruction, job.customer):
            return None
        canonical = self._store.instructions.canonical
        awaited = dict.fromkeys(canonical(wait.instruction) for wait in instruction.awaits())
        unknown = [cid for cid in awaited if not self._knows(cid, job.customer)]
        if unknown:
            return Needs(awaited=tuple(unknown))
        roots = _roots(instruction)
        if not roots or not missing(self._store, roots, deep=True):
            return None
        invocation = self.standing.asked(job.number).invocation
        return Needs(blocks=roots, private=private_roots(invocation))

    def all_known(self, instructions: Sequence[CID], customer: str) -> bool:
        """Whether the answers to instructions are here, for a customer."""
        return all(self._knows(cid, customer) for cid in instructions)

    def _knows(self, instruction: CID, customer: str) -> bool:
        if self._store.jobs.answer(instruction, customer) is not None:
            return True
        return self._node.executor.lookup(instruction, self._node.config.limits) is not None

    def _serve(
        self,
        job: StoredJob,
        data: bytes,
        watch: Watch,
        acted: list[bool],
        act: Act | None = None,
    ) -> End:
        ended: list[bool] = []

        def also(transaction: Transaction, receipt: Receipt, ran: bool) -> None:
            used = used_by(receipt) if ran or job.begun else None
            write = self._store.jobs.write_end
            ended[:] = [write(transaction, job, "done", receipt.data, used=used, begun=True)]

        node = self._node
        settled = serve(
            data,
            authority=node.authority,
            executor=node.executor,
            store=self._store,
            did=node.did,
            guest=self._limits,
            ops_allowed=node.config["ops.allowed_for_others"],
            info=node.info,
            watch=watch,
            results=self._results(job.customer),
            begins=lambda: acted.append(True),
            undone=acted.clear,
            act=act,
            also=also,
        )
        ran = settled.source == "ran" or job.begun
        used = used_by(settled.receipt) if ran else None
        return Done(settled.receipt, used, written=bool(ended))

    def _failed(self, job: StoredJob, error: IpvmError, *, begun: bool) -> End:
        if isinstance(error, Interrupted):
            return Stopped(begun)
        if isinstance(error, Replayed) and not isinstance(error, InDoubt):
            answer = answer_to(self.standing.asked(job.number).invocation, self._store)
            if answer is not None:  # somebody else brought it, or its twin, here meanwhile
                return Done(answer.receipt, None)
        code, name = refused.code_of(error)
        begun = begun or isinstance(error, InDoubt)
        return NotDone(code, str(error), name, begun)


def _roots(instruction: Instruction) -> tuple[CID, ...]:
    roots = list(instruction.links())
    if instruction.module is not None:
        roots.append(instruction.module)
    return tuple(dict.fromkeys(roots))


def _declared(invocation: Invocation) -> Mapping[str, Any]:
    """What its customer says that a job needs; admission has read it."""
    told = invocation.meta.get(NEEDS)
    return told if isinstance(told, dict) else {}
