"""http/*: what goes out, what comes back, and what each fault means, against a real server."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lite.engine.base import GuestFailure, Outcome
from lite.engine.job import Content
from lite.errors import QueuedError
from lite.ipld import dag_cbor
from lite.ipld.cid import CID, DAG_CBOR, RAW
from lite.limits import Limits
from lite.ops.base import InDoubt, is_transient
from lite.ops.http import HttpDelete, HttpGet, HttpPost, HttpPut
from lite.ops.http_request import parse_url
from tests.ops_support import HttpServer, config, free_port, has_ipv6, ready, took

OPS = {"get": HttpGet, "put": HttpPut, "post": HttpPost, "delete": HttpDelete}


@pytest.fixture(scope="module")
def server() -> Iterator[HttpServer]:
    with HttpServer() as made:
        yield made


@pytest.fixture
def call(tmp_path: Path, server: HttpServer) -> Any:
    def ask(verb: str, path: str, given: dict[str, Any] | None = None, **more: Any) -> Outcome:
        url = server.url + path if path.startswith("/") else path
        settings = more.pop("settings", {})
        op = OPS[verb](config(tmp_path, **settings))
        server.log.entries.clear()
        return op.run(ready(url, op.name, given, **more))

    return ask


def code(outcome: Outcome) -> str:
    assert outcome.error is not None, outcome.ok
    return str(outcome.error["code"])


def test_the_four_verbs_do_what_they_say(call: Any, server: HttpServer) -> None:
    assert call("put", "/a", {"body": b"one"}).ok["status"] == 201
    got = call("get", "/a").ok
    assert (got["status"], got["body"]) == (200, b"one")
    assert got["headers"]["content-length"] == "3"
    before = server.posts
    assert call("post", "/count").ok["body"] == str(before + 1).encode()
    assert call("put", "/a", {"body": b"two"}).ok["status"] == 200
    assert call("delete", "/a").ok["status"] == 204
    assert call("get", "/a").error["status"] == 404


def test_levels_and_needs() -> None:
    assert [op.level for op in OPS.values()] == [
        "query",
        "idempotent-mutation",
        "mutation",
        "idempotent-mutation",
    ]
    assert {op.needs for op in OPS.values()} == {frozenset({"network"})}


def test_only_the_body_can_be_asked_for(call: Any) -> None:
    call("put", "/only", {"body": "text"})
    assert call("get", "/only", {"only": "body"}).ok == b"text"
    assert code(call("get", "/only", {"only": "head"})) == "bad-argument"


def test_a_body_is_bytes_text_or_a_file(call: Any, server: HttpServer, tmp_path: Path) -> None:
    file = CID.of(b"inside", RAW)
    for body, content in (
        (b"inside", {}),
        ("inside", {}),
        (file, {file: Content("file", b"inside")}),
    ):
        call("put", "/body", {"body": body}, content=content)
        assert server.kept["/body"] == b"inside"
    large = tmp_path / "large"
    large.write_bytes(b"x" * 3_000_000)
    call("put", "/body", {"body": file}, content={file: Content("file", large)})
    assert server.kept["/body"] == b"x" * 3_000_000


@pytest.mark.parametrize("body", [{"a": 1}, [1], 7, None, True])
def test_a_body_of_another_kind_is_refused(call: Any, server: HttpServer, body: Any) -> None:
    refused = call("put", "/x", {"body": body})
    assert code(refused) == "bad-argument"
    assert "input.body" in refused.error["message"]
    assert server.log.entries == []


def test_json_is_any_value_with_its_links_filled_in(call: Any, server: HttpServer) -> None:
    value, file = CID.of(dag_cbor.encode({"n": 1}), DAG_CBOR), CID.of(b"f", RAW)
    content = {value: Content("value", dag_cbor.encode({"n": 1})), file: Content("file", b"f")}
    call("post", "/j", {"json": {"a": [value, file, b"f", None]}}, content=content)
    sent = server.last
    same = {"/": {"bytes": base64.b64encode(b"f").decode().rstrip("=")}}
    assert json.loads(sent["body"]) == {"a": [{"n": 1}, same, same, None]}
    assert sent["headers"]["content-type"] == "application/json"
    assert code(call("post", "/j", {"json": 1, "body": b""})) == "bad-argument"


def test_links_in_json_cannot_grow_without_bound(call: Any) -> None:
    """Forty links, each to a value that holds the one before twice, are 2^40 values."""
    content: dict[CID, Content] = {}
    inner: Any = 1
    for _ in range(40):
        data = dag_cbor.encode([inner, inner])
        inner = CID.of(data, DAG_CBOR)
        content[inner] = Content("value", data)
    grown, seconds = took(lambda: call("post", "/j", {"json": inner}, content=content))
    assert code(grown) == "bad-argument"
    assert seconds < 5


def test_the_nonce_is_the_idempotency_key(call: Any, server: HttpServer) -> None:
    for nnc, key in (("abc-1", "abc-1"), (b"\x01\xff", "01ff"), ("a b", "612062")):
        for verb in ("post", "put", "delete"):
            call(verb, "/k", nnc=nnc)
            assert server.last["headers"]["idempotency-key"] == key
    call("post", "/k", {"headers": {"Idempotency-Key": "mine"}}, nnc="abc")
    assert server.last["headers"]["idempotency-key"] == "mine"
    call("post", "/k")
    assert "idempotency-key" not in server.last["headers"]
    call("get", "/k", nnc="abc")
    assert "idempotency-key" not in server.last["headers"]


@pytest.mark.parametrize(
    "headers",
    [
        {"x": "a\r\nevil: 1"},
        {"x": "a\nb"},
        {"x": "nul\0"},
        {"x\r\nevil": "1"},
        {"x y": "1"},
        {"": "1"},
        {"x:": "1"},
        {"Host": "elsewhere"},
        {"content-length": "0"},
        {"Transfer-Encoding": "chunked"},
        {"x": "ünïcödé €"},
        {"x": 1},
        {"X": "1", "x": "2"},
        [],
    ],
)
def test_headers_cannot_be_injected(call: Any, server: HttpServer, headers: Any) -> None:
    assert code(call("get", "/", {"headers": headers})) == "bad-argument"
    assert server.log.entries == []


def test_an_unknown_input_is_named(call: Any) -> None:
    refused = call("get", "/", {"header": {}})
    assert code(refused) == "bad-argument"
    assert "no input named header" in refused.error["message"]
    assert code(call("get", "/", {"body": b""})) == "bad-argument"
    assert code(call("post", "/", {"max_redirects": 1})) == "bad-argument"


def test_the_ordering_input_is_ignored(call: Any) -> None:
    call("put", "/o", {"body": b"", "_": [1, 2]})
    assert call("get", "/o", {"_": {"ok": 1}}).ok["status"] == 200


@pytest.mark.parametrize(
    "url",
    [
        "ftp://h/",
        "http:///path",
        "http://h:99999/",
        "http://me:secret@h/",
        "https://me@h/",
        "http://[::1/",
        "http://a b/",
        "http://h_%0d%0a/",
        "mailto:a@b",
    ],
)
def test_what_is_no_url_for_it_is_refused_before_it_is_used(url: str) -> None:
    with pytest.raises(GuestFailure) as caught:
        parse_url(url)
    assert caught.value.code == "bad-argument"
    assert "secret" not in caught.value.message


@given(st.text(max_size=30))
def test_any_text_is_a_url_or_a_bad_argument(text: str) -> None:
    try:
        url = parse_url(f"http://{text}")
    except GuestFailure as failure:
        assert failure.code == "bad-argument"
        return
    assert url.target.isascii()
    assert not any(sign in url.target + url.host for sign in "\r\n\0 ")


def test_a_url_is_sent_in_ascii() -> None:
    url = parse_url("https://münchen.example/straße?q=ü#part")
    assert (url.host, url.port) == ("xn--mnchen-3ya.example", 443)
    assert url.target == "/stra%C3%9Fe?q=%C3%BC"
    assert parse_url("http://h:8080?x").target == "/?x"


def test_redirects_are_followed_by_get_alone(call: Any, server: HttpServer) -> None:
    call("put", "/there", {"body": b"found"})
    for status in (301, 302, 303, 307, 308):
        got = call("get", f"/redirect?{status},/there")
        assert (got.ok["body"], server.count("GET")) == (b"found", 2)
    assert code(call("get", "/redirect?302,/there", {"max_redirects": 0})) == "redirect-refused"
    for verb in ("post", "put", "delete"):
        refused = call(verb, "/redirect?307,/there")
        assert (refused.error["code"], refused.error["status"]) == ("http-status", 307)
        assert len(server.log.entries) == 1


def test_a_loop_of_redirects_ends(call: Any, server: HttpServer) -> None:
    assert code(call("get", "/loop", {"max_redirects": 3})) == "redirect-refused"
    assert server.count("GET") == 4


@pytest.mark.parametrize("to", ["ftp://h/", "http://u:p@h/", "file:///etc/passwd", "http://[x/"])
def test_a_redirect_to_what_is_no_plain_url_is_refused(call: Any, to: str) -> None:
    refused = call("get", f"/redirect?302,{to}")
    assert code(refused) == "redirect-refused"
    assert "u:p" not in refused.error["message"]


def test_credentials_do_not_follow_to_another_host(call: Any, server: HttpServer) -> None:
    with HttpServer() as other:
        headers = {
            "Authorization": "Bearer x",
            "Cookie": "c",
            "X-Api-Key": "1",
            "Range": "bytes=0-",
        }
        call("get", f"/redirect?302,{other.url}/", {"headers": headers})
        got = other.last["headers"]
        assert "authorization" not in got
        assert "cookie" not in got
        assert "x-api-key" not in got
        assert got["range"] == "bytes=0-"
    call("get", "/redirect?302,/chunked", {"headers": headers})
    assert server.last["headers"]["x-api-key"] == "1"


def test_another_status_is_an_error_with_the_words_of_the_server(call: Any) -> None:
    refused = call("get", "/status?404").error
    assert (refused["code"], refused["status"], len(refused["body"])) == ("http-status", 404, 1024)
    assert "404 Not Found" in refused["message"]
    assert not is_transient(refused)


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_a_busy_server_may_be_asked_again_but_not_to_post(call: Any, status: int) -> None:
    for verb in ("get", "put", "delete"):
        refused = call(verb, f"/status?{status}").error
        assert is_transient(refused)
        assert refused["retry_after_s"] == 7
    assert not is_transient(call("post", f"/status?{status}").error)


def test_chunks_and_gzip_are_taken_apart(call: Any, server: HttpServer) -> None:
    assert call("get", "/chunked?3").ok["body"] == b"hellohellohello"
    got = call("get", "/gzip?100000").ok
    assert got["body"] == b"z" * 100_000
    assert "content-encoding" not in got["headers"]
    assert got["headers"]["x-kept"] == "yes"
    raw = call("get", "/gzip?1000", {"headers": {"Accept-Encoding": "gzip"}}).ok
    assert raw["body"][:2] == b"\x1f\x8b"
    assert raw["headers"]["content-encoding"] == "gzip"


def test_an_answer_over_the_limit_is_an_error_also_when_it_was_compressed(call: Any) -> None:
    tight = Limits(time_ms=5000, output_bytes=1000)
    for path in ("/chunked?1000", "/gzip?50000000"):
        refused = call("get", path, limits=tight)
        assert (code(refused), refused.error["limit"]) == ("output-limit", 1000)
    assert len(call("get", "/chunked?200", limits=tight).ok["body"]) == 1000


def test_what_was_done_is_not_lost_for_a_part_of_the_answer(call: Any) -> None:
    tight = Limits(time_ms=5000, output_bytes=10)
    for verb in ("post", "put", "delete"):
        done = call(verb, "/chunked?10", limits=tight).ok
        assert (done["truncated"], done["body"]) == (True, b"hellohello")
        assert call(verb, "/cut", {"only": "body"}).ok["truncated"]
    assert code(call("get", "/cut")) == "connection-lost"


def test_no_cookies_come_into_a_receipt(call: Any) -> None:
    headers = call("get", "/cookies").ok["headers"]
    assert "set-cookie" not in headers
    assert headers["x-many"] == "a"


def test_an_unreachable_host_queues(call: Any) -> None:
    for verb in OPS:
        for url in (f"http://127.0.0.1:{free_port()}/", "http://no-such-host.invalid/"):
            with pytest.raises(QueuedError) as caught:
                call(verb, url)
            assert caught.value.hint


def test_an_answer_that_is_lost_is_in_doubt_for_post_and_may_be_tried_again_else(
    call: Any, server: HttpServer
) -> None:
    lost = {"headers": {"x-test": "hang-up"}}
    with pytest.raises(InDoubt, match="lost"):
        call("post", "/", lost)
    assert len(server.log.entries) == 1
    for verb in ("get", "put", "delete"):
        error = call(verb, "/", lost).error
        assert (error["code"], is_transient(error)) == ("connection-lost", True)
    with pytest.raises(InDoubt, match="not HTTP"):
        call("post", "/raw")
    assert code(call("get", "/raw")) == "connection-lost"


@pytest.mark.parametrize("path", ["/slow", "/silent"])
def test_the_deadline_holds_however_slowly_bytes_come(call: Any, path: str) -> None:
    for told, limits in (({"timeout_ms": 150}, None), ({}, Limits(time_ms=150))):
        late, seconds = took(lambda t=told, m=limits: call("get", path, t, limits=m))
        assert (code(late), is_transient(late.error)) == ("time-limit", True)
        assert seconds < 2
    with pytest.raises(InDoubt, match="time ran out"):
        call("post", "/silent", {"timeout_ms": 100})
    late, seconds = took(lambda: call("put", "/slow", {"timeout_ms": 150}))
    assert late.ok["truncated"]


@pytest.mark.parametrize("timeout", [0, -1, "5s", 1.5, True, 2**40])
def test_a_timeout_is_a_whole_number(call: Any, timeout: Any) -> None:
    assert code(call("get", "/", {"timeout_ms": timeout})) == "bad-argument"


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")
def test_ipv6(call: Any) -> None:
    with HttpServer(ipv6=True) as other:
        assert call("post", f"{other.url}/x").ok["body"] == b"1"
        assert other.last["headers"]["host"] == f"[::1]:{other.port}"


def test_what_others_ask_for_reaches_no_private_address(call: Any, server: HttpServer) -> None:
    for url in (server.url, f"http://localhost:{server.port}", "http://[::ffff:127.0.0.1]:1/"):
        refused = call("get", f"{url}/", for_others=True)
        assert code(refused) == "address-denied"
    assert server.log.entries == []


def test_names_and_passwords_come_from_a_file_of_the_owner(
    call: Any, server: HttpServer, tmp_path: Path
) -> None:
    file = tmp_path / "netrc"
    file.write_text("machine 127.0.0.1 login me password word\ndefault login x password y\n")
    settings = {"http_netrc": str(file)}
    call("get", "/", settings=settings)
    assert (
        server.last["headers"]["authorization"] == "Basic " + base64.b64encode(b"me:word").decode()
    )
    call("get", "/", {"headers": {"authorization": "mine"}}, settings=settings)
    assert server.last["headers"]["authorization"] == "mine"
    file.write_text("machine 127.0.0.1 nonsense")
    with pytest.raises(QueuedError, match="http_netrc") as caught:
        call("get", "/", settings=settings)
    assert str(tmp_path) not in str(caught.value)
