"""Judging tokens with what this node holds and with its clock.

`lite.ucan.proofs.check` decides; here it gets the store, the memo and the time. Time bounds mean
nothing to a node whose clock is known to be wrong, so then whatever has one is refused by name
(`ClockWrong`), and nothing is found expired or too early for that reason alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, Literal

from lite.clock import Clock, ClockState
from lite.errors import UsageError
from lite.frozen import frozen
from lite.ipld.cid import CID, DAG_CBOR
from lite.parcel import Parcel
from lite.store import Store
from lite.ucan import chains, proofs, twins
from lite.ucan.authorised import Authorised, RevokedBy, first_revoked
from lite.ucan.chains import Wanted
from lite.ucan.checks import Place, check_signature, check_time, read
from lite.ucan.delegation import Delegation
from lite.ucan.memo import Memo
from lite.ucan.proofs import Claim
from lite.ucan.refusals import (
    ClockWrong,
    Expired,
    Refusal,
    Revoked,
    TooEarly,
    UnavailableProof,
)
from lite.ucan.show import short

Kind = Literal["delegation", "invocation", "revocation", "receipt"]
CLOCK_HINT: Final = "set the clock, or let the network set it; `ipvm doctor` shows what is known"


@frozen
class Verdict:
    """Whether a token holds now.

    Attributes:
        until: last second in which it holds; None: for ever, or it does not.
        refusal: why it does not hold.
        chain: the delegations that it rests on, the subject's own first, itself included; what was
            found of them when it does not hold.
    """

    kind: Kind
    holds: bool
    until: int | None
    refusal: Refusal | None
    chain: list[Delegation]


class Gate:
    """What one node lets in, and what it finds of tokens.

    Attributes:
        memo: of what was verified before.
    """

    def __init__(self, store: Store, clock: Clock) -> None:
        self._clock = clock
        self._tokens = store.tokens
        self._store = store
        self.memo = Memo()

    def clock_state(self) -> ClockState:
        """What the clock shows, and whether it can be right."""
        now, latest = self._clock.now(), self._tokens.latest()
        behind = latest.receipt is not None and now < latest.signed_at
        receipt = short(latest.receipt) if behind else ""
        return ClockState.of(now, latest.signed_at, receipt)

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

    def verify(self, data: bytes, *, executor: str | None = None) -> Verdict:
        """Whether a token holds now: a delegation, or an invocation with its proofs, which may be
        in the same container or here. It changes nothing and does not count as a use.

        A container is judged by its invocation; or else by the delegation that ends its chain.

        Args:
            executor: the DID that is to act; None: do not ask to whom it is addressed.

        Raises:
            MalformedToken: there is neither token nor container in the data.
            UsageError: the container holds more than one thing to be judged.
        """
        parcel = Parcel.read(data)
        single = [*parcel.invocations, *parcel.revocations, *parcel.receipts]
        if len(single) == 1:
            return self._verify_invocation(single[0], executor, parcel)
        if single:
            raise UsageError(f"there are {len(single)} invocations in it: verify them one by one")
        return self._verify_delegation(parcel)

    def _verify_invocation(self, data: bytes, executor: str | None, parcel: Parcel) -> Verdict:
        kind: Kind = (
            "invocation"
            if parcel.invocations
            else "revocation"
            if parcel.revocations
            else "receipt"
        )
        try:
            found = self.authorise(
                data, executor=executor, proofs_with_it=parcel.delegations, claim=None
            )
        except Refusal as refusal:
            return Verdict(kind, False, None, refusal, [])
        return Verdict(kind, True, found.expires_at, None, list(found.chain))

    def _verify_delegation(self, parcel: Parcel) -> Verdict:
        state = self.clock_state()
        chain: list[Delegation] = []
        try:
            leaf = _leaf(parcel)
            chain = self._chain_of(leaf, state, parcel)
            revoked = first_revoked(chain, self._tokens.revoked_by)
            if revoked is not None:
                position, revoker = revoked
                place = Place(chain[position].cid, position, len(chain))
                raise place.refused(Revoked(f"revoked by {short(revoker)}"), "7j")
            ends = [link.expires_at for link in chain if link.expires_at is not None]
            begins = any(link.not_before is not None for link in chain)
            if state.suspicious is not None and (ends or begins):
                raise clock_wrong(state, leaf.cid)
        except Refusal as refusal:
            return Verdict("delegation", False, None, refusal, chain)
        return Verdict("delegation", True, min(ends) if ends else None, None, chain)

    def _chain_of(self, leaf: Delegation, state: ClockState, parcel: Parcel) -> list[Delegation]:
        """The chain that a delegation ends, each link of which holds by its time."""
        place = Place(leaf.cid, 0)
        self._timed(state, lambda: check_time(leaf, state.sure_now, place))
        if leaf.is_root or leaf.subject is None:
            return [leaf]
        # Without asking who has revoked what: that is to be said of a link, not of a gap.
        with_it = {cid: data for cid, data in parcel.delegations.items() if cid != leaf.cid}
        above = self.find(
            leaf.subject, leaf.issuer, leaf.command, None, with_it, heed_revocations=True
        ) or self.find(
            leaf.subject, leaf.issuer, leaf.command, None, with_it, heed_revocations=False
        )
        if above is None:
            missing = UnavailableProof(
                f"issued by {short(leaf.issuer)}, and no chain from {short(leaf.subject)} that "
                "would give the right to that is at hand now",
                hint="import the delegations before it, or verify them together in one container",
            )
            raise place.refused(missing, "7a")
        return [*above, leaf]

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
            revoked_by=self._revoked_by(data),
            claim=claim,
            memo=self.memo,
        )

    def _revoked_by(self, data: bytes) -> RevokedBy:
        """Who revoked what; for an invocation that is remembered, found with one query."""
        known = self.memo.authorised(data)
        if known is None:
            return self._tokens.revoked_by
        names = [cid for link in known.chain for cid in twins.names(link.token)]
        if self._tokens.any_revoked(names):
            return self._tokens.revoked_by
        return lambda cid, issuers: None if cid in names else self._tokens.revoked_by(cid, issuers)

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
        *,
        heed_revocations: bool = True,
    ) -> list[Delegation] | None:
        wanted = Wanted(subject, audience, command, self.clock_state().sure_now, args)
        source = _Source(self._store, with_it)
        revoked_by = self._tokens.revoked_by if heed_revocations else _nobody
        found = chains.find(source, wanted, revoked_by=revoked_by)
        return None if found is None else list(found)


class _Source:
    """Delegations that came along, before those in the store."""

    def __init__(self, store: Store, with_it: Mapping[CID, bytes]) -> None:
        self._tokens = store.tokens
        self._with_it = [read_delegation(data) for data in with_it.values()]

    def given_to(self, audience: str, subject: str) -> Iterator[Delegation]:
        for one in self._with_it:
            if one.audience == audience and one.subject in (None, subject):
                yield one
        yield from self._tokens.given_to(audience, subject)


def _leaf(parcel: Parcel) -> Delegation:
    """The one delegation of a parcel that no other goes on from."""
    found = [read_delegation(data) for data in parcel.delegations.values()]
    if not found:
        raise UsageError("there is no token in it")
    passed_on = {one.issuer for one in found if not one.is_root}
    leaves = [one for one in found if one.audience not in passed_on]
    if len(leaves) != 1:
        raise UsageError(
            f"there are {len(leaves)} delegations in it that end a chain: verify them one by one"
        )
    return leaves[0]


def read_delegation(data: bytes) -> Delegation:
    place = Place(CID.of(data, DAG_CBOR), 0)
    delegation = read(Delegation.parse, data, place)
    check_signature(delegation.token, place)
    return delegation


def clock_wrong(state: ClockState, token: CID | None) -> ClockWrong:
    return ClockWrong(
        f"{state.suspicious}; nothing that begins or ends at a time can be judged or signed",
        token=token,
        details={"now": state.now, "high_water": state.high_water},
        hint=CLOCK_HINT,
    )


def _nobody(_cid: CID, _issuers: Sequence[str]) -> str | None:
    return None
