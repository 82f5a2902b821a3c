"""The letters between this node and one peer: tokens that each has for the other.

A letter is a container of tokens (`ctn-v1`, raw and in its one canonical form, at most 16 KiB) with
a delegation or an invocation to one of the two, and its proofs. What this node signed for the peer
goes in by itself; what comes is kept: delegations with the others of the node, invocations until
somebody does them. The gate decides about them then, never that they came.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Final

from lite.authority import Authority
from lite.clock import Clock
from lite.delegations import read_delegation
from lite.errors import CodecError, IpvmError
from lite.frozen import frozen
from lite.ipld.cid import CID, DAG_CBOR
from lite.keys import Key
from lite.parcel import Parcel
from lite.peering import letter_sql as sql
from lite.peering.names import letters_between
from lite.peering.set_store import SetStore, faults
from lite.peering.values import PeerEvent
from lite.store import Store
from lite.store.database import Transaction
from lite.ucan import container
from lite.ucan.checks import Place, check_signature, read
from lite.ucan.delegation import Delegation
from lite.ucan.invocation import Invocation
from sync.base import CONTROL, ITEM_BYTES_MAX, Accepted, Entry, Item
from sync.errors import ItemInvalid, ItemUnwanted

LETTERS_MAX: Final = 4_096  # from one peer


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
        with faults():
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
        return self._store.database.number(sql.LETTERS_FROM, (self.name, self._peer))

    def post(self, authority: Authority) -> int:
        """Put what this node signed for the peer since the last time into letters; how many."""
        with faults():
            values = (self._peer, self._own, self._clock.now())
            rows = self._store.database.rows(sql.UNPOSTED, values)
            letters = []
            for raw, data in rows:
                letters += [(raw, one) for one in self._letters_with(data, authority)]
            if rows:
                self._write(letters, [raw for raw, _ in rows])
            return len(letters)

    def _letters_with(self, data: bytes, authority: Authority) -> list[bytes]:
        """A delegation with the chain above it: together, or each by itself when they are long.
        Nothing of one that the disk changed."""
        try:
            leaf = read_delegation(data)
        except IpvmError:
            return []
        chain: list[Delegation] = []
        if leaf.subject not in (None, self._own):
            found = authority.find_chain(
                subject=leaf.subject or "", audience=self._own, command=leaf.command
            )
            chain = found or []
        together = container.write([data, *(one.data for one in chain)], "raw")
        if len(together) <= ITEM_BYTES_MAX:
            return [together]
        alone = [container.write([one], "raw") for one in (data, *(link.data for link in chain))]
        return [letter for letter in alone if len(letter) <= ITEM_BYTES_MAX]

    def _write(self, letters: Sequence[tuple[bytes, bytes]], posted: Sequence[bytes]) -> None:
        now = self._clock.now()
        with self._writing(durable=True) as transaction:
            entries = []
            for _, letter in letters:
                id = CID.of(letter, DAG_CBOR).digest
                values = (self.name, id, "", 1, now, letter)
                transaction.execute(sql.LETTER_ADD, values)
                entries.append(
                    Entry(0, id, _time_of(Parcel.read(letter)), len(letter), CONTROL, "")
                )
            self.index.add(entries)
            transaction.executemany(sql.POSTED_ADD, [(self._peer, raw) for raw in posted])


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
        except IpvmError as error:
            raise ItemInvalid(f"no letter: {error}") from error
        pair = {self._own, self._peer}
        about = [one.audience in pair for one in delegations]
        about += [one.issuer in pair and one.executor in pair for one in invocations]
        if not any(about):
            raise ItemUnwanted("a letter to somebody else")
        if self._letters.received() >= LETTERS_MAX:
            raise ItemUnwanted(f"{LETTERS_MAX} letters of this peer are here, and wait")
        return Accepted(_time_of(parcel), CONTROL)


def unposted(store: Store, own: str, now: int) -> list[str]:
    """To whom this node signed something that is in no letter yet."""
    return [did for (did,) in store.database.rows(sql.UNPOSTED_TO, (own, now))]


def take_in(store: Store, key: Key, clock: Clock) -> list[PeerEvent]:
    """Keep the delegations of letters that came, with the others of the node; what they held."""
    events = []
    for name, id, peer, raw in store.database.rows(sql.LETTERS_UNREAD):
        found = Authority(store, key, clock).import_(raw)
        with store.database.write() as transaction:
            transaction.execute(sql.LETTER_TAKEN, (name, id))
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
            if store.tokens.receipt_of(invocation.cid) is None:
                found.append(Asked(invocation.cid, invocation.command, peer, added_at, raw))
    return found


def _parcel(raw: bytes) -> Parcel:
    if raw[:1] != b"@" or container.write(container.read(raw), "raw") != raw:
        raise CodecError("it is not a container in its canonical form")
    parcel = Parcel.read(raw)
    if parcel.revocations or parcel.receipts or len(parcel.invocations) > 1:
        raise CodecError("a letter holds delegations, and one invocation at most")
    return parcel


def _invocation(data: bytes) -> Invocation:
    place = Place(None)
    invocation = read(Invocation.parse, data, place)
    check_signature(invocation.token, place)
    return invocation


def _time_of(parcel: Parcel) -> int:
    """When the invocation was issued; else from when the delegations hold; else 0."""
    for data in parcel.invocations:
        invocation = Invocation.parse(data)
        return invocation.issued_at or invocation.not_before or 0
    begins = [Delegation.parse(data).not_before or 0 for data in parcel.delegations.values()]
    return max(begins, default=0)
