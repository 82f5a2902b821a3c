"""The spec's own cases for UCAN 1.0, and tokens that other implementations accepted."""

from __future__ import annotations

import json
from base64 import b64decode
from pathlib import Path
from typing import Any

import pytest

from lite.ipld import dag_cbor, dag_json
from lite.ipld.cid import CID
from lite.keys import Key
from lite.ucan import container, proofs, revocation
from lite.ucan.delegation import Delegation
from lite.ucan.invocation import Invocation
from lite.ucan.policy import Policy
from lite.ucan.refusals import Refusal
from lite.ucan.revocation import Revocation, Revocations
from tests.ucan_support import cid_of

VERSIONS = ["1.0.0-rc.1", "1.0.0"]
VALID_NAMES = 7
INVALID_NAMES = 13


def cases(vectors: Path, version: str, kind: str) -> list[dict[str, Any]]:
    file = dag_json.decode((vectors / f"ucan-spec-{version}" / "invocation.json").read_bytes())
    found: list[dict[str, Any]] = file[kind]
    return found


def judge(case: dict[str, Any], version: str) -> None:
    """Check a case as its executor would, on behalf of whatever subject."""
    held = {cid_of(data): data for data in case["proofs"]}
    payload = dag_cbor.decode(case["invocation"])[1][f"ucan/inv@{version}"]
    proofs.check(
        case["invocation"],
        executor=payload.get("aud", payload["sub"]),
        acts_for=(payload["sub"],),
        now=case["time"],
        resolve=held.get,
        revoked_by=Revocations().revoked_by,
        claim=None,
    )


@pytest.mark.parametrize("version", VERSIONS)
def test_every_valid_case_of_the_spec_is_let_in(vectors: Path, version: str) -> None:
    found = cases(vectors, version, "valid")
    for case in found:
        judge(case, version)
    assert len(found) == VALID_NAMES


@pytest.mark.parametrize("version", VERSIONS)
def test_every_invalid_case_of_the_spec_fails_with_the_named_error(
    vectors: Path, version: str
) -> None:
    found = cases(vectors, version, "invalid")
    for case in found:
        with pytest.raises(Refusal) as caught:
            judge(case, version)
        assert caught.value.wire_name == case["error"]["name"], case["name"]
        assert "\n" not in str(caught.value)
        assert caught.value.step, case["name"]
    assert len(found) == INVALID_NAMES


@pytest.mark.parametrize("version", VERSIONS)
def test_tokens_of_the_spec_have_their_cids_when_written_again(vectors: Path, version: str) -> None:
    """From the fields that were read out of them; each proof is named in the invocation."""
    for case in cases(vectors, version, "valid"):
        asked = Invocation.parse(case["invocation"])
        parsed = [Delegation.parse(data) for data in case["proofs"]]
        again = [written_again(one, delegated(one)) for one in parsed]
        assert again == case["proofs"]
        assert [cid_of(data) for data in again] == list(asked.proofs)
        assert written_again(asked, invoked(asked)) == case["invocation"]


def delegated(one: Delegation) -> dict[str, Any]:
    return {
        "iss": one.issuer, "aud": one.audience, "sub": one.subject, "cmd": one.command,
        "pol": one.policy.value(), "exp": one.expires_at,
    }  # fmt: skip


def invoked(one: Invocation) -> dict[str, Any]:
    told = {"aud": one.executor} if "aud" in one.token.payload else {}
    times = {"iat": one.issued_at, "cause": one.cause}
    return {
        "iss": one.issuer, "sub": one.subject, "cmd": one.command, "args": one.args,
        "prf": list(one.proofs), "exp": one.expires_at, **told,
        **{name: item for name, item in times.items() if item is not None},
    }  # fmt: skip


def written_again(one: Delegation | Invocation, fields: dict[str, Any]) -> bytes:
    """A token put together from what was read out of it."""
    nonce: Any = one.token.payload["nonce"]
    payload = {**fields, "nonce": nonce, **({"meta": one.meta} if one.meta else {})}
    if one.not_before is not None:
        payload["nbf"] = one.not_before
    signed = {"h": one.token.header, one.token.tag: payload}
    return dag_cbor.encode([one.token.signature, signed])


@pytest.mark.parametrize("version", VERSIONS)
def test_the_delegation_of_the_spec_has_its_fields_and_cid(vectors: Path, version: str) -> None:
    file = json.loads((vectors / f"ucan-spec-{version}" / "delegation.json").read_text())
    for case in file["valid"]:
        one = Delegation.parse(b64decode(case["token"]))
        fields = case["envelope"]["payload"]
        assert str(one.cid) == case["cid"]
        assert (one.issuer, one.audience, one.subject, one.command, one.expires_at) == tuple(
            fields[name] for name in ("iss", "aud", "sub", "cmd", "exp")
        )
        proofs.check_delegation(one.data, now=fields["exp"])


