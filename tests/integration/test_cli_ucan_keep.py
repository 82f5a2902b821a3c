"""`ipvm ucan import` and `list`, and what a clock that is or was wrong does to the verbs."""

from __future__ import annotations

import re
import time
from itertools import permutations
from pathlib import Path

import pytest

from lite.clock import SystemClock
from lite.ipld.cid import CID, DAG_CBOR
from lite.keys import Key
from lite.ucan import container
from lite.ucan.delegation import Delegation
from tests.integration.conftest import Ipvm
from tests.integration.test_cli_ucan import At, did, given, home, ok, refused
from tests.ucan_support import LAPTOP

AHEAD_S = 10 * 365 * 86_400


@pytest.fixture
def pi(ipvm: Ipvm, here: Path) -> At:
    (here / "homes").mkdir()
    return home(ipvm, "pi")


@pytest.fixture
def laptop(ipvm: Ipvm, pi: At) -> At:
    return home(ipvm, "laptop")


# import, list


def test_tokens_come_from_a_file_from_text_and_from_standard_input(
    pi: At, laptop: At, here: Path
) -> None:
    text = ok(pi("ucan", "delegate", "--to", did(laptop), "--cmd", "/wasm/run"))
    (token,) = container.read(text.encode())
    (here / "t.ucan").write_text(text + "\n")
    (here / "t.bytes").write_bytes(token)
    cid = str(Delegation.parse(token).cid)
    for source, piped in (("t.ucan", b""), ("t.bytes", b""), (text, b""), ("-", token)):
        (row,) = laptop("ucan", "import", source, "--json", stdin=piped).json["imported"]
        assert (row["cid"], row["kind"]) == (cid, "delegation")
    assert laptop("ucan", "import", "-", stdin=text.encode()).text.startswith(f"{cid}  delegation")
    (listed,) = laptop("ucan", "list", "--json").json["tokens"]
    assert (listed["cid"], listed["iss"], listed["aud"]) == (cid, did(pi), did(laptop))
    assert (listed["cmd"], listed["holds"], listed["reason"]) == ("/wasm/run", True, None)
    (line,) = laptop("ucan", "list").text.splitlines()
    assert line.startswith(f"✓ {cid}  did:key:z6Mk…") and "→ this node  /wasm/run" in line


@pytest.mark.parametrize("verb", ["import", "inspect", "verify", "run"])
def test_a_file_that_is_not_there_is_not_found(pi: At, verb: str) -> None:
    assert pi("ucan", verb, "nowhere.ucan").status == 5


@pytest.mark.parametrize("data", [b"", b"hello", b"B" + b"!" * 100, b"\x82\x01\x02", b"@"])
@pytest.mark.parametrize("verb", ["import", "inspect", "verify", "run"])
def test_what_is_no_token_is_refused_without_a_trace(
    pi: At, here: Path, verb: str, data: bytes
) -> None:
    (here / "bad").write_bytes(data)
    ended = pi("ucan", verb, "bad", "-q")
    assert ended.status == 4 if verb == "verify" else ended.status in (0, 4, 7), ended.err
    assert "bug" not in ended.err
    assert pi("ucan", "list").text == ""


def test_a_changed_token_is_neither_kept_nor_held(pi: At, laptop: At, here: Path) -> None:
    token = bytearray(
        container.read(ok(pi("ucan", "delegate", "--to", did(laptop), "--cmd", "/x")).encode())[0]
    )
    token[40] ^= 1
    (here / "bad").write_bytes(token)
    refused(laptop("ucan", "verify", "bad"), "signature")
    assert laptop("ucan", "import", "bad").status == 4
    assert laptop("ucan", "list").text == ""


