"""`ipvm run --op`: operations from the command line, against servers on this machine."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.conftest import Ipvm
from tests.ops_support import HttpServer, SmtpSink, free_port
from tests.waiting_support import until


@pytest.fixture
def server() -> Iterator[HttpServer]:
    with HttpServer() as made:
        made.kept["/x"] = b"here\n"
        yield made


def test_a_query_shows_its_value_and_is_asked_each_time(ipvm: Ipvm, server: HttpServer) -> None:
    get = ("run", "--op", "HTTP/Get", f"{server.url}/x", "only=body")
    for _ in range(2):
        ended = ipvm(*get)
        assert (ended.status, ended.out) == (0, b"here\n"), ended.err
        assert ended.err.splitlines()[-1].startswith("✓ http/get  done")
    assert server.count("GET") == 2
    whole = json.loads(ipvm("run", f"{server.url}/x", "--op=http/get").out)
    assert (whole["status"], whole["body"]) == (200, {"/": {"bytes": "aGVyZQo"}})
    assert ipvm(*get, "--out", "page").out == b""
    assert Path("page").read_bytes() == b"here\n"
    told = ipvm(*get, "--json", "--no-cache").json
    assert (told["ok"], told["cached"], told["value"]) == (True, False, {"/": {"bytes": "aGVyZQo"}})


@pytest.mark.parametrize(
    ("word", "sent"),
    [
        ("body=plain = text", b"plain = text"),
        ("body=@@x", b"@x"),
        ("body=@note", b"of a file"),
        ("body=@note\udcff", b"of another"),
        ("body=-", b"of stdin"),
        ('body="5"', b"5"),
        ('json={"n": [1, null]}', b'{"n":[1,null]}'),
        ("json=5", b"5"),
        ("json=text", b'"text"'),
        ('headers={"x-a": "b"}', b""),
    ],
)
def test_values_are_files_json_or_text(
    ipvm: Ipvm, server: HttpServer, word: str, sent: bytes
) -> None:
    Path("note").write_bytes(b"of a file")
    Path("note\udcff").write_bytes(b"of another")
    put = ("run", "--op", "http/put", f"{server.url}/y", word, "only=body")
    ended = ipvm(*put, stdin=b"of stdin")
    assert ended.status == 0, ended.err
    assert server.kept["/y"] == sent
    assert server.last["headers"].get("x-a") == ("b" if "x-a" in word else None)


def test_a_cid_and_a_name_are_links(ipvm: Ipvm, server: HttpServer) -> None:
    Path("note").write_bytes(b"of a file")
    cid = ipvm("add", "note").text.split()[0]
    ipvm("name", "set", "letter", cid)
    for value in (cid, f"ipfs://{cid}", "@letter"):
        server.kept.clear()
        assert ipvm("run", "--op", "http/put", f"{server.url}/y", f"body={value}").status == 0
        assert server.kept["/y"] == b"of a file"


def test_a_mutation_is_done_each_time_and_one_with_a_nonce_once(
    ipvm: Ipvm, server: HttpServer
) -> None:
    post = ("run", "--op", "http/post", f"{server.url}/", "body=x", "only=body", "--nonce", "n-17")
    assert [ipvm(*post[:-2]).out for _ in range(2)] == [b"1", b"2"]
    assert [ipvm(*post).out for _ in range(2)] == [b"3", b"3"]
    assert [ipvm(*post, more).out for more in ("--no-cache", "--redo")] == [b"4", b"5"]
    assert server.last["headers"]["idempotency-key"] == "n-17"
    plain, with_nonce = (ipvm(*post[:-2], "--json"), ipvm(*post, "--json"))
    assert plain.json["ins"] != with_nonce.json["ins"]


def test_a_nonce_tells_calls_of_a_module_apart(ipvm: Ipvm) -> None:
    add = ("run", "numbers.wasm:add", 2, 40, "--json")
    names = [ipvm(*add, *more).json["ins"] for more in ((), ("--nonce", "a"), ("--nonce", "a"))]
    assert names[0] != names[1] == names[2]


def test_a_dry_run_does_nothing_and_knows_no_answer(ipvm: Ipvm, server: HttpServer) -> None:
    get = ("run", "--op", "http/get", f"{server.url}/x")
    ipvm(*get)
    dry = ipvm(*get, "--dry-run")
    assert (dry.status, dry.text) == (0, "⇢ http/get  would run\n")
    assert ipvm(*get, "--dry-run", "--json").json["state"] == "run"
    waits = ipvm("run", "--op", "crud/read", "file:///x", "--dry-run")
    assert (waits.status, "no folder is given" in waits.err) == (3, True)
    assert len(server.log.entries) == 1


def test_what_cannot_be_done_now_is_queued(ipvm: Ipvm) -> None:
    url = f"http://127.0.0.1:{free_port()}/"
    ended = ipvm("run", "--op", "http/post", url)
    assert (ended.status, ended.out) == (3, b"")
    assert "⇢ http/post  queued: 127.0.0.1" in ended.err
    assert "→ It runs when the host can be reached" in ended.err
    unknown = ipvm("run", "--op", "no/such", "x:y", "--json")
    assert (unknown.status, unknown.json["error"]["code"]) == (3, "queued")
    assert unknown.json["ins"].startswith("bafy")


def test_offline_keeps_it_from_the_network(ipvm: Ipvm, server: HttpServer) -> None:
    for more in ((), ("--dry-run",)):
        ended = ipvm("run", "--op", "http/get", f"{server.url}/x", "--offline", *more)
        assert (ended.status, ended.out) == (3, b"")
        assert "--offline was given" in ended.err
    assert server.log.entries == []
    assert ipvm("run", "--op", "crud/read", "/x:y", "--offline").status == 2


def test_a_lost_answer_to_a_mutation_is_in_doubt(ipvm: Ipvm, server: HttpServer) -> None:
    post = ("run", "--op", "http/post", f"{server.url}/", 'headers={"x-test": "hang-up"}')
    ended = ipvm(*post, "--nonce", "once")
    assert (ended.status, ended.out) == (1, b"")
    assert "ipvm: in doubt: POST http://127.0.0.1" in ended.err
    assert "Look where it acts" in ended.err
    assert "--nonce" in ended.err
    assert "Traceback" not in ended.err
    again = ipvm(*post, "--nonce", "once")
    assert (again.status, server.count("POST")) == (1, 1)
    assert "in doubt: POST http://127.0.0.1" in again.err
    assert ipvm(*post, "--nonce", "once", "--no-cache").status == 1
    assert server.count("POST") == 1
    assert (ipvm(*post, "--nonce", "once", "--redo").status, server.count("POST")) == (1, 2)
    told = ipvm(*post, "--json")
    assert (told.status, told.json["error"]["code"]) == (1, "in-doubt")
    assert ipvm("receipt", "list", "--json").json["receipts"] == []
    assert server.count("POST") == 3


def test_a_call_that_was_killed_in_the_middle_of_a_mutation_is_in_doubt(
    ipvm: Ipvm, server: HttpServer
) -> None:
    post = ("run", "--op", "http/post", f"{server.url}/silent", "body=x", "--nonce", "order-17")
    running = subprocess.Popen([sys.executable, "-m", "lite", *post], stderr=subprocess.DEVNULL)
    until(lambda: server.count("POST") == 1)
    running.kill()
    running.wait()
    again = ipvm(*post)
    assert (again.status, server.count("POST")) == (1, 1)
    assert "in doubt: an earlier call began it, and its process ended" in again.err


def test_a_mail_that_may_have_gone_out_is_in_doubt(
    ipvm: Ipvm, monkeypatch: pytest.MonkeyPatch
) -> None:
    with SmtpSink(fail="end-hang-up") as sink:
        monkeypatch.setenv("IPVM_OPS_SMTP", f"smtp+plain://127.0.0.1:{sink.port}")
        monkeypatch.setenv("IPVM_OPS_SMTP_FROM", "a@b.example")
        ended = ipvm("run", "--op", "msg/send", "mailto:c@d.example?subject=s", "body=hello")
        assert (ended.status, len(sink.mails)) == (1, 1)
    assert "in doubt: 127.0.0.1 was given the mail" in ended.err


def test_a_failure_is_a_receipt_with_status_1(ipvm: Ipvm, server: HttpServer) -> None:
    ended = ipvm("run", "--op", "http/get", f"{server.url}/status?404")
    assert (ended.status, ended.out) == (1, b"")
    assert "✗ http/get  failed  http-status: " in ended.err
    unknown = ipvm("run", "--op", "http/get", f"{server.url}/x", "color=red")
    assert (unknown.status, "no input named color" in unknown.err) == (1, True)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--op", "http/get"), "needs a URI"),
        (("--op", "http/get", "no uri"), "rsc: a URI"),
        (("--op", "http get", "x:y"), "op: an ability"),
        (("--op", "wasm/run", "x:y"), "without it"),
        (("--op", "http/get", "x:y", "only"), "not of the form KEY=VALUE"),
        (("--op", "http/get", "x:y", "=body"), "not of the form KEY=VALUE"),
        (("--op", "http/get", "x:y", "a=1", "a=2"), "a is given twice"),
        (("--op", "http/put", "x:y", "json={n: 1}"), "begins like JSON and is none"),
        (("--op", "http/put", "x:y", "body=[draft] x"), "body=@FILE"),
        (("--op", "exec/run", "exec:x", "--stdin", "note"), "--stdin is for modules"),
        (("--op", "exec/run", "exec:x", "--env", "A=1"), "--env is for modules"),
        (("--op", "http/get", "x:y", "--homestar"), "--homestar is for modules"),
        (("--op", "http/get", "x:y", "--nonce", "n" * 129), "nnc:"),
        (("--op", "http/put", "x:y", "a=-", "b=-"), "standard input can be used for one"),
    ],
)
def test_words_that_do_not_fit_are_refused_before_anything_is_done(
    ipvm: Ipvm, words: tuple[str, ...], says: str
) -> None:
    ended = ipvm("run", *words)
    assert ended.status == 2, ended.err
    assert says in ended.err


def test_a_file_that_is_not_there_is_said(ipvm: Ipvm) -> None:
    ended = ipvm("run", "--op", "http/put", "http://127.0.0.1/", "body=@none")
    assert ended.status == 5
    assert "@none: there is no file" in ended.err


def test_a_private_query_is_secret(ipvm: Ipvm, server: HttpServer) -> None:
    told: dict[str, Any] = ipvm(
        *("run", "--op", "http/get", f"{server.url}/x", "only=body", "--private", "--json")
    ).json
    assert told["secret"] is True
    kept = ipvm("export", told["receipt"], "-o", "x.car")
    assert kept.status == 4
