"""Taking back: of which delegations a node may sign a revocation, and what shows that it may; and
which revocations of others concern it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain as joined

from lite.delegations import Source, read_delegation
from lite.errors import HashMismatch, NotFoundError
from lite.ipld.cid import CID
from lite.keys import Key
from lite.parcel import Parcel
from lite.store.faults import changed
from lite.store.tokens import Tokens
from lite.ucan import chains, envelope, twins
from lite.ucan.between import between
from lite.ucan.delegation import Delegation
from lite.ucan.refusals import NoProofs
from lite.ucan.revocation import Revocation
from lite.ucan.show import short

__all__ = ["is_of_ours", "names_of", "revocation_of", "to_revoke"]


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
    return any(tokens.has_delegation(name) for name in names_of(cid, parcel, tokens))


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
