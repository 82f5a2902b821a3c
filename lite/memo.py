"""What is known about instructions: which receipt answers one here, and who else may know one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from lite.clock import Clock
from lite.errors import CodecError, IntegrityError, NotFoundError, UsageError
from lite.frozen import replace
from lite.ipld import dag_cbor
from lite.ipld.cid import CID, DAG_CBOR, DAG_PB, IDENTITY
from lite.limits import Limits
from lite.model.receipt import Receipt
from lite.model.receipt_shape import leads_there
from lite.model.trust import PassedOver, TrustPolicy, answering, choose_answer, doer
from lite.settled import Results, Settled, is_held
from lite.store import Store

if TYPE_CHECKING:
    from lite.config import Config
    from lite.nearby import Nearby

__all__ = ["Memo", "policy_of"]

REMEMBERED: Final = 1_000
UNASKED: Final = "no peer was asked for it"


class Memo:
    """The receipts of a store under the trust policy, and the neighbours, if there are any."""

    def __init__(
        self, store: Store, policy: TrustPolicy, clock: Clock, nearby: Nearby | None
    ) -> None:
        self._store = store
        self._policy = policy
        self._clock = clock
        self._nearby = nearby
        self._why: dict[CID, str] = {}  # a result did not come when it was last asked for
        self._lacking: dict[CID, list[Receipt]] = {}  # of instructions, at the last look-up

    def lookup(
        self, cid: CID, limits: Limits, mode: str = "", policy: TrustPolicy | None = None
    ) -> Settled | None:
        """The receipt that answers an instruction under the trust policy, without running."""
        known = self._store.receipts.by_instruction(cid, (policy or self._policy).named)
        policy = policy or self._policy_for(known)
        return self._answer(cid, known, limits, mode, policy)

    def passed_over(self, cid: CID) -> tuple[PassedOver, ...]:
        """What would have answered an instruction when it was last looked up in vain: receipts of
        others whose results were not here, and why."""
        lacking = self._lacking.get(cid, ())
        return tuple(PassedOver(one, self._why.get(one.out.body, UNASKED)) for one in lacking)

    def said_before(
        self, cid: CID, limits: Limits, results: Results | None, *, own: TrustPolicy
    ) -> Settled | None:
        """What may be told to somebody else without running it again. What is secret was told to
        one customer, and is told to that one alone.

        Args:
            own: whose receipts count. results: those that whoever asks was given before.
        """
        known = self.lookup(cid, limits, policy=own)
        if known is None or not self._store.secrets.is_secret(known.receipt.cid):
            return known
        told = None if results is None else results(cid)
        return None if told is None or not told.out.is_ok else replace(known, receipt=told)

    def lookup_many(
        self, wanted: Sequence[tuple[CID, Limits]], mode: str = ""
    ) -> list[Settled | None]:
        """What `lookup` says to each, in the same order; few queries for many instructions, and
        one question to the neighbours about all that are not known here."""
        found = self._look_up(wanted, mode)
        lacking = [one for one, known in zip(wanted, found, strict=True) if known is None]
        return self._look_up(wanted, mode) if self.ask(lacking, mode) else found

    def _look_up(self, wanted: Sequence[tuple[CID, Limits]], mode: str) -> list[Settled | None]:
        known = self._store.receipts.by_instructions([cid for cid, _ in wanted], self._policy.named)
        return [
            self._answer(cid, some := known.get(cid, []), limits, mode, self._policy_for(some))
            for cid, limits in wanted
        ]

    def _answer(
        self, cid: CID, known: Sequence[Receipt], limits: Limits, mode: str, policy: TrustPolicy
    ) -> Settled | None:
        """What is chosen, and where that is nothing, a note of what lacks no more than a result."""
        found = self._choose(known, limits, mode, policy) if known else None
        if found is not None:
            return found
        self._lacking.pop(cid, None)
        if known and self._choose(known, limits, mode, policy, with_output=False) is not None:
            if len(self._lacking) >= REMEMBERED:
                self._lacking.clear()
            counting = answering(self._believed(known), policy, **self._now(limits, mode))
            self._lacking[cid] = [
                one for one in counting if one.issuer != policy.self_did and self._lacks_output(one)
            ]
        return None

    def _lacks_output(self, receipt: Receipt) -> bool:
        body = None if receipt.linked is None else receipt.out.body
        return isinstance(body, CID) and not is_held(self._store, body)

    def _policy_for(self, known: Sequence[Receipt]) -> TrustPolicy:
        """The trust policy; where receipts of others are here, with the peers that answer, and with
        those who were asked for just that."""
        if all(one.issuer in self._policy.named for one in known):
            return self._policy
        peers = self._store.answering() if self._policy.peers else frozenset[str]()
        others = peers | self._store.outbox.accepted(known)
        return self._policy.also(others) if others else self._policy

    def ask(self, wanted: Sequence[tuple[CID, Limits]], mode: str = "") -> bool:
        """Ask neighbours, if there are any, about instructions without an answer here, all at
        once, and fetch results that are lacking; whether `lookup` may find more now."""
        if self._nearby is None or not wanted:
            return False
        asked = self._nearby.ask([cid for cid, _ in wanted])
        bodies = [body for cid, limits in wanted for body in self._unfetched(cid, limits, mode)]
        if not bodies:
            return asked
        why = self._nearby.fetch(bodies)
        if why:
            if len(self._why) >= REMEMBERED:
                self._why.clear()
            self._why.update(dict.fromkeys(bodies, why))
        return not why or asked

    def _unfetched(self, cid: CID, limits: Limits, mode: str) -> list[CID]:
        """The result of the receipt that would be the answer, if only it were here."""
        known = self._store.receipts.by_instruction(cid, self._policy.named)
        if not known or self.lookup(cid, limits, mode) is not None:
            return []
        best = self._choose(known, limits, mode, self._policy_for(known), with_output=False)
        if best is None or is_held(self._store, best.receipt.out.body):  # it is no file
            return []
        return [best.receipt.out.body]

    def _choose(
        self,
        known: Sequence[Receipt],
        limits: Limits,
        mode: str,
        policy: TrustPolicy,
        *,
        with_output: bool = True,
    ) -> Settled | None:
        answer = choose_answer(
            [receipt for receipt in self._believed(known) if self._is_whole(receipt, with_output)],
            policy,
            **self._now(limits, mode),
        )
        return None if answer is None else Settled(answer.receipt, "cached", answer.rule)

    def _now(self, limits: Limits, mode: str) -> dict[str, Any]:
        """What a receipt has to answer for."""
        bounds = {"fuel": limits.fuel, "memory_bytes": limits.memory_bytes}
        return {**bounds, "mode": mode, "now": self._clock.now()}

    def _believed(self, known: Sequence[Receipt]) -> Sequence[Receipt]:
        """Without what a node did for another one that was shown to have given a wrong answer."""
        if all(doer(one) == one.issuer for one in known):
            return known
        without = self._store.discredited(known, self._policy.issuers)
        return [one for one in known if one.cid not in without]

    def _is_whole(self, receipt: Receipt, with_output: bool) -> bool:
        """Whether what a receipt links to is what it says; `with_output`: and is here."""
        if receipt.linked is None:
            return True
        if not leads_there(receipt.linked, receipt.out):  # kept before this was looked at
            return False
        if not _is_sound(receipt.out.body):
            return False
        if not with_output:
            return True
        return self._has_output(receipt.out.body) and (receipt.out.is_ok or self._is_told(receipt))

    def _is_told(self, receipt: Receipt) -> bool:
        """Whether the code of a linked error, by which receipts answer, is the one in the error."""
        from lite.ipld.unixfs.node import load_block

        try:
            error = dag_cbor.decode_trusted(load_block(receipt.out.body, self._store.blocks.get))
        except (NotFoundError, IntegrityError):
            return False
        return type(error) is dict and str(error.get("code", "")) == receipt.error_code

    def _has_output(self, body: CID) -> bool:
        if body.codec != DAG_PB:
            return is_held(self._store, body)
        from lite.ipld.unixfs import file_size

        try:
            file_size(body, self._store.blocks.get)
        except (NotFoundError, UsageError, IntegrityError):  # a folder, for one
            return False
        return True


def _is_sound(body: CID) -> bool:
    """Whether a value is one that stands in its CID, which no check of blocks ever looked into."""
    if body.hash_code != IDENTITY or body.codec != DAG_CBOR:
        return True
    try:
        dag_cbor.decode(body.digest)
    except CodecError:
        return False
    return True


def policy_of(did: str, config: Config) -> TrustPolicy:
    """Whose receipts count at a node, as its settings say."""
    issuers, peers = frozenset(config.trust_issuers), config["trust.peers"]
    return TrustPolicy(did, issuers, config.trust_confirmations, peers)
