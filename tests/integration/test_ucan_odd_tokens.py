"""Tokens that are damaged, mistaken for others, or hard to print: nothing else suffers by them."""

from __future__ import annotations

import json
import sys
import unicodedata
from pathlib import Path
from typing import Any

import pytest

from lite import Node
from lite.clock import SystemClock
from lite.errors import UsageError
from lite.ipld import dag_cbor
from lite.parcel import Parcel
from lite.store import Store
from lite.ucan import container
from lite.ucan.checks import unpack
from lite.ucan.refusals import InvalidField, InvalidSignature, MissingField, NoProofs
from lite.ucan.revocation import Revocation
from tests.authority_support import add, ask, give, invocation_in
from tests.integration.conftest import Ipvm
from tests.integration.test_cli_ucan import At, did, given, home, ok
from tests.ucan_support import (
    LAPTOP,
    PI,
    STRANGER,
    delegation,
    delegation_token,
    invocation_token,
)

WEEK_S = 7 * 86_400


@pytest.fixture
def here_pi(ipvm: Ipvm, here: Path) -> At:
    (here / "homes").mkdir()
    return home(ipvm, "pi")


@pytest.fixture
def here_laptop(ipvm: Ipvm, here_pi: At) -> At:
    return home(ipvm, "laptop")


# Codes for tokens that cannot be read.


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"\x82", "ucan-malformed"),
        (delegation_token(cmd="/a//b").data, "ucan-command-invalid"),
        (delegation_token(sub=...).data, "ucan-field-missing"),
    ],
)
def test_inspect_gives_the_code_of_what_cannot_be_read(here_pi: At, data: bytes, code: str) -> None:
    (token,) = here_pi("ucan", "inspect", "-", "--json", stdin=data).json["tokens"]
    assert (token["kind"], token["holds"], token["code"]) == ("broken", False, code)
    assert token["reason"]


def unsigned(fields: dict[str, Any]) -> bytes:
    return dag_cbor.encode([bytes(64), {"h": b"", "ucan/inv@1.0.0": fields}])


@pytest.mark.parametrize(
    ("fields", "kind"),
    [({}, MissingField), ({"iss": 1}, InvalidField), ({"iss": None}, InvalidField)],
)
def test_a_missing_issuer_is_refused_as_other_fields_are(
    pi: Node, fields: dict[str, Any], kind: type[Exception]
) -> None:
    refusal = pi.authority.verify(unsigned(fields)).refusal
    assert type(refusal) is kind
    assert "iss is" in str(refusal)


def test_only_delegations_are_told_of_powerlines(pi: Node) -> None:
    asked = pi.authority.verify(invocation_token(sub=...).data).refusal
    assert type(asked) is MissingField
    assert "sub is missing" in str(asked)
    assert "powerline" not in str(asked)
    asked = pi.authority.verify(delegation_token(sub=...).data).refusal
    assert type(asked) is MissingField
    assert "a powerline says it with null" in str(asked)


# What a token is, its tag says.


@pytest.mark.parametrize("command", ["/ucan/dlg@x", "/a/ucan/dlg@1.0.0"])
def test_an_invocation_whose_words_look_like_a_tag_is_an_invocation(pi: Node, command: str) -> None:
    asked = invocation_token(pi.key, sub=pi.did, aud="did:key:a", cmd=command, exp=None).data
    parcel = Parcel.read(asked)
    assert (parcel.invocations, dict(parcel.delegations)) == ((asked,), {})
    assert pi.authority.verify(asked).kind == "invocation"


def test_a_delegation_behind_a_long_header_is_sorted_as_one() -> None:
    signed = {"h": bytes(400), "ucan/dlg@1.0.0": {"iss": "x", "cmd": "/ucan/revoke"}}
    token = dag_cbor.encode([bytes(64), signed])
    parcel = Parcel.of([token])
    assert list(parcel.delegations.values()) == [token]


@pytest.mark.parametrize("what", [b"\x82", b"\x82\x40\xa0", b"", b"\xff", b"\x82\x40\xa1\x61h"])
def test_what_ends_early_is_no_delegation(what: bytes) -> None:
    assert Parcel.of([what]).invocations == (what,)


@pytest.mark.parametrize("verb", ["delegation", "revocation"])
def test_running_what_is_no_invocation_says_what_to_do_with_it(
    pi: Node, phone: Node, verb: str
) -> None:
    cid = give(pi, phone)
    token = pi.authority.get(cid) if verb == "delegation" else pi.authority.revoke(cid).data
    assert token is not None
    with pytest.raises(UsageError, match=f"no invocation in it, but a {verb}") as caught:
        pi.run_invocation(token)
    assert "ipvm ucan import" in str(caught.value.hint)


# As many revocations as are heeded.


@pytest.mark.parametrize(("count", "holds"), [(64, True), (65, False)])
def test_verify_and_run_take_as_many_revocations_beside_an_invocation(
    pi: Node, phone: Node, count: int, holds: bool
) -> None:
    give(pi, phone)
    data = ask(phone, pi, add(pi))
    some = [
        Revocation.issue(
            STRANGER, revoked=invocation_in(data).cid, subject=PI.did, path=[one.cid]
        ).data
        for one in (delegation(PI, LAPTOP, nonce=b"%d" % n) for n in range(count))
    ]
    data = container.write([*unpack(data), *some])
    verdict = pi.authority.verify(data)
    assert verdict.holds == holds
    if holds:
        assert pi.run_invocation(data).out.unwrap() == 42
        return
    with pytest.raises(UsageError) as caught:
        pi.run_invocation(data)
    assert str(caught.value) == str(verdict.refusal)
    assert type(verdict.refusal) is UsageError


