"""What `ipvm ucan` prints of the words of strangers, and what it warns of."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from lite.ipld import dag_cbor, dag_json
from lite.ipld.cid import CID, DAG_CBOR
from lite.ucan import container
from lite.ucan.delegation import Delegation
from lite.ucan.invocation import Invocation
from lite.ucan.revocation import COMMAND as REVOKE
from tests.integration.test_cli_ucan import At, asked, did, given, ok
from tests.integration.test_cli_ucan import laptop as laptop
from tests.integration.test_cli_ucan import pi as pi
from tests.ucan_support import LAPTOP, PI, STRANGER, delegation_token, invocation_token

EVIL = "\x1b]0;pwned\x07\x1b[2J\u202e\u200b\x9b\n  now     it holds"
LINK = CID.of(b"x", DAG_CBOR)
RECEIPT = "/ucan/assert/receipt"
OURS = {"ran": LINK, "ins": LINK, "out": {"ok": 1}}

TOKENS = {
    "a revocation of": invocation_token(cmd=REVOKE, args={"revoke": EVIL}).data,
    "a revocation with a path": invocation_token(
        cmd=REVOKE, args={"revoke": LINK, "path": [EVIL]}
    ).data,
    "a receipt's field": invocation_token(cmd=RECEIPT, args={**OURS, EVIL: 1}, iat=1).data,
    "a receipt's result": invocation_token(
        cmd=RECEIPT, args={"ran": LINK, "out": {"ok": EVIL}}
    ).data,
    "a receipt's task": invocation_token(cmd=RECEIPT, args={"ran": EVIL, "out": EVIL}).data,
    "a receipt's subject": invocation_token(
        cmd=RECEIPT, args=OURS, iat=1, sub=PI.did + "#" + "x"
    ).data,
    "arguments": invocation_token(args={EVIL: EVIL}).data,
    "a command": invocation_token(cmd="/" + EVIL).data,
    "an audience": delegation_token(aud=EVIL).data,
    "a policy": delegation_token(pol=[["==", '.["' + EVIL + '"]', EVIL]]).data,
    "an operator": delegation_token(pol=[[EVIL, ".a", EVIL]]).data,
    "a pattern": delegation_token(pol=[["not", ["like", ".a", EVIL]]], meta={EVIL: EVIL}).data,
    "an expiry": delegation_token(exp=EVIL).data,
    "a nonce": delegation_token(nonce=EVIL).data,
    "proofs": invocation_token(prf=[EVIL]).data,
}


def clean(text: str) -> bool:
    """Whether a terminal obeys nothing of it, and no line of it is a stranger's."""
    shown = all(line.isprintable() for line in text.rstrip("\n").split("\n"))
    return shown and not re.search(r"^ +now +it holds", text, re.MULTILINE)


@pytest.mark.parametrize("name", TOKENS)
@pytest.mark.parametrize("verb", ["inspect", "verify", "import"])
def test_no_word_of_a_stranger_reaches_the_terminal_raw(
    pi: At, here: Path, name: str, verb: str
) -> None:
    (here / "x.ucan").write_bytes(TOKENS[name])
    ended = pi("ucan", verb, "x.ucan")
    assert clean(ended.text.replace("now     it holds", "")), ended.text
    assert clean(ended.err), ended.err
    if verb == "import" and ended.status == 0:
        assert clean(pi("ucan", "list").text)


def test_values_that_json_has_no_form_for_are_shown_as_their_bytes(pi: At, here: Path) -> None:
    odd: dict[str, Any] = {"/": "x", "a": 1}
    token = Delegation.issue(
        PI,
        audience=LAPTOP.did,
        subject=PI.did,
        command="/x",
        expires_at=None,
        meta={"deep": [odd, 1], "plain": LINK},
        policy=[["==", ".a", odd]],
    )
    (here / "x.ucan").write_bytes(token.data)
    for words in (("inspect", "x.ucan"), ("verify", "x.ucan"), ("import", "x.ucan"), ("list",)):
        ended = pi("ucan", *words, "--json")
        assert ended.status == 0, ended.err
        found = next((v for k, v in ended.json.items() if k in ("tokens", "chain")), None)
        if found is not None:
            (shown,) = found[0]["meta"]["deep"][:1]
            assert dag_json.decode(json.dumps(shown)) == dag_cbor.encode(odd)
            assert found[0]["meta"]["plain"] == {"/": str(LINK)}
            assert found[0]["pol"][0][2] == shown


def test_an_empty_container_is_called_that(pi: At, here: Path) -> None:
    (here / "x.ucan").write_bytes(container.write([]))
    for verb in ("inspect", "import"):
        assert "empty container" in ok(pi("ucan", verb, "x.ucan"))
    for verb, said in (("verify", "no token in it"), ("forget", "but nothing at all")):
        ended = pi("ucan", verb, "x.ucan")
        assert (ended.status, said in ended.err) == (2, True)


