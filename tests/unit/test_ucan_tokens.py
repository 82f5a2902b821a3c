"""Delegations and invocations: what is minted, what is read, and what is refused by name."""

from __future__ import annotations

from typing import Any

import pytest

from lite.errors import AuthorityError, CodecError, LimitError, UsageError
from lite.ipld.cid import CID, RAW
from lite.ucan import envelope
from lite.ucan.delegation import Delegation
from lite.ucan.envelope import TAG_DELEGATION, TAG_INVOCATION
from lite.ucan.invocation import Invocation
from lite.ucan.policy import Policy
from lite.ucan.refusals import InvalidCommand, InvalidPolicy, InvalidTime, MalformedToken
from lite.ucan.task import task_id
from tests.ucan_support import (
    LAPTOP,
    NOW,
    PI,
    delegation,
    delegation_token,
    invocation,
    invocation_token,
    token,
)

LINK = CID.of(b"x", RAW)
POLICY = [["like", ".rsc", "ipfs://*"]]


def test_a_minted_delegation_has_exactly_the_fields_of_the_spec() -> None:
    one = Delegation.issue(
        PI, audience=LAPTOP.did, subject=PI.did, command="/wasm", policy=POLICY, expires_at=NOW
    )
    payload = one.token.payload
    assert one.token.tag == TAG_DELEGATION
    assert set(payload) == {"iss", "aud", "sub", "cmd", "pol", "nonce", "exp"}
    assert (payload["pol"], payload["exp"], len(payload["nonce"])) == (POLICY, NOW, 12)
    assert Delegation.parse(one.data) == one
    assert one.is_root


def test_a_minted_invocation_has_exactly_the_fields_of_the_spec() -> None:
    one = Invocation.issue(
        PI, subject=PI.did, command="/wasm/run", args={"n": 1}, expires_at=NOW + 60
    )
    payload = one.token.payload
    assert one.token.tag == TAG_INVOCATION
    assert set(payload) == {"iss", "sub", "cmd", "args", "prf", "nonce", "exp"}
    assert (payload["prf"], len(payload["nonce"])) == ([], 12)
    assert Invocation.parse(one.data) == one
    assert one.task == task_id(PI.did, "/wasm/run", {"n": 1}, one.nonce)


def test_optional_fields_are_written_when_given_and_read_back() -> None:
    one = delegation(PI, LAPTOP, not_before=NOW - 61, meta={"name": "lap"}, expires_at=None)
    again = Delegation.parse(one.data)
    assert (again.not_before, again.expires_at, again.meta) == (NOW - 61, None, {"name": "lap"})
    asked = invocation(LAPTOP, [one], executor=PI.did, issued_at=NOW, meta={"a": 1}, cause=LINK)
    read = Invocation.parse(asked.data)
    assert (read.executor, read.issued_at, read.meta, read.cause) == (PI.did, NOW, {"a": 1}, LINK)
    assert read.proofs == (one.cid,)


def test_a_powerline_has_an_explicit_null() -> None:
    one = delegation(PI, LAPTOP, subject=None)
    assert one.token.payload["sub"] is None
    assert Delegation.parse(one.data).subject is None
    assert not one.is_root


def test_the_executor_is_the_subject_unless_named() -> None:
    assert invocation(PI, []).executor == PI.did
    assert invocation(PI, [], executor=LAPTOP.did).executor == LAPTOP.did


def test_the_same_request_has_the_same_task_whoever_asks() -> None:
    first = invocation(PI, [], nonce=b"", issued_at=1)
    second = invocation(LAPTOP, [], nonce=b"", issued_at=2)
    assert first.cid != second.cid
    assert first.task == second.task


@pytest.mark.parametrize("key", ["await/ok", "await/error", "await/*"])
def test_awaits_are_values_like_any_other(key: str) -> None:
    args = {"input": {"args": [{key: LINK}]}}
    assert Invocation.parse(invocation(PI, [], args=args).data).args == args


def test_fragments_of_dids_are_ignored() -> None:
    one = Delegation.of(delegation_token(aud=f"{LAPTOP.did}#laptop", sub=f"{PI.did}#{PI.did[8:]}"))
    assert (one.audience, one.subject) == (LAPTOP.did, PI.did)


@pytest.mark.parametrize("did", ["did:web:example.com%3A3000:user", "did:plc:ewvi7nxzyoun6zhxrhs"])
def test_dids_of_other_methods_can_be_named(did: str) -> None:
    assert Delegation.of(delegation_token(aud=did)).audience == did


@pytest.mark.parametrize("tag", sorted(envelope.DELEGATION_TAGS))
def test_both_versions_of_the_delegation_tag_are_read(tag: str) -> None:
    assert Delegation.of(token(PI, tag, delegation_token().payload)).command == "/wasm/run"


@pytest.mark.parametrize("tag", sorted(envelope.INVOCATION_TAGS))
def test_both_versions_of_the_invocation_tag_are_read(tag: str) -> None:
    assert Invocation.of(token(PI, tag, invocation_token().payload)).command == "/wasm/run"


def test_one_kind_of_token_is_not_taken_for_the_other() -> None:
    with pytest.raises(MalformedToken, match="not a delegation"):
        Delegation.of(invocation_token())
    with pytest.raises(MalformedToken, match="not an invocation"):
        Invocation.of(delegation_token())


def test_fields_that_the_spec_does_not_know_are_ignored() -> None:
    assert Delegation.of(delegation_token(note="x", args={})).command == "/wasm/run"
    assert Invocation.of(invocation_token(note="x")).command == "/wasm/run"


