"""Whether jobs that were let in would be let in still: what is asked again while they wait.

The gate is asked in full once more when a job begins (`lite.invocations.serve`). Here it is asked
to look only: nothing is claimed and nothing is kept.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from lite.errors import AuthorityError, UsageError
from lite.frozen import frozen
from lite.invocations import check_open, instruction_of, whose_secret
from lite.ipld.cid import CID
from lite.model.instruction import Instruction
from lite.node import Node
from lite.offload import refused
from lite.offload.offers import Offers
from lite.parcel import Parcel
from lite.store.jobs import StoredJob
from lite.ucan.delegation import Delegation
from lite.ucan.invocation import Invocation
from lite.ucan.refusals import ClockWrong

__all__ = ["Asked", "NotDone", "Standing"]

ASKED_KEPT: Final = 64


@frozen
class NotDone:
    """It will not be answered."""

    code: str
    message: str
    name: str = ""
    begun: bool = False


@frozen
class Asked:
    """What came for a job, read once: the container, its invocation, the instruction, and the
    delegation of this node itself that it rests on (None: it needs none)."""

    data: bytes
    parcel: Parcel
    invocation: Invocation
    instruction: Instruction
    top: Delegation | None


class Standing:
    """See the module. Thread-safe.

    Attributes:
        asked: what came for a job that is not over, by its number.
    """

    def __init__(self, node: Node) -> None:
        self._node = node
        self._store = node.store
        self._offers = Offers(node)
        self.asked = lru_cache(ASKED_KEPT)(self._read)  # what came stays as it is

    def marks(self) -> object:
        """Something else whenever a revocation came, or what is done for whoever asks changed."""
        return self._store.tokens.revocation_marks(), self._store.jobs.offers()

    def is_open(self, job: StoredJob) -> bool:
        """Whether a job is not over, as the store says."""
        current = self._store.jobs.get(job.invocation)
        return current is not None and current.is_open

    def no_right(self, asked: Asked, trusted: bool) -> NotDone | None:
        """That nothing of the kind is done for its customer any more; None: it is.

        Args:
            trusted: its customer has the right `run` now.
        """
        op = asked.instruction.op
        if self._offers.stands(op, asked.top, trusted):
            return None
        return NotDone("no-right", f"this node does {op} for its customer no more")

    def refusal(self, job: StoredJob, *, trusted: bool) -> NotDone | None:
        """Why a job would not be let in now, as far as that can be said before its awaits are
        filled in; None: it would be. What a wrong clock cannot judge is judged when it begins.

        Args:
            trusted: its customer has the right `run` now.

        Raises:
            StoreError: the store cannot be read.
        """
        node, asked = self._node, self.asked(job.number)
        gone = self.no_right(asked, trusted)
        if gone is not None:
            return gone
        parcel, invocation = asked.parcel, asked.invocation
        try:
            node.authority.authorise(
                invocation.data,
                executor=node.did,
                proofs_with_it=parcel.delegations,
                claim=None,
                heeded=node.authority.heeded(parcel) if parcel.revocations else (),
            )
            customer = whose_secret(invocation, asked.instruction, self._store)
            allowed = node.config["ops.allowed_for_others"]
            check_open(asked.instruction, self._store, allowed, customer)
        except ClockWrong:
            return None
        except (AuthorityError, UsageError) as error:
            code, name = refused.code_of(error)
            return NotDone(code, str(error), name)
        return None

    def _read(self, number: int) -> Asked:
        data = self._store.jobs.tokens(number)
        parcel = Parcel.read(data)
        invocation = Invocation.parse(parcel.invocations[0])
        top = _top_of(invocation, parcel)
        return Asked(data, parcel, invocation, instruction_of(invocation), top)


def _top_of(invocation: Invocation, parcel: Parcel) -> Delegation | None:
    """The first link of the chain, which the gate found to be this node's own. What the others say
    of terms is the word of whoever signed them."""
    first: CID | None = next(iter(invocation.proofs), None)
    return None if first is None else Delegation.parse(parcel.delegations[first])
