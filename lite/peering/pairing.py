"""Pairing two nodes by a short code: who may join, for how long, and the proof of knowing it.

code     = Crockford base32 of  head ‖ key ‖ secret ‖ addresses ‖ check, with "-" after every fifth
           character
head     = 1 byte: the version 1 in the high half, the rights in the low one (READ 1, BLOCKS 2,
           ANSWERS 4, RUN 8)
key      = the inviter's Ed25519 public key, 32 bytes; secret = 10 random bytes
address  = 4 or 6, then as many bytes of the IP as that kind has, then the port, 2 bytes big-endian
check    = the first 3 bytes of SHA-256 over all before

Whoever joins dials the inviter, proves its own did:key in the channel, and GETs
`/ipvm/1/pair/ID/PROOF`: ID is the start of a hash of the secret, PROOF an HMAC under it over both
names. So neither the network nor a node that only guesses learns the secret.
"""

from __future__ import annotations

import hmac
from collections.abc import Collection, Iterable, Sequence
from hashlib import sha256
from ipaddress import IPv6Address, ip_address
from typing import Final

from lite.clock import Clock
from lite.errors import LimitError, UsageError, quoted
from lite.frozen import frozen
from lite.store import Store
from sync.keys import PUBLIC_BYTES, did_of, nonce, public_of
from sync.peers import RIGHTS, PeerBook

__all__ = [
    "CODE_CHARS_MAX",
    "OPEN_MAX",
    "TRIES_MAX",
    "Invitation",
    "Invitations",
    "Taken",
    "address_parts",
]

SECRET_BYTES: Final = 10
TRIES_MAX: Final = 5  # wrong proofs for one invitation
OPEN_MAX: Final = 16  # invitations at one time
ADDRESSES_MAX: Final = 2  # in a code
CODE_CHARS_MAX: Final = 256
GROUP_CHARS: Final = 5
ID_BYTES: Final = 8
PATH: Final = "/ipvm/1/pair/{id:[0-9a-f]{16}}/{proof:[0-9a-f]{64}}"

_VERSION: Final = 1
_CHECK_BYTES: Final = 3
_DIGITS: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_LIKE: Final = str.maketrans({"O": "0", "I": "1", "L": "1", "-": "", " ": "", "\t": "", "\n": ""})
_IP_BYTES: Final = {4: 4, 6: 16}

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS peering_invitation (
    id BLOB PRIMARY KEY, secret BLOB NOT NULL, rights TEXT NOT NULL, name TEXT NOT NULL,
    expires_at INTEGER NOT NULL, tries INTEGER NOT NULL, taken_by TEXT NOT NULL) WITHOUT ROWID
"""
_THERE: Final = "SELECT 1 FROM sqlite_master WHERE name = 'peering_invitation'"
_OF: Final = "SELECT secret, rights, name, expires_at, tries, taken_by FROM peering_invitation"


@frozen
class Invitation:
    """What a code says.

    Attributes:
        did: the inviter. rights: what each gives the other. addresses: where the inviter listens.
    """

    did: str
    secret: bytes
    rights: frozenset[str]
    addresses: tuple[str, ...] = ()

    def code(self) -> str:
        """The code, in groups of five characters."""
        bits = sum(1 << place for place, right in enumerate(RIGHTS) if right in self.rights)
        body = bytes([_VERSION << 4 | bits]) + public_of(self.did) + self.secret
        body += b"".join(_pack(one) for one in self.addresses[:ADDRESSES_MAX])
        text = _encode(body + _check(body))
        return "-".join(text[at : at + GROUP_CHARS] for at in range(0, len(text), GROUP_CHARS))

    @staticmethod
    def parse(code: str) -> Invitation:
        """Read a code; upper and lower case, dashes and blanks do not matter.

        Raises:
            UsageError: it is none, or somebody mistyped it.
        """
        data = _decode(code)
        body, check = data[:-_CHECK_BYTES], data[-_CHECK_BYTES:]
        fixed = 1 + PUBLIC_BYTES + SECRET_BYTES
        if len(body) < fixed or check != _check(body):
            raise _wrong("it is mistyped or cut off: its check does not fit")
        if body[0] >> 4 != _VERSION:
            raise _wrong(f"it is of version {body[0] >> 4}, and this node knows version {_VERSION}")
        rights = frozenset(right for place, right in enumerate(RIGHTS) if body[0] >> place & 1)
        key, secret = body[1 : 1 + PUBLIC_BYTES], body[1 + PUBLIC_BYTES : fixed]
        return Invitation(did_of(key), secret, rights, tuple(_unpacked(body[fixed:])))

    def proof(self, joiner: str) -> bytes:
        """What `joiner` shows."""
        return _proof(self.secret, joiner, self.did)

    def path(self, joiner: str) -> str:
        """Where `joiner` shows it."""
        return f"/ipvm/1/pair/{_id(self.secret).hex()}/{self.proof(joiner).hex()}"


@frozen
class Taken:
    """An invitation that somebody took: the rights, and the name that the owner chose for it."""

    rights: frozenset[str]
    name: str


class Invitations:
    """The open invitations of a node, in its database."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._database = store.database
        self._clock = clock

    def make(self, rights: Collection[str], lasts_s: int, name: str = "") -> bytes:
        """A new invitation; its secret.

        Args:
            name: what whoever takes it is called here.

        Raises:
            LimitError: there are as many as may be. StoreError: it cannot be written.
        """
        secret, now = nonce(SECRET_BYTES), self._clock.now()
        with self._database.write() as transaction:
            transaction.execute(_SCHEMA)
            transaction.execute("DELETE FROM peering_invitation WHERE expires_at <= ?", (now,))
            count = transaction.execute(
                "SELECT count(*) FROM peering_invitation WHERE taken_by = ''"
            ).fetchone()[0]
            if count >= OPEN_MAX:
                raise LimitError(
                    f"{count} invitations are open", hint="They end by themselves; or use one."
                )
            transaction.execute(
                "INSERT INTO peering_invitation VALUES (?, ?, ?, ?, ?, 0, '')",
                (_id(secret), secret, " ".join(sorted(rights)), name, now + lasts_s),
            )
        return secret

    def withdraw(self, secret: bytes) -> None:
        """Let nobody take it any more."""
        with self._database.write() as transaction:
            transaction.execute("DELETE FROM peering_invitation WHERE id = ?", (_id(secret),))

    def taken_by(self, secret: bytes) -> str:
        """Who took it; empty: nobody."""
        row = self._database.row(
            "SELECT taken_by FROM peering_invitation WHERE id = ?", (_id(secret),)
        )
        return "" if row is None else str(row[0])

    def close(self, joiner: str) -> None:
        """Whoever took an invitation lost rights: showing its code again gives nothing back."""
        if self._database.row(_THERE) is None:
            return
        with self._database.write() as transaction:
            transaction.execute("DELETE FROM peering_invitation WHERE taken_by = ?", (joiner,))

    def take(self, id: bytes, proof: bytes, joiner: str, own: str, book: PeerBook) -> Taken | None:
        """Somebody shows a proof, and has the rights with that. None: there is no such invitation,
        it is over or somebody else took it, the proof is wrong, or it was wrong too often.

        The same node may show it again while it has all that it was given: it did not hear the
        answer. What was taken away from it meanwhile stays away.

        Args:
            joiner: whoever proved this name in the channel. own: this node's.
            book: over the same store handle, so that both are written at once.
        """
        if self._database.row(_THERE) is None:
            return None
        if self._database.row(f"{_OF} WHERE id = ?", (id,)) is None:
            return None  # anybody may guess: that waits for no writer, and makes none wait
        with self._database.write() as transaction:
            row = transaction.execute(f"{_OF} WHERE id = ?", (id,)).fetchone()
            if row is None:
                return None
            secret, rights, name, expires_at, tries, taken_by = row
            over = expires_at <= self._clock.now() or tries >= TRIES_MAX
            if over or taken_by not in ("", joiner):
                return None
            if not hmac.compare_digest(proof, _proof(secret, joiner, own)):
                transaction.execute(
                    "UPDATE peering_invitation SET tries = tries + 1 WHERE id = ?", (id,)
                )
                return None
            taken = Taken(frozenset(rights.split()), name)
            if taken_by:
                peer = book.peer(joiner)
                return taken if peer is not None and taken.rights <= peer.rights else None
            book.trust(joiner, taken.rights, name or None)
            transaction.execute(
                "UPDATE peering_invitation SET taken_by = ? WHERE id = ?", (joiner, id)
            )
        return taken


