"""msg/send: one mail or none, and in doubt only when the server had it, against a real sink."""

from __future__ import annotations

import base64
import email
import email.policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest

from lite.engine.base import Outcome
from lite.engine.job import Content
from lite.errors import ConfigError, QueuedError
from lite.ipld.cid import CID, RAW
from lite.limits import Limits
from lite.ops.base import InDoubt
from lite.ops.msg import MsgSend, Server
from tests.ops_support import HttpServer, SmtpSink, config, free_port, ready, took

FROM = "me@home.example"


def send(
    folder: Path, port: int, rsc: str = "mailto:you@there.example", given: Any = None, **more: Any
) -> Outcome:
    scheme = more.pop("scheme", "smtp+plain")
    settings = {"smtp": f"{scheme}://127.0.0.1:{port}", "smtp_from": FROM}
    settings |= more.pop("settings", {})
    op = MsgSend(config(folder, **settings))
    return op.run(ready(rsc, op.name, given, **more))


def parsed(sink: SmtpSink) -> EmailMessage:
    (mail,) = sink.mails
    return email.message_from_bytes(
        mail["data"].encode("latin-1"), _class=EmailMessage, policy=email.policy.SMTP
    )


def code(outcome: Outcome) -> str:
    assert outcome.error is not None, outcome.ok
    return str(outcome.error["code"])


def test_a_mail_arrives_as_it_was_meant(tmp_path: Path) -> None:
    file = CID.of(b"\x89PNG", RAW)
    given = {
        "subject": "Grüße",
        "body": "eins\n.zwei\n..drei\n",
        "attachments": {"bild.png": file, "läng.txt": "text"},
    }
    with SmtpSink() as sink:
        sent = send(
            tmp_path,
            sink.port,
            "mailto:you@there.example,b@c.example",
            given,
            content={file: Content("file", b"\x89PNG")},
        )
        mail = parsed(sink)
    assert sink.mails[0]["sender"].partition(" ")[0].lower() == f"from:<{FROM}>"
    to = [to.lower() for to in sink.mails[0]["to"]]
    assert to == ["to:<you@there.example>", "to:<b@c.example>"]
    assert (mail["subject"], mail["from"]) == ("Grüße", FROM)
    assert mail["message-id"] == sent.ok["message_id"]
    assert mail["date"] and mail["auto-submitted"]
    body = mail.get_body()
    assert body is not None
    assert body.get_content().splitlines() == ["eins", ".zwei", "..drei"]
    attached = {part.get_filename(): part.get_content() for part in mail.iter_attachments()}
    assert attached == {"bild.png": b"\x89PNG", "läng.txt": "text"}


def test_the_message_id_follows_from_the_instruction(tmp_path: Path) -> None:
    with SmtpSink() as sink:
        ids = [
            send(tmp_path, sink.port, given={"body": "x"}, nnc=nnc).ok["message_id"]
            for nnc in ("a", "a", "b")
        ]
    assert ids[0] == ids[1] != ids[2]
    assert ids[0].endswith("@home.example>")
    assert len({mail["data"].count("Message-ID: <") for mail in sink.mails}) == 1


def test_the_subject_may_stand_in_the_uri(tmp_path: Path) -> None:
    with SmtpSink() as sink:
        send(tmp_path, sink.port, "mailto:a@b.example?subject=Hi%20there%20%C3%BC")
        assert parsed(sink)["subject"] == "Hi there ü"


@pytest.mark.parametrize(
    ("rsc", "given"),
    [
        ("mailto:a@b.example?subject=x%0d%0aBcc:%20evil@x.example", {}),
        ("mailto:a@b.example", {"subject": "x\r\nBcc: evil@x.example"}),
        ("mailto:a@b.example", {"subject": "x\u2028y"}),
        ("mailto:a@b.example?bcc=evil@x.example", {}),
        ("mailto:a@b.example?subject=x&subject=y", {}),
        ("mailto:a@b.example?subject=x", {"subject": "y"}),
        ("mailto:a%0d%0aDATA@b.example", {}),
        ("mailto:a@b.example%3E%0d%0aRCPT", {}),
        ("mailto:%22a%22@b.example", {}),
        ("mailto:a@b@c.example", {}),
        ("mailto:a@b.example,", {}),
        ("mailto:a@-b.example", {}),
        ("mailto:" + ",".join(["a@b.example"] * 101), {}),
        ("http://a.example/", {}),
        ("mailto:a@b.example", {"to": "x"}),
        ("mailto:a@b.example", {"body": b"\xff"}),
        ("mailto:a@b.example", {"attachments": {"../x": b""}}),
        ("mailto:a@b.example", {"attachments": {"x\r\ny": b""}}),
        ("mailto:a@b.example", {"attachments": {"x": 1}}),
        ("mailto:a@b.example", {"attachments": []}),
    ],
)
def test_nothing_is_injected_and_nothing_half_right_is_sent(
    tmp_path: Path, rsc: str, given: dict[str, Any]
) -> None:
    with SmtpSink() as sink:
        assert code(send(tmp_path, sink.port, rsc, given)) == "bad-argument"
        assert sink.mails == []


