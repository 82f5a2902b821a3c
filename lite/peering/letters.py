"""The letters between this node and one peer: tokens that each has for the other.

A letter is a container of tokens (`ctn-v1`, raw and in its one canonical form, at most 16 KiB) with
a delegation or an invocation to one of the two and its proofs, or with a revocation and what it
takes back. What this node signed for the peer goes in by itself, and so do revocations that concern
the peer, because records may not be shared with it. What comes is kept: delegations and revocations
with the others of the node, invocations until somebody does them. The gate decides about them then,
never that they came.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Final

from lite.authority import Authority
from lite.clock import Clock
from lite.delegations import read_delegation
from lite.errors import CodecError, IpvmError, UsageError
from lite.frozen import frozen
from lite.ipld.cid import CID, DAG_CBOR
from lite.keys import Key
from lite.nudge import RECORDS, nudge
from lite.parcel import Parcel
from lite.peering import letter_sql as sql
from lite.peering.names import letters_between
from lite.peering.set_store import SetStore
from lite.peering.values import PeerEvent
from lite.store import Store
from lite.store.database import Row, Transaction
from lite.ucan import container, twins
from lite.ucan.checks import Place, check_signature, read
from lite.ucan.delegation import Delegation
from lite.ucan.invocation import Invocation
from lite.ucan.revocation import Revocation
from sync.base import CONTROL, ITEM_BYTES_MAX, Accepted, Entry, Item
from sync.errors import ItemInvalid, ItemUnwanted

LETTERS_MAX: Final = 4_096  # from one peer
POSTED_AT_ONCE: Final = 1_024  # revocations in one transaction


@frozen
class Asked:
    """An invocation that a peer sent, and that waits.

    Attributes:
        letter: the container, for `Node.run_invocation`.
    """

    invocation: CID
    command: str
    peer: str
    added_at: int
    letter: bytes


class LetterStore(SetStore):
    """The set of letters with one peer."""

    def __init__(self, store: Store, own: str, peer: str, clock: Clock) -> None:
        super().__init__(store, letters_between(own, peer))
        self._own = own
        self._peer = peer
        self._clock = clock

    def read(self, ids: Collection[bytes]) -> Mapping[bytes, bytes]:
        found: dict[bytes, bytes] = {}
        with self._faults():
            for id in ids:
                row = self._store.database.row(sql.LETTER, (self.name, id))
                if row is not None:
                    found[id] = row[0]
        return found

    def keep(self, transaction: Transaction, items: Sequence[Item], source: str) -> None:
        now = self._clock.now()
        rows = [(self.name, item.id, source, 0, now, item.raw) for item in items]
        transaction.executemany(sql.LETTER_ADD, rows)

    def received(self) -> int:
        """How many letters of the peer are here."""
        with self._faults():
            return self._store.database.number(sql.LETTERS_FROM, (self.name, self._peer))

    def post(self, authority: Authority) -> int:
        """Put what this node signed for the peer since the last time into letters; how many."""
        with self._faults():
            values = (self._peer, self._own, self._clock.now())
            rows = self._store.database.rows(sql.UNPOSTED, values)
            letters: list[bytes] = []
            tokens = [raw for raw, _ in rows]
            for _, data in rows:
                found, chain = self._letters_with(data, authority)
                letters += found
                tokens += chain
            revoked = _revoked_for(self._store, self._peer, POSTED_AT_ONCE)
            for raw, data, delegation in revoked:
                found = _letter_of_revocation(data, delegation, self._store)
                letters += found
                tokens += [raw] if found else []
            letters += [raw for (raw,) in self._store.database.rows(sql.WAITING, (self._peer,))]
            if tokens or letters:
                self._write(letters, tokens)
            return len(letters)

    def _letters_with(self, data: bytes, authority: Authority) -> tuple[list[bytes], list[bytes]]:
        """A delegation with the chain above it: together, or each by itself when they are long; and
        the CIDs of that chain. Nothing of one that the disk changed."""
        try:
            leaf = read_delegation(data)
        except IpvmError:
            return [], []
        chain: list[Delegation] = []
        if leaf.subject not in (None, self._own):
            found = authority.find_chain(
                subject=leaf.subject or "", audience=self._own, command=leaf.command, timed=True
            )
            chain = found or []
        together = container.write([data, *(one.data for one in chain)], "raw")
        cids = [link.cid.raw for link in chain]
        if len(together) <= ITEM_BYTES_MAX:
            return [together], cids
        alone = [container.write([one], "raw") for one in (data, *(link.data for link in chain))]
        return [letter for letter in alone if len(letter) <= ITEM_BYTES_MAX], cids

    def _write(self, letters: Sequence[bytes], posted: Sequence[bytes]) -> None:
        now = self._clock.now()
        with self._writing(durable=True) as transaction:
            entries = []
            for letter in letters:
                id = CID.of(letter, DAG_CBOR).digest
                values = (self.name, id, "", 1, now, letter)
                transaction.execute(sql.LETTER_ADD, values)
                entries.append(
                    Entry(0, id, _time_of(Parcel.read(letter)), len(letter), CONTROL, "")
                )
            self.index.add(entries)
            transaction.executemany(sql.POSTED_ADD, [(self._peer, raw) for raw in posted])
            transaction.execute(sql.WAITING_DROP, (self._peer,))


class LetterVerifier:
    """A `Verifier` of `sync.base` for the letters with one peer."""

    def __init__(self, letters: LetterStore, own: str, peer: str) -> None:
        self._letters = letters
        self._own = own
        self._peer = peer

    def verify(self, id: bytes, raw: bytes, peer: str) -> Accepted:
        """Whether it is a letter between the two.

        Raises:
            ItemInvalid: not in the canonical form of a letter, or with a token that is not signed.
            ItemUnwanted: about somebody else, or one too many.
        """
        try:
            parcel = _parcel(raw)
            delegations = [read_delegation(data) for data in parcel.delegations.values()]
            invocations = [_invocation(data) for data in parcel.invocations]
            revocations = [_revocation(data) for data in parcel.revocations]
        except IpvmError as error:
            raise ItemInvalid(f"no letter: {error}") from error
        pair = {self._own, self._peer}
        about = [one.audience in pair for one in delegations]
        about += [one.issuer in pair and one.executor in pair for one in invocations]
        about += [self._concerns(one, parcel, pair) for one in revocations]
        if not any(about):
            raise ItemUnwanted("a letter to somebody else")
        if self._letters.received() >= LETTERS_MAX:
            raise ItemUnwanted(f"{LETTERS_MAX} letters of this peer are here, and wait")
        return Accepted(_time_of(parcel), CONTROL)

    def _concerns(self, revocation: Revocation, parcel: Parcel, pair: Collection[str]) -> bool:
        """Whether it takes back what one of the two gave, got or is about, or is of one of them."""
        if revocation.invocation.issuer in pair:
            return True
        data = parcel.delegations.get(revocation.revoked)
        if data is None:
            return False
        revoked = Delegation.parse(data)
        return not {revoked.issuer, revoked.audience, revoked.subject}.isdisjoint(pair)


def send(store: Store, own: str, peer: str, data: bytes) -> CID:
    """Give an invocation with its proofs to a peer: it goes when the two meet. Its CID.

    Args:
        data: a token or a container.

    Raises:
        UsageError: not one invocation of this node that the peer is to do, or too long.
    """
    parcel = Parcel.read(data)
    if len(parcel.invocations) != 1 or parcel.revocations or parcel.receipts:
        raise UsageError("a letter holds one invocation and its proofs")
    invocation = _invocation(parcel.invocations[0])
    if (invocation.issuer, invocation.executor) != (own, peer):
        raise UsageError(f"the invocation is not of this node to {peer}")
    letter = container.write([invocation.data, *parcel.delegations.values()], "raw")
    if len(letter) > ITEM_BYTES_MAX:
        told = f"a letter has at most {ITEM_BYTES_MAX} bytes, and this would have {len(letter)}"
        raise UsageError(told, hint="Hand it over as a file.")
    with store.database.write() as transaction:
        transaction.execute(sql.WAITING_ADD, (peer, letter))
    nudge(store.home, RECORDS)
    return invocation.cid


def unposted(store: Store, own: str, now: int, peers: Collection[str]) -> list[str]:
    """Those of the peers for whom there is something that is in no letter yet."""
    signed = {did for (did,) in store.database.rows(sql.UNPOSTED_TO, (own, now))}
    signed.update(did for (did,) in store.database.rows(sql.WAITING_TO))
    return [did for did in sorted(peers) if did in signed or _revoked_for(store, did, 1)]


def _revoked_for(store: Store, peer: str, limit: int) -> list[Row]:
    """Revocations that concern a peer and are in no letter yet: CID, bytes, what they take back."""
    if store.database.row(sql.REVOKED) is None:
        return []
    return store.database.rows(sql.REVOKED_UNPOSTED, (peer, limit))


def _letter_of_revocation(data: bytes, delegation: bytes, store: Store) -> list[bytes]:
    """A revocation with what it takes back and the proofs that are here; without them when they
    are long, or the disk changed them. Nothing of one that it changed."""
    try:
        proofs = map(store.tokens.delegation, _revocation(data).invocation.proofs)
    except IpvmError:
        return []
    kept = [one for one in proofs if one is not None]
    about = [delegation] if _is_delegation(delegation) else []
    for tokens in ([data, *about, *kept], [data, *about], [data]):
        letter = container.write(tokens, "raw")
        if len(letter) <= ITEM_BYTES_MAX:
            return [letter]
    return []


def _is_delegation(data: bytes) -> bool:
    try:
        read_delegation(data)
    except IpvmError:
        return False
    return True


def take_in(store: Store, key: Key, clock: Clock) -> list[PeerEvent]:
    """Keep the delegations of letters that came, with the others of the node; what they held."""
    events = []
    for name, id, peer, raw in store.database.rows(sql.LETTERS_UNREAD):
        found = Authority(store, key, clock).import_(raw)
        with store.database.write() as transaction:
            transaction.execute(sql.LETTER_TAKEN, (name, id))
            # The peer has them: no letter has to tell it.
            transaction.executemany(sql.POSTED_ADD, [(peer, one.cid.raw) for one in found.taken])
        tokens: dict[str, list[str]] = {}
        for one in found.taken:
            tokens.setdefault(f"{one.kind}s", []).append(str(one.cid))
        text = ", ".join(f"{len(cids)} {kind}" for kind, cids in tokens.items())
        events.append(PeerEvent("letter", peer, "", text, tokens))
    return events


def asked(store: Store) -> list[Asked]:
    """The invocations in the letters of peers that have not been done here, the oldest first."""
    found: list[Asked] = []
    for peer, added_at, raw in store.database.rows(sql.LETTERS_FROM_PEERS):
        for data in Parcel.read(raw).invocations:
            invocation = Invocation.parse(data)
            if store.tokens.receipt_of(*twins.names(invocation.token)) is None:
                found.append(Asked(invocation.cid, invocation.command, peer, added_at, raw))
    return found


def _parcel(raw: bytes) -> Parcel:
    if raw[:1] != b"@" or container.write(container.read(raw), "raw") != raw:
        raise CodecError("it is not a container in its canonical form")
    parcel = Parcel.read(raw)
    if parcel.receipts or len(parcel.invocations) + len(parcel.revocations) > 1:
        raise CodecError("a letter holds delegations, and one invocation or revocation at most")
    return parcel


def _invocation(data: bytes) -> Invocation:
    place = Place(None)
    invocation = read(Invocation.parse, data, place)
    check_signature(invocation.token, place)
    return invocation


def _revocation(data: bytes) -> Revocation:
    return Revocation.of(_invocation(data))


def _time_of(parcel: Parcel) -> int:
    """When the invocation or revocation was issued; else from when the delegations hold; else 0."""
    for data in (*parcel.invocations, *parcel.revocations):
        invocation = Invocation.parse(data)
        return invocation.issued_at or invocation.not_before or 0
    begins = [Delegation.parse(data).not_before or 0 for data in parcel.delegations.values()]
    return max(begins, default=0)
