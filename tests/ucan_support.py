"""Principals, tokens and checks that the tests of UCAN share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from lite.ipld import dag_cbor
from lite.ipld.cid import CID, DAG_CBOR
from lite.keys import Key
from lite.ucan import envelope, proofs
from lite.ucan.authorised import Authorised
from lite.ucan.delegation import Delegation
from lite.ucan.envelope import TAG_DELEGATION, TAG_INVOCATION, Token
from lite.ucan.invocation import Invocation
from lite.ucan.memo import Memo
from lite.ucan.revocation import Revocations

NOW = 1_700_000_000
HOUR = 3600
PI, LAPTOP, PHONE, STRANGER, TABLET = (Key.from_seed(bytes([n] * 32)) for n in range(1, 6))
NONCE = bytes(12)


def delegation(giver: Key, taker: Key, **fields: Any) -> Delegation:
    """The Pi's `/wasm/run` for an hour, unless told otherwise."""
    told: dict[str, Any] = {
        "audience": taker.did,
        "subject": PI.did,
        "command": "/wasm/run",
        "expires_at": NOW + HOUR,
        "nonce": NONCE,
        **fields,
    }
    return Delegation.issue(giver, **told)


def invocation(invoker: Key, chain: Iterable[Delegation], **fields: Any) -> Invocation:
    """`/wasm/run` at the Pi for a minute, unless told otherwise."""
    told: dict[str, Any] = {
        "subject": PI.did,
        "command": "/wasm/run",
        "args": {"rsc": "ipfs://x", "input": {"func": "add", "args": [1, 2]}},
        "expires_at": NOW + 60,
        "proofs": [link.cid for link in chain],
        "nonce": NONCE,
        **fields,
    }
    return Invocation.issue(invoker, **told)


def three_links(**last: Any) -> list[Delegation]:
    """Pi to laptop to phone to tablet, the last with other fields when told so."""
    return [
        delegation(PI, LAPTOP),
        delegation(LAPTOP, PHONE),
        delegation(PHONE, TABLET, **last),
    ]


def token(key: Key, tag: str, payload: dict[str, Any]) -> Token:
    """A token of any payload, signed by its key."""
    return envelope.sign(tag, {"iss": key.did, **payload}, key)


def delegation_token(key: Key = PI, /, **fields: Any) -> Token:
    """A delegation whose fields may be anything; those told as `...` are left out."""
    payload: dict[str, Any] = {
        "aud": LAPTOP.did,
        "sub": PI.did,
        "cmd": "/wasm/run",
        "pol": [],
        "exp": NOW + HOUR,
        "nonce": NONCE,
        **fields,
    }
    return token(key, TAG_DELEGATION, {k: v for k, v in payload.items() if v is not ...})


def invocation_token(key: Key = PI, /, **fields: Any) -> Token:
    """An invocation whose fields may be anything; those told as `...` are left out."""
    payload: dict[str, Any] = {
        "sub": PI.did,
        "cmd": "/wasm/run",
        "args": {},
        "prf": [],
        "exp": NOW + 60,
        "nonce": NONCE,
        **fields,
    }
    return token(key, TAG_INVOCATION, {k: v for k, v in payload.items() if v is not ...})


def foreign_delegation(giver: Key, taker: Key, **fields: Any) -> Delegation:
    """As `delegation_token`, by one who does not know how many values are read here."""
    return Delegation.of(delegation_token(giver, **{"aud": taker.did, **fields}))


def foreign_invocation(invoker: Key, chain: Iterable[Delegation], **fields: Any) -> Invocation:
    """As `invocation_token`, by one who does not know how many values or proofs are read here."""
    return Invocation.of(invocation_token(invoker, prf=[link.cid for link in chain], **fields))


def unsized(key: Key, tag: str, payload: dict[str, Any]) -> bytes:
    """A signed token of any size, as one who does not know our bounds would make it."""
    signed = dag_cbor.encode({"h": bytes.fromhex("3401ed01ed011371"), tag: payload})
    return b"\x82\x58\x40" + key.sign(signed) + signed


def cid_of(data: bytes) -> CID:
    return CID.of(data, DAG_CBOR)


@dataclass
class Gate:
    """A node that checks invocations: what it holds, what was revoked, what it has seen."""

    key: Key = PI
    now: int = NOW
    held: dict[CID, bytes] = field(default_factory=dict)
    revocations: Revocations = field(default_factory=Revocations)
    seen: dict[CID, int | None] = field(default_factory=dict)
    memo: Memo | None = None
    resolved: list[CID] = field(default_factory=list)

    def hold(self, chain: Iterable[Delegation | Token]) -> Gate:
        self.held.update((cid_of(link.data), link.data) for link in chain)
        return self

    def resolve(self, cid: CID) -> bytes | None:
        self.resolved.append(cid)
        return self.held.get(cid)

    def claim(self, cid: CID, until: int | None) -> bool:
        if cid in self.seen:
            return False
        self.seen[cid] = until
        return True

    def check(self, data: bytes, acts_for: Sequence[str] = ()) -> Authorised:
        return proofs.check(
            data,
            executor=self.key.did,
            now=self.now,
            resolve=self.resolve,
            revoked_by=self.revocations.revoked_by,
            claim=self.claim,
            acts_for=acts_for,
            memo=self.memo,
        )
