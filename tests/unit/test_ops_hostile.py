"""The network's worst: TLS that does not hold, servers that send anything at all, slow names."""

from __future__ import annotations

import base64
import datetime
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from lite.engine.job import Content
from lite.errors import QueuedError
from lite.ipld import dag_cbor
from lite.ipld.cid import CID, RAW
from lite.limits import Limits
from lite.ops import dial
from lite.ops.base import InDoubt, Op, Outcome
from lite.ops.http import HttpGet, HttpPost, HttpPut
from lite.ops.msg import MsgSend
from tests.ops_support import HttpServer, SmtpSink, config, ready, took


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for localhost with its key, signed by itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    start = datetime.datetime(2020, 1, 1)
    built = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(start)
        .not_valid_after(start + datetime.timedelta(days=365 * 100))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    path.write_bytes(pem + built.public_bytes(serialization.Encoding.PEM))
    return path


def server_side(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


@pytest.fixture
def secure(certificate: Path) -> Iterator[HttpServer]:
    with HttpServer(tls=server_side(certificate)) as server:
        yield server


def get(folder: Path, url: str, **more: Any) -> Outcome:
    op = HttpGet(config(folder))
    return op.run(ready(url, op.name, more.pop("given", None), **more))


def code(outcome: Outcome) -> str:
    assert outcome.error is not None, outcome.ok
    return str(outcome.error["code"])


def test_https_with_a_certificate_that_is_trusted(
    secure: HttpServer, certificate: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    secure.kept["/x"] = b"y" * 500_000
    assert get(tmp_path, f"{secure.url}/x", given={"only": "body"}).ok == b"y" * 500_000
    other_name = secure.url.replace("localhost", "127.0.0.1")
    assert code(get(tmp_path, other_name)) == "tls"


def test_a_certificate_that_nobody_vouches_for_is_an_error_and_nothing_is_sent(
    secure: HttpServer, tmp_path: Path
) -> None:
    refused = get(tmp_path, secure.url)
    assert code(refused) == "tls"
    assert "certificate of localhost" in str(refused.error)
    assert secure.log.entries == []


def test_tls_with_what_speaks_none(tmp_path: Path) -> None:
    with HttpServer() as plain:
        assert code(get(tmp_path, plain.url.replace("http:", "https:"))) == "tls"


def test_no_redirect_from_https_to_http(
    secure: HttpServer, certificate: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with HttpServer() as plain:
        refused = get(tmp_path, f"{secure.url}/redirect?302,{plain.url}/")
        assert code(refused) == "redirect-refused"
        assert "not encrypted" in str(refused.error)
        assert plain.log.entries == []
    assert get(tmp_path, f"{secure.url}/redirect?302,/chunked?1").ok["body"] == b"hello"


@pytest.mark.parametrize(("scheme", "starttls"), [("smtps", False), ("smtp", True)])
def test_mail_goes_over_tls_to_a_server_with_a_good_certificate(
    certificate: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    scheme: str,
    starttls: bool,
) -> None:
    (tmp_path / "password").write_text("word")
    auth = "PLAIN " + base64.b64encode(b"\0me\0word").decode()
    with SmtpSink(tls=server_side(certificate), starttls=starttls, auth=auth) as sink:
        settings = {
            "smtp": f"{scheme}://me@localhost:{sink.port}",
            "smtp_from": "a@b.example",
            "smtp_password_file": str(tmp_path / "password"),
        }
        op = MsgSend(config(tmp_path, **settings))
        asked = ready("mailto:a@b.example", op.name)
        assert code(op.run(asked)) == "tls"
        assert sink.mails == []
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        assert op.run(asked).ok["recipients"] == ["a@b.example"]
        assert [mail["encrypted"] for mail in sink.mails] == [True]


def test_mail_to_a_server_without_tls_is_not_sent_in_the_open(tmp_path: Path) -> None:
    with SmtpSink() as sink:
        settings = {"smtp": f"smtps://127.0.0.1:{sink.port}", "smtp_from": "a@b.example"}
        op = MsgSend(config(tmp_path, **settings))
        assert code(op.run(ready("mailto:a@b.example", op.name))) == "tls"
        assert sink.mails == []


class OneAnswer:
    """A server that sends given bytes to whoever comes, then hangs up."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/"
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            sock, _ = self._listener.accept()
            with sock:
                if self._data is self._END:
                    return
                with suppress(OSError):  # the client may leave as soon as it has read enough
                    sock.recv(1 << 16)
                    sock.sendall(self._data)
                    sock.shutdown(socket.SHUT_RDWR)

    _END = b"stop"

    def __enter__(self) -> OneAnswer:
        return self

    def __exit__(self, *_: object) -> None:
        address = self._listener.getsockname()
        self._data = self._END
        socket.create_connection(address).close()
        self._thread.join()
        self._listener.close()


@contextmanager
def talking_smtp(stage: str, part: bytes) -> Iterator[int]:
    """A mail server that, at a stage, says `part` again and again; its port."""
    stop = threading.Event()

    def serve(listener: socket.socket) -> None:
        sock, _ = listener.accept()
        with sock, sock.makefile("rb") as lines, suppress(OSError):
            if stage == "end":
                sock.sendall(b"220 hello\r\n")
                for line in lines:
                    if line == b".\r\n":
                        break
                    if line[:4].lower() in (b"ehlo", b"mail", b"rcpt"):
                        sock.sendall(b"250 ok\r\n")
                    elif line[:4].lower() == b"data":
                        sock.sendall(b"354 go on\r\n")
            while not stop.is_set():
                sock.sendall(part)
                stop.wait(0.05 if len(part) == 1 else 0)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener,))
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            stop.set()
            thread.join()


HEADS = st.sampled_from(
    [b"HTTP/1.1 200 OK\r\n", b"HTTP/1.0 404 No\r\n", b"HTTP/1.1 200\r\n", b"HTTP/9 abc\r\n", b""]
)
LINES = st.lists(
    st.sampled_from(
        [
            b"content-length: 5\r\n",
            b"content-length: -1\r\n",
            b"content-length: 99999999999999999999\r\n",
            b"content-length: x\r\n",
            b"transfer-encoding: chunked\r\n",
            b"content-encoding: gzip\r\n",
            b"x: \xff\xfe\r\n",
            b" folded\r\n",
            b"no colon\r\n",
            b"location: /\r\n",
            b"a: " + b"x" * 70_000 + b"\r\n",
            b"b: 1\r\n" * 120,
        ]
    ),
    max_size=3,
).map(b"".join)
BODIES = st.one_of(
    st.binary(max_size=40),
    st.sampled_from(
        [b"5\r\nhello\r\n0\r\n\r\n", b"ffffffffffff\r\nx", b"-1\r\nx", b"hello", b"zz\r\n"]
    ),
)


@given(HEADS, LINES, BODIES)
def test_whatever_a_server_sends_ends_in_a_value_an_error_or_doubt(
    head: bytes, lines: bytes, body: bytes
) -> None:
    settings = config(Path("/nowhere"))
    ops: list[Op] = [HttpGet(settings), HttpPost(settings)]
    with OneAnswer(head + lines + b"\r\n" + body) as server:
        for op in ops:
            told = ready(server.url, op.name, limits=Limits(time_ms=3000, output_bytes=1000))
            try:
                outcome = op.run(told)
            except InDoubt:
                assert op.level == "mutation"
                continue
            assert dag_cbor.encode(outcome.ok if outcome.error is None else outcome.error)


def answered(data: bytes, op: type[HttpGet] | type[HttpPost] = HttpPost) -> Outcome:
    """What an operation makes of what a server sends."""
    with OneAnswer(data) as server:
        made = op(config(Path("/nowhere")))
        return made.run(ready(server.url, made.name, limits=Limits(time_ms=3000)))


@pytest.mark.parametrize("status", [b"100 Continue", b"102 Processing", b"103 Early Hints"])
def test_an_answer_that_only_announces_one_is_passed_over(status: bytes) -> None:
    early = b"HTTP/1.1 " + status + b"\r\nlink: </a>\r\n\r\n"
    told = answered(early * 3 + b"HTTP/1.1 201 Created\r\ncontent-length: 2\r\n\r\nok")
    assert told.ok == {"status": 201, "headers": {"content-length": "2"}, "body": b"ok"}


@pytest.mark.parametrize("stage", ["greeting", "end"])
@pytest.mark.parametrize("part", [b"2", b"250-" + b"x" * 8000 + b"\r\n"])
def test_a_mail_server_that_goes_on_talking_is_left(
    tmp_path: Path, stage: str, part: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Byte for byte until the deadline, or line for line without end; before the mail and after."""
    monkeypatch.setattr("lite.ops.msg.QUIT_S_MAX", 0.1)
    with talking_smtp(stage, part) as port:
        settings = {"smtp": f"smtp+plain://127.0.0.1:{port}", "smtp_from": "a@b.example"}
        op = MsgSend(config(tmp_path, **settings))
        asked = ready("mailto:a@b.example", op.name, limits=Limits(time_ms=600))

        def refused() -> None:
            with pytest.raises(QueuedError if stage == "greeting" else InDoubt):
                op.run(asked)

        _, seconds = took(refused)
    assert seconds < 3


def test_a_slow_reader_over_tls_does_not_stretch_the_deadline(
    certificate: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    stop = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        listener.settimeout(5)

        def sip() -> None:
            accepted, _ = listener.accept()
            accepted.settimeout(5)
            with (
                suppress(OSError),
                server_side(certificate).wrap_socket(accepted, server_side=True) as sock,
            ):
                while not stop.wait(0.05) and sock.recv(16_384):
                    pass

        thread = threading.Thread(target=sip)
        thread.start()
        try:
            op = HttpPut(config(tmp_path))
            url = f"https://localhost:{listener.getsockname()[1]}/"
            limits = Limits(time_ms=700)
            large = {(file := CID.of(b"", RAW)): Content("file", b"x" * 30_000_000)}
            asked = ready(url, op.name, {"body": file}, limits=limits, content=large)
            outcome, seconds = took(lambda: op.run(asked))
        finally:
            stop.set()
            thread.join()
    assert code(outcome) == "time-limit"
    assert seconds < 3


def test_another_protocol_is_no_answer() -> None:
    with pytest.raises(InDoubt, match="not HTTP"):
        answered(b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\n\r\nHTTP/1.1 200 OK\r\n\r\n")


def test_headers_are_bounded_and_what_was_done_is_not_lost() -> None:
    lines = b"".join(b"h%d: %s\r\n" % (i, b"x" * 60_000) for i in range(90))
    data = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n" + lines + b"\r\nok"
    done = answered(data).ok
    assert (done["truncated"], done["body"]) == (True, b"ok")
    assert len(dag_cbor.encode(done)) < 300_000
    assert code(answered(data, HttpGet)) == "output-limit"


def test_a_host_that_is_longer_than_names_are_is_refused(tmp_path: Path) -> None:
    assert code(get(tmp_path, f"http://{'a' * 254}/")) == "bad-argument"
    with HttpServer() as plain:
        asked = f"{plain.url}/redirect?302,http://{'a.' * 5000}example/"
        assert code(get(tmp_path, asked)) == "redirect-refused"


def test_a_redirect_for_others_does_not_lead_into_the_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the first server counts as public here; each step of a redirect is judged anew."""
    with HttpServer() as public, HttpServer() as private:
        real = socket.getaddrinfo

        def names(host: str, port: int, **more: Any) -> list[Any]:
            return real("127.0.0.1" if host.endswith(".example") else host, port, **more)

        judged: list[str] = []

        def first_only(address: str) -> bool:
            judged.append(address)
            return len(judged) == 1

        monkeypatch.setattr(socket, "getaddrinfo", names)
        monkeypatch.setattr(dial, "_is_public", first_only)
        url = public.url.replace("127.0.0.1", "public.example")
        inside = private.url.replace("127.0.0.1", "inside.example")
        asked = f"{url}/redirect?307,{inside}/"
        assert code(get(tmp_path, asked, for_others=True)) == "address-denied"
        assert (len(public.log.entries), private.log.entries, len(judged)) == (1, [], 2)


def test_a_name_that_is_not_found_in_time_makes_it_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answered = threading.Event()

    def never(*_: object, **__: object) -> list[Any]:
        answered.wait(20)
        return []

    monkeypatch.setattr(socket, "getaddrinfo", never)
    try:

        def late() -> None:
            with pytest.raises(QueuedError, match="out of time"):
                get(tmp_path, "http://slow.example/", limits=Limits(time_ms=100))

        _, seconds = took(late)
    finally:
        answered.set()
    assert seconds < 3


def test_the_next_address_is_tried_when_one_does_not_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with HttpServer() as server:
        real = socket.getaddrinfo

        def two(_host: str, port: int, **more: Any) -> list[Any]:
            return [*real("::1", port, **more), *real("127.0.0.1", port, **more)]

        monkeypatch.setattr(socket, "getaddrinfo", two)
        url = server.url.replace("127.0.0.1", "twice.example")
        assert get(tmp_path, f"{url}/chunked?1").ok["body"] == b"hello"


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("127.0.0.1", False),
        ("10.1.2.3", False),
        ("169.254.169.254", False),
        ("192.168.0.1", False),
        ("100.64.0.1", False),
        ("0.0.0.0", False),
        ("224.0.0.1", False),
        ("::1", False),
        ("fe80::1%lo", False),
        ("fd00::1", False),
        ("::ffff:10.0.0.1", False),
        ("64:ff9b::7f00:1", False),
        ("2002:7f00:1::", False),
        ("64:ff9b:1::7f00:1", False),
        ("::7f00:1", False),
        ("::ffff:0:7f00:1", False),
        ("fec0::1", False),
        ("3fff::1", False),
        ("192.88.99.1", False),
        ("192.0.0.8", False),
        ("1.1.1.1", True),
        ("2606:4700:4700::1111", True),
    ],
)
def test_which_addresses_are_public(address: str, public: bool) -> None:
    assert ip_address(address.partition("%")[0])
    assert dial._is_public(address) is public
