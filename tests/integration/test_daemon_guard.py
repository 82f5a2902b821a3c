"""Who gets into the API over TCP: the token, the names of the host, and web pages of others."""

from __future__ import annotations

import gzip
import json
import socket
import stat
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import pytest

from lite.http.table import ROUTES
from lite.link import UNIX
from tests.daemon_support import DaemonProcess, daemon

CID_TEXT = "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku"


@pytest.fixture(scope="module")
def tcp(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaemonProcess]:
    with daemon(tmp_path_factory.mktemp("tcp") / "home", "--api", "127.0.0.1:0") as running:
        yield running


def port(here: DaemonProcess) -> int:
    return int(here.card.api.rpartition(":")[2])


def raw_answer(here: DaemonProcess, sent: bytes) -> bytes:
    """The beginning of what is answered to bytes that are sent in one piece."""
    address = here.card.api
    if address.startswith(UNIX):
        raw = socket.socket(socket.AF_UNIX)
        raw.settimeout(10)
        raw.connect(address.removeprefix(UNIX))
    else:
        raw = socket.create_connection(("127.0.0.1", port(here)), timeout=10)
    with raw:
        raw.sendall(sent)
        return raw.recv(100)


def test_the_file_that_holds_the_token_is_its_owners_alone(tcp: DaemonProcess) -> None:
    path = tcp.home / "daemon.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    told = json.loads(path.read_text())
    assert told.keys() == {"v", "pid", "started_at", "api", "token", "peers_listen"}
    assert len(told["token"]) == 64 and told["pid"] == tcp.child.pid


def test_the_right_token_opens(tcp: DaemonProcess) -> None:
    assert tcp.call("GET", "/v1/status").status == 200


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")
@pytest.mark.parametrize("token", ["", "0" * 64, "ß"], ids=["none", "wrong", "not ascii"])
def test_no_path_opens_without_the_token(tcp: DaemonProcess, route: object, token: str) -> None:
    path = route.path.replace("{cid}", CID_TEXT).replace("{run}", "ffff")  # type: ignore[attr-defined]
    reply = tcp.call(
        route.method,  # type: ignore[attr-defined]
        path,
        headers={"Authorization": f"Bearer {token}".encode("latin-1").decode("latin-1")},
        token="",
    )
    assert (reply.status, reply.error["code"]) == (401, "token")
    assert reply.headers["WWW-Authenticate"] == "Bearer"
    assert tcp.card.token not in reply.body.decode()


@pytest.mark.parametrize("shown", ["Basic {}", "Bearer{}", "{}", "Bearer {}x", "Bearer"])
def test_the_token_has_to_be_shown_in_its_form(tcp: DaemonProcess, shown: str) -> None:
    headers = {"Authorization": shown.format(tcp.card.token)}
    assert tcp.call("GET", "/v1/status", headers=headers, token="").status == 401


def test_the_case_of_the_scheme_does_not_matter(tcp: DaemonProcess) -> None:
    headers = {"Authorization": f"bearer {tcp.card.token}"}
    assert tcp.call("GET", "/v1/status", headers=headers, token="").status == 200


def test_a_header_without_a_token_is_none(tcp: DaemonProcess) -> None:
    assert tcp.call("GET", "/healthz", token="").status == 401


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:{}",
        "127.0.0.1",
        "127.0.0.1:1",
        "127.0.0.1.nip.io:{}",
        "[::1]:{}",
        "",
    ],
)
def test_a_name_of_another_host_is_refused_also_with_the_token(
    tcp: DaemonProcess, host: str
) -> None:
    reply = tcp.call("GET", "/v1/status", headers={"Host": host.format(port(tcp))})
    assert (reply.status, reply.error["code"]) == (403, "host")


@pytest.mark.parametrize("host", ["127.0.0.1:{}", "localhost:{}", "LOCALHOST:{}"])
def test_its_own_names_are_taken(tcp: DaemonProcess, host: str) -> None:
    reply = tcp.call("GET", "/v1/status", headers={"Host": host.format(port(tcp))})
    assert reply.status == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
    ids=str,
)
def test_pages_of_other_origins_are_refused_also_with_the_token(
    tcp: DaemonProcess, headers: dict[str, str]
) -> None:
    reply = tcp.call("POST", "/v1/run", {}, headers=headers)
    assert (reply.status, reply.error["code"]) == (403, "origin")


