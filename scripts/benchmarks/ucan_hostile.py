"""The rows about what is made to break a node, or gives no right: each by its own error, and how
fast."""

from __future__ import annotations

import gzip
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from measure import Effort
from rows import Sides, row
from ucan_rows import ARGS, NOW, RUN, as_is, asking, forged, gate_in, keys, links

if TYPE_CHECKING:
    from lite.gate import Gate
    from lite.ipld.cid import CID
    from lite.keys import Key
    from lite.ucan.delegation import Delegation
    from lite.ucan.proofs import Claim

DELEGATION = "ucan/dlg@1.0.0-rc.1"


@row("ucan.named", "the slowest hostile token or container to refuse by its own error", "ms", 10.0)
def named(folder: Path, effort: Effort) -> Iterator[Sides]:
    people = keys()
    gate = gate_in(folder, [])
    found = [*tokens(people), *policies(people), *containers()]
    yield Sides(lambda: max(seconds(gate, people[0].did, *case) for case in found))


def seconds(
    gate: Gate,
    executor: str,
    code: str,
    data: bytes,
    proof: bytes = b"",
    claim: Claim | None = None,
) -> float:
    """The best of five to refuse a case; it must be with this code."""
    from lite.ipld.cid import CID
    from lite.parcel import Parcel
    from lite.ucan import selector
    from lite.ucan.memo import Memo
    from lite.ucan.refusals import Refusal

    with_it = {CID.of(proof, 0x71): proof} if proof else {}
    best = 1.0
    for _ in range(5):
        gate.memo = Memo()
        selector._parse.cache_clear()
        started = time.perf_counter()
        try:
            (asked,) = Parcel.read(data).invocations
            gate.authorise(asked, executor=executor, proofs_with_it=with_it, claim=claim)
        except Refusal as refusal:
            best = min(best, time.perf_counter() - started)
            assert refusal.code == code, f"{refusal.code} in place of {code}: {refusal}"
        else:
            raise AssertionError(f"let in, which should be {code}")
    return best


@row("ucan.replayed", "refuse a replayed invocation", "ms", 10.0)
def replayed(folder: Path, effort: Effort) -> Iterator[Sides]:
    from lite.store import Store

    people = keys()
    chain = links(people, pol=[])
    gate = gate_in(folder, chain)
    tokens = Store.open(folder / "home", durability="normal").tokens

    def claim(cid: CID, until: int | None) -> bool:
        return tokens.claim(cid, until) == "new"

    me, data = people[0].did, asking(people, chain)
    gate.authorise(data, executor=me, proofs_with_it={}, claim=claim)
    yield Sides(lambda: seconds(gate, me, "ucan-replayed", data, claim=claim))


@row("ucan.expired", "refuse an invocation that expired 61 s ago", "ms", 10.0)
def expired(folder: Path, effort: Effort) -> Iterator[Sides]:
    people = keys()
    chain = links(people, pol=[])
    yield refusal(folder, chain, "ucan-expired", asking(people, chain, expires_at=NOW - 61))


@row("ucan.expired-proof", "refuse a proof that expired 61 s ago", "ms", 10.0)
def expired_proof(folder: Path, effort: Effort) -> Iterator[Sides]:
    people = keys()
    fresh, stale = links(people, pol=[]), links(people, pol=[], exp=NOW - 61)
    chain = [*fresh[:2], stale[2]]
    yield refusal(folder, chain, "ucan-expired", asking(people, chain))


@row("ucan.prefix", "refuse /wasmedge with proofs for /wasm", "ms", 10.0)
def prefix(folder: Path, effort: Effort) -> Iterator[Sides]:
    people = keys()
    chain = links(people, cmd="/wasm", pol=[])
    yield refusal(folder, chain, "ucan-command", asking(people, chain, command="/wasmedge"))


@row("ucan.powerline", "refuse a powerline at the root", "ms", 10.0)
def powerline(folder: Path, effort: Effort) -> Iterator[Sides]:
    people = keys()
    chain = links(people, sub=None, pol=[])
    yield refusal(folder, chain, "ucan-powerline-root", asking(people, chain))


@row("ucan.revoked", "refuse a chain revoked in its middle", "ms", 10.0)
def revoked(folder: Path, effort: Effort) -> Iterator[Sides]:
    from lite.store import Store
    from lite.ucan.revocation import Revocation

    people = keys()
    chain = links(people, pol=[])
    sides = refusal(folder, chain, "ucan-revoked", asking(people, chain))
    back = Revocation.issue(people[1], revoked=chain[1].cid, subject=people[0].did)
    Store.open(folder / "home").tokens.add([], [(back, [people[1].did])])
    yield sides