@pytest.mark.parametrize("kind", ["valid", "invalid"])
def test_policies_of_the_spec(vectors: Path, kind: str) -> None:
    groups = json.loads((vectors / "ucan-spec-1.0.0" / "policy.json").read_text())[kind]
    judged = 0
    for group in groups:
        for policy in group["policies"]:
            assert Policy.parse(policy).allows(group["args"]) is (kind == "valid"), policy
            judged += 1
    assert judged == {"valid": 17, "invalid": 8}[kind]


@pytest.fixture(scope="module")
def golden(vectors: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((vectors / "golden.json").read_text())
    return found


@pytest.fixture(scope="module")
def keyring(golden: dict[str, Any]) -> dict[str, Key]:
    keys = golden["keys"].items()
    return {name: Key.from_seed(bytes.fromhex(key["ed25519_seed_hex"])) for name, key in keys}


@pytest.fixture(scope="module")
def tokens(golden: dict[str, Any]) -> dict[str, bytes]:
    return {name: bytes.fromhex(token["hex"]) for name, token in golden["tokens"].items()}


def test_golden_delegations_are_made_again_byte_for_byte(
    tokens: dict[str, bytes], keyring: dict[str, Key]
) -> None:
    by_did = {key.did: key for key in keyring.values()}
    for name in ("dlg provider>alice /wasm", "dlg alice>bob /wasm/run", "dlg powerline alice>bob"):
        old = Delegation.parse(tokens[name])
        again = Delegation.issue(
            by_did[old.issuer],
            audience=old.audience,
            subject=old.subject,
            command=old.command,
            policy=old.policy,
            expires_at=old.expires_at,
            nonce=old.token.payload["nonce"],
        )
        assert again.data == tokens[name], name


def test_golden_invocations_are_made_again_byte_for_byte_with_their_task_ids(
    golden: dict[str, Any], tokens: dict[str, bytes], keyring: dict[str, Key]
) -> None:
    by_did = {key.did: key for key in keyring.values()}
    names = [name for name in tokens if name.startswith("inv ")]
    for name in names:
        old = Invocation.parse(tokens[name])
        again = Invocation.issue(
            by_did[old.issuer],
            subject=old.subject,
            command=old.command,
            args=old.args,
            proofs=old.proofs,
            expires_at=old.expires_at,
            issued_at=old.issued_at,
            meta=old.meta,
            nonce=old.nonce,
        )
        assert again.data == tokens[name], name
        assert str(again.task) == golden["tokens"][name]["task"]
    assert len(names) == 3


def test_golden_invocations_are_let_in(tokens: dict[str, bytes], keyring: dict[str, Key]) -> None:
    held = {cid_of(data): data for data in tokens.values()}
    for name in [name for name in tokens if name.startswith("inv ")]:
        proofs.check(
            tokens[name],
            executor=keyring["provider"].did,
            now=1_700_000_000,
            resolve=held.get,
            revoked_by=Revocations().revoked_by,
            claim=None,
        )


def test_the_golden_revocation_is_made_again_and_revokes(
    tokens: dict[str, bytes], keyring: dict[str, Key]
) -> None:
    held = {cid_of(data): data for data in tokens.values()}
    first, second = (
        Delegation.parse(tokens[name])
        for name in ("dlg provider>alice /wasm", "dlg alice>bob /wasm/run")
    )
    again = Revocation.issue(
        keyring["alice"],
        revoked=second.cid,
        subject=keyring["provider"].did,
        path=[first.cid, second.cid],
        proofs=[first.cid],
    )
    assert again.data == tokens["revocation"]
    read, names = revocation.revokers(
        again.data, now=1_700_000_000, resolve=held.get, revoked_by=Revocations().revoked_by
    )
    assert read == again
    assert names == {keyring["alice"].did}
    assert revocation.path_shows(read, names, now=1_700_000_000, resolve=held.get)


def test_the_golden_container_is_read_and_made_again(golden: dict[str, Any]) -> None:
    bare = bytes.fromhex(golden["container"]["bare_cbor_hex"])
    marked = bytes.fromhex(golden["container"]["raw_header_hex"])
    tokens = container.read(bare)
    assert container.read(marked) == tokens
    assert container.write(reversed(tokens), "bare") == bare
    assert container.write(tokens, "raw") == marked
    known = {token["cid"] for token in golden["tokens"].values()}
    assert {str(cid_of(token)) for token in tokens} < known
    assert len(tokens) == 3


def test_cids_are_read_in_base58_as_the_spec_writes_them(golden: dict[str, Any]) -> None:
    for token in golden["tokens"].values():
        assert CID.parse(token["cid_base58btc"]) == CID.parse(token["cid"])