def test_what_is_good_of_a_container_is_kept_and_the_rest_is_named(
    pi: At, laptop: At, here: Path
) -> None:
    text = ok(pi("ucan", "delegate", "--to", did(laptop), "--cmd", "/x"))
    (good,) = container.read(text.encode())
    bad = good[:40] + bytes([good[40] ^ 1]) + good[41:]
    (here / "both").write_bytes(container.write([good, bad]))
    ended = laptop("ucan", "import", "both")
    assert ended.status == 4
    assert f"ipvm: {CID.of(bad, DAG_CBOR)}  delegation, not taken in: " in ended.err
    assert ended.text.startswith(f"{Delegation.parse(good).cid}  delegation  until ")
    told = laptop("ucan", "import", "both", "--json")
    assert told.status == 4
    assert [row["cid"] for row in told.json["imported"]] == [str(Delegation.parse(good).cid)]
    (row,) = told.json["refused"]
    assert (row["cid"], row["kind"]) == (str(CID.of(bad, DAG_CBOR)), "delegation")
    assert row["code"] == "ucan-signature"
    assert "signature" in row["reason"]
    assert len(laptop("ucan", "list").text.splitlines()) == 1


# The clock


def test_doctor_finds_the_clock_in_order(pi: At) -> None:
    ok(pi("run", "numbers.wasm:add", 1, 2))
    assert clock_check(pi)["state"] == "ok"


def test_a_clock_that_went_back_is_named_and_nothing_is_judged_by_it(
    pi: At, laptop: At, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = given(pi, laptop)
    ok(pi("run", "numbers.wasm:add", 1, 2))
    monkeypatch.setattr(SystemClock, "now", lambda _: 1_000_000_000)
    found = clock_check(pi)
    assert (found["state"], pi("doctor").status) == ("failed", 6)
    assert "2001-09-09" in found["text"] and "signed a receipt" in found["text"]
    refused(pi("ucan", "delegate", "--to", did(laptop), "--cmd", "/x"), "the clock here shows 2001")
    ended = pi("ucan", "verify", text, "--json")
    assert (ended.status, ended.json["error"]["code"]) == (4, "ucan-clock")
    assert pi("ucan", "delegate", "--to", did(laptop), "--cmd", "/x", "--exp", "never").status == 0


def test_after_a_clock_was_ahead_the_hint_says_how_to_go_on(
    pi: At, laptop: At, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = given(pi, laptop)
    now = SystemClock().now()
    with monkeypatch.context() as ahead:
        ahead.setattr(SystemClock, "now", lambda _: now + AHEAD_S)
        ok(pi("run", "numbers.wasm:add", 1, 2))
        ok(pi("run", "numbers.wasm:add", 3, 4))
    for _ in range(2):
        told = pi("ucan", "verify", text, "--json")
        hint = told.json["error"]["hint"]
        forget = re.search(r"`ipvm (receipt forget b\w+)`", hint)
        assert forget is not None
        assert f"ahead at {time.gmtime(now + AHEAD_S).tm_year}-" in hint
        assert clock_check(pi)["hint"] == hint
        assert pi(*forget[1].split()).status == 0
    ok(pi("ucan", "verify", text))
    assert clock_check(pi)["state"] == "ok"


def clock_check(at: At) -> dict[str, str]:
    checks = at("doctor", "--json").json["checks"]
    (clock,) = [check for check in checks if check["name"] == "clock"]
    return dict(clock)


def test_a_web_of_many_delegations_is_judged_only_as_far_as_the_work_goes(
    pi: At, here: Path
) -> None:
    """Each would need a search through all the others, which took minutes."""
    crowd = [Key.from_seed(bytes([n, 3]) * 16) for n in range(20)]
    web = [
        Delegation.issue(
            giver, audience=taker.did, subject=LAPTOP.did, command="/c", expires_at=None
        )
        for giver, taker in permutations(crowd, 2)
    ]
    root = Delegation.issue(  # lets do something else, so that each way has to be tried in vain
        LAPTOP, audience=crowd[0].did, subject=LAPTOP.did, command="/other", expires_at=None
    )
    web.append(root)
    (here / "web.ucan").write_bytes(container.write([one.data for one in web]))
    assert pi("ucan", "import", "web.ucan").status == 0
    for verb in (("inspect", "web.ucan"), ("list",)):
        rows = pi("ucan", *verb, "--json").json["tokens"]
        unjudged = [one for one in rows if one["holds"] is None]
        assert len(web) == len(rows) > len(unjudged) > 100
        assert unjudged[0]["reason"].startswith("not judged: ")
    *_, last = pi("ucan", "list").text.splitlines()
    found = re.fullmatch(r"(\d+) of these not judged; `ipvm ucan verify` judges one", last)
    assert found is not None and int(found[1]) == len(unjudged)
