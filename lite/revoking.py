"""Taking back: of which delegations a node may sign a revocation, and what shows that it may; and
which revocations of others concern it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain as joined

from lite.delegations import Source
from lite.ipld.cid import CID
from lite.keys import Key
from lite.parcel import Parcel
from lite.store.tokens import Tokens
from lite.ucan import chains, envelope, twins
from lite.ucan.between import between
from lite.ucan.delegation import Delegation
from lite.ucan.refusals import NoProofs
from lite.ucan.revocation import Revocation
from lite.ucan.show import short

__all__ = ["is_of_ours", "names_of", "revocation_of"]


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
            f"{short(delegation.cid)} was issued by {short(delegation.issuer)}, and this node "
            "issued nothing above it, so it cannot take it back",
            token=delegation.cid,
        )
    revocation = Revocation.issue(
        key,
        revoked=delegation.cid,
        subject=subject or key.did,
        path=[link.cid for link in path],
    )
    return revocation, path


def names_of(cid: CID | None, parcel: Parcel, tokens: Tokens) -> tuple[CID, ...]:
    """All names of a delegation that came or is here (`lite.ucan.twins`); none of any other."""
    data = None if cid is None else parcel.delegations.get(cid) or tokens.delegation(cid)
    return () if data is None else twins.names(envelope.parse(data))


def is_of_ours(
    revocation: Revocation, names: frozenset[str], parcel: Parcel, tokens: Tokens
) -> bool:
    """Whether it takes back a delegation that is here, itself or as its twin, in the name of who
    issued that, and is new.

    Args:
        names: in which it counts.
        parcel: where the delegation may be as well.
    """
    cid = revocation.revoked
    data = tokens.delegation(cid) or parcel.delegations.get(cid)
    if data is None or Delegation.parse(data).issuer not in names - tokens.revokers(cid):
        return False
    return any(tokens.delegation(name) is not None for name in names_of(cid, parcel, tokens))


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