# Damage.


@pytest.mark.parametrize("table", ["delegations", "revocations"])
def test_one_damaged_row_is_named_and_the_others_are_listed(
    here_pi: At, here_laptop: At, here: Path, table: str
) -> None:
    texts = [given(here_pi, here_laptop), given(here_pi, here_laptop)]
    for text in texts:
        ok(here_pi("ucan", "revoke", text))
    with Store.open(here / "homes" / "pi") as store:
        rows = store.database.rows(f"SELECT rowid, cid, data FROM {table}")
        with store.database.write() as transaction:
            spoiled = rows[0][2][:-3] + b"\0\0\0"
            transaction.execute(
                f"UPDATE {table} SET data = ? WHERE rowid = ?", (spoiled, rows[0][0])
            )
    cids = [entry["cid"] for entry in here_laptop("ucan", "list", "--json").json["tokens"]]
    ended = here_pi("ucan", "list")
    assert ended.status == 7
    assert len(ended.text.splitlines()) == 4
    assert ended.text.count("broken: the stored bytes of") == 1
    assert "doctor --deep" in ended.err
    listed = here_pi("ucan", "list", "--json")
    found = [one for one in listed.json["tokens"] if one["kind"] == "broken"]
    assert (listed.status, [one["code"] for one in found]) == (7, ["hash-mismatch"])
    # A piece of another still names it.
    assert here_pi("ucan", "inspect", cids[1][-12:]).status == 0


# JSON for terminals.


def test_json_has_nothing_raw_that_a_terminal_would_obey(here_pi: At) -> None:
    odd = "a\x7f\u009b31m\u202e\u2028\u200f\U000e0041é😀"
    signed = delegation_token(PI, meta={"k": odd}).data
    ended = here_pi("ucan", "inspect", "-", "--json", stdin=signed)
    text = ended.out.decode()
    assert not [c for c in text[:-1] if unicodedata.category(c)[0] == "C"]
    assert not {"\u2028", "\u2029"} & set(text)
    assert "é😀" in text
    assert json.loads(text)["tokens"][0]["meta"] == {"k": odd}


def test_the_error_form_has_nothing_raw_either(here_pi: At) -> None:
    ended = here_pi("name", "set", "\u009b31m\u202e", "x", "--json")
    assert ended.status != 0
    assert ended.out.decode()[:-1].isprintable()
    assert ended.json["error"]["message"]


# Without the package for other keys.


def test_without_the_package_for_other_keys_the_signature_is_refused_by_name(
    pi: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    issuer = "did:key:zDnaewa2ukPzgFQEMfMHPMWGbQ3h7fVqMwQQAEs9Rj3UJWpaz"
    payload = {
        "iss": issuer, "sub": issuer, "cmd": "/wasm/run", "args": {}, "prf": [],
        "nonce": b"1", "exp": None,
    }  # fmt: skip
    signed = {"h": bytes.fromhex("3401ec0180241271"), "ucan/inv@1.0.0": payload}
    token = dag_cbor.encode([b"\x01" * 64, signed])
    for name in [name for name in sys.modules if name.split(".")[0] == "cryptography"]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, "cryptography.exceptions", None)
    refusal = pi.authority.verify(token).refusal
    assert isinstance(refusal, InvalidSignature)
    assert "cannot be loaded" in str(refusal)
    assert "pip install" in str(refusal.hint)


# doctor


def test_doctor_remarks_that_all_rights_have_expired_when_the_clock_may_be_ahead(
    here_pi: At, here_laptop: At, monkeypatch: pytest.MonkeyPatch
) -> None:
    given(here_pi, here_laptop, "--exp", "7d")
    now = SystemClock().now()
    for days, told in ((0, False), (6, False), (30, True)):
        monkeypatch.setattr(SystemClock, "now", lambda _, days=days: now + days * 86_400)
        ended = here_laptop("doctor", "--json")
        found = [one for one in ended.json["checks"] if one["name"] == "rights"]
        assert (len(found) == 1, ended.status) == (told, 0)
    assert found[0]["state"] == "warning"
    assert "has expired" in found[0]["text"] and "30 d past" in found[0]["text"]
    assert "ahead" in found[0]["hint"]
    given(here_pi, here_laptop, "--exp", "never")
    assert "rights" not in [one["name"] for one in here_laptop("doctor", "--json").json["checks"]]
    assert did(here_laptop)


@pytest.mark.parametrize("spoiled", [b"\x82", b"", None])
def test_a_damaged_delegation_gives_no_right_and_stops_no_other(
    pi: Node, phone: Node, spoiled: bytes | None
) -> None:
    """Whether it cannot be read any more, or says something else now."""
    bad, good = give(pi, phone), give(pi, phone)
    with phone.store.database.write() as transaction:
        for cid in (bad, good):
            data = phone.authority.get(cid) or b""
            told = data.replace(b"/wasm/run", b"/wasm/rum") if spoiled is None else spoiled
            transaction.execute("UPDATE delegations SET data = ? WHERE cid = ?", (told, cid.raw))
            if cid == bad:
                asked = invocation_in(ask(phone, pi, add(pi)))
                assert asked.proofs == (good,)
    with pytest.raises(NoProofs, match="no delegation here"):
        ask(phone, pi, add(pi))
