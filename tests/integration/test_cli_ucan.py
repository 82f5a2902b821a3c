"""Delegating, passing on, invoking, revoking and reading tokens from the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lite.clock import SystemClock
from lite.keys import Key
from lite.ucan import container
from lite.ucan.delegation import Delegation
from lite.ucan.invocation import Invocation
from lite.ucan.revocation import Revocation
from tests.integration.conftest import Ended, Ipvm

At = Callable[..., Ended]

ADD_ONLY = '["==", ".input.func", "add"]'
WEEK_S = 7 * 86_400
STRANGER = Key.from_seed(bytes([9] * 32))


def home(ipvm: Ipvm, name: str) -> At:
    return lambda *args, **kwargs: ipvm("--home", f"homes/{name}", *args, **kwargs)


@pytest.fixture
def pi(ipvm: Ipvm, here: Path) -> At:
    (here / "homes").mkdir(exist_ok=True)
    return home(ipvm, "pi")


@pytest.fixture
def laptop(ipvm: Ipvm, pi: At) -> At:
    return home(ipvm, "laptop")


@pytest.fixture
def phone(ipvm: Ipvm, pi: At) -> At:
    return home(ipvm, "phone")


def did(at: At) -> str:
    return at("id", "-q").text.strip()


def ok(ended: Ended) -> str:
    """The one line of a command that went well."""
    assert ended.status == 0, ended.err
    return ended.text.removesuffix("\n")


def given(pi: At, to: At, *more: object) -> str:
    """A delegation of the Pi, imported by its audience."""
    text = ok(pi("ucan", "delegate", "--to", did(to), "--cmd", "/wasm/run", *more))
    ok(to("ucan", "import", text))
    return text


def passed_on(pi: At, laptop: At, phone: At, *more: object) -> str:
    """The Pi's right, passed on to the phone by the laptop: add alone."""
    given(pi, laptop)
    text = ok(
        laptop(
            "ucan", "delegate", "--to", did(phone), "--cmd", "/wasm/run",
            "--subject", did(pi), "--policy", ADD_ONLY, *more,
        )
    )  # fmt: skip
    ok(phone("ucan", "import", text))
    return text


def asked(pi: At, by: At, *words: object) -> str:
    """An invocation at the Pi, which has the module."""
    ok(pi("add", "numbers.wasm"))
    return ok(by("ucan", "invoke", "--subject", did(pi), *words))


def refused(ended: Ended, *parts: str) -> None:
    """It ended with 4, and one line says why."""
    assert ended.status == 4, (ended.status, ended.err)
    assert ended.out == b""
    first, *rest = ended.err.splitlines()
    assert len(rest) <= 1
    for part in parts:
        assert part in first


# delegate


def test_a_delegation_is_a_token_alone_on_stdout(pi: At, laptop: At) -> None:
    ended = pi("ucan", "delegate", "--to", did(laptop), "--cmd", "/wasm/run", "--exp", "7d")
    assert ended.status == 0
    assert ended.out.count(b"\n") == 1 and ended.out.startswith(b"B")
    (token,) = container.read(ended.out)
    found = Delegation.parse(token)
    assert (found.issuer, found.subject, found.audience) == (did(pi), did(pi), did(laptop))
    assert (found.command, found.policy.value()) == ("/wasm/run", [])
    assert found.expires_at is not None
    assert abs(found.expires_at - SystemClock().now() - WEEK_S) < 60


def test_a_delegation_passed_on_holds_the_whole_chain(pi: At, laptop: At, phone: At) -> None:
    tokens = [Delegation.parse(t) for t in container.read(passed_on(pi, laptop, phone).encode())]
    last, root = sorted(tokens, key=lambda token: token.is_root)
    assert [root.issuer, last.issuer, last.audience] == [did(pi), did(laptop), did(phone)]
    assert last.subject == did(pi)
    assert last.expires_at is not None and root.expires_at is not None
    assert last.expires_at <= root.expires_at