def test_an_own_page_would_be_let_in(tcp: DaemonProcess) -> None:
    own = {"Origin": f"http://127.0.0.1:{port(tcp)}", "Sec-Fetch-Site": "same-origin"}
    assert tcp.call("GET", "/v1/status", headers=own).status == 200


def test_no_answer_lets_a_page_of_another_origin_read_it(tcp: DaemonProcess) -> None:
    reply = tcp.call("OPTIONS", "/v1/run", headers={"Origin": "https://evil.example"})
    assert reply.status == 403
    assert not [name for name in reply.headers if name.lower().startswith("access-control")]


def test_the_socket_needs_no_token_but_refuses_a_wrong_one(tmp_path: Path) -> None:
    with daemon(tmp_path / "home") as here:
        assert stat.S_IMODE((here.home / "daemon.sock").stat().st_mode) == 0o600
        assert here.call("GET", "/v1/status", token="").status == 200
        assert here.call("GET", "/v1/status", token="0" * 64).status == 401
        assert here.call("GET", "/v1/status", headers={"Origin": "http://x"}).status == 403


def test_garbage_on_the_port_is_answered_and_harms_nothing(tcp: DaemonProcess) -> None:
    for garbage in (b"\x16\x03\x01\x00\x01", b"GET / HTTP/9.9\r\n\r\n", b"\0" * 9999, b"\r\n" * 99):
        with socket.create_connection(("127.0.0.1", port(tcp)), timeout=10) as raw:
            raw.sendall(garbage)
            raw.shutdown(socket.SHUT_WR)
            while raw.recv(65_536):
                pass
    assert tcp.call("GET", "/healthz").status == 200


def test_what_is_no_request_is_counted_and_no_traceback_is_told(tmp_path: Path) -> None:
    with daemon(tmp_path / "home", "--api", "127.0.0.1:0") as here:
        for path in (b"/x?\xd9\xa3", b"/x"):
            head = b"GET " + path + b" HTTP/1.1\r\nContent-Length: " + b"9" * 30 + b"\r\n\r\n"
            assert b" 400 " in raw_answer(here, head)
        numbers = here.call("GET", "/metrics").body
        assert b'ipvm_requests_total{path="",status="400"} 2' in numbers
        status, err = here.stop()
    assert status == 0 and "Traceback" not in err and err.count("\n") <= 3, err


@pytest.mark.parametrize("api", ["unix", "127.0.0.1:0"])
def test_a_body_that_cannot_be_read_is_the_fault_of_who_sent_it(tmp_path: Path, api: str) -> None:
    bodies = [("gzip", b"notgzip"), ("deflate", b"\xff"), ("gzip", gzip.compress(b"{}"))]
    paths = [("POST", "/v1/peers/poke"), ("POST", "/v1/run"), ("PUT", f"/v1/blocks/{CID_TEXT}")]
    with daemon(tmp_path / "home", "--api", api) as here:
        for (method, path), (encoding, body) in product(paths, bodies):
            reply = here.call(method, path, body, headers={"Content-Encoding": encoding})
            assert (reply.status, reply.error["code"]) == (400, "usage"), reply.body
            assert "Content-Encoding" in reply.error["message"]
        # In one piece: behind a head that was read already, aiohttp passes garbage on to nobody.
        head = (
            f"POST /v1/run HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {here.card.token}"
        )
        chunked = f"{head}\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n{{}}\r\n"
        assert b" 400 " in raw_answer(here, chunked.encode())
        status, err = here.stop()
    assert status == 0 and "Traceback" not in err and err.count("\n") <= 3, err


def test_a_list_of_cids_that_holds_something_else_names_it(tcp: DaemonProcess) -> None:
    for bad in (None, 7, [], "x"):
        for path, field in (("/v1/fetch", "cids"), ("/v1/ask", "instructions")):
            reply = tcp.call("POST", path, {field: [bad]})
            assert reply.status == 400
            assert reply.error["message"].startswith(f"{field}[0]: "), reply.error


def test_a_header_without_end_is_refused(tcp: DaemonProcess) -> None:
    reply = tcp.call("GET", "/healthz", headers={"X-Long": "x" * 20_000})
    assert reply.status == 400
