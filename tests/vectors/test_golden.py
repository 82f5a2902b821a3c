"""Fixed keys, tokens and identifiers, accepted by other UCAN 1.0 tools; and those tools' own."""

from __future__ import annotations

import json
from base64 import b64decode
from pathlib import Path
from typing import Any

import pytest

from lite.errors import SignatureError
from lite.ipld import dag_cbor, dag_json
from lite.ipld.cid import CID, DAG_CBOR, SHA3_256
from lite.keys import Key
from lite.model.instruction import Instruction
from lite.model.receipt import Receipt, own_task_id
from lite.model.result import Result
from lite.ucan import envelope
from lite.ucan.task import task_id


@pytest.fixture(scope="module")
def golden(vectors: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((vectors / "golden.json").read_text())
    return found


@pytest.fixture(scope="module")
def keyring(golden: dict[str, Any]) -> dict[str, Key]:
    """The fixed keys by DID."""
    seeds = [bytes.fromhex(key["ed25519_seed_hex"]) for key in golden["keys"].values()]
    return {key.did: key for key in map(Key.from_seed, seeds)}


def test_keys_have_their_dids(golden: dict[str, Any], keyring: dict[str, Key]) -> None:
    assert {key["did"] for key in golden["keys"].values()} == set(keyring)


def test_the_instruction_has_its_bytes_and_both_cids(golden: dict[str, Any]) -> None:
    vector = golden["instruction"]
    instruction = Instruction.from_value(vector["dag_json"])
    assert instruction.data.hex() == vector["dag_cbor_hex"]
    assert str(instruction.cid) == vector["cid_sha2_256"]
    assert str(instruction.sha3) == vector["cid_sha3_256_homestar"]
    assert Instruction.parse(bytes.fromhex(vector["dag_cbor_hex"])) == instruction


def test_every_token_verifies_and_has_its_cid(golden: dict[str, Any]) -> None:
    for name, vector in golden["tokens"].items():
        token = envelope.parse(bytes.fromhex(vector["hex"]))
        envelope.verify(token)
        assert str(token.cid) == vector["cid"], name
        assert token.cid.encode("base58btc") == vector["cid_base58btc"], name


def test_every_token_is_signed_again_byte_for_byte(
    golden: dict[str, Any], keyring: dict[str, Key]
) -> None:
    for vector in golden["tokens"].values():
        token = envelope.parse(bytes.fromhex(vector["hex"]))
        again = envelope.sign(token.tag, token.payload, keyring[token.issuer])
        assert again.data.hex() == vector["hex"]


def test_every_invocation_has_its_task_id(golden: dict[str, Any]) -> None:
    found = 0
    for vector in golden["tokens"].values():
        if "task" not in vector:
            continue
        part = envelope.parse(bytes.fromhex(vector["hex"])).payload
        task = task_id(part["sub"], part["cmd"], part["args"], part["nonce"])
        assert str(task) == vector["task"]
        found += 1
    assert found == 3


def test_the_receipt_reads_and_its_task_is_that_of_the_instruction(
    golden: dict[str, Any], keyring: dict[str, Key]
) -> None:
    vector = golden["tokens"]["receipt"]
    instruction = Instruction.from_value(golden["instruction"]["dag_json"])
    receipt = Receipt.parse(bytes.fromhex(vector["hex"]))
    assert receipt.out == Result.of_ok(2)
    assert receipt.instruction == instruction.sha3
    assert str(receipt.ran) == vector["ran"]
    assert own_task_id(receipt.issuer, instruction) == receipt.ran


def test_a_receipt_that_we_issue_has_the_golden_form(
    golden: dict[str, Any], keyring: dict[str, Key]
) -> None:
    theirs = Receipt.parse(bytes.fromhex(golden["tokens"]["receipt"]["hex"]))
    ours = Receipt.issue(
        keyring[theirs.issuer],
        Instruction.from_value(golden["instruction"]["dag_json"]),
        theirs.out,
        now=theirs.issued_at,
        meta=theirs.meta,
        invocation=theirs.invocation,
        nonce=theirs.token.payload["nonce"],
    )
    # The golden one names the instruction by sha3-256; that is the only difference.
    expected = {**theirs.token.payload}
    expected["args"] = {**expected["args"], "ins": ours.instruction}
    assert ours.token.payload == expected
    assert len(ours.data) == len(theirs.data)


VERSIONS = ["1.0.0-rc.1", "1.0.0"]


@pytest.mark.parametrize("version", VERSIONS)
def test_the_specs_delegation_is_signed_again_byte_for_byte(vectors: Path, version: str) -> None:
    vector = json.loads((vectors / f"ucan-spec-{version}" / "delegation.json").read_text())
    keys = [Key.from_text(f"M{text}") for text in vector["principals"].values()]
    by_did = {key.did: key for key in keys}
    for case in vector["valid"]:
        token = envelope.parse(b64decode(case["token"]))
        envelope.verify(token)
        assert token.tag == f"ucan/dlg@{version}"
        assert str(token.cid) == case["cid"]
        again = envelope.sign(token.tag, token.payload, by_did[token.issuer])
        assert again == token


@pytest.mark.parametrize("version", VERSIONS)
def test_the_specs_invocations_verify_except_those_signed_wrongly(
    vectors: Path, version: str
) -> None:
    cases = dag_json.decode((vectors / f"ucan-spec-{version}" / "invocation.json").read_bytes())
    seen = {True: 0, False: 0}
    for case in [*cases["valid"], *cases["invalid"]]:
        sound = case.get("error", {}).get("name") != "InvalidSignature"
        seen[sound] += 1
        try:
            for data in [case["invocation"], *case["proofs"]]:
                envelope.verify(envelope.parse(data))
        except SignatureError:
            assert not sound, case["name"]
        else:
            assert sound, case["name"]
    assert seen[True] >= 15
    assert seen[False] == 2


def test_homestar_workflows_await_the_instructions_in_them(vectors: Path) -> None:
    for name in ("add-one", "image-pipeline"):
        file = vectors / "homestar" / f"test-workflow-{name}.json"
        tasks = json.loads(file.read_text())["tasks"]
        steps = [
            Instruction.from_value(dag_json.decode(dag_json_bytes(task["run"]))) for task in tasks
        ]
        known = {step.sha3 for step in steps}
        awaited = [wait.instruction for step in steps for wait in step.awaits()]
        assert awaited, name
        assert set(awaited) <= known, name


def dag_json_bytes(value: Any) -> bytes:
    """Homestar's files are written for people; links in them are DAG-JSON already."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def test_the_homestar_workflow_has_its_cid(vectors: Path) -> None:
    file = vectors / "homestar" / "test-workflow-image-pipeline.json"
    workflow = dag_json.decode(dag_json_bytes(json.loads(file.read_text())))
    cid = CID.of(dag_cbor.encode(workflow), DAG_CBOR, SHA3_256)
    assert str(cid) == "bafyrmiatb7idqtty56hy3hrfa6ur6qkspyrhaf6n6ynmqsntjvym47mbrq"