@pytest.mark.parametrize("write", [str, lambda text: f"[{text}]"], ids=["statement", "list"])
def test_a_policy_is_a_statement_or_a_list_of_them(
    pi: At, here: Path, write: Callable[[str], str]
) -> None:
    (here / "policy.json").write_text(write('["like", ".rsc", "ipfs://*"]'))
    made = pi(
        "ucan", "delegate", "--to", STRANGER.did, "--cmd", "/wasm/run", "--exp", "never",
        "--policy", write(ADD_ONLY), "--policy", "@policy.json", "--json",
    ).json  # fmt: skip
    assert made["pol"] == [json.loads(ADD_ONLY), ["like", ".rsc", "ipfs://*"]]
    assert (made["exp"], made["aud"], made["sub"]) == (None, STRANGER.did, did(pi))
    (token,) = container.read(made["token"].encode())
    assert str(Delegation.parse(token).cid) == made["cid"]


def test_a_qr_code_is_drawn_beside_the_token(pi: At) -> None:
    ended = pi("ucan", "delegate", "--to", STRANGER.did, "--cmd", "/wasm/run", "--qr", "-q")
    assert ended.out.count(b"\n") == 1
    drawn = ended.err.splitlines()
    assert len(drawn) > 20 and set("".join(drawn)) == set(" ▀▄█")
    assert len({len(line) for line in drawn}) == 1 and len(drawn[0]) <= 100


def test_a_token_too_long_for_a_qr_code_is_a_usage_error(pi: At) -> None:
    long = json.dumps(["==", ".x", "x" * 3000])
    ended = pi(
        "ucan", "delegate", "--to", STRANGER.did, "--cmd", "/wasm/run", "--policy", long, "--qr"
    )
    assert (ended.status, "QR" in ended.err) == (2, True)


@pytest.mark.parametrize(
    "words",
    [
        ("--to", "bob", "--cmd", "/wasm/run"),
        ("--to", STRANGER.did, "--cmd", "wasm/run"),
        ("--to", STRANGER.did, "--cmd", "/wasm//run"),
        ("--to", STRANGER.did, "--cmd", "/wasm/run", "--exp", "7"),
        ("--to", STRANGER.did, "--cmd", "/wasm/run", "--exp", "0s"),
        ("--to", STRANGER.did, "--cmd", "/wasm/run", "--policy", "{"),
        ("--to", STRANGER.did, "--cmd", "/wasm/run", "--policy", "{}"),
        ("--to", STRANGER.did, "--cmd", "/wasm/run", "--policy", '["~", ".a", 1]'),
        ("--to", STRANGER.did, "--cmd", "/wasm/run", "--subject", "bob"),
        ("--to", STRANGER.did),
        ("--cmd", "/wasm/run"),
    ],
    ids=" ".join,
)
def test_a_delegation_that_makes_no_sense_is_a_usage_error(pi: At, words: tuple[str, ...]) -> None:
    ended = pi("ucan", "delegate", *words, "-q")
    assert (ended.status, ended.out) == (2, b""), ended.err


def test_what_was_not_given_cannot_be_passed_on(pi: At, laptop: At, phone: At) -> None:
    ask = ("ucan", "delegate", "--to", did(phone), "--subject", did(pi), "--cmd")
    refused(laptop(*ask, "/wasm/run", "-q"))
    given(pi, laptop)
    assert laptop(*ask, "/wasm/run").status == 0
    refused(laptop(*ask, "/wasm"))
    refused(laptop(*ask, "/wasm/runner"))


# inspect, verify


def test_inspect_shows_a_chain_as_a_tree(pi: At, laptop: At, phone: At) -> None:
    text = passed_on(pi, laptop, phone)
    lines = phone("ucan", "inspect", text).text.splitlines()
    assert lines[0].startswith("delegation  bafyrei")
    assert lines[1] == f"│ from    {did(pi)}"
    (second,) = [line for line in lines if line.startswith("└─ delegation  bafyrei")]
    below = lines[lines.index(second) :]
    assert f"     to      {did(phone)} (this node)" in below
    assert '     if      .input.func is "add"' in below
    assert below[-1] == "     now     it holds"
    first, last = phone("ucan", "inspect", text, "--json").json["tokens"]
    assert last["above"] == [first["cid"]]
    assert (first["holds"], last["holds"], last["reason"]) == (True, True, None)
    assert last["pol"] == [json.loads(ADD_ONLY)]
    assert last["policy"] == ['.input.func is "add"']


