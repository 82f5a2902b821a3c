"""Authority: what this node may do for whom, what it lets others do, and what it takes back.

`lite.gate` judges what comes in; here are the things that need the node's key or change its store.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Literal, TypeVar

from lite.clock import Clock, ClockState
from lite.delegations import Searches, Source, blame_disk, read_delegation
from lite.errors import IpvmError, NotFoundError, QuotaError, UsageError
from lite.frozen import frozen, replace
from lite.gate import Along, Gate, Heeded, Kind, Verdict, clock_wrong
from lite.ipld.cid import CID, DAG_CBOR
from lite.keys import Key, random_nonce
from lite.limits import TIME_MAX_S
from lite.model.receipt import Receipt
from lite.parcel import Parcel, read_invocation, read_receipt
from lite.revoking import check_few, is_of_ours, names_of, revocation_of, to_revoke
from lite.store import Store
from lite.ucan import chains, container
from lite.ucan import command as commands
from lite.ucan.authorised import Authorised, first_revoked
from lite.ucan.chains import Found
from lite.ucan.delegation import Delegation
from lite.ucan.invocation import Invocation
from lite.ucan.items import Beside, items_in
from lite.ucan.proofs import Claim
from lite.ucan.refusals import MalformedToken, NoProofs, Revoked
from lite.ucan.revocation import Revocation, Revocations
from lite.ucan.show import moment, short

__all__ = ["Authority", "Imported", "Imports", "Issued", "Kind", "Refused", "Stored", "Verdict"]

T = TypeVar("T")


@frozen
class Issued:
    """A delegation that this node signed, and the chain that it ends, the subject's own first."""

    token: Delegation
    chain: list[Delegation]


@frozen
class Imported:
    """A token that was taken in, and what to know of it in one line; often empty."""

    kind: Kind
    cid: CID
    note: str


@frozen
class Refused:
    """A token that was not taken in, and why; its CID is that of its bytes, whatever they are."""

    kind: Kind
    cid: CID
    error: IpvmError


@frozen
class Imports:
    """What an import took in, and what it refused."""

    taken: list[Imported]
    refused: list[Refused]


@frozen
class Stored:
    """A token in the store.

    Attributes:
        token: None when the disk changed its bytes.
    """

    cid: CID
    kind: Literal["delegation", "revocation"]
    token: Delegation | Revocation | None