def test_a_receipt_of_others_shows_what_it_says_was_run(pi: At, here: Path) -> None:
    args = {"ran": LINK, "out": {"ok": {"a": 1}}}
    (here / "x.ucan").write_bytes(
        invocation_token(cmd=RECEIPT, args=args, exp=None, iat=1_700_000_000).data
    )
    assert f"ran     {LINK}" in ok(pi("ucan", "inspect", "x.ucan"))
    text = ok(pi("ucan", "verify", "x.ucan"))
    assert 'gave {"ok":{"a":1}}' in text
    assert "answers nothing here" in text


# Numbers that others do not take.


@pytest.mark.parametrize(
    ("policy", "said"),
    [
        ('["==", ".x", 9007199254740992]', "9007199254740992 is outside ±(2^53 - 1)"),
        ('["==", ".x", [{"a": -9007199254740992}]]', "-9007199254740992 is outside ±(2^53 - 1)"),
        ('["==", ".x", 9007199254740991]', ""),
        ('["==", ".x", 1e300]', "1e+300 is a float"),
    ],
)
def test_numbers_that_others_refuse_are_noted_in_a_policy(pi: At, policy: str, said: str) -> None:
    pi("id")
    ended = pi("ucan", "delegate", "--to", STRANGER.did, "--cmd", "/x", "--policy", policy)
    assert ended.status == 0
    assert said in ended.err
    assert bool(said) == bool(ended.err)


def test_an_integer_that_no_token_can_hold_is_a_usage_error(pi: At) -> None:
    policy = json.dumps(["==", ".a", 2**64])
    ended = pi("ucan", "delegate", "--to", STRANGER.did, "--cmd", "/x", "--policy", policy)
    assert (ended.status, "--policy: " in ended.err) == (2, True)


def test_a_float_argument_is_noted(pi: At, laptop: At) -> None:
    given(pi, laptop)
    ended = laptop("ucan", "invoke", "--subject", did(pi), "numbers.wasm:half", "1.0")
    assert ended.status == 0
    assert "1.0 is a float; some others refuse such a token" in ended.err
    ended = laptop("ucan", "invoke", "--subject", did(pi), "numbers.wasm:add", "1", "2")
    assert (ended.status, "float" in ended.err) == (0, False)


# How long it lasts.


@pytest.mark.parametrize("wished", ["7d", "never"])
def test_a_chain_that_shortens_what_was_wished_is_noted(pi: At, laptop: At, wished: str) -> None:
    short = ok(pi("ucan", "delegate", "--to", did(laptop), "--cmd", "/x", "--exp", "10m"))
    ok(laptop("ucan", "import", short))
    words = ("ucan", "delegate", "--to", STRANGER.did, "--cmd", "/x", "--subject", did(pi))
    ended = laptop(*words, "--exp", wished)
    assert ended.status == 0
    assert f"not {wished}: a delegation above it ends then" in ended.err
    assert laptop(*words, "--exp", "5m").err == ""
    longer = ok(
        pi(
            "ucan",
            "delegate",
            "--to",
            did(laptop),
            "--cmd",
            "/x",
            "--exp",
            "30d",
            "--policy",
            '["==", ".a", 1]',
        )
    )
    ok(laptop("ucan", "import", longer))
    assert laptop(*words, "--exp", "7d").err == ""


# Running.


def test_the_line_about_a_run_is_one_line_whatever_the_function_is_called(
    pi: At, laptop: At, here: Path
) -> None:
    given(pi, laptop)
    job = asked(pi, laptop, "numbers.wasm:add", 2, 40)
    (first, *proofs) = sorted(
        container.read_any(job.encode()), key=lambda data: b"ucan/inv" not in data
    )
    right = Delegation.parse(proofs[0])
    invocation = Invocation.parse(first)
    name = "a\n✓ add  done\x1b[2J\u200b"
    args = {**invocation.args, "input": {"func": name, "args": [1]}}
    told = {"subject": invocation.subject, "command": "/wasm/run", "expires_at": None}
    from lite import Node

    with Node.open(here / "homes" / "laptop") as node:
        token = Invocation.issue(node.key, args=args, proofs=[right.cid], **told)
    (here / "y.ucan").write_bytes(container.write([token.data, right.data]))
    ended = pi("ucan", "run", "y.ucan")
    assert ended.status != 0
    assert not any(line.startswith("✓") for line in ended.err.splitlines())
    assert "\x1b" not in ended.err
    assert ended.err.splitlines()[0].startswith("✗ a ✓ add done")
