"""The tokens of a bundle: delegations, revocations, and invocations that wait, with their proofs.

They travel as one container. Where they come, delegations and revocations go the way of
`ipvm ucan import`; an invocation goes the way of a letter of the peer that signed it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from lite.delegations import read_delegation
from lite.errors import IntegrityError, IpvmError, LimitError
from lite.frozen import field, frozen
from lite.gate import Gate
from lite.ipld.cid import CID, DAG_CBOR
from lite.node import Node
from lite.parcel import Parcel, read_invocation
from lite.peering.letters import LetterStore, LetterVerifier, asked, take_in
from lite.store import Store
from lite.ucan import container, twins
from lite.ucan.checks import Place, check_signature
from lite.ucan.delegation import Delegation
from lite.ucan.invocation import Invocation
from lite.ucan.revocation import Revocation
from sync.base import ITEM_BYTES_MAX, Item
from sync.errors import ItemError

_LETTERS = "SELECT 1 FROM sqlite_master WHERE name = 'peering_letter'"


@frozen
class Taken:
    """What became of the tokens of a bundle.

    Attributes:
        kept: delegations and revocations, each with its CID, its kind and what to know of it.
        waiting: invocations that are kept until somebody does them.
        left_out: of what was not kept, the CID and the reason.
    """

    kept: Sequence[tuple[CID, str, str]] = ()
    waiting: Sequence[CID] = ()
    left_out: Sequence[tuple[CID, str]] = field(default=())


def collect(
    node: Node,
    *,
    delegations: bool,
    invocations: bool,
    given: Iterable[bytes],
    audience: str,
) -> bytes | None:
    """A container of what this node has for others; None when that is nothing.

    Args:
        delegations: those here, with the chains above them, and all revocations.
        invocations: those that came here and wait, with their proofs.
        given: further tokens or containers.
        audience: only what is for this DID; empty: for anybody.

    Raises:
        Refusal: something of `given` is not signed by its issuer.
        LimitError: more than one container holds.
    """
    tokens: list[bytes] = []
    for data in given:
        parcel = check(data)
        tokens += [*parcel.invocations, *parcel.delegations.values(), *parcel.revocations]
        for one in parcel.invocations:
            tokens += _proofs(node.store, Invocation.parse(one))
    if delegations:
        tokens += _delegations(node, audience)
        tokens += [one.data for one in node.store.tokens.revocations()]
    if invocations and node.store.database.row(_LETTERS) is not None:
        for letter in asked(node.store):
            if audience in ("", Invocation.parse(_only(letter.letter)).executor):
                tokens += container.read(letter.letter)
    return container.write(tokens, "bare") if tokens else None


def _only(letter: bytes) -> bytes:
    return Parcel.read(letter).invocations[0]


def _proofs(store: Store, invocation: Invocation) -> Iterator[bytes]:
    found = (store.tokens.delegation(cid) for cid in invocation.proofs)
    return (data for data in found if data is not None)


def _delegations(node: Node, audience: str) -> Iterator[bytes]:
    gate = Gate(node.store, node.clock)
    for one in node.store.tokens.delegations():
        if audience in ("", one.audience):
            yield one.data
            yield from _above(gate, one) if audience else ()


def _above(gate: Gate, one: Delegation) -> Iterator[bytes]:
    if one.subject is None or one.is_root:
        return
    found = gate.search(one.subject, one.issuer, one.command, None, {}, timed=True)
    for link in found.chain or ():
        yield link.data


def check(data: bytes) -> Parcel:
    """The tokens of a container, each signed by its issuer; whether they hold is not asked.

    Raises:
        Refusal: one of them is not.
        IntegrityError: there are receipts among them, which have their own place.
    """
    parcel = Parcel.read(data)
    if parcel.receipts:
        raise IntegrityError("there is a receipt among the tokens")
    for one in parcel.delegations.values():
        read_delegation(one)
    for one in parcel.invocations:
        read_invocation(one)
    for one in parcel.revocations:
        place = Place(CID.of(one, DAG_CBOR), noun="the revocation")
        check_signature(Revocation.parse(one).invocation.token, place)
    return parcel


def check_block(data: bytes) -> Parcel:
    """`check` of the block of a bundle, which is the one canonical container of its tokens.

    Raises:
        IntegrityError: it is not, or a token in it is not signed by its issuer.
    """
    try:
        parcel = check(data)
        if container.write(container.read(data), "bare") != data:
            raise IntegrityError("the container of tokens is not in its canonical form")
    except (IntegrityError, LimitError):
        raise
    except IpvmError as error:
        raise IntegrityError(f"the tokens are not sound: {error}") from error
    return parcel


def take(node: Node, parcel: Parcel, wanted: frozenset[str]) -> Taken:
    """Keep the tokens of a bundle.

    Args:
        parcel: checked.
        wanted: DIDs whose invocations may wait here.

    Raises:
        StoreError: they cannot be written.
    """
    kept: list[tuple[CID, str, str]] = []
    left_out: list[tuple[CID, str]] = []
    tokens = [*parcel.delegations.values(), *parcel.revocations]
    if tokens:
        found = node.authority.import_(container.write(tokens, "bare"))
        kept = [(one.cid, one.kind, one.note) for one in found.taken]
        left_out = [(bad.cid, str(bad.error)) for bad in found.refused]
    waiting = []
    for data in parcel.invocations:
        invocation = Invocation.parse(data)
        why = unfit(node, invocation, wanted) or _post(node, invocation, parcel)
        if why:
            left_out.append((invocation.cid, why))
        else:
            waiting.append(invocation.cid)
    if waiting:
        take_in(node.store, node.key, node.clock)
    return Taken(kept, waiting, left_out)


def unfit(node: Node, invocation: Invocation, wanted: frozenset[str]) -> str:
    """Why an invocation does not wait here; "" if it does."""
    if invocation.executor != node.did:
        return f"an invocation for {invocation.executor}"
    if invocation.issuer == node.did:
        return "an invocation of this node's own"
    if invocation.issuer not in wanted:
        return f"an invocation by {invocation.issuer}, who is neither a peer nor trusted here"
    if node.store.tokens.receipt_of(*twins.names(invocation.token)) is not None:
        return "an invocation that was answered here"
    return ""


def _post(node: Node, invocation: Invocation, parcel: Parcel) -> str:
    """Put an invocation into the letters of who signed it; why that cannot be, or ""."""
    proofs = [parcel.delegations[cid] for cid in invocation.proofs if cid in parcel.delegations]
    raw = container.write([invocation.data, *proofs], "raw")
    if len(raw) > ITEM_BYTES_MAX:
        return f"an invocation that makes a letter of {len(raw)} bytes, at most {ITEM_BYTES_MAX}"
    id, issuer = CID.of(raw, DAG_CBOR).digest, invocation.issuer
    letters = LetterStore(node.store, node.did, issuer, node.clock)
    if not letters.held([id]):
        try:
            accepted = LetterVerifier(letters, node.did, issuer).verify(id, raw, issuer)
        except ItemError as error:
            return str(error)
        letters.put([Item(id, raw, accepted.time, accepted.lane)], issuer, None)
    return ""