@pytest.mark.parametrize(
    ("fields", "kind", "problem"),
    [
        ({"aud": ...}, MalformedToken, "aud is missing"),
        ({"sub": ...}, MalformedToken, "sub is missing: a powerline says it with null"),
        ({"cmd": ...}, MalformedToken, "cmd is missing"),
        ({"pol": ...}, MalformedToken, "pol is missing"),
        ({"exp": ...}, MalformedToken, "exp is missing"),
        ({"nonce": ...}, MalformedToken, "nonce is missing"),
        ({"aud": None}, MalformedToken, "aud is null, not a DID"),
        ({"aud": "alice"}, MalformedToken, 'aud is "alice", not a DID'),
        ({"aud": "did:key:z6 Mk"}, MalformedToken, 'aud is "did:key:z6 Mk", not a DID'),
        ({"aud": "did:key:" + "z" * 600}, MalformedToken, "not a DID"),
        ({"sub": "nope"}, MalformedToken, 'sub is "nope", not a DID'),
        ({"sub": 1}, MalformedToken, "sub is 1, not a DID"),
        ({"cmd": 1}, MalformedToken, "cmd is 1, not a command"),
        ({"cmd": "/wasm//run"}, InvalidCommand, '"/wasm//run" has an empty segment'),
        ({"pol": None}, InvalidPolicy, "a policy is a list"),
        ({"pol": [["=", ".a", 1]]}, InvalidPolicy, '"=" is not an operator'),
        ({"nonce": "text"}, MalformedToken, 'nonce is "text", not bytes'),
        ({"meta": None}, MalformedToken, "meta is null, not a map"),
        ({"meta": []}, MalformedToken, r"meta is \[\], not a map"),
        ({"exp": 2**53}, InvalidTime, "exp 9007199254740992 is outside"),
        ({"exp": -(2**53)}, InvalidTime, "is outside"),
        ({"exp": 1.5e9}, InvalidTime, "is not whole seconds"),
        ({"exp": True}, InvalidTime, "exp true is not whole seconds"),
        ({"exp": "never"}, InvalidTime, "is not whole seconds"),
        ({"nbf": None}, InvalidTime, "nbf null is not whole seconds"),
        ({"nbf": 2**64 - 1}, InvalidTime, "nbf 18446744073709551615 is outside"),
    ],
)
def test_a_delegation_of_another_form_is_refused_by_name(
    fields: dict[str, Any], kind: type[Exception], problem: str
) -> None:
    with pytest.raises(kind, match=problem):
        Delegation.of(delegation_token(**fields))


@pytest.mark.parametrize(
    ("fields", "kind", "problem"),
    [
        ({"sub": ...}, MalformedToken, "sub is missing"),
        ({"sub": None}, MalformedToken, "sub is null, not a DID"),
        ({"args": ...}, MalformedToken, "args is missing"),
        ({"args": []}, MalformedToken, r"args is \[\], not a map"),
        ({"args": None}, MalformedToken, "args is null, not a map"),
        ({"prf": ...}, MalformedToken, "prf is missing"),
        ({"prf": LINK}, MalformedToken, "not a list of links"),
        ({"prf": ["bafy"]}, MalformedToken, "not a list of links"),
        ({"nonce": ...}, MalformedToken, "nonce is missing"),
        ({"nonce": ""}, MalformedToken, "not bytes"),
        ({"exp": ...}, MalformedToken, "exp is missing"),
        ({"exp": 2**53}, InvalidTime, "is outside"),
        ({"iat": 1.5}, InvalidTime, "iat 1.5 is not whole seconds"),
        ({"iat": 2**60}, InvalidTime, "is outside"),
        ({"nbf": "now"}, InvalidTime, "nbf"),
        ({"aud": None}, MalformedToken, "aud is null, not a DID"),
        ({"cause": "x"}, MalformedToken, 'cause is "x", not a link'),
        ({"cause": None}, MalformedToken, "cause is null, not a link"),
        ({"cmd": "wasm"}, InvalidCommand, "does not begin with /"),
        ({"meta": 1}, MalformedToken, "meta is 1"),
    ],
)
def test_an_invocation_of_another_form_is_refused_by_name(
    fields: dict[str, Any], kind: type[Exception], problem: str
) -> None:
    with pytest.raises(kind, match=problem) as caught:
        Invocation.of(invocation_token(**fields))
    assert isinstance(caught.value, AuthorityError)


def test_what_is_minted_wrongly_is_a_mistake_of_the_caller() -> None:
    for fields in (
        {"command": "/Wasm"},
        {"audience": "laptop"},
        {"expires_at": 2**53},
        {"policy": [["?"]]},
        {"not_before": 1.5},
    ):
        with pytest.raises(UsageError, match="cannot delegate"):
            delegation(PI, LAPTOP, **fields)
    for fields in ({"command": "//"}, {"subject": "pi"}, {"expires_at": -(2**60)}):
        with pytest.raises(UsageError, match="cannot invoke"):
            invocation(PI, [], **fields)
    with pytest.raises(CodecError):
        invocation(PI, [], args={"x": float("nan")})
    with pytest.raises(LimitError):
        invocation(PI, [], args={"x": bytes(20_000)})


def test_a_policy_is_minted_from_ipld_or_parsed() -> None:
    assert delegation(PI, LAPTOP, policy=POLICY) == delegation(
        PI, LAPTOP, policy=Policy.parse(POLICY)
    )