def test_inspect_takes_a_cid_and_a_piece_of_one(pi: At, laptop: At) -> None:
    given(pi, laptop)
    cid = laptop("ucan", "list", "--json").json["tokens"][0]["cid"]
    for ref in (cid, cid[-8:], f"…{cid[-7:]}"):
        assert laptop("ucan", "inspect", ref, "--json").json["tokens"][0]["cid"] == cid


def test_inspect_shows_an_invocation_below_its_last_proof(pi: At, laptop: At) -> None:
    given(pi, laptop)
    job = asked(pi, laptop, "numbers.wasm:add", 2, 40)
    proof, call = pi("ucan", "inspect", job, "--json").json["tokens"]
    assert (proof["kind"], call["kind"], call["holds"]) == ("delegation", "invocation", True)
    assert (call["above"], call["prf"]) == ([proof["cid"]], [proof["cid"]])
    assert call["args"]["input"] == {"func": "add", "args": [2, 40]}
    text = pi("ucan", "inspect", job).text
    assert "└─ invocation  " in text and "to do   /wasm/run" in text


def test_inspect_says_that_a_token_has_expired(pi: At) -> None:
    ended = pi("ucan", "inspect", expired(pi))
    assert ended.status == 0
    assert "it does not hold: " in ended.text and "expired" in ended.text


def test_inspect_shows_a_receipt_and_a_revocation(pi: At, laptop: At) -> None:
    receipt = pi("run", "numbers.wasm:add", 1, 2, "--json").json["receipt"]
    (row,) = pi("ucan", "inspect", receipt, "--json").json["tokens"]
    assert (row["cid"], row["kind"]) == (receipt, "receipt")
    assert "says" in pi("ucan", "inspect", receipt).text
    revoked = ok(pi("ucan", "revoke", given(pi, laptop), "-q"))
    assert "revokes bafyrei" in pi("ucan", "inspect", revoked).text


def test_inspect_writes_out_what_a_terminal_would_obey(pi: At, here: Path) -> None:
    policy = json.dumps(["==", ".x", "\x1b[2Jred\u202e"])
    text = ok(pi("ucan", "delegate", "--to", STRANGER.did, "--cmd", "/x", "--policy", policy))
    shown = pi("ucan", "inspect", text).text
    assert "\x1b" not in shown and "\u202e" not in shown and "red" in shown


def test_verify_says_what_a_chain_allows(pi: At, laptop: At, phone: At) -> None:
    text = passed_on(pi, laptop, phone)
    shown = ok(phone("ucan", "verify", text))
    assert shown.startswith("✓ the delegation holds, by 2 delegations, until 20")
    for part in (f"{did(phone)} (this node)", "do /wasm/run", did(pi), '.input.func is "add"'):
        assert part in shown
    found = phone("ucan", "verify", text, "--json").json
    assert (found["holds"], found["kind"], len(found["chain"])) == (True, "delegation", 2)
    job = asked(pi, phone, "numbers.wasm:add", 2, 40)
    assert ok(pi("ucan", "verify", job)).startswith("✓ the invocation holds")


def expired(pi: At) -> str:
    """A delegation of the Pi that ended an hour ago."""
    key = Key.load(Path("homes/pi/key")) if did(pi) else STRANGER
    token = Delegation.issue(
        key,
        audience=STRANGER.did,
        subject=key.did,
        command="/wasm/run",
        expires_at=SystemClock().now() - 3600,
    )
    return container.write([token.data]).decode()


def invocation(by: Key, subject: str, **fields: Any) -> str:
    """An invocation as somebody else would make it."""
    told: dict[str, Any] = {
        "subject": subject,
        "command": "/wasm/run",
        "args": {"rsc": "ipfs://bafkqaaa", "input": {}},
        "expires_at": SystemClock().now() + 60,
        **fields,
    }
    return container.write([Invocation.issue(by, **told).data]).decode()