def address_parts(text: str) -> tuple[str, int]:
    """The IP and the port of `IP:PORT`. Raises ValueError."""
    host, _, port = text.rpartition(":")
    return str(ip_address(host.strip("[]").partition("%")[0])), int(port)


def _id(secret: bytes) -> bytes:
    return sha256(b"ipvm invitation" + secret).digest()[:ID_BYTES]


def _proof(secret: bytes, joiner: str, inviter: str) -> bytes:
    told = f"ipvm pair 1 {joiner} {inviter}".encode()
    return hmac.digest(secret, told, "sha256")


def _check(body: bytes) -> bytes:
    return sha256(b"ipvm code" + body).digest()[:_CHECK_BYTES]


def _pack(address: str) -> bytes:
    host, port = address_parts(address)
    ip = ip_address(host)
    return bytes([ip.version]) + ip.packed + port.to_bytes(2, "big")


def _unpacked(data: bytes) -> Iterable[str]:
    while data:
        size = _IP_BYTES.get(data[0], 0)
        if not size or len(data) < size + 3:
            raise _wrong("it names an address in a way that this node does not know")
        ip = ip_address(data[1 : 1 + size])
        port = int.from_bytes(data[1 + size : 3 + size], "big")
        yield f"[{ip}]:{port}" if isinstance(ip, IPv6Address) else f"{ip}:{port}"
        data = data[3 + size :]


def _encode(data: bytes) -> str:
    length = -(-len(data) * 8 // 5)
    number = int.from_bytes(data, "big") << (length * 5 - len(data) * 8)
    return "".join(_DIGITS[number >> 5 * place & 31] for place in reversed(range(length)))


def _decode(code: str) -> bytes:
    if len(code) > CODE_CHARS_MAX:
        raise _wrong(f"it has more than {CODE_CHARS_MAX} characters")
    text, number = code.upper().translate(_LIKE), 0
    for char in text:
        if char not in _DIGITS:
            raise _wrong(f"{quoted(char)} is in none")
        number = number << 5 | _DIGITS.index(char)
    size, spare = divmod(len(text) * 5, 8)
    if number & (1 << spare) - 1:
        raise _wrong("it is mistyped or cut off")
    return (number >> spare).to_bytes(size, "big")


def _wrong(why: str) -> UsageError:
    return UsageError(
        f"that is not the code of an invitation: {why}",
        hint="`ipvm peers invite` on the other node prints one; did:key:…@HOST:PORT works too.",
    )


def best_addresses(found: Sequence[str]) -> tuple[str, ...]:
    """Those of a machine's addresses that fit into a code: IPv4 first, because it is shorter, and
    what reaches beyond this machine before what does not."""

    def rank(text: str) -> tuple[bool, bool, bool]:
        ip = ip_address(address_parts(text)[0])
        return ip.is_loopback, ip.is_link_local, ip.version == 6

    return tuple(sorted(dict.fromkeys(found), key=rank)[:ADDRESSES_MAX])