@pytest.mark.parametrize(
    "fail",
    [
        *("greet", "ehlo-hang-up", "mail-451", "mail-hang-up", "rcpt-450", "rcpt-hang-up"),
        *("data-451", "data-hang-up", "end-451"),
    ],
)
def test_what_fails_before_the_mail_is_taken_makes_it_wait(tmp_path: Path, fail: str) -> None:
    with SmtpSink(fail=fail) as sink, pytest.raises(QueuedError) as caught:
        send(tmp_path, sink.port)
    assert caught.value.hint


def test_a_server_that_is_not_there_makes_it_wait(tmp_path: Path) -> None:
    with pytest.raises(QueuedError, match="reached"):
        send(tmp_path, free_port())


@pytest.mark.parametrize("fail", ["body-hang-up", "end-hang-up"])
def test_a_line_that_is_lost_with_the_mail_is_in_doubt(tmp_path: Path, fail: str) -> None:
    with SmtpSink(fail=fail) as sink, pytest.raises(InDoubt, match="may have been sent"):
        send(tmp_path, sink.port)


@pytest.mark.parametrize("fail", ["rcpt-550", "mail-553", "data-554", "end-554"])
def test_what_the_server_will_never_take_is_an_error(tmp_path: Path, fail: str) -> None:
    with SmtpSink(fail=fail) as sink:
        refused = send(tmp_path, sink.port)
    assert code(refused) == "smtp-status"
    assert refused.error is not None
    assert refused.error["status"] == int(fail[-3:])


def test_all_recipients_get_it_or_none(tmp_path: Path) -> None:
    with SmtpSink() as sink:
        refused = send(tmp_path, sink.port, "mailto:a@b.example,nobody@b.example")
        assert code(refused) == "smtp-status"
        assert sink.mails == []


def test_a_user_logs_in_with_the_password_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("word\n")
    auth = "PLAIN " + base64.b64encode(b"\0me\0word").decode()
    with SmtpSink(auth=auth) as sink:
        settings = {
            "smtp": f"smtp+plain://me@127.0.0.1:{sink.port}",
            "smtp_password_file": str(tmp_path / "password"),
        }
        send(tmp_path, sink.port, settings=settings)
        assert len(sink.mails) == 1
        (tmp_path / "password").write_text("other")
        with pytest.raises(QueuedError, match="refuses the user") as caught:
            send(tmp_path, sink.port, settings=settings)
        assert "other" not in str(caught.value)
        (tmp_path / "password").unlink()
        with pytest.raises(QueuedError, match="password"):
            send(tmp_path, sink.port, settings=settings)


def test_nothing_is_sent_in_the_open_unless_the_setting_says_so(tmp_path: Path) -> None:
    with SmtpSink() as sink:
        refused = send(tmp_path, sink.port, scheme="smtp")
        assert code(refused) == "tls"
        assert "STARTTLS" in str(refused.error)
        assert sink.mails == []


def test_a_server_that_says_nothing_is_waited_for_until_the_deadline(tmp_path: Path) -> None:
    with HttpServer() as silent:  # it waits for a request and says nothing

        def late() -> None:
            with pytest.raises(QueuedError):
                send(tmp_path, silent.port, limits=Limits(time_ms=200))

        _, seconds = took(late)
    assert seconds < 3


def test_the_settings_are_named_when_they_are_missing(tmp_path: Path) -> None:
    for settings, name in (({}, "ops.smtp "), ({"smtp": "smtp://h.example"}, "ops.smtp_from")):
        op = MsgSend(config(tmp_path, **settings))
        for method in (op.missing, op.run):
            with pytest.raises(QueuedError) as caught:
                method(ready("mailto:a@b.example", op.name))
            assert name in str(caught.value.hint)


@pytest.mark.parametrize(
    ("url", "server"),
    [
        ("smtp://h.example", Server("smtp", "", "h.example", 587)),
        ("smtps://me@h.example", Server("smtps", "me", "h.example", 465)),
        ("smtp+plain://[::1]:25/", Server("smtp+plain", "", "::1", 25)),
    ],
)
def test_the_url_of_a_server_is_taken_apart(tmp_path: Path, url: str, server: Server) -> None:
    assert Server.parse(config(tmp_path, smtp=url)["ops.smtp"]) == server


@pytest.mark.parametrize("url", ["smtp://me:secret@h.example", "http://h", "smtp://", "h:25"])
def test_a_url_with_a_password_is_no_setting(tmp_path: Path, url: str) -> None:
    with pytest.raises(ConfigError):
        config(tmp_path, smtp=url)