def test_verify_ends_with_4_and_the_reason(pi: At) -> None:
    refused(pi("ucan", "verify", expired(pi)), "expired 60 min ago", "clock here shows")
    refused(pi("ucan", "verify", invocation(STRANGER, did(pi))), "without proofs")
    own = invocation(STRANGER, STRANGER.did)
    assert pi("ucan", "verify", own).status == 0
    refused(pi("ucan", "verify", own, "--executor", did(pi)), "addressed to")
    error = pi("ucan", "verify", expired(pi), "--json")
    assert (error.status, error.json["error"]["code"]) == (4, "ucan-expired")


# invoke, run


def test_the_phone_has_the_pi_compute_something(pi: At, laptop: At, phone: At) -> None:
    passed_on(pi, laptop, phone)
    job = asked(pi, phone, "numbers.wasm:add", "-2", 40)
    ended = pi("ucan", "run", "-", stdin=job.encode())
    assert (ended.status, ended.text) == (0, "38\n")
    assert "✓ add  done" in ended.err
    receipt = pi("receipt", "list", "--json").json["receipts"][0]["cid"]
    shown = pi("receipt", "show", receipt, "--json").json["receipt"]
    calls = [read for t in container.read(job.encode()) if (read := _invocation(t))]
    assert shown["inv"] == {"/": str(calls[0].cid)}
    assert shown["ran"] == {"/": str(calls[0].task)}


def _invocation(token: bytes) -> Invocation | None:
    return Invocation.parse(token) if b"ucan/inv" in token else None


def test_a_replayed_invocation_is_refused_with_the_name_of_its_receipt(pi: At, laptop: At) -> None:
    given(pi, laptop)
    job = asked(pi, laptop, "numbers.wasm:add", 2, 40)
    first = pi("ucan", "run", job, "--json").json
    assert (first["cached"], first["value"]) == (False, 42)
    again = pi("ucan", "run", job, "--json")
    error = again.json["error"]
    assert (again.status, error["code"], error["step"]) == (4, "ucan-replayed", "9")
    assert error["details"] == {"receipt": first["receipt"]}
    assert f"ipvm receipt show {first['receipt']}" in error["hint"]
    assert pi("receipt", "show", first["receipt"]).status == 0


def test_a_call_that_a_policy_forbids_is_not_even_invoked(pi: At, laptop: At, phone: At) -> None:
    passed_on(pi, laptop, phone)
    ended = phone("ucan", "invoke", "--subject", did(pi), "numbers.wasm:div", 4, 2)
    refused(ended, "no delegation here gives this node the right to /wasm/run")


def test_policies_see_the_limits_of_an_invocation(pi: At, laptop: At) -> None:
    given(pi, laptop, "--policy", '["<=", ".limits.fuel", 1000]')
    for flags, status in (((), 4), (("--fuel", "2k"), 4), (("--fuel", "1k"), 0)):
        ask = ("ucan", "invoke", "--subject", did(pi), *flags, "numbers.wasm:add", 2, 40)
        assert laptop(*ask).status == status
    job = asked(pi, laptop, "--fuel", "1k", "--memory", "1M", "--time", "1s", "numbers.wasm:spin")
    assert pi("ucan", "run", job).status == 8


def test_a_task_that_fails_ends_as_with_ipvm_run(pi: At, laptop: At) -> None:
    given(pi, laptop)
    ended = pi("ucan", "run", asked(pi, laptop, "numbers.wasm:div", 1, 0), "--json")
    assert (ended.status, ended.json["error"]["code"]) == (1, "integer-divide-by-zero")


def test_an_invocation_of_a_module_that_is_not_here_waits(pi: At, laptop: At) -> None:
    given(pi, laptop)
    job = ok(laptop("ucan", "invoke", "--subject", did(pi), "numbers.wasm:add", 2, 40))
    assert pi("ucan", "run", job).status == 3
    ok(pi("add", "numbers.wasm"))
    assert pi("ucan", "run", job).text == "42\n"  # waiting did not use it up