@row("ucan.dropped", "refuse a remembered chain that was revoked since", "ms", 10.0)
def dropped(folder: Path, effort: Effort) -> Iterator[Sides]:
    """The refusal itself takes it out of the memo."""
    from lite.store import Store
    from lite.ucan.refusals import Revoked
    from lite.ucan.revocation import Revocation

    people = keys()
    chain = links(people)
    data, me = asking(people, chain), people[0].did
    gate = gate_in(folder, chain)
    tokens = Store.open(folder / "home", durability="normal").tokens

    def one() -> float:
        gate.authorise(data, executor=me, proofs_with_it={}, claim=None)
        assert len(gate.memo) == 1
        revocation = Revocation.issue(people[0], revoked=chain[1].cid, subject=me)
        tokens.add(revocations=[(revocation, [me])])
        started = time.perf_counter()
        try:
            gate.authorise(data, executor=me, proofs_with_it={}, claim=None)
        except Revoked:
            taken = time.perf_counter() - started
        assert len(gate.memo) == 0
        return taken

    taken = one()
    yield Sides(lambda: taken)


@row("ucan.costly", "refuse a policy of too many steps", "ms", 10.0)
def costly(folder: Path, effort: Effort) -> Iterator[Sides]:
    people = keys()
    chain = links(people, pol=[["all", ".rows", ["!=", ".", 1]]] * 50)
    data = asking(people, chain, args={"rows": [0] * 1_000, **ARGS})
    yield refusal(folder, chain, "ucan-policy-steps", data)


@row("ucan.fat", "refuse 16 proofs with as many values as they may have, the last one", "ms", 10.0)
def fat(folder: Path, effort: Effort) -> Iterator[Sides]:
    from lite.keys import Key

    people = [Key.from_seed(bytes([number] * 32)) for number in range(1, 18)]
    policy = [["!=", ".zz?", [[]] * 50]]
    begin = links(people[:16], pol=policy)
    chain = [*begin, *links(people[15:], sub=people[0].did, cmd="/wasmedge")]
    yield refusal(folder, chain, "ucan-command", asking(people, chain))


def paths(parts: int, seed: int) -> str:
    """A selector of so many parts, like no other."""
    chosen = random.Random(seed)
    return "".join(f".{chosen.choice('abcdefgh')}?" for _ in range(parts))


def sixteen(policy: Callable[[int], list[Any]]) -> tuple[list[Key], list[Delegation]]:
    """A chain of as many links as may be, each with a policy of its own, the last one for another
    command; always the same, because random bytes count as signs of selectors now and then."""
    from lite.keys import Key

    people = [Key.from_seed(bytes([number] * 32)) for number in range(1, 18)]
    chain = [
        link
        for n in range(16)
        for link in links(
            people[n : n + 2],
            sub=people[0].did,
            pol=policy(n),
            cmd=RUN if n < 15 else "/wasmedge",
            nonce=bytes([n] * 12),
        )
    ]
    return people, chain


@row("ucan.parts", "refuse 16 proofs with as many parts of selectors as they may have", "ms", 10.0)
def parts(folder: Path, effort: Effort) -> Iterator[Sides]:
    people, chain = sixteen(lambda n: [["==", paths(66, 2 * n + k), None] for k in range(2)])
    yield refusal(folder, chain, "ucan-command", asking(people, chain))


@row("ucan.patterns", "refuse 16 proofs with as many wildcards as they may have", "ms", 10.0)
def patterns(folder: Path, effort: Effort) -> Iterator[Sides]:
    people, chain = sixteen(lambda n: [["not", ["like", ".rsc", "a*b" * 440 + str(n)]]])
    yield refusal(folder, chain, "ucan-command", asking(people, chain))


@row("ucan.selectors", "refuse 16 proofs of 15 selectors of 1,000 characters", "ms", 10.0)
def selectors(folder: Path, effort: Effort) -> Iterator[Sides]:
    people, chain = sixteen(lambda n: [["==", paths(330, 15 * n + k), None] for k in range(15)])
    yield refusal(folder, chain, "ucan-items-too-many", asking(people, chain))


@row("ucan.items", "refuse proofs of 14,000 values", "ms", 10.0)
def items(folder: Path, effort: Effort) -> Iterator[Sides]:
    people = keys()
    chain = links(people, pol=[["!=", ".zz?", [[]] * 14_000]])
    yield refusal(folder, chain, "ucan-items-too-many", asking(people, chain))


