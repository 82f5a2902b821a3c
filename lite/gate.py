"""Judging tokens with what this node holds and with its clock.

`lite.ucan.proofs.check` decides; here it gets the store, the memo and the time. Time bounds mean
nothing to a node whose clock is known to be wrong, so then whatever has one is refused by name
(`ClockWrong`), and nothing is found expired or too early for that reason alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Literal

from lite.clock import Clock, ClockState
from lite.delegations import Searches, Source, read_delegation
from lite.errors import IpvmError, UsageError
from lite.frozen import frozen
from lite.ipld.cid import CID
from lite.model.receipt import Receipt
from lite.parcel import Parcel
from lite.store import Store
from lite.ucan import chains, proofs
from lite.ucan.authorised import Authorised, first_revoked
from lite.ucan.between import between
from lite.ucan.chains import Wanted
from lite.ucan.checks import Place, check_time
from lite.ucan.delegation import Delegation
from lite.ucan.memo import Memo
from lite.ucan.proofs import Claim
from lite.ucan.refusals import (
    ClockWrong,
    Expired,
    NoProofs,
    Refusal,
    Revoked,
    TooEarly,
    UnavailableProof,
)
from lite.ucan.revocation import NOUN, revokers
from lite.ucan.show import moment, short
from lite.ucan.upward import Upward

INVOCATION_COST: Final = 5_000  # looks: its policies may take many steps
REVOCATION_COST: Final = 200

Kind = Literal["delegation", "invocation", "revocation", "receipt"]


@frozen
class Verdict:
    """Whether a token holds now.

    Attributes:
        until: last second in which it holds; None: for ever, or it does not.
        refusal: why it does not hold.
        chain: the delegations that it rests on, the subject's own first, itself included; what was
            found of them when it does not hold.
        note: what else to know of it, in one line; often empty.
    """

    kind: Kind
    holds: bool
    until: int | None
    refusal: IpvmError | None
    chain: list[Delegation]
    note: str = ""


class Gate:
    """What one node lets in, and what it finds of tokens.

    Attributes:
        memo: of what was verified before.
    """

    def __init__(self, store: Store, clock: Clock) -> None:
        self._clock = clock
        self._tokens = store.tokens
        self.memo = Memo()

    def clock_state(self) -> ClockState:
        """What the clock shows, and whether it can be right."""
        now, latest = self._clock.now(), self._tokens.latest()
        behind = latest.receipt is not None and now < latest.signed_at
        return ClockState.of(now, latest.signed_at, str(latest.receipt) if behind else "")

    def authorise(
        self,
        data: bytes,
        *,
        executor: str | None,
        proofs_with_it: Mapping[CID, bytes],
        claim: Claim | None,
    ) -> Authorised:
        """`proofs.check` with what this node holds: the only way in for others' invocations.

        Args:
            data: the token of the invocation.
            executor: DID of this node; None only to look.
            proofs_with_it: delegations that came with it, by CID.
            claim: see `proofs.check`.

        Raises:
            Refusal: see `proofs.check`; ClockWrong: time bounds cannot be judged here now.
        """
        state = self.clock_state()
        if state.suspicious is not None:
            found = self._timed(
                state, lambda: self._check(data, executor, state.sure_now, proofs_with_it, None)
            )
            if found.not_before is not None or found.expires_at is not None:
                raise clock_wrong(state, found.invocation.cid)
        return self._check(data, executor, state.sure_now, proofs_with_it, claim)

    def searches(self) -> Searches:
        """What several calls of `verify` may share: their work is bounded together."""
        return Searches(self._tokens)

    def verify(
        self, data: bytes, *, executor: str | None = None, searches: Searches | None = None
    ) -> Verdict:
        """Whether a token holds now: a delegation, or an invocation with its proofs, which may be
        in the same container or here. It changes nothing and does not count as a use. Revocations
        and receipts are judged as an import would.

        A container is judged by its invocation; or else by the delegation that ends its chain.

        Args:
            executor: the DID that is to act; None: do not ask to whom it is addressed.
            searches: shared with other calls. When they are exhausted, what is said not to hold
                for want of a chain may still hold.

        Raises:
            MalformedToken: there is neither token nor container in the data.
            UsageError: the container holds more than one thing to be judged.
        """
        parcel = Parcel.read(data)
        single = [*parcel.invocations, *parcel.revocations, *parcel.receipts]
        if len(single) > 1:
            raise UsageError(
                f"there are {len(single)} tokens in it that are no delegations: verify them one by "
                "one"
            )
        searches = searches or self.searches()
        if not single:
            return self._verify_delegation(parcel, searches)
        (data,) = single
        searches.spend(INVOCATION_COST if parcel.invocations else REVOCATION_COST)
        if parcel.revocations:
            return self._verify_revocation(data, parcel, searches)
        if parcel.receipts:
            return self._verify_receipt(data)
        return self._verify_invocation(data, executor, parcel)

    def _verify_invocation(self, data: bytes, executor: str | None, parcel: Parcel) -> Verdict:
        try:
            found = self.authorise(
                data, executor=executor, proofs_with_it=parcel.delegations, claim=None
            )
        except Refusal as refusal:
            return Verdict("invocation", False, None, refusal, [])
        return Verdict("invocation", True, found.expires_at, None, list(found.chain))

    def _verify_revocation(self, data: bytes, parcel: Parcel, searches: Searches) -> Verdict:
        """As it counts where it is kept: in the name of its issuer, whenever that ended."""
        state = self.clock_state()

        def resolve(cid: CID) -> bytes | None:
            return parcel.delegations.get(cid) or self._tokens.delegation(cid)

        try:
            revocation, names = self._timed(
                state,
                lambda: revokers(
                    data, now=state.sure_now, resolve=resolve, revoked_by=self._tokens.revoked_by
                ),
            )
            revoked = resolve(revocation.revoked)
            if revoked is None:
                note = "its delegation is not here; it counts if its issuer stands above that"
                return Verdict("revocation", True, None, None, [], note)
            leaf = read_delegation(revoked)
            source = Source(searches, parcel.delegations)
            about = leaf.subject or revocation.invocation.subject
            if any(between(source, name, leaf.issuer, about=about) for name in names):
                return Verdict("revocation", True, None, None, [])
        except Refusal as refusal:
            return Verdict("revocation", False, None, refusal, [])
        issuer = short(revocation.invocation.issuer)
        stranger = NoProofs(
            f"issued by {issuer}, who issued neither {short(leaf.cid)} nor one above it",
            hint="import the delegations before it, or verify them together in one container",
        )
        return Verdict(
            "revocation", False, None, Place(revocation.cid, noun=NOUN).refused(stranger, "8"), []
        )

    def _verify_receipt(self, data: bytes) -> Verdict:
        try:
            receipt = Receipt.parse(data)
        except IpvmError as error:
            return Verdict("receipt", False, None, error, [])
        ends = receipt.expires_at
        over = ends is not None and ends < self.clock_state().sure_now
        note = f"what it says held until {moment(ends)}" if ends is not None and over else ""
        return Verdict("receipt", True, ends, None, [], note)

    def _verify_delegation(self, parcel: Parcel, searches: Searches) -> Verdict:
        state = self.clock_state()
        chain: list[Delegation] = []
        try:
            leaf = _leaf(parcel, searches)
            chain = self._chain_of(leaf, state, parcel, searches)
            self._check_chain(chain, state)
            ends = [link.expires_at for link in chain if link.expires_at is not None]
            begins = any(link.not_before is not None for link in chain)
            if state.suspicious is not None and (ends or begins):
                raise clock_wrong(state, leaf.cid)
        except Refusal as refusal:
            return Verdict("delegation", False, None, refusal, chain)
        return Verdict("delegation", True, min(ends) if ends else None, None, chain)

    def _chain_of(
        self, leaf: Delegation, state: ClockState, parcel: Parcel, searches: Searches
    ) -> list[Delegation]:
        """The chain that a delegation ends: one that holds, else the nearest to that.

        Raises:
            UnavailableProof: there is none; or the time is not that of the delegation itself.
        """
        with_it = {cid: data for cid, data in parcel.delegations.items() if cid != leaf.cid}
        if leaf.is_root or (leaf.subject is None and not with_it):
            return [leaf]  # a powerline by itself: whatever its issuer may do
        source = Source(searches, with_it)
        subjects = [leaf.subject] if leaf.subject else source.subjects()
        nearest: chains.Chain | None = None
        for subject in subjects:
            above = self._find(subject, leaf.issuer, leaf.command, None, source, heed=True)
            if above is not None:
                return [*above, leaf]
            upward = Upward.of(leaf, subject, source)
            # Without asking who has revoked what, the second time: then the link can be named.
            for heed in (True, False):
                for command in upward.commands:
                    above = self._find(subject, leaf.issuer, command, None, source, heed=heed)
                    if above is not None:
                        return [*above, leaf]
            nearest = nearest or upward.chain
        if nearest is not None:
            return list(nearest)
        place = Place(leaf.cid, 0)
        self._timed(state, lambda: check_time(leaf, state.sure_now, place))
        whom = "its subject" if leaf.subject is None else short(leaf.subject)
        if searches.exhausted:
            cut_off = UnavailableProof(
                f"issued by {short(leaf.issuer)}, and there are so many delegations that the "
                f"search for a chain from {whom} was cut off",
                hint="verify it together with its chain in one container",
            )
            raise place.refused(cut_off, "7a")
        missing = UnavailableProof(
            f"issued by {short(leaf.issuer)}, and no chain from {whom} that would give the right "
            "to that is at hand now",
            hint="import the delegations before it, or verify them together in one container",
        )
        raise place.refused(missing, "7a")

    def _check_chain(self, chain: Sequence[Delegation], state: ClockState) -> None:
        """What an invocation through the chain would be told, whatever its arguments."""
        narrowest = max((link.command for link in chain), key=len)
        subject = chain[0].subject
        if subject is None:
            place = Place(chain[0].cid, 0)
            self._timed(state, lambda: check_time(chain[0], state.sure_now, place))
            revoked = first_revoked(chain, self._tokens.revoked_by)
            if revoked is not None:
                raise place.refused(Revoked(f"revoked by {short(revoked[1])}"), "7j")
            return
        self._timed(
            state,
            lambda: proofs.check_chain(
                chain,
                subject=subject,
                command=narrowest,
                now=state.sure_now,
                revoked_by=self._tokens.revoked_by,
            ),
        )

    def _check(
        self,
        data: bytes,
        executor: str | None,
        now: int,
        proofs_with_it: Mapping[CID, bytes],
        claim: Claim | None,
    ) -> Authorised:
        return proofs.check(
            data,
            executor=executor,
            now=now,
            resolve=lambda cid: proofs_with_it.get(cid) or self._tokens.delegation(cid),
            revoked_by=self._tokens.revoked_by,
            any_revoked=self._tokens.any_revoked,
            claim=claim,
            memo=self.memo,
        )

    def _timed(self, state: ClockState, check: Callable[[], Any]) -> Any:
        """What a check gives; with a clock that is wrong, what it says of time is not believed."""
        try:
            return check()
        except (TooEarly, Expired) as refusal:
            if state.suspicious is None:
                raise
            raise clock_wrong(state, refusal.token) from refusal

    def find(
        self,
        subject: str,
        audience: str,
        command: str,
        args: dict[str, Any] | None,
        with_it: Mapping[CID, bytes],
    ) -> list[Delegation] | None:
        source = Source(self.searches(), with_it)
        return self._find(subject, audience, command, args, source, heed=True)

    def _find(
        self,
        subject: str,
        audience: str,
        command: str,
        args: dict[str, Any] | None,
        source: Source,
        *,
        heed: bool,
    ) -> list[Delegation] | None:
        """`chains.find`; `heed` revocations or not."""
        wanted = Wanted(subject, audience, command, self.clock_state().sure_now, args)
        revoked_by = source.searches.revoked_by if heed else _nobody
        found = chains.find(source, wanted, revoked_by=revoked_by)
        return None if found is None else list(found)


def _leaf(parcel: Parcel, searches: Searches) -> Delegation:
    """The one delegation of a parcel that no other goes on from."""
    found = [searches.read(cid, data) for cid, data in parcel.delegations.items()]
    if not found:
        raise UsageError("there is no token in it")
    passed_on = {one.issuer for one in found if not one.is_root}
    leaves = [one for one in found if one.audience not in passed_on]
    if len(leaves) != 1:
        raise UsageError(
            f"{len(leaves) or 'none'} of the delegations in it end a chain, not one: verify them "
            "one by one"
        )
    return leaves[0]


def clock_wrong(state: ClockState, token: CID | None) -> ClockWrong:
    return ClockWrong(
        f"{state.suspicious}; nothing that begins or ends at a time can be judged or signed",
        token=token,
        details={"now": state.now, "high_water": state.high_water},
        hint=state.hint,
    )


def _nobody(_cid: CID, _issuers: Sequence[str]) -> str | None:
    return None
