"""Judging tokens with what this node holds and with its clock.

`lite.ucan.proofs.check` decides; here it gets the store, the memo and the time. Time bounds mean
nothing to a node whose clock is known to be wrong, so then whatever has one is refused by name
(`ClockWrong`), and nothing is found expired or too early for that reason alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final, Literal

from lite.clock import Clock, ClockState
from lite.delegations import Searches, Source, blame_disk
from lite.errors import HashMismatch, IpvmError, UsageError
from lite.frozen import frozen, replace
from lite.ipld.cid import CID, DAG_CBOR
from lite.parcel import Parcel, read_receipt
from lite.revoking import check_few, standing, too_many
from lite.store import Store
from lite.ucan import chains, proofs
from lite.ucan.assertion import Assertion
from lite.ucan.authorised import AnyRevoked, Authorised, RevokedBy, first_revoked
from lite.ucan.chains import Found, Wanted
from lite.ucan.checks import Place, check_time
from lite.ucan.delegation import Delegation
from lite.ucan.items import Beside, items_in
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
from lite.ucan.revocation import Revocation, Revocations, revokers
from lite.ucan.show import moment, short
from lite.ucan.show import value as shown
from lite.ucan.upward import Upward, no_chain, why_not

INVOCATION_COST: Final = 5_000  # looks: its policies may take many steps
REVOCATION_COST: Final = 200

Kind = Literal["delegation", "invocation", "revocation", "receipt"]
Heeded = tuple[Revocation, frozenset[str]]
"""A revocation, and in whose names it counts."""


@frozen
class Verdict:
    """Whether a token holds now.

    Attributes:
        until: last second in which it holds; None: for ever, or it does not.
        refusal: why it does not hold.
        chain: the delegations that it rests on, the subject's own first, itself included; what was
            found of them when it does not hold.
        note: what else to know of it, in one line; often empty.
        sure: whether all that it takes is here; False of a revocation of an unknown delegation.
    """

    kind: Kind
    holds: bool
    until: int | None
    refusal: IpvmError | None
    chain: list[Delegation]
    note: str = ""
    sure: bool = True


@frozen
class Along:
    """What came in one piece: its tokens, and what is found among them and in the store.

    Attributes:
        shown: delegations that came only to show that a revocation counts.
    """

    parcel: Parcel
    source: Source
    shown: frozenset[CID]


@frozen
class _Asked:
    """An invocation with what came along."""

    data: bytes
    executor: str | None
    proofs: Mapping[CID, bytes]
    revoked: Revocations | None


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
        revoked: Revocations | None = None,
    ) -> Authorised:
        """`proofs.check` with what this node holds: the only way in for others' invocations.

        Args:
            data: the token of the invocation.
            executor: DID of this node; None only to look.
            proofs_with_it: delegations that came with it, by CID.
            claim: see `proofs.check`.
            revoked: what is revoked beside what the store knows of.

        Raises:
            Refusal: see `proofs.check`; ClockWrong: time bounds cannot be judged here now.
        """
        state = self.clock_state()
        asked = _Asked(data, executor, proofs_with_it, revoked)
        if state.suspicious is not None:
            found = self._timed(state, lambda: self._check(asked, state.sure_now, None))
            if found.not_before is not None or found.expires_at is not None:
                raise clock_wrong(state, found.invocation.cid)
        return self._check(asked, state.sure_now, claim)

    def searches(self) -> Searches:
        """What several calls of `verify` may share: their work is bounded together."""
        return Searches(self._tokens)

    def heeded(self, parcel: Parcel, searches: Searches) -> list[Heeded]:
        """The revocations of a parcel that are what they say.

        Raises:
            UsageError: there are more than the searches may look at.
        """
        found = []
        for data in parcel.revocations:
            if not searches.spend(REVOCATION_COST):
                raise too_many(parcel.revocations)
            with suppress(Refusal):
                found.append(self.revokers(data, parcel))
        return found

    def revokers(self, data: bytes, parcel: Parcel) -> Heeded:
        """A revocation that came, and in whose names it counts; its proofs may be beside it.

        Raises:
            Refusal: see `lite.ucan.revocation.revokers`.
        """
        return revokers(
            data,
            now=self.clock_state().sure_now,
            resolve=lambda cid: parcel.delegations.get(cid) or self._tokens.delegation(cid),
            revoked_by=self._tokens.revoked_by,
        )

    def along(self, parcel: Parcel, searches: Searches, *, at_most: bool = False) -> Along:
        """What came in one piece, to be judged with `judge`. What is bad in it is left out.

        Args:
            at_most: judge as far as the searches go, instead of raising UsageError.
        """
        revoked, shown = Revocations(), set[CID]()
        try:
            for revocation, names in self.heeded(parcel, searches):
                revoked.add(revocation.revoked, names)
                shown.update(revocation.invocation.proofs)
        except UsageError:
            if not at_most:
                raise  # else nothing is judged, for the searches are exhausted
        source = Source(searches, parcel.delegations, revoked)
        return Along(parcel, source, frozenset(shown))

    def verify(
        self, data: bytes, *, executor: str | None = None, searches: Searches | None = None
    ) -> Verdict:
        """Whether a token holds now: a delegation, or an invocation with its proofs, which may be
        in the same container or here. It changes nothing and does not count as a use. Revocations
        and receipts are judged as an import would.

        A container is judged by its invocation, else by its receipt, else by the delegation that
        ends its chain. Revocations in it are heeded. One that revokes nothing of that is judged
        itself. What lies beside it and is bad changes nothing; the note names it.

        Args:
            executor: the DID that is to act; None: do not ask to whom it is addressed.
            searches: shared with other calls. When they are exhausted, what is said not to hold
                for want of a chain may still hold.

        Raises:
            MalformedToken: there is neither token nor container in the data.
            UsageError: the container holds more than one thing to be judged.
        """
        parcel = Parcel.read(data)
        single = list(parcel.asked() or parcel.receipts)
        _check_one(single)
        along = self.along(parcel, searches or self.searches())
        verdict = None
        if not single and parcel.delegations:
            verdict = self._verify_ends(along)
        if verdict is None:
            single = single or list(parcel.revocations)
            _check_one(single)
            if not single:
                raise UsageError("there is no token in it")
            verdict = self.judge(single[0], along, executor=executor)
        if type(verdict.refusal) is UnavailableProof:
            verdict.refusal.hint = along.source.bad_beside() or verdict.refusal.hint
            blame_disk(verdict.refusal, self._tokens)
        if not verdict.holds:
            return verdict
        notes = filter(None, [verdict.note, along.source.bad_beside(parcel.bad())])
        return replace(verdict, note="; ".join(notes))

    def judge(self, token: bytes, along: Along, *, executor: str | None = None) -> Verdict:
        """Whether one of the tokens that came in one piece holds now, with the others at hand."""
        alone, searches = Parcel.of([token]), along.source.searches
        if alone.revocations:
            searches.spend(REVOCATION_COST)
            return self._verify_revocation(token, along)
        if alone.receipts:
            searches.spend(REVOCATION_COST)
            return self._verify_receipt(token, along)
        if alone.invocations:
            searches.spend(INVOCATION_COST)
            return self._verify_invocation("invocation", token, executor, along)
        try:
            leaf = searches.read(CID.of(token, DAG_CBOR), token)
        except Refusal as refusal:
            return Verdict("delegation", False, None, refusal, [])
        return self._verify_delegation(leaf, along)

    def _verify_ends(self, along: Along) -> Verdict | None:
        """The verdict on the one delegation that ends the chains of a parcel, a good one if there
        is any; None when there is a revocation in it that does not revoke it."""
        bad = {one.cid: one.refusal for one in along.source.bad}
        ends = [one for one in along.source.ends() if one.cid not in along.shown]
        found = [one for one in ends if one.cid not in bad]
        if not found and bad and not along.parcel.revocations:
            first = next((one.cid for one in ends), None) or next(iter(bad))
            return Verdict("delegation", False, None, bad[first], [])
        if len(found) == 1:
            along.source.check_leads_to(found[0], along.shown)
            verdict = self._verify_delegation(found[0], along)
            if not along.parcel.revocations or type(verdict.refusal) is Revoked:
                return verdict
        if along.parcel.revocations:
            return None
        how = f"{len(found)} of the delegations in it end a chain, not one"
        circle = "the delegations in it go round in a circle"
        raise UsageError(f"{how if found else circle}: verify them one by one")

    def _verify_invocation(
        self, kind: Kind, data: bytes, executor: str | None, along: Along
    ) -> Verdict:
        """The verdict on an invocation, whatever it asks for."""
        try:
            check_few(along.parcel.revocations)
            found = self.authorise(
                data,
                executor=executor,
                proofs_with_it=along.parcel.delegations,
                claim=None,
                revoked=along.source.revoked,
            )
        except (Refusal, UsageError) as refusal:
            return Verdict(kind, False, None, refusal, [])
        return Verdict(kind, True, found.expires_at, None, list(found.chain))

    def _verify_revocation(self, data: bytes, along: Along) -> Verdict:
        """As it counts where it is kept: in the name of its issuer, whenever that ended."""
        state = self.clock_state()
        try:
            try:
                revocation, names = self._timed(state, lambda: self.revokers(data, along.parcel))
            except (TooEarly, ClockWrong):
                if not self._tokens.has_revocation(CID.of(data, DAG_CBOR)):
                    raise
                revocation, names = Revocation.parse(data), frozenset[str]()
            source = along.source.with_ended()  # what counted then counts now
            found = standing(revocation, names, along.parcel, self._tokens, source)
        except (Refusal, HashMismatch) as refusal:
            return Verdict("revocation", False, None, refusal, [])
        return Verdict("revocation", True, None, None, [], found.note, found.sure)

    def _verify_receipt(self, data: bytes, along: Along) -> Verdict:
        """Ours by their form; those of others as invocations, and what they claim."""
        try:
            token, claim = read_receipt(data)
        except Refusal as refusal:
            return Verdict("receipt", False, None, refusal, [])
        if not isinstance(claim, Assertion):
            ended = self._ended(token.expires_at).removeprefix("; ")
            return Verdict("receipt", True, token.expires_at, None, [], ended)
        note = f"it says that {short(claim.ran)} gave {shown(claim.out)}; it names no instruction, "
        note += "so it answers nothing here"
        ended = self._ended(token.expires_at)
        if token.issuer == token.subject or ended:
            return Verdict("receipt", True, token.expires_at, None, [], f"{note}{ended}")
        verdict = self._verify_invocation("receipt", data, None, along)
        return replace(verdict, note=note if verdict.holds else "")

    def _ended(self, ends: int | None) -> str:
        over = ends is not None and ends < self.clock_state().sure_now
        return f"; what it says held until {moment(ends)}" if ends is not None and over else ""

    def _verify_delegation(self, leaf: Delegation, along: Along) -> Verdict:
        state = self.clock_state()
        chain: list[Delegation] = []
        try:
            chain = self._chain_of(leaf, state, along.source)
            self._check_chain(chain, state, along.source)
            ends = [link.expires_at for link in chain if link.expires_at is not None]
            begins = any(link.not_before is not None for link in chain)
            if state.suspicious is not None and (ends or begins):
                raise clock_wrong(state, leaf.cid)
        except Refusal as refusal:
            return Verdict("delegation", False, None, refusal, chain)
        return Verdict("delegation", True, min(ends) if ends else None, None, chain)

    def _chain_of(self, leaf: Delegation, state: ClockState, source: Source) -> list[Delegation]:
        """The chain that a delegation ends: one that holds, else the nearest to that.

        Raises:
            UnavailableProof: there is none; or the time is not that of the delegation itself.
        """
        if leaf.is_root or (leaf.subject is None and not source.has_giver(leaf)):
            return [leaf]  # a powerline by itself: whatever its issuer may do
        subjects = [leaf.subject] if leaf.subject else source.subjects()
        nearest: chains.Chain | None = None
        for subject in subjects:
            above = self._find(subject, leaf, leaf.command, source, heed=True)
            if above is not None:
                return [*above, leaf]
            upward = Upward.of(leaf, subject, source)
            # Without asking who has revoked what, the second time: then the link can be named.
            for heed in (True, False):
                for command in upward.commands:
                    above = self._find(subject, leaf, command, source, heed=heed)
                    if above is not None:
                        return [*above, leaf]
            nearest = nearest or upward.chain
        for subject in () if nearest is not None else subjects:
            nearest = nearest or Upward.of(leaf, subject, source.with_ended()).chain
        if nearest is not None:
            return list(nearest)
        place = Place(leaf.cid, 0)
        self._timed(state, lambda: check_time(leaf, state.sure_now, place))
        bad = source.bad_above(leaf)
        raise no_chain(leaf, source.searches.exhausted) if bad is None else bad.refusal

    def _check_chain(self, chain: Sequence[Delegation], state: ClockState, source: Source) -> None:
        """What an invocation through the chain would be told, whatever its arguments."""
        narrowest = max((link.command for link in chain), key=len)
        subject = chain[0].subject
        if subject is None:
            place = Place(chain[0].cid, 0)
            self._timed(state, lambda: check_time(chain[0], state.sure_now, place))
            revoked = first_revoked(chain, source.revoked_by)
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
                revoked_by=source.revoked_by,
            ),
        )

    def _check(self, asked: _Asked, now: int, claim: Claim | None) -> Authorised:
        tokens, along = self._tokens, asked.revoked
        revoked_by: RevokedBy = tokens.revoked_by
        any_revoked: AnyRevoked = tokens.any_revoked
        if along is not None:
            revoked_by, any_revoked = along.before(revoked_by), along.any_before(any_revoked)
        return proofs.check(
            asked.data,
            executor=asked.executor,
            now=now,
            resolve=lambda cid: asked.proofs.get(cid) or tokens.proof(cid),
            revoked_by=revoked_by,
            any_revoked=any_revoked,
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

    def why_not(
        self, subject: str, audience: str, command: str, args: dict[str, Any] | None
    ) -> Refusal | None:
        """Why the nearest chain in the store does not authorise something; None when there is no
        chain. See `lite.ucan.upward.why_not`."""
        state = self.clock_state()
        if state.suspicious is not None:
            timely = self.search(subject, audience, command, args, {}, timed=True).chain
            if timely:
                return clock_wrong(state, timely[-1].cid)
        wanted = Wanted(subject, audience, command, state.sure_now, args)
        source = Source(self.searches(), {}).with_ended()
        refusal = why_not(source, wanted, revoked_by=source.revoked_by)
        if state.suspicious is not None and isinstance(refusal, (TooEarly, Expired)):
            return clock_wrong(state, refusal.token)
        return refusal

    def search(
        self,
        subject: str,
        audience: str,
        command: str,
        args: dict[str, Any] | None,
        with_it: Mapping[CID, bytes],
        *,
        until: int | None = None,
        beside: Beside | None = None,
        timed: bool = False,
    ) -> Found:
        """The best chain that authorises something; see `lite.ucan.chains.find`. While the clock
        cannot be right there is none through a delegation that begins or ends at a time.

        Args:
            with_it: delegations that count beside those in the store.
            until: until when it is to last, if that is wished.
            beside: see `Wanted`.
            timed: those count all the same: for others, who judge by clocks of their own.
        """
        state = self.clock_state()
        wanted = Wanted(subject, audience, command, state.sure_now, args, until, beside)
        source = Source(self.searches(), with_it)
        source.timeless = state.suspicious is not None and not timed
        found = chains.search(source, wanted, revoked_by=source.revoked_by)
        return Found(found.chain, found.cut_off or source.searches.exhausted)

    def _find(
        self, subject: str, leaf: Delegation, command: str, source: Source, *, heed: bool
    ) -> list[Delegation] | None:
        """The chain to a delegation, without itself; `heed` revocations or not."""
        beside = Beside.least(subject, leaf.audience, command, last=items_in(leaf.data))
        now = self.clock_state().sure_now
        wanted = Wanted(subject, leaf.issuer, command, now, beside=beside)
        revoked_by = source.revoked_by if heed else _nobody
        found = chains.find(source, wanted, revoked_by=revoked_by)
        return None if found is None else list(found)


def _check_one(tokens: Sequence[bytes]) -> None:
    """Raises UsageError when there are several."""
    if len(tokens) > 1:
        raise UsageError(
            f"there are {len(tokens)} tokens in it that are no delegations: verify them one by one"
        )


def clock_wrong(state: ClockState, token: CID | None) -> ClockWrong:
    return ClockWrong(
        f"{state.suspicious}; nothing that begins or ends at a time can be judged or signed",
        token=token,
        details={"now": state.now, "high_water": state.high_water},
        hint=state.hint,
    )


def _nobody(_cid: CID, _issuers: Sequence[str]) -> str | None:
    return None
