"""Taking back: of which delegations a node may sign a revocation, and what shows that it may;
which revocations of others concern it, and which count."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from itertools import chain as joined
from typing import Final

from lite.delegations import Source, read_delegation
from lite.errors import CodecError, HashMismatch, NotFoundError, UsageError
from lite.frozen import frozen
from lite.ipld.cid import CID
from lite.keys import Key
from lite.parcel import Parcel
from lite.store.faults import changed
from lite.store.tokens import Filed, Tokens
from lite.ucan import chains, envelope, twins
from lite.ucan.between import between
from lite.ucan.checks import Place
from lite.ucan.delegation import Delegation
from lite.ucan.envelope import Token
from lite.ucan.payload import principal
from lite.ucan.refusals import NoProofs, Refusal
from lite.ucan.revocation import NOUN, Revocation
from lite.ucan.show import short

__all__ = [
    "Standing",
    "check_few",
    "is_of_ours",
    "names_of",
    "revocation_of",
    "standing",
    "to_revoke",
    "too_many",
]

HEEDED_MAX: Final = 64  # revocations that come with an invocation


@frozen
class Standing:
    """That a revocation counts.

    Attributes:
        sure: False when its delegation is not here, so that this depends on who issued that.
        note: what else to know of it, in one line; often empty.
    """

    sure: bool
    note: str = ""


def to_revoke(cid: CID, along: Mapping[CID, bytes], tokens: Tokens) -> Delegation:
    """The delegation that is to be revoked. One that is kept here was verified when it came, so
    whatever it holds is good, and so are the same bytes of a file when the disk changed the row.

    Args:
        along: delegations of a file.

    Raises:
        NotFoundError: it is in neither.
        HashMismatch: the disk changed the one that is kept, and it is not in the file.
        Refusal: it is in the file alone, and is none.
    """
    kept = tokens.has_delegation(cid)
    data = tokens.delegation(cid) or along.get(cid)
    if data is not None:
        return Delegation.of(envelope.parse_trusted(data, cid)) if kept else read_delegation(data)
    if kept:
        raise HashMismatch(
            str(changed(f"the delegation {cid}")),
            hint="Import it again, or revoke it by a file that it is in; "
            "`ipvm doctor --deep --repair` drops such bytes.",
        )
    raise NotFoundError(
        f"there is no delegation {cid} here",
        hint="import it first; `ipvm ucan list` shows those that are here",
    )


def revocation_of(
    delegation: Delegation, key: Key, source: Source
) -> tuple[Revocation, Sequence[Delegation]]:
    """Sign the revocation of a delegation that the key issued, or of one below it.

    Args:
        source: where the links between are looked for.

    Returns:
        The revocation, and the links from one that the key issued down to the delegation; none when
        those between are not here.

    Raises:
        NoProofs: the key issued neither it nor one above it.
    """
    path, subject = _path_to(delegation, key.did, source.with_ended())
    if path is None:
        raise NoProofs(
            f"{short(delegation.cid)} was issued by {short(delegation.issuer)}, and as far as is "
            "known here this node issued nothing above it, so it cannot take it back",
            token=delegation.cid,
        )
    revocation = Revocation.issue(
        key,
        revoked=delegation.cid,
        subject=subject or key.did,
        path=[link.cid for link in path],
    )
    return revocation, path


def names_of(cid: CID, parcel: Parcel, tokens: Tokens) -> tuple[CID, ...]:
    """All names of a delegation, as far as they are known: `lite.ucan.twins`."""
    token = _sound(cid, parcel, tokens)
    return (cid,) if token is None else twins.names(token)


def is_of_ours(
    revocation: Revocation, names: frozenset[str], parcel: Parcel, tokens: Tokens
) -> bool:
    """Whether it takes back a delegation that is here, itself or as its twin, in the name of who
    issued that, and is new. Of one that the disk changed, what it was filed under counts.

    Args:
        names: in which it counts.
        parcel: where the delegation may be as well, among others that are none.
    """
    cid = revocation.revoked
    new = names - tokens.revokers(cid)
    if not new:
        return False
    token = _sound(cid, parcel, tokens)
    if token is None:
        filed = tokens.filed(cid)
        return filed is not None and filed.issuer in new
    if principal(token.issuer) not in new:
        return False
    return any(tokens.has_delegation(name) for name in twins.names(token))


def standing(
    revocation: Revocation, names: frozenset[str], parcel: Parcel, tokens: Tokens, source: Source
) -> Standing:
    """Whether a revocation counts: somebody in whose name it does stands above what it revokes. One
    that is kept here counts in the names in which it did when it came, and whatever became of the
    bytes of its delegation.

    Args:
        names: in which it counts by what is at hand now.
        source: where the links between are looked for.

    Raises:
        NoProofs: none of them stands there.
        HashMismatch: the disk changed its delegation, and what that was filed under does not show
            that one of them does.
        Refusal: what came under the CID of its delegation is none.
    """
    cid, invocation = revocation.revoked, revocation.invocation
    if tokens.has_revocation(revocation.cid):
        own = {invocation.issuer}
        if tokens.counts_for_subject(revocation.cid):
            own.add(invocation.subject)
        names |= tokens.revokers(cid) & own
    data = parcel.delegations.get(cid) or tokens.delegation(cid)
    filed, note = tokens.filed(cid), ""
    if data is not None:
        leaf = read_delegation(data)
        filed = Filed(leaf.issuer, leaf.subject)
    elif filed is not None:
        note = str(changed(f"the delegation {cid}"))
    else:
        note = "its delegation is not here; it counts if its issuer stands above that"
        return Standing(sure=False, note=note)
    # All chains about a subject begin with it.
    if filed.subject in names or any(
        between(source, who, filed.issuer, about=filed.subject) for who in names
    ):
        return Standing(sure=True, note=note)
    if data is None:
        raise changed(f"the delegation {cid}")
    issuer = short(invocation.issuer)
    stranger = NoProofs(
        f"issued by {issuer}, who issued neither {short(cid)} nor one above it",
        hint="import the delegations before it, or inspect them together in one container",
    )
    raise Place(revocation.cid, noun=NOUN).refused(stranger, "8")


def _sound(cid: CID, parcel: Parcel, tokens: Tokens) -> Token | None:
    """A delegation that is here, or came along and is one; else None. What came was not looked at
    before, and may be anything."""
    kept = tokens.delegation(cid)
    with suppress(CodecError, Refusal):
        if kept is not None:
            return Delegation.of(envelope.parse_trusted(kept, cid)).token
        came = parcel.delegations.get(cid)
        return None if came is None else read_delegation(came).token
    return None


def _path_to(
    delegation: Delegation, own: str, source: Source
) -> tuple[list[Delegation] | None, str | None]:
    """Links from one that this node issued down to a delegation, or None; and whom they are about,
    None when all are powerlines. What has expired counts: it may not have elsewhere."""
    known = between(source, own, delegation.issuer, about=delegation.subject)
    paths = [([delegation], delegation.subject)]
    seen = {(delegation.issuer, delegation.subject)}
    for path, subject in paths:
        top = path[0]
        if top.issuer == own:
            return path, subject
        if len(path) >= chains.LINKS_MAX:
            continue
        for above in joined(
            source.all_given_to(top.issuer, subject, (own,)),
            source.all_given_to(top.issuer, subject, known),
        ):
            about = subject or above.subject
            if (above.issuer, about) not in seen:
                seen.add((above.issuer, about))
                paths.append(([above, *path], about))
    # Of a chain about this node the beginning is its own, wherever that is kept.
    return ([], own) if delegation.subject == own else (None, None)


def check_few(revocations: Sequence[bytes]) -> None:
    """Raises UsageError when there are more revocations than are heeded beside an invocation."""
    if len(revocations) > HEEDED_MAX:
        raise too_many(revocations)


def too_many(revocations: Sequence[bytes]) -> UsageError:
    """What to raise then."""
    return UsageError(
        f"there are {len(revocations)} revocations in it, too many to look at",
        hint="leave out those that have nothing to do with it",
    )