class Authority:
    """The tokens of one node, what it makes of them, and what it signs."""

    def __init__(self, store: Store, key: Key, clock: Clock) -> None:
        self._store = store
        self._key = key
        self._clock = clock
        self._tokens = store.tokens
        self._gate = Gate(store, clock)

    # Giving and taking.

    def delegate(
        self,
        to: str,
        command: str,
        *,
        policy: Sequence[Any] = (),
        expires_in_s: int | None,
        subject: str | None = None,
        powerline: bool = False,
        before_keeping: Callable[[Issued], object] | None = None,
    ) -> Issued:
        """Sign and keep a delegation.

        Args:
            to: the DID that gets the right.
            command: e.g. `/wasm/run`.
            policy: statements that the arguments must meet.
            expires_in_s: for how long; None: for ever, or as long as the chain before it.
            subject: whom it is about. None: this node. Another: the right that this node was given
                is passed on, or less of it.
            powerline: it passes on whatever this node may do, about any subject.
            before_keeping: called with what was signed; if it raises, nothing is kept.

        Raises:
            UsageError: a DID, command, policy or time is not of the form that the spec asks for.
            Refusal: what this node holds gives no such right: NoProofs, or why the nearest fails.
            TooManyProofs: the chain that it holds is as long as chains may be.
            TooManyItems: with that chain there is more in it than is read for one check.
            LimitError: it is larger than tokens may be.
            ClockWrong: it is to expire, and the clock cannot be right.
        """
        _check_command(command)
        expires_at = self._expiry(expires_in_s)
        chain: Sequence[Delegation] = ()
        if subject is not None and subject != self._key.did:
            if powerline:
                raise UsageError("a powerline is about any subject; leave the subject out")
            chain, token = self._below(subject, to, command, policy, expires_at)
        else:
            token = Delegation.issue(
                self._key,
                audience=to,
                subject=None if powerline else self._key.did,
                command=command,
                policy=list(policy),
                expires_at=expires_at,
            )
        if token.expires_at is not None:
            self.check_clock()  # also of an end that comes of the chain
        issued = Issued(token, [*chain, token])
        if before_keeping is not None:
            before_keeping(issued)
        self._tokens.add([token])
        return issued

    def invoke(
        self,
        subject: str,
        command: str,
        args: Mapping[str, Any],
        *,
        nonce: bytes | None = None,
        expires_in_s: int | None = 300,
    ) -> list[bytes]:
        """Sign an invocation, with the best chain that this node holds for it.

        Args:
            nonce: 12 random bytes when absent.
            expires_in_s: for how long; None: for ever. It never lasts longer than the chain.

        Returns:
            The invocation and its proofs, for `lite.ucan.container.write`.

        Raises:
            UsageError, Refusal, LimitError: as `delegate` does; also PolicyNotMet.
        """
        _check_command(command)
        expires_at = self._expiry(expires_in_s)
        asked: dict[str, Any] = {
            "subject": subject,
            "command": command,
            "args": args,
            "expires_at": expires_at,
            "issued_at": self._clock.now(),
            "nonce": random_nonce() if nonce is None else nonce,
        }
        draft = Invocation.issue(self._key, **{**asked, "expires_at": TIME_MAX_S}).token.payload
        chain = self._own_chain(subject, command, expires_at, dict(args), Beside.of(draft))
        asked["expires_at"] = chains.end_within(chain, expires_at)
        if asked["expires_at"] is not None:
            self.check_clock()  # also of an end that comes of the chain
        invocation = Invocation.issue(self._key, **asked, proofs=[link.cid for link in chain])
        chains.check_fit(Beside.of(invocation.token.payload), chain)
        return [invocation.data, *(link.data for link in chain)]

    def revoke(self, cid: CID, along: Parcel | None = None) -> Revocation:
        """Take back a delegation that this node issued, or one below it, for good. One that is here
        can be taken back whatever it holds, also when no check reads it any more.

        Args:
            along: where the delegation, and those above it, are as well; what shows that this node
                may revoke it is kept.

        Returns:
            The signed revocation, to be handed to all who may meet the delegation.

        Raises:
            NotFoundError: there is no such delegation.
            HashMismatch: the disk changed the one that is here, and it did not come along.
            NoProofs: this node issued neither it nor one above it; then nothing is kept.
            Refusal: it came along, and is none.
        """
        beside = {} if along is None else along.delegations
        delegation = to_revoke(cid, beside, self._tokens)
        source = Source(self.searches(), beside)
        try:
            revocation, path = revocation_of(delegation, self._key, source)
        except NoProofs as refusal:
            blame_disk(refusal, self._tokens)
            raise
        new = [one for one in dict.fromkeys([*path, delegation]) if one.cid in beside]
        self._tokens.add(new, [(revocation, [self._key.did])])
        self._gate.memo.forget(cid)
        return revocation

    def import_(self, data: bytes) -> Imports:
        """Take in a token, or what is good of a container, in any form.

        Signatures are checked, ends are not: what has expired is kept as well. Revocations are
        kept before their delegation comes, receipts with the other receipts. Invocations are only
        looked at: `Node.run_invocation` does them.

        Raises:
            MalformedToken: the data are neither a token nor a container.
            QuotaError: see `Tokens.add`; nothing was kept.
        """
        parcel = Parcel.read(data)
        refused: list[Refused] = []

        def good(kind: Kind, tokens: Iterable[bytes], read: Callable[[bytes], T]) -> list[T]:
            found = []
            for token in tokens:
                try:
                    found.append(read(token))
                except IpvmError as error:
                    refused.append(Refused(kind, CID.of(token, DAG_CBOR), error))
            return found

        found = good("delegation", parcel.delegations.values(), read_delegation)
        at_hand = {one.cid: one.data for one in found}
        sound = replace(parcel, delegations=at_hand)
        taken = good("revocation", parcel.revocations, lambda one: self._gate.revokers(one, sound))
        asked = good("invocation", parcel.invocations, read_invocation)
        receipts = good("receipt", parcel.receipts, _receipt)
        self._tokens.add(found, taken)
        for revocation, _ in taken:
            self._gate.memo.forget(revocation.revoked)
        for receipt in receipts:
            self._store.receipts.add(receipt)
        imported = [
            *(Imported("delegation", one.cid, self._note(one)) for one in found),
            *(Imported("revocation", one.cid, f"of {one.revoked}") for one, _ in taken),
            *(Imported("invocation", one.cid, "not kept: it is to be run") for one in asked),
            *(Imported("receipt", one.cid, "") for one in receipts),
        ]
        return Imports(imported, refused)

    def forget(self, cids: Iterable[CID]) -> list[CID]:
        """Drop delegations from the store; revocations and what was used up stay.

        Returns:
            Those that were here.
        """
        dropped = self._tokens.forget(cids)
        for cid in dropped:
            self._gate.memo.forget(cid)
        return dropped

    # Looking.

    def get(self, cid: CID) -> bytes | None:
        """The bytes of a delegation or revocation here, or None. Raises HashMismatch."""
        return self._tokens.get(cid)

    def tokens(self) -> list[Stored]:
        """All delegations, then all revocations, each in the order in which they came."""
        return [
            *(Stored(cid, "delegation", one) for cid, one in self._tokens.each(Delegation)),
            *(Stored(cid, "revocation", one) for cid, one in self._tokens.each(Revocation)),
        ]

    def find_chain(
        self,
        *,
        subject: str,
        audience: str,
        command: str,
        args: dict[str, Any] | None = None,
        until: int | None = None,
        timed: bool = False,
    ) -> list[Delegation] | None:
        """The shortest chain here that authorises something, of equally short ones the one that
        lasts longest, and while the arguments are not known then the one with the fewest
        conditions; empty when the audience is the subject, None when there is none.

        Args:
            until: seconds since 1970, `TIME_MAX_S` for ever: chains that last as long are preferred
                to all others.
            timed: see `Gate.search`.
        """
        found = self._gate.search(subject, audience, command, args, {}, until=until, timed=timed)
        return None if found.chain is None else list(found.chain)

    def container(self, cids: Iterable[CID]) -> bytes:
        """A container of tokens that are here, as base64 text.

        Raises:
            NotFoundError: one of them is not.
            HashMismatch: the disk changed one of them.
        """
        tokens = []
        for cid in cids:
            data = self._tokens.get(cid)
            if data is None:
                raise NotFoundError(f"there is no token {cid} here")
            tokens.append(data)
        return container.write(tokens)

    # Judging.

    def clock_state(self) -> ClockState:
        """What the clock shows, and whether it can be right."""
        return self._gate.clock_state()

    def searches(self) -> Searches:
        """What several calls of `verify` may share: see `Gate.verify`."""
        return self._gate.searches()

    def verify(
        self, data: bytes, *, executor: str | None = None, searches: Searches | None = None
    ) -> Verdict:
        """Whether a token or a container holds now: see `Gate.verify`."""
        return self._gate.verify(data, executor=executor, searches=searches)

    def along(self, parcel: Parcel, searches: Searches) -> Along:
        """What came in one piece, for `judge`: see `Gate.along`."""
        return self._gate.along(parcel, searches, at_most=True)

    def judge(self, token: bytes, along: Along) -> Verdict:
        """Whether one of the tokens that came in one piece holds now: see `Gate.judge`."""
        return self._gate.judge(token, along)

    def heeded(self, parcel: Parcel) -> list[Heeded]:
        """The revocations that came with an invocation and are what they say: see `keep`. Raises
        UsageError when there are more than `HEEDED_MAX`."""
        check_few(parcel.revocations)
        return self._gate.heeded(parcel, self.searches())

    def keep(self, heeded: Iterable[Heeded], parcel: Parcel) -> None:
        """Keep revocations that came with an invocation and are of delegations that are here, by
        who issued them, whatever becomes of the invocation.

        A stranger could bring any number of others; the owner may import them. What is revoked may
        have come, or be here, as its twin.
        """
        tokens = self._tokens
        self._keep(one for one in heeded if is_of_ours(*one, parcel, tokens))

    def keep_stopping(self, heeded: Iterable[Heeded], parcel: Parcel, stopped: Revoked) -> None:
        """Keep those that stopped an invocation that they came with."""
        if stopped.token is None:
            return
        revoker = stopped.details.get("revoker")
        names = names_of(stopped.token, parcel, self._tokens)
        self._keep(one for one in heeded if one[0].revoked in names and revoker in one[1])

    def _keep(self, some: Iterable[Heeded]) -> None:
        for revocation, names in some:
            # Where there is no room for more of unknown delegations, it counted this once.
            with suppress(QuotaError):
                self._tokens.add(revocations=[(revocation, names)])
            self._gate.memo.forget(revocation.revoked)

    def authorise(
        self,
        data: bytes,
        *,
        executor: str | None,
        proofs_with_it: Mapping[CID, bytes],
        claim: Claim | None,
        heeded: Iterable[Heeded] = (),
    ) -> Authorised:
        """The only way in for the invocations of others: see `Gate.authorise`.

        Args:
            heeded: revocations that count beside those that are kept.
        """
        revoked: Revocations | None = None
        for revocation, names in heeded:
            revoked = revoked or Revocations()
            revoked.add(revocation.revoked, names)
        return self._gate.authorise(
            data, executor=executor, proofs_with_it=proofs_with_it, claim=claim, revoked=revoked
        )

    def _expiry(self, expires_in_s: int | None) -> int | None:
        return None if expires_in_s is None else self.check_clock().now + expires_in_s

    def check_clock(self) -> ClockState:
        """Raises ClockWrong when nothing that ends at a time can be signed."""
        state = self.clock_state()
        if state.suspicious is not None:
            raise clock_wrong(state, None)
        return state

    def _below(
        self, subject: str, to: str, command: str, policy: Sequence[Any], expires_at: int | None
    ) -> tuple[Sequence[Delegation], Delegation]:
        """The best chain that this node holds, and the next link of it."""
        draft = Delegation.issue(
            self._key, audience=to, subject=subject, command=command, policy=list(policy),
            expires_at=TIME_MAX_S,
        )  # fmt: skip
        beside = Beside.least(subject, to, command, last=items_in(draft.data))
        chain = self._own_chain(subject, command, expires_at, None, beside)
        token = chains.extend(
            chain, self._key, audience=to, command=command, policy=draft.policy,
            expires_at=expires_at,
        )  # fmt: skip
        chains.check_fit(Beside.least(subject, to, command), [*chain, token])
        return chain, token

    def _own_chain(
        self,
        subject: str,
        command: str,
        expires_at: int | None,
        args: dict[str, Any] | None,
        beside: Beside,
    ) -> tuple[Delegation, ...]:
        """The best chain for what is to end at a time (None: never), rather one that is not too
        much for one check together with what is read beside it."""
        until = TIME_MAX_S if expires_at is None else expires_at
        found = Found(None)
        for one in (beside, None):
            if found.chain is None:
                found = self._gate.search(
                    subject, self._key.did, command, args, {}, until=until, beside=one
                )
        if found.chain is not None:
            return found.chain
        what = f"gives this node the right to {command} about {short(subject)} now"
        details = {"sub": subject, "cmd": command}
        if found.cut_off:
            raise NoProofs(
                f"no delegation was found that {what}; there are so many here, or so costly ones, "
                "that the search was cut off",
                details=details,
                hint="drop what strangers gave with `ipvm ucan forget`, then try again",
            )
        nearest = self._gate.why_not(subject, self._key.did, command, args)
        if nearest is None:
            refusal = NoProofs(
                f"no delegation here {what}",
                details=details,
                hint="import the delegations that do; `ipvm ucan list` shows those that are here",
            )
            blame_disk(refusal, self._tokens)
            raise refusal
        nearest.details.update(details)
        raise nearest.before(f"no delegation here {what}; the nearest chain")

    def _note(self, delegation: Delegation) -> str:
        """What to know of a delegation that was just taken in."""
        revoked = first_revoked([delegation], self._tokens.revoked_by)
        if revoked is not None:
            return f"revoked by {short(revoked[1])}"
        ends = delegation.expires_at
        if ends is None:
            return ""
        if ends < self.clock_state().sure_now:
            return f"expired at {moment(ends)}"
        return f"until {moment(ends)}"


def _receipt(data: bytes) -> Receipt:
    """A receipt that answers an instruction. Raises Refusal; IntegrityError: it answers none."""
    _, receipt = read_receipt(data)
    return receipt if isinstance(receipt, Receipt) else Receipt.parse(data)


def _check_command(command: str) -> None:
    try:
        commands.check(command)
    except MalformedToken as error:
        raise UsageError(str(error)) from None
