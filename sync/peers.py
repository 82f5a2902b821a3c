"""Who is known, what each may do, where it may be, and when to try it again.

Meeting a peer gives it nothing: rights are given by the owner. What is heard of a peer's addresses
is a hint that costs a little memory and a dial, and that the channel checks.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Final, Protocol

from sync.backoff import LONGEST_S, BackOff, Bucket
from sync.base import Random
from sync.errors import StoreError
from sync.keys import public_of
from sync.wall import WallClock

READ: Final = "read"  # it may have the items
BLOCKS: Final = "blocks"  # it may have the blocks
ANSWERS: Final = "answers"  # its items count here
RUN: Final = "run"  # it may ask for work
RIGHTS: Final = (READ, BLOCKS, ANSWERS, RUN)

STATIC: Final = "static"  # written by the owner
FOUND: Final = "found"  # announced on the local network
TOLD: Final = "told"  # by another peer
DIALLED: Final = "dialled"  # it answered there

STRIKES_MAX: Final = 3
STRIKES_LAST_S: Final = 86_400
BAN_S: Final = 3_600
STRANGERS_MAX: Final = 256
ADDRESSES_MAX: Final = 8  # of one peer, the owner's own not counted
ADDRESS_CHARS_MAX: Final = 256
NAME_CHARS_MAX: Final = 64
_HEARD_AGAIN_S: Final = 600  # a hint that is repeated is written down as often
_MET_AGAIN_S: Final = 60  # who comes again and again does not wear out the disk
_HURRY_S: Final = 1.0

BUDGET_BYTES: Final = 256 * 1024 * 1024
BUDGET_BYTES_PER_S: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Peer:
    """What is kept of a peer. Times are seconds since 1970; 0: never.

    Attributes:
        rights: of `RIGHTS`, or of the application's own; empty: a stranger.
        met_at: when a channel to it was last open.
        strikes: broken rules since the last ban, each within a day of the one before.
        noted: by the owner, so that no stranger takes its place; else the world spoke of it.
    """

    did: str
    name: str = ""
    rights: frozenset[str] = frozenset()
    added_at: int = 0
    met_at: int = 0
    strikes: int = 0
    struck_at: int = 0
    banned_until: int = 0
    noted: bool = False


@dataclass(frozen=True, slots=True)
class Address:
    """Where a peer may be.

    Attributes:
        text: `host:port`.
        source: `STATIC`, `FOUND`, `TOLD` or `DIALLED`.
        worked_at: when it last answered there; 0: never.
    """

    text: str
    source: str
    heard_at: int
    worked_at: int = 0


@dataclass(frozen=True, slots=True)
class Call:
    """A peer to dial now, and where, the most likely address first."""

    did: str
    addresses: tuple[str, ...]


Change = Callable[[Peer], Peer]


class PeerStore(Protocol):
    """Keeps peers and their addresses. Each call is one transaction: others write here too, the
    owner in another process first of all."""

    def peers(self) -> Sequence[Peer]: ...

    def peer(self, did: str) -> Peer | None: ...

    def change(self, new: Peer, how: Change) -> Peer:
        """Write what `how` makes of the row of `new.did`, or of `new` where there is none; nobody
        writes between the look and the write. Returns what is written."""

    def drop(self, did: str) -> None:
        """The peer and its addresses."""

    def drop_stranger(self, did: str) -> None:
        """The same, unless the owner spoke of it."""

    def addresses(self, did: str) -> Sequence[Address]: ...

    def save_address(self, did: str, address: Address) -> None:
        """Note an address of a peer that is there. Of an address that is there the source stays,
        unless the new one is `STATIC`, and so does `worked_at`, unless there is a new one."""

    def drop_hint(self, did: str, text: str) -> None:
        """Forget an address, unless the owner wrote it."""


class MemoryPeerStore:
    """A `PeerStore` that ends with the process."""

    def __init__(self) -> None:
        self._peers: dict[str, Peer] = {}
        self._addresses: dict[str, dict[str, Address]] = {}

    def peers(self) -> Sequence[Peer]:
        return list(self._peers.values())

    def peer(self, did: str) -> Peer | None:
        return self._peers.get(did)

    def change(self, new: Peer, how: Change) -> Peer:
        peer = self._peers[new.did] = how(self._peers.get(new.did, new))
        return peer

    def drop(self, did: str) -> None:
        self._peers.pop(did, None)
        self._addresses.pop(did, None)

    def drop_stranger(self, did: str) -> None:
        peer = self._peers.get(did)
        if peer is not None and not (peer.noted or peer.rights):
            self.drop(did)

    def addresses(self, did: str) -> Sequence[Address]:
        return list(self._addresses.get(did, {}).values())

    def save_address(self, did: str, address: Address) -> None:
        if did not in self._peers:
            return
        kept = self._addresses.setdefault(did, {})
        if before := kept.get(address.text):
            source = STATIC if address.source == STATIC else before.source
            worked_at = address.worked_at or before.worked_at
            address = replace(address, source=source, worked_at=worked_at)
        kept[address.text] = address

    def drop_hint(self, did: str, text: str) -> None:
        kept = self._addresses.get(did, {})
        if text in kept and kept[text].source != STATIC:
            del kept[text]


class PeerBook:
    """The rules over a `PeerStore`. It reads the store each time, which others may write too. What
    the owner says changes the rights, the name and the owner's addresses of what is there at that
    moment; what the world says changes all the rest, and never these.

    Args:
        own: the did:key of this node, which is no peer.
        metered: take no more than what is asked for; `budget` is 0.
    """

    def __init__(
        self,
        store: PeerStore,
        own: str,
        clock: WallClock,
        random: Random,
        *,
        longest_wait_s: float = LONGEST_S,
        metered: bool = False,
    ) -> None:
        self._store = store
        self._own = own
        self._clock = clock
        self._waits = BackOff(clock, random, longest_wait_s)
        self._buckets: dict[str, Bucket] = {}
        self.metered = metered
        self.problem = ""  # why what is seen cannot be written down
        self._unwritten: dict[str, Peer] = {}

    # What the owner says

    def trust(self, did: str, rights: Iterable[str], name: str | None = None) -> Peer:
        """Give rights, beside those that it has. Raises IdentityError for another did."""
        given = frozenset(rights)
        peer = self._say(did, lambda one: replace(one, rights=one.rights | given), name)
        self._waits.forget(did)
        return peer

    def untrust(self, did: str, rights: Iterable[str] | None = None) -> Peer:
        """Take rights away; None: all of them."""
        gone = None if rights is None else frozenset(rights)
        return self._say(
            did,
            lambda one: replace(one, rights=one.rights - (one.rights if gone is None else gone)),
        )

    def rename(self, did: str, name: str) -> Peer:
        """Give it a name, which only this node uses."""
        return self._say(did, lambda one: one, name)

    def pardon(self, did: str) -> Peer:
        """Forget its strikes."""
        self._waits.forget(did)
        self._unwritten.pop(did, None)
        return self._say(did, lambda one: replace(one, strikes=0, banned_until=0))

    def remove(self, did: str) -> None:
        """Forget it, with its rights and addresses."""
        self._store.drop(did)
        self._unwritten.pop(did, None)
        self._waits.forget(did)

    def add_static(self, did: str, address: str) -> None:
        """An address of the owner's own knowledge. Raises ValueError when it is not host:port."""
        text = checked_address(address)
        self._say(did, lambda one: one)
        self._store.save_address(did, Address(text, STATIC, self._clock.now()))
        self._waits.forget(did)

    # What the world says

    def heard(self, did: str, address: str, source: str) -> bool:
        """Somebody says that a peer is at an address.

        Returns:
            Whether it is worth a dial now: a known peer, at an address that is new or that it
            has been waiting to answer at.
        """
        text = _address_or_none(address)
        if did == self._own or text is None:
            return False
        address = text
        peer = self._store.peer(did) or self._stranger(did)
        now = self._clock.now()
        known = {one.text: one for one in self._store.addresses(did)}
        before = known.get(address)
        if before is None or abs(now - before.heard_at) >= _HEARD_AGAIN_S:
            self._note_address(did, Address(address, source, now))
        if not peer.rights or self.banned_s(did):
            return False
        if before is None or source == FOUND:
            self._waits.forget(did)
        return self._waits.left_s(did) == 0

    def met(self, did: str, address: str | None) -> None:
        """A channel is open; `address` is where it answered when this node dialled."""
        now = self._clock.now()
        peer = self._store.peer(did) or self._stranger(did)
        if abs(now - peer.met_at) >= _MET_AGAIN_S:
            self._note(did, lambda one: replace(one, met_at=now))
        if address is not None:
            self._note_address(did, Address(address, DIALLED, now, now))

    def answered(self, did: str) -> None:
        """It said hello: the next failure is a first one."""
        self._waits.forget(did)

    def somebody_else(self, did: str, address: str) -> None:
        """Another key answered at an address; one that the owner wrote down is kept."""
        if any(one.text == address and one.source != STATIC for one in self._store.addresses(did)):
            self._could(lambda: self._store.drop_hint(did, address))

    def missed(self, did: str) -> float:
        """No channel, or it broke. Returns the seconds until the next dial."""
        return self._waits.failed(did)

    def hold(self, did: str, seconds: float) -> None:
        """It asked to be left alone for as long."""
        self._waits.hold(did, min(seconds, BAN_S))

    def refused(self, did: str, name: bytes, seconds: float) -> None:
        """It does not share one set with this node; others go on as they are."""
        self._waits.hold(_place(did, name), min(seconds, BAN_S))

    def refused_s(self, did: str, name: bytes) -> float:
        """Seconds for which it is not asked about a set."""
        return self._waits.left_s(_place(did, name))

    def retry(self, did: str) -> None:
        """Somebody waits for it, or the owner changed something: nothing that was before keeps this
        node from dialling it now, about any set."""
        self._waits.forget(did)
        self._waits.forget_under(_place(did, b""))

    def strike(self, did: str, times: int = 1) -> bool:
        """It broke rules; a strike counts until a day went by without another. Returns whether that
        was one too many: it is left alone then."""
        now = self._clock.now()
        if self._store.peer(did) is None:
            self._stranger(did)

        def struck(peer: Peer) -> Peer:
            recent = abs(now - peer.struck_at) < STRIKES_LAST_S
            strikes = (peer.strikes if recent else 0) + times
            if strikes >= STRIKES_MAX:
                return replace(peer, strikes=0, struck_at=now, banned_until=now + BAN_S)
            return replace(peer, strikes=strikes, struck_at=now)

        return self._note(did, struck).banned_until > now

    def awake(self) -> None:
        """The machine slept, or its addresses changed: try everybody soon."""
        self._waits.hurry(_HURRY_S)

    # What follows from it

    def peers(self) -> list[Peer]:
        """All, the named ones first."""
        return sorted(self._store.peers(), key=lambda one: (not one.rights, one.name, one.did))

    def peer(self, did: str) -> Peer | None:
        return self._store.peer(did)

    def addresses(self, did: str) -> list[Address]:
        """The most likely first: where it answered last, then the owner's, then the newest."""
        order = self._store.addresses(did)
        return sorted(order, key=lambda a: (-a.worked_at, a.source != STATIC, -a.heard_at, a.text))

    def may(self, did: str, right: str) -> bool:
        peer = self._store.peer(did)
        return peer is not None and right in peer.rights and not self.banned_s(did)

    def banned_s(self, did: str) -> int:
        """Seconds for which nothing is to be had from or for it; 0: none."""
        peer = self._store.peer(did)
        if peer is None or not peer.banned_until:
            return 0
        latest = self._clock.now() + BAN_S
        if peer.banned_until > latest:  # the clock was set back: no ban is longer than this
            self._note(did, lambda one: replace(one, banned_until=min(one.banned_until, latest)))
        return max(0, min(peer.banned_until, latest) - (latest - BAN_S))

    def waits_s(self, did: str) -> float:
        """Seconds until it is dialled again; 0: now."""
        return max(self._waits.left_s(did), float(self.banned_s(did)))

    def tries(self, did: str) -> int:
        """Dials that failed since it last answered."""
        return self._waits.tries(did)

    def due(self, busy: Collection[str]) -> tuple[list[Call], float | None]:
        """Whom to dial now, `busy` apart, and after how many seconds to ask again.

        None: nobody waits; something has to happen first.
        """
        calls: list[Call] = []
        soonest: float | None = None
        for peer in self._store.peers():
            if not peer.rights or peer.did in busy:
                continue
            texts = tuple(one.text for one in self.addresses(peer.did))
            if not texts:
                continue
            if wait_s := self.waits_s(peer.did):
                soonest = wait_s if soonest is None else min(soonest, wait_s)
            else:
                calls.append(Call(peer.did, texts))
        return calls, soonest

    def budget(self, did: str) -> int:
        """Bytes of items that may be taken from it now."""
        return 0 if self.metered else self._bucket(did).left()

    def spend(self, did: str, count: int) -> None:
        self._bucket(did).take(count)

    def _bucket(self, did: str) -> Bucket:
        if did not in self._buckets:
            self._buckets[did] = Bucket(self._clock, BUDGET_BYTES, BUDGET_BYTES_PER_S)
        return self._buckets[did]

    def _say(self, did: str, how: Change, name: str | None = None) -> Peer:
        """Write the owner's word; `name`: a new one."""
        public_of(did)

        def said(peer: Peer) -> Peer:
            called = peer.name if name is None else name[:NAME_CHARS_MAX]
            return replace(how(peer), name=called, noted=True)

        return self._store.change(Peer(did, added_at=self._clock.now()), said)

    def _stranger(self, did: str) -> Peer:
        """A row for somebody new, in the place of the stranger that was met longest ago."""
        public_of(did)
        now = self._clock.now()
        strangers = [
            one
            for one in self._store.peers()
            if not (one.noted or one.rights) and one.banned_until <= now
        ]
        if len(strangers) >= STRANGERS_MAX:
            oldest = min(strangers, key=lambda one: (one.met_at, one.added_at))
            self._could(lambda: self._store.drop_stranger(oldest.did))
        return self._note(did, lambda one: one)

    def write_again(self) -> None:
        """Write down what could not be written when it was seen. The owner's word in the store
        stays; addresses are heard again."""
        if not self.problem:
            return
        try:
            for did, seen in tuple(self._unwritten.items()):
                self._store.change(Peer(did, added_at=seen.added_at), partial(_as_seen, seen))
                del self._unwritten[did]
        except StoreError as error:
            self.problem = str(error)
        else:
            self.problem = ""

    def _note(self, did: str, how: Change) -> Peer:
        """Write down what was seen; where that is impossible, life goes on without it. Returns the
        peer with that."""
        new, unwritten = Peer(did, added_at=self._clock.now()), self._unwritten.get(did)

        def seen(peer: Peer) -> Peer:
            return _as_seen(how(peer if unwritten is None else _as_seen(unwritten, peer)), peer)

        try:
            peer = self._store.change(new, seen)
        except StoreError as error:
            self.problem = str(error)
            peer = seen(self._store.peer(did) or new)
            self._unwritten[did] = peer
            if len(self._unwritten) > STRANGERS_MAX:
                del self._unwritten[next(iter(self._unwritten))]
        else:
            self._unwritten.pop(did, None)
            self.write_again()
        return peer

    def _note_address(self, did: str, address: Address) -> None:
        if not self._could(lambda: self._store.save_address(did, address)):
            return
        hints = [one for one in self._store.addresses(did) if one.source != STATIC]
        hints.sort(key=lambda one: (one.worked_at, one.heard_at))
        for old in hints[: max(0, len(hints) - ADDRESSES_MAX)]:
            self._could(partial(self._store.drop_hint, did, old.text))

    def _could(self, write: Callable[[], None]) -> bool:
        """Write what nobody said; whether that was possible. It comes again by itself."""
        try:
            write()
        except StoreError as error:
            self.problem = str(error)
            return False
        return True


def _as_seen(seen: Peer, kept: Peer) -> Peer:
    """What is kept of a peer, with what the world showed of it."""
    return replace(
        kept,
        met_at=seen.met_at,
        strikes=seen.strikes,
        struck_at=seen.struck_at,
        banned_until=seen.banned_until,
    )


def _place(did: str, name: bytes) -> str:
    """What the wait for one set of a peer is called."""
    return f"{did}/{name.hex()}"


def checked_address(text: str) -> str:
    """`host:port` or `[ipv6]:port`. Raises ValueError with what is wrong."""
    host, colon, port = text.strip().rpartition(":")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    plain = all(char.isalnum() or char in ".:-_%" for char in bare)
    wrapped = (":" in bare) == (bare != host)
    if not (colon and bare and plain and wrapped and len(text) <= ADDRESS_CHARS_MAX):
        raise ValueError(f"not an address: {text[:80]!r}; write host:port or [IPv6]:port")
    if not (port.isascii() and port.isdigit() and 0 < int(port) < 65_536):
        raise ValueError(f"not a port: {port[:20]!r}")
    return f"{host}:{int(port)}"


def _address_or_none(text: str) -> str | None:
    try:
        return checked_address(text)
    except ValueError:
        return None