@row("ucan.last", "refuse a list of which only the last item does not fit", "ms", 10.0)
def last(folder: Path, effort: Effort) -> Iterator[Sides]:
    people = keys()
    either = ["or", [["==", ".", 0], ["==", ".", 1]]]
    chain = links(people[:2], pol=[["all", ".rows", either]])
    data = asking(people[:2], chain, args={"rows": [1] * 1_600 + [5], **ARGS})
    yield refusal(folder, chain, "ucan-policy", data)


@row("ucan.missing", "refuse an invocation whose proofs are not here", "ms", 10.0)
def missing(folder: Path, effort: Effort) -> Iterator[Sides]:
    people = keys()
    yield refusal(folder, [], "ucan-proof-missing", asking(people, links(people)))


def refusal(folder: Path, kept: list[Delegation], code: str, data: bytes) -> Sides:
    """How long one invocation takes to be refused, by a node that keeps these delegations."""
    gate, me = gate_in(folder, kept), keys()[0].did
    return Sides(lambda: seconds(gate, me, code, data))


def tokens(people: list[Key]) -> Iterator[tuple[str, bytes]]:
    from lite.ipld.cid import CID
    from lite.ucan import envelope

    me, link = people[0], CID.of(b"", 0x71)
    fields: dict[str, Any] = {
        "sub": me.did, "cmd": RUN, "args": {}, "prf": [], "exp": NOW + 9, "nonce": b"",
    }  # fmt: skip
    wide: Any = 0
    for _ in range(10):
        wide = [wide] * 3
    plain = envelope.parse(forged(me, fields)).signed
    at = plain.index(b"\x73ucan/inv")
    exp = b"\x1a" + (NOW + 9).to_bytes(4, "big")
    deep = b"\x64args" + b"\x81" * 100_000 + b"\xf6"
    yield "ucan-token-too-large", forged(me, {**fields, "args": {"x": wide}})
    yield "ucan-token-too-large", forged(me, {**fields, "args": {"x": [0] * 1_000_000}})
    yield "ucan-too-deep", b"\x82" * 100_000
    yield "ucan-too-deep", as_is(me, plain.replace(b"\x64args\xa0", deep, 1))
    yield "ucan-proofs-too-many", forged(me, {**fields, "prf": [link] * 10_000})
    yield "ucan-proofs-too-many", forged(me, {**fields, "prf": [link] * 300})
    yield "ucan-keys-unsorted", as_is(me, plain[:1] + plain[at:] + plain[1:at])
    twice = plain.replace(b"\xa7\x63cmd", b"\xa8\x63cmd\x61/\x63cmd", 1)
    yield "ucan-key-twice", as_is(me, twice)
    long = plain.replace(exp, b"\x1b\0\0\0\0" + exp[1:], 1)
    yield "ucan-not-shortest", as_is(me, long)
    yield "ucan-time-invalid", forged(me, {**fields, "exp": 2**53})
    yield "ucan-command-invalid", forged(me, {**fields, "cmd": "/wasm//run"})
    yield "ucan-expired", forged(me, {**fields, "exp": NOW - 61})


def policies(people: list[Key]) -> Iterator[tuple[str, bytes, bytes]]:
    """With the delegation whose policy it is."""
    from lite.ipld.cid import CID

    small = ["==", ".a", 1]
    plain = dict(links(people[:2])[0].token.payload)
    for policy in (
        [["==", ".a", "x" * 1_000_000]],
        [small] * 120_000,
        [["and", [small] * 120_000]],
        [["==", ".a", [0] * 1_000_000]],
    ):
        proof = forged(people[0], {**plain, "pol": policy}, DELEGATION)
        asked = asking(people[:2], [], proofs=[CID.of(proof, 0x71)])
        yield "ucan-policy-too-large", asked, proof


def containers() -> Iterator[tuple[str, bytes]]:
    """A few kilobytes that would be millions of values."""
    opening = b"\xa1\x66ctn-v1"
    millions = opening + b"\x9a" + (4_000_000).to_bytes(4, "big") + b"\x40" * 4_000_000
    nested = opening + b"\x81\x9a" + (900_000).to_bytes(4, "big") + b"\x40" * 900_000
    large = opening + b"\x81\x5a" + (4_000_000).to_bytes(4, "big") + bytes(4_000_000)
    yield "ucan-tokens-too-many", b"M" + gzip.compress(millions)
    yield "ucan-malformed", b"M" + gzip.compress(nested)
    yield "ucan-container-too-large", b"M" + gzip.compress(large)
