"""The rows about authority: judging invocations, the same ones again, and hostile ones."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from measure import Effort, repeated
from rows import Sides, row

if TYPE_CHECKING:
    from lite.gate import Gate
    from lite.keys import Key
    from lite.ucan.delegation import Delegation

NOW = 1_800_000_000
RUN = "/wasm/run"
ARGS = {"rsc": "ipfs://bafkqaaa", "input": {"func": "add", "args": [1, 2]}, "limits": {"fuel": 9}}
POLICY = [["like", ".rsc", "ipfs://*"], ["<=", ".limits.fuel", 100_000]]


class Clock:
    def now(self) -> int:
        return NOW

    def monotonic(self) -> float:
        return 0.0


def keys() -> list[Key]:
    from lite.keys import Key

    return [Key.from_seed(bytes([number] * 32)) for number in range(1, 5)]


def links(people: list[Key], **told: Any) -> list[Delegation]:
    """From the first, who is the subject, to the last; signed by those who do not ask how much of
    it anybody would read.

    Args:
        told: of the payload.
    """
    from lite.keys import random_nonce
    from lite.ucan.delegation import Delegation
    from lite.ucan.envelope import TAG_DELEGATION, sign

    fields = {"sub": people[0].did, "cmd": RUN, "pol": POLICY, "exp": NOW + 9, **told}
    return [
        Delegation.of(
            sign(
                TAG_DELEGATION,
                {"iss": giver.did, "aud": taker.did, "nonce": random_nonce(), **fields},
                giver,
            )
        )
        for giver, taker in itertools.pairwise(people)
    ]


def asking(people: list[Key], chain: list[Delegation], **told: Any) -> bytes:
    from lite.ucan.invocation import Invocation

    fields = {"subject": people[0].did, "command": RUN, "args": ARGS, "expires_at": NOW + 9}
    fields["proofs"] = [link.cid for link in chain]
    return Invocation.issue(people[-1], **{**fields, **told}).data


def gate_in(folder: Path, chain: list[Delegation]) -> Gate:
    from lite.gate import Gate
    from lite.store import Store

    store = Store.open(folder / "home", durability="normal", clock=Clock())
    store.tokens.add(chain)
    return Gate(store, Clock())


def judging(gate: Gate, data: bytes, chain: list[Delegation]) -> Callable[[], object]:
    """At the subject, with proofs that came along."""
    proofs = {link.cid: link.data for link in chain}
    executor = keys()[0].did
    return lambda: gate.authorise(data, executor=executor, proofs_with_it=proofs, claim=None)


def forgetful(gate: Gate, data: bytes, chain: list[Delegation]) -> Callable[[], object]:
    """The first time, each time."""
    from lite.ucan.memo import Memo

    judge = judging(gate, data, chain)

    def first() -> object:
        gate.memo = Memo()
        return judge()

    return first


@row("ucan.verify", "an invocation with 3 proofs", "us", 1.0, "1.5 x 4 verifies + parsing")
def verify(folder: Path, effort: Effort) -> Iterator[Sides]:
    from nacl.bindings import crypto_sign_open

    from lite.ucan import envelope
    from lite.ucan.delegation import Delegation
    from lite.ucan.invocation import Invocation

    people = keys()
    chain = links(people)
    data = asking(people, chain)
    tokens = [envelope.parse(one) for one in (data, *(link.data for link in chain))]
    signed = [
        (token.signature + token.signed, key.public)
        for token, key in zip(tokens, [people[-1], *people], strict=False)
    ]

    def verifies() -> None:
        for message, public in signed:
            crypto_sign_open(message, public)

    def parses() -> None:
        Invocation.parse(data)
        for link in chain:
            Delegation.parse(link.data)

    raw, parsing = repeated(verifies, effort), repeated(parses, effort)
    ours = forgetful(gate_in(folder, []), data, chain)
    yield Sides(repeated(ours, effort), lambda: 1.5 * raw() + parsing())


@row("ucan.again", "the same invocation again", "us", 1 / 20, "the first time")
def again(folder: Path, effort: Effort) -> Iterator[Sides]:
    people = keys()
    chain = links(people)
    data = asking(people, chain)
    gate = gate_in(folder, [])
    first = forgetful(gate_in(folder, []), data, chain)
    yield Sides(repeated(judging(gate, data, chain), effort), repeated(first, effort))


def forged(key: Key, payload: dict[str, Any], tag: str = "ucan/inv@1.0.0-rc.1") -> bytes:
    """A token of any size and payload, signed."""
    from lite.ipld import dag_cbor

    header = bytes.fromhex("3401ed01ed011371")
    return as_is(key, dag_cbor.encode({"h": header, tag: {"iss": key.did, **payload}}))


def as_is(key: Key, signed: bytes) -> bytes:
    return b"\x82\x58\x40" + key.sign(signed) + signed
