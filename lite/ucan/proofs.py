"""The only gate: whether an invocation may be done, and if not, the one reason why.

`check` goes through these steps and stops at the first that fails. The proofs are read from the
root, which the subject issued, to the one that reached the invoker.

     1  form        the bytes are one canonical invocation token       MalformedToken, its kinds
                    commands, times and policies have their form       InvalidCommand, InvalidTime
     2  signature   the issuer signed, and the header fits its key     InvalidSignature
     3  executor    `aud`, or else `sub`, is this node                 WrongExecutor
     4  subject     `sub` is this node, or one that it acts for        ForeignSubject
     5  time        nbf <= now <= exp, give or take 60 s               TooEarly, Expired
     6  proofs      there are at most `PROOFS_MAX`                     TooManyProofs
     7  for each proof, root first; at first the subject is expected
        7a at hand      it is found, and its bytes hash to its CID     UnavailableProof, WrongProof
        7b form         they are one canonical delegation token        as step 1, and InvalidPolicy
        7c signature    as step 2                                      InvalidSignature
        7d time         as step 5                                      TooEarly, Expired
        7e root         the first is not a powerline (sub null)        PowerlineRoot
        7f subject      its subject is the invocation's, or null       InvalidSubject
        7g principal    the expected one issued it; its audience is
                        expected next                                  InvalidAudience
        7h command      it covers the invocation's command             CommandNotCovered
        7i policy       its policy holds of the arguments              PolicyNotMet, PolicyTooCostly
        7j revocation   no issuer so far has revoked it                Revoked
     8  invoker     the principal expected at last issued the
                    invocation; with no proofs, the subject            NoProofs, WrongInvoker
     9  replay      it was not accepted before                         Replayed

Step 4 is what keeps strangers out: about a subject of their own they need no proof.
Every proof must cover the command by itself (7h), so that a powerline with a wider command than
the one before it adds nothing; some implementations refuse such chains, and none is minted here.
What is cheap comes first: 7a to 7h of each proof, then 7j and 8 of the chain as a whole, and then
7i of each proof, for policies cost the most. A token has at most `ITEMS_MAX` values, and all that
are read for one check `CHECK_ITEMS_MAX` (`lite.ucan.items`; TooManyItems, steps 1 and 7b); the
parts of selectors and patterns count as values. What a memo remembers is at hand (7a), and its
values count like those of other proofs.
Replay comes last, so that only what is accepted is remembered.
Source: UCAN 1.0 with Delegation and Invocation 1.0.0-rc.1; order of the proofs as in the fixtures
of the spec since 2026.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lite.ipld.cid import CID, DAG_CBOR
from lite.limits import PROOFS_MAX, TOKEN_BYTES_MAX
from lite.ucan import command as commands
from lite.ucan import twins
from lite.ucan.authorised import CLOCK_BUFFER_S, AnyRevoked, Authorised, RevokedBy, first_revoked
from lite.ucan.checks import (
    Place,
    check_signature,
    check_time,
    read,
    too_many_items,
)
from lite.ucan.delegation import Delegation
from lite.ucan.invocation import Invocation
from lite.ucan.items import CHECK_ITEMS_MAX, ITEMS_MAX, Beside, Budget, items_in
from lite.ucan.memo import Memo
from lite.ucan.payload import principal
from lite.ucan.policy import Failure
from lite.ucan.refusals import (
    CommandNotCovered,
    ForeignSubject,
    InvalidAudience,
    InvalidSubject,
    NoProofs,
    PolicyNotMet,
    PolicyTooCostly,
    PowerlineRoot,
    Refusal,
    Replayed,
    Revoked,
    TooManyProofs,
    UnavailableProof,
    WrongExecutor,
    WrongInvoker,
    WrongProof,
)
from lite.ucan.show import short
from lite.ucan.show import value as shown

Resolve = Callable[[CID], "bytes | None"]
Claim = Callable[[CID, "int | None"], bool]


@dataclass(frozen=True, slots=True)
class _Request:
    """The arguments of `check` that its steps share."""

    executor: str | None
    acts_for: Collection[str]
    now: int
    resolve: Resolve
    memo: Memo | None


def check(
    data: bytes,
    *,
    executor: str | None,
    now: int,
    resolve: Resolve,
    revoked_by: RevokedBy,
    claim: Claim | None,
    acts_for: Collection[str] = (),
    memo: Memo | None = None,
    any_revoked: AnyRevoked | None = None,
) -> Authorised:
    """Let an invocation in, or say why not; the steps are those of the module.

    Args:
        data: the token of the invocation.
        executor: DID of this node; None only where nothing is done, for inspection.
        now: seconds since 1970.
        resolve: the bytes of the delegation with a CID, or None when it is not at hand.
        revoked_by: given a delegation and the DIDs that issued the chain up to it, the one of them
            that has revoked it, or None.
        claim: remembers an invocation until a time (None: for ever) and says whether it was new;
            of two calls at once with one CID only one is told so. None only for inspection.
        acts_for: DIDs, without fragments, of subjects other than this node for which it acts.
        memo: of what was verified before.
        any_revoked: whether anybody revoked any of the delegations, where that can be answered
            sooner than for each by itself.

    Raises:
        Refusal: of the class that the step names.
    """
    request = _Request(executor, acts_for, now, resolve, memo)
    known = memo.authorised(data) if memo is not None else None
    remembered = known is not None and known.is_timely(now)
    if known is None or not remembered:
        known = _walk(data, request)
    else:
        _check_address(known.invocation, request)
    _check_revocations(known.chain, revoked_by, any_revoked, memo, len(known.chain))
    if not remembered:
        _check_invoker(known.invocation, known.chain)
        _check_policies(known)
        if memo is not None:
            memo.keep(known)
    if claim is not None:
        _claim(known.invocation, claim)
    return known


def check_delegation(data: bytes, *, now: int) -> Delegation:
    """Steps 7b to 7d on a delegation by itself: form, signature, time.

    Raises:
        Refusal: of the class that the step names.
    """
    place = Place(CID.of(data, DAG_CBOR), 0)
    delegation = read(Delegation.parse, data, place)
    check_signature(delegation.token, place)
    check_time(delegation, now, place)
    return delegation


def check_chain(
    chain: Sequence[Delegation],
    *,
    subject: str,
    command: str,
    now: int,
    revoked_by: RevokedBy,
    args: Mapping[str, Any] | None = None,
) -> None:
    """Steps 6 to 7j, without 7i, on delegations in a row, the subject's own first, whose signatures
    were checked: what an invocation of the command through all of them would be told.

    Args:
        args: of the invocation; None: not known, so that it counts as the smallest there is.

    Raises:
        Refusal: of the class that the step names.
    """
    count = len(chain)
    _check_number(count, Place(chain[-1].cid, count - 1))
    named = count if count > 1 else 0
    beside = Beside.least(subject, chain[-1].audience, command, args)
    left = CHECK_ITEMS_MAX - beside.items(count)
    for position, delegation in enumerate(chain):
        place = Place(delegation.cid, position, named)
        items = items_in(delegation.data)
        left -= items
        if left < 0 or items > ITEMS_MAX:
            raise place.refused(too_many_items(delegation.data), "7b")
        check_time(delegation, now, place)
        _check_link(subject, command, chain[:position], delegation, place)
    _check_revocations(chain, revoked_by, None, None, named)


def _walk(data: bytes, request: _Request) -> Authorised:
    """Steps 1 to 7h."""
    items = items_in(data)
    invocation = read(Invocation.parse, data, Place(None), items=items)
    place = Place(invocation.cid)
    check_signature(invocation.token, place)
    _check_address(invocation, request)
    check_time(invocation, request.now, place)
    count = len(invocation.proofs)
    _check_number(count, place)
    budget = Budget(CHECK_ITEMS_MAX - items)
    chain: list[Delegation] = []
    for position, cid in enumerate(invocation.proofs):
        place = Place(cid, position, count)
        known = request.memo.delegation(cid) if request.memo is not None else None
        proof = _at_hand(cid, place, request) if known is None else known.data
        items = budget.spend(proof)
        if budget.over and len(proof) <= TOKEN_BYTES_MAX:
            raise place.refused(too_many_items(proof), "7b")
        delegation = known or _proof(cid, proof, place, request.memo, items)
        check_time(delegation, request.now, place)
        _check_link(invocation.subject, invocation.command, chain, delegation, place)
        chain.append(delegation)
    return Authorised.of(invocation, chain)


def _check_address(invocation: Invocation, request: _Request) -> None:
    """Steps 3 and 4."""
    if request.executor is None:
        return
    me = principal(request.executor)
    if invocation.executor != me:
        other = WrongExecutor(
            f"addressed to {short(invocation.executor)}, not to {short(me)}",
            details={"aud": invocation.executor},
        )
        raise Place(invocation.cid).refused(other, "3")
    if invocation.subject != me and invocation.subject not in request.acts_for:
        foreign = ForeignSubject(
            f"about {short(invocation.subject)}, but {short(me)} acts only for itself",
            details={"sub": invocation.subject},
        )
        raise Place(invocation.cid).refused(foreign, "4")


def _at_hand(cid: CID, place: Place, request: _Request) -> bytes:
    """Step 7a."""
    data = request.resolve(cid)
    if data is None:
        missing = UnavailableProof(
            "not at hand", hint="send the delegation with the invocation, or import it first"
        )
        raise place.refused(missing, "7a")
    if CID.of(data, DAG_CBOR) != cid:
        other = WrongProof(
            "the bytes at hand do not hash to its CID",
            hint="send the delegation with the invocation, or import it again",
        )
        raise place.refused(other, "7a")
    return data


def _proof(cid: CID, data: bytes, place: Place, memo: Memo | None, items: int) -> Delegation:
    """Steps 7b and 7c: once for each delegation as long as the memo has it."""
    delegation = read(Delegation.parse, data, place, cid=cid, items=items)
    check_signature(delegation.token, place)
    if memo is not None:
        memo.keep_delegation(delegation)
    return delegation


def _check_number(count: int, place: Place) -> None:
    """Step 6."""
    if count > PROOFS_MAX:
        many = TooManyProofs(
            f"{count} proofs, at most {PROOFS_MAX} are followed", details={"proofs": count}
        )
        raise place.refused(many, "6")


def _check_link(
    subject: str, wanted: str, chain: Sequence[Delegation], delegation: Delegation, place: Place
) -> None:
    """Steps 7e to 7h: how a proof fits what is wanted of whom, and the chain before it."""
    if not chain and delegation.subject is None:
        root = PowerlineRoot("a powerline (sub null) cannot be the first proof")
        raise place.refused(root, "7e")
    if delegation.subject not in (None, subject):
        other = InvalidSubject(
            f"about {short(delegation.subject)}, the invocation about {short(subject)}",
            details={"sub": delegation.subject},
        )
        raise place.refused(other, "7f")
    expected = chain[-1].audience if chain else subject
    if delegation.issuer != expected:
        before = f"proof {len(chain)} gave the right to" if chain else "the right belongs to"
        gap = InvalidAudience(
            f"issued by {short(delegation.issuer)}, but {before} {short(expected)}",
            details={"iss": delegation.issuer, "expected": expected},
        )
        raise place.refused(gap, "7g")
    if not commands.covers(delegation.command, wanted):
        narrow = CommandNotCovered(
            f"for {shown(delegation.command)}, which does not cover {shown(wanted)}",
            details={"cmd": delegation.command},
        )
        raise place.refused(narrow, "7h")


def _check_policies(found: Authorised) -> None:
    """Step 7i."""
    failed = found.failure(found.invocation.args)
    if failed is not None:
        position, failure = failed
        place = Place(found.chain[position].cid, position, len(found.chain))
        raise place.refused(policy_refusal(failure), "7i")


def policy_refusal(failure: Failure) -> Refusal:
    """The refusal of arguments that a policy does not allow."""
    kind = PolicyTooCostly if failure.costly else PolicyNotMet
    return kind(failure.reason, details={"statement": failure.statement, "policy": failure.source})


def _check_revocations(
    chain: Sequence[Delegation],
    revoked_by: RevokedBy,
    any_revoked: AnyRevoked | None,
    memo: Memo | None,
    count: int,
) -> None:
    """Step 7j."""
    found = first_revoked(chain, revoked_by, any_revoked)
    if found is None:
        return
    position, revoker = found
    place = Place(chain[position].cid, position, count)
    if memo is not None:
        memo.forget(chain[position].cid)
    revoked = Revoked(
        f"revoked by {short(revoker)}", details={"revoker": revoker}, hint="ask for a new one"
    )
    raise place.refused(revoked, "7j")


def _check_invoker(invocation: Invocation, chain: Sequence[Delegation]) -> None:
    """Step 8."""
    expected = chain[-1].audience if chain else invocation.subject
    if invocation.issuer == expected:
        return
    place, details = Place(invocation.cid), {"iss": invocation.issuer, "expected": expected}
    issuer = short(invocation.issuer)
    if not chain:
        text = f"issued by {issuer} without proofs, and only {short(expected)} needs none"
        raise place.refused(NoProofs(text, details=details), "8")
    text = f"issued by {issuer}, but the last proof gave the right to {short(expected)}"
    raise place.refused(WrongInvoker(text, details=details), "8")


def _claim(invocation: Invocation, claim: Claim) -> None:
    """Step 9. The twins of a token count as one."""
    ends = invocation.expires_at
    until = None if ends is None else ends + CLOCK_BUFFER_S
    if not claim(min(twins.names(invocation.token)), until):
        again = Replayed(
            "accepted once already, so this is a replay",
            hint="ask for the receipt of the first, or send a new invocation",
        )
        raise Place(invocation.cid).refused(again, "9")
