"""What `ipvm ucan` takes and says: DIDs, numbers, QR codes, refusals for programs, forgetting."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from base64 import b64encode, urlsafe_b64encode
from pathlib import Path

import pytest

from lite.ipld import dag_cbor, dag_json
from lite.limits import KIB
from lite.model.instruction import Instruction
from lite.model.receipt import Receipt
from lite.model.result import Result
from lite.ucan import container
from lite.ucan.delegation import Delegation
from tests.integration.conftest import Ipvm
from tests.integration.test_cli_ucan import At, home, ok
from tests.ucan_support import (
    LAPTOP,
    PI,
    STRANGER,
    TABLET,
    delegation,
    foreign_delegation,
    invocation,
)

GIVE = ("ucan", "delegate", "--to", STRANGER.did, "--cmd", "/wasm/run")


@pytest.fixture
def pi(ipvm: Ipvm, here: Path) -> At:
    (here / "homes").mkdir()
    found = home(ipvm, "pi")
    found("id", "-q")
    return found


@pytest.mark.parametrize(
    "name",
    ["bad", "did:key:zzzz", "did:web:example.com", STRANGER.did[:-1] + "0", STRANGER.did[:-2]],
)
@pytest.mark.parametrize(
    "words",
    [
        ("delegate", "--cmd", "/x", "--to"),
        ("delegate", "--to", STRANGER.did, "--cmd", "/x", "--subject"),
        ("verify", "nowhere.ucan", "--executor"),
    ],
)
def test_a_did_has_to_be_that_of_a_key(pi: At, words: tuple[str, ...], name: str) -> None:
    ended = pi("ucan", *words, name)
    assert ended.status == 2
    assert f"{words[-1]}: " in ended.err


def test_whole_numbers_are_integers_however_they_are_written(pi: At) -> None:
    policy = '[["<=", ".limits.fuel", 1e6], ["==", ".x", {"a": [1.0, 2]}]]'
    ended = pi(*GIVE, "--policy", policy, "--json")
    assert ended.err == ""
    assert ended.json["pol"] == [["<=", ".limits.fuel", 1_000_000], ["==", ".x", {"a": [1, 2]}]]
    assert [type(one) for one in ended.json["pol"][1][2]["a"]] == [int, int]


def test_a_fraction_is_kept_with_a_warning(pi: At) -> None:
    ended = pi(*GIVE, "--policy", '["<", ".x", 0.5]', "--json")
    assert "0.5 is no whole number" in ended.err
    assert ended.json["pol"] == [["<", ".x", 0.5]]


def test_a_token_is_given_also_when_its_qr_code_is_too_wide(
    pi: At, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    ended = pi(*GIVE, "--qr")
    assert (ended.status, ended.text[0]) == (0, "B")
    assert "not drawn: the QR code is 79 characters wide, the terminal 40" in ended.err


def test_a_token_that_no_qr_code_can_hold_is_refused_before_anything_is_kept(
    pi: At, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = json.dumps(["==", ".x", "x" * 3000])
    assert pi(*GIVE, "--policy", long, "--qr").status == 2
    assert pi("ucan", "list").text == ""
    monkeypatch.setenv("COLUMNS", "200")
    assert pi(*GIVE, "--qr").status == 0


def test_a_refusal_names_its_step_proof_and_details_in_json(pi: At, here: Path) -> None:
    root = Delegation.issue(PI, audience=LAPTOP.did, subject=PI.did, command="/x", expires_at=None)
    late = Delegation.issue(LAPTOP, audience=TABLET.did, subject=PI.did, command="/x", expires_at=9)
    (here / "late.ucan").write_bytes(container.write([root.data, late.data]))
    ended = pi("ucan", "verify", "late.ucan", "--json")
    error = ended.json["error"]
    assert (ended.status, error["code"]) == (4, "ucan-expired")
    assert (error["step"], error["proof"], error["token"]) == ("7d", 2, str(late.cid))
    assert error["details"]["expires_at"] == 9
    (line, *_) = ended.err.splitlines()
    assert "proof 2 of 2" in line
    assert line.endswith("(step 7d)")


def test_delegations_are_forgotten_by_name_or_by_file(pi: At, here: Path) -> None:
    first, second = (ok(pi(*GIVE)) for _ in range(2))
    (here / "second.ucan").write_text(second)
    rows = pi("ucan", "list", "--json").json["tokens"]
    ended = pi("ucan", "forget", rows[0]["cid"][-7:])
    assert (ended.status, ended.text) == (0, "")
    assert ended.err == f"ipvm: forgot {rows[0]['cid']}\n"
    ended = pi("ucan", "forget", "second.ucan", "--json")
    assert ended.json["forgotten"] == [rows[1]["cid"]]
    assert pi("ucan", "list").text == ""
    assert pi("ucan", "forget", "second.ucan").status == 5
    (here / "revoked.ucan").write_text(ok(pi("ucan", "revoke", first)))
    ended = pi("ucan", "forget", "revoked.ucan")
    assert (ended.status, "but revocation" in ended.err) == (2, True)
    assert pi("ucan", "verify", first).status == 4


def test_powerlines_and_lasting_tokens_are_said_in_whole_sentences(pi: At, here: Path) -> None:
    line = Delegation.issue(
        STRANGER, audience=LAPTOP.did, subject=None, command="/x", expires_at=None
    )
    (here / "line.ucan").write_bytes(line.data)
    assert pi("ucan", "import", "line.ucan").status == 0
    shown = [pi("ucan", verb, "line.ucan").text for verb in ("verify", "inspect")]
    shown.append(pi("ucan", "list").text)
    for text in shown:
        assert "every subject at which the issuer may" in text
        assert "until for ever" not in text
    assert shown[0].startswith("✓ the delegation holds, for ever\n")


def test_long_text_is_never_cut_without_a_sign(pi: At, here: Path) -> None:
    secret = "x" * 90 + "hidden" + "y" * 4 * KIB
    one = Delegation.issue(
        PI, audience=LAPTOP.did, subject=PI.did, command="/x", expires_at=None,
        policy=[["==", ".a", secret], ["==", ".b", secret.encode()]],
    )  # fmt: skip
    (here / "one.ucan").write_bytes(one.data)
    lines = [text for text in pi("ucan", "inspect", "one.ucan").text.splitlines() if " is " in text]
    assert len(lines) == 2
    assert all(line.endswith("…") for line in lines)


def test_many_fat_tokens_are_looked_at_in_no_time(pi: At, here: Path) -> None:
    fat = [["!=", ".zz?", [[]] * 14_000]]
    some = [
        foreign_delegation(PI, LAPTOP, cmd="/", exp=None, pol=fat, nonce=bytes([number]))
        for number in range(40)
    ]
    (here / "fat.ucan").write_bytes(container.write([one.data for one in some], "raw"))
    started = time.process_time()
    ended = pi("ucan", "inspect", "fat.ucan")
    assert time.process_time() - started < 2
    assert ended.status == 0
    assert ended.text.count("over 4096 values") == len(some)


def test_a_receipt_by_itself_is_no_archive_and_is_named_as_what_it_is(pi: At, here: Path) -> None:
    (here / "r.ucan").write_bytes(ok_receipt())
    ended = pi("receipt", "verify", "r.ucan")
    assert (ended.status, "a token by itself" in ended.err) == (2, True)
    assert (
        pi("ucan", "verify", "r.ucan").text == "✓ the receipt is whole and signed by its issuer\n"
    )


def ok_receipt() -> bytes:
    job = Instruction("ipfs://bafkqaaa", "wasm/run", {"func": "add", "args": [1, 2]})
    return Receipt.issue(PI, job, Result.of_ok(3), now=1_700_000_000).data


@pytest.mark.parametrize(("sink", "status"), [("/dev/full", 6), ("a pipe that is closed", 141)])
def test_a_delegation_that_cannot_be_handed_on_is_not_kept(
    pi: At, here: Path, sink: str, status: int
) -> None:
    command = [sys.executable, "-m", "lite", "--home", "homes/pi", *GIVE]
    if sink == "/dev/full":
        with Path(sink).open("wb") as full:
            done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
        assert "Nothing was kept" in done.stderr
    else:
        readable, writable = os.pipe()
        os.close(readable)
        done = subprocess.run(command, stdout=writable, stderr=subprocess.PIPE, text=True)
        os.close(writable)
        assert done.stderr == ""
    assert done.returncode == status
    assert pi("ucan", "list").text == ""


def into_a_full_disk(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "lite", "--home", "homes/pi", "ucan", *words]
    with Path("/dev/full").open("wb") as full:
        return subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_an_invocation_and_a_revocation_that_cannot_be_written_say_what_came_of_them(
    pi: At, here: Path
) -> None:
    own = pi("id", "-q").text.strip()
    asked = into_a_full_disk("invoke", "--subject", own, "numbers.wasm:add", "1", "2")
    assert (asked.returncode, "Nothing was asked of anybody" in asked.stderr) == (6, True)
    (here / "x.ucan").write_text(ok(pi(*GIVE)))
    revoked = into_a_full_disk("revoke", "x.ucan")
    assert (revoked.returncode, "It is revoked here" in revoked.stderr) == (6, True)
    assert pi("ucan", "verify", "x.ucan", "--json").json["error"]["code"] == "ucan-revoked"
    first, second = (ok(pi("ucan", "revoke", "x.ucan")) for _ in range(2))
    assert first == second  # "do it again" gives the same token


# Tokens in base64 whose signatures are not of the length of any that is known.


@pytest.mark.parametrize("size", [0, 7, 15, 16, 23, 24, 300])
def test_a_token_in_base64_with_a_signature_of_another_length_fails_by_that(
    pi: At, here: Path, size: int
) -> None:
    asked = invocation(PI, []).data
    for token, step in ((asked, "2"), (delegation(PI, LAPTOP).data, "7c")):
        data = dag_cbor.encode([bytes(size), dag_cbor.decode(token)[1]])
        text = urlsafe_b64encode(data).decode().rstrip("=")
        found = pi("ucan", "verify", text, "--json").json["error"]
        assert (found["code"], found["step"]) == ("ucan-signature", step)
        (row,) = pi("ucan", "inspect", text, "--json").json["tokens"]
        assert (row["holds"], row["code"]) == (False, "ucan-signature")
        (row,) = pi("ucan", "import", text, "--json").json["refused"]
        assert row["code"] == "ucan-signature"
    assert pi("ucan", "list").text == ""


@pytest.mark.parametrize("version", ["1.0.0-rc.1", "1.0.0"])
def test_the_short_signature_of_the_spec_is_refused_as_such_also_in_base64(
    pi: At, vectors: Path, version: str
) -> None:
    file = vectors / f"ucan-spec-{version}" / "invocation.json"
    cases = {case["name"]: case for case in dag_json.decode(file.read_bytes())["invalid"]}
    token = cases["invalid invocation signature"]["invocation"]
    text = b64encode(token).decode()
    found = pi("ucan", "verify", text, "--json").json["error"]
    assert (found["code"], found["step"]) == ("ucan-signature", "2")