def test_invocations_that_are_not_allowed_are_refused(pi: At, laptop: At, here: Path) -> None:
    ok(pi("add", "numbers.wasm"))
    pi_key, me = Key.load(here / "homes/pi/key"), did(pi)
    refused(pi("ucan", "run", invocation(STRANGER, me)), "without proofs")
    refused(pi("ucan", "run", invocation(STRANGER, STRANGER.did)), "addressed to")
    refused(pi("ucan", "run", invocation(pi_key, me, executor=STRANGER.did)), "addressed to")
    late = SystemClock().now() - 61
    refused(pi("ucan", "run", invocation(pi_key, me, expires_at=late)), "expired")
    other = Delegation.issue(
        STRANGER, audience=STRANGER.did, subject=me, command="/", expires_at=None
    )
    refused(pi("ucan", "run", invocation(STRANGER, me, proofs=[other.cid])), "not at hand")
    assert pi("receipt", "list").text == ""


# revoke


@pytest.mark.parametrize("how", ["file", "cid"])
def test_what_the_pi_revokes_runs_no_more(
    pi: At, laptop: At, phone: At, here: Path, how: str
) -> None:
    text = passed_on(pi, laptop, phone)
    first = asked(pi, phone, "numbers.wasm:add", 2, 40)
    assert pi("ucan", "run", first).text == "42\n"
    (here / "phone.ucan").write_text(text)
    leaf = str(pi("ucan", "inspect", text, "--json").json["tokens"][-1]["cid"])
    if how == "cid":
        ok(pi("ucan", "import", text))
    ended = pi("ucan", "revoke", "phone.ucan" if how == "file" else leaf)
    (token,) = container.read(ended.out)
    assert str(Revocation.parse(token).revoked) == leaf
    refused(pi("ucan", "verify", text), "revoked by")
    refused(pi("ucan", "run", asked(pi, phone, "numbers.wasm:add", 2, 41)), "revoked by")
    ok(phone("ucan", "import", ended.text.strip()))
    refused(
        phone("ucan", "invoke", "--subject", did(pi), "numbers.wasm:add", 1, 1), "no delegation"
    )
    assert laptop("ucan", "invoke", "--subject", did(pi), "numbers.wasm:add", 1, 1).status == 0


def test_a_revocation_that_comes_first_counts(pi: At, laptop: At) -> None:
    text = ok(pi("ucan", "delegate", "--to", did(laptop), "--cmd", "/wasm/run"))
    ok(laptop("ucan", "import", ok(pi("ucan", "revoke", text))))
    ok(laptop("ucan", "import", text))
    delegation, revocation = laptop("ucan", "list", "--json").json["tokens"]
    assert (delegation["holds"], revocation["holds"]) == (False, True)
    assert "revoked by" in delegation["reason"]
    assert laptop("ucan", "list").text.startswith("✗ ")
    refused(laptop("ucan", "verify", text), "revoked by")


def test_a_stranger_cannot_revoke(pi: At, laptop: At, phone: At) -> None:
    text = given(pi, laptop)
    ended = phone("ucan", "revoke", text)
    assert ended.status == 4, ended.err


def test_revoking_needs_a_delegation(pi: At, laptop: At) -> None:
    assert pi("ucan", "revoke", "nothing.ucan").status == 5
    receipt = pi("run", "numbers.wasm:add", 1, 2, "--json").json["receipt"]
    assert pi("ucan", "revoke", receipt).status == 5


def test_a_circle_of_delegations_is_shown_once_and_does_not_hold(pi: At) -> None:
    one, two = (Key.from_seed(bytes([n] * 32)) for n in (7, 8))
    circle = [
        Delegation.issue(a, audience=b.did, subject=did(pi), command="/x", expires_at=None).data
        for a, b in ((one, two), (two, one))
    ]
    shown = pi("ucan", "inspect", container.write(circle).decode(), "--json").json["tokens"]
    assert [row["holds"] for row in shown] == [False, False]
