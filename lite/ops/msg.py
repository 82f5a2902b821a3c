"""`msg/send`: a mail through the owner's SMTP server.

`rsc` is `mailto:name@host?subject=…`. Until the server has been given the mail itself, whatever
goes wrong leaves the step waiting, or says that it will never be taken. When the line is lost after
that, it is in doubt whether the mail went out. Source: RFC 5321, RFC 6068.
"""

from __future__ import annotations

import re
import smtplib
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from lite.config import Config
from lite.engine.base import GuestFailure, Outcome
from lite.errors import QueuedError
from lite.frozen import frozen
from lite.ops.arguments import Arguments
from lite.ops.base import InDoubt, Level, Ready, outcome_of
from lite.ops.dial import Deadline, TimedSocket, dial, ended_by, tls
from lite.ops.mail import KEYS, Mail, make_mail

_URL = re.compile(r"(smtps?|smtp\+plain)://(?:([^@]+)@)?(\[[^\]]+\]|[^:/]+)(?::(\d+))?/?")
REPLY_BYTES_MAX: Final = 1 << 18  # of all that a server says
QUIT_S_MAX: Final = 1.0
_PORTS: Final = {"smtp": 587, "smtps": 465, "smtp+plain": 25}
_STEPS: Final = {"ehlo": "greeted", "mail": "given the sender", "rcpt": "given a recipient"}


@frozen
class Server:
    """What `ops.smtp` says, taken apart."""

    scheme: str
    user: str
    host: str
    port: int

    @staticmethod
    def parse(url: str) -> Server:
        found = _URL.fullmatch(url)
        assert found is not None, "the setting was checked when it was read"
        scheme, user, host, port = found.groups()
        return Server(scheme, user or "", host.strip("[]"), int(port or _PORTS[scheme]))


class MsgSend:
    """Send a mail, once."""

    name = "msg/send"
    level: Level = "mutation"
    needs = frozenset({"network"})

    def __init__(self, config: Config) -> None:
        self._url: str | None = config["ops.smtp"]
        self._sender: str | None = config["ops.smtp_from"]
        self._password_file: Path | None = config["ops.smtp_password_file"]

    def missing(self, ready: Ready) -> str | None:
        self._server()
        self._from()
        return None

    def run(self, ready: Ready) -> Outcome:
        server, sender = self._server(), self._from()
        return outcome_of(lambda: self._send(server, sender, ready))

    def _server(self) -> Server:
        if self._url is None:
            raise QueuedError(
                "no mail server is set",
                hint="Set one: ipvm config set ops.smtp smtp://USER@HOST:587",
            )
        return Server.parse(self._url)

    def _from(self) -> str:
        if self._sender is None:
            raise QueuedError(
                "no address is set to write from",
                hint="Set one: ipvm config set ops.smtp_from NAME@HOST",
            )
        return self._sender

    def _password(self) -> str:
        try:
            return self._password_file.read_text("utf-8").strip() if self._password_file else ""
        except (OSError, UnicodeDecodeError) as error:
            raise QueuedError(
                "the password for the mail server cannot be read: "
                f"{getattr(error, 'strerror', None) or 'it is not text'}",
                hint="ops.smtp_password_file has to name a file that holds it.",
            ) from error

    def _send(self, server: Server, sender: str, ready: Ready) -> Any:
        mail = make_mail(ready.instruction, Arguments(ready, KEYS), sender)
        line = _Line(server, Deadline(ready.ends_at()))
        try:
            with ended_by(ready.stop, lambda: line.sock):
                line.open(self._password() if server.user else "")
                line.send(mail)
        finally:
            line.close()
        return {"message_id": mail.message_id, "recipients": list(mail.recipients)}


class _Line:
    """One conversation with a server. Before the mail is handed over every fault is `QueuedError`
    or, when the server will never take it, `GuestFailure`; after that, `InDoubt`.

    Attributes:
        sock: the line, once there is one.
    """

    def __init__(self, server: Server, deadline: Deadline) -> None:
        self._server = server
        self._deadline = deadline
        self._smtp = smtplib.SMTP(local_hostname="localhost")
        self.sock: socket.socket | None = None

    def open(self, password: str) -> None:
        """Connect, encrypt, log in."""
        server = self._server
        self.sock = dial(server.host, server.port, self._deadline)
        if server.scheme == "smtps":
            self.sock = tls(self.sock, server.host, self._deadline)
        self._talk_by(self.sock, self._deadline)
        with self._before_data():
            self._expect(self._smtp.getreply, "reached", 220)
            self._smtp.ehlo_or_helo_if_needed()
            if server.scheme == "smtp":
                self._start_tls()
            if server.user:
                self._smtp.login(server.user, password)

    def send(self, mail: Mail) -> None:
        """Hand the mail over, to all recipients or to none."""
        with self._before_data():
            self._expect(lambda: self._smtp.mail(mail.sender), _STEPS["mail"])
            for recipient in mail.recipients:
                self._expect(lambda to=recipient: self._smtp.rcpt(to), _STEPS["rcpt"])  # type: ignore[misc]
            self._expect(lambda: self._smtp.docmd("data"), "announced the mail", 354)
            data = _dotted(mail.data)
        try:
            self._smtp.send(data)
            status, told = self._smtp.getreply()
        except (OSError, smtplib.SMTPException) as error:
            raise InDoubt(
                f"{self._server.host} was given the mail {mail.message_id} and then the line was "
                f"lost ({type(error).__name__}): it may have been sent"
            ) from error
        if status != 250:
            raise _refused(self._server, "given the mail", status, told)

    def close(self) -> None:
        if self.sock is None:
            return
        if self._smtp.sock is not None:
            self._talk_by(self.sock, Deadline(time.monotonic() + QUIT_S_MAX))
            with suppress(OSError, smtplib.SMTPException):
                self._smtp.quit()
        self._smtp.close()
        self.sock.close()

    def _talk_by(self, sock: socket.socket, deadline: Deadline) -> None:
        """What was read before and not yet used counts no more (RFC 3207, 4.2)."""
        self._smtp.sock = TimedSocket(sock, deadline, REPLY_BYTES_MAX)  # type: ignore[assignment]
        self._smtp.file = None

    def _expect(self, ask: Callable[[], tuple[int, bytes]], when: str, wanted: int = 250) -> None:
        status, told = ask()
        if status != wanted and not (wanted == 250 and status == 251):
            raise _refused(self._server, when, status, told)

    def _start_tls(self) -> None:
        smtp, host = self._smtp, self._server.host
        if not smtp.has_extn("starttls"):
            raise GuestFailure(
                "tls", f"{host} offers no STARTTLS; smtp+plain:// would send in the open"
            )
        self._expect(lambda: smtp.docmd("starttls"), "asked for TLS", 220)
        assert self.sock is not None
        self.sock = tls(self.sock, host, self._deadline)
        self._talk_by(self.sock, self._deadline)
        smtp.helo_resp = smtp.ehlo_resp = None
        smtp.esmtp_features, smtp.does_esmtp = {}, False
        smtp.ehlo()

    @contextmanager
    def _before_data(self) -> Iterator[None]:
        host = self._server.host
        try:
            yield
        except smtplib.SMTPAuthenticationError as error:
            raise QueuedError(
                f"{host} refuses the user of ops.smtp ({error.smtp_code})",
                hint="Correct the user in ops.smtp, or the file of ops.smtp_password_file.",
            ) from error
        except smtplib.SMTPNotSupportedError as error:
            raise QueuedError(
                f"{host} lets nobody log in: {error}", hint="Take the user out of ops.smtp."
            ) from error
        except smtplib.SMTPServerDisconnected as error:
            raise _unreachable(host, "it hung up") from error
        except smtplib.SMTPResponseException as error:
            told = error.smtp_error
            words = told if isinstance(told, bytes) else told.encode()
            raise _refused(self._server, _STEPS["ehlo"], error.smtp_code, words) from error
        except ssl.SSLError as error:
            raise GuestFailure("tls", f"no TLS with {host}: {error.reason or error}") from error
        except (OSError, smtplib.SMTPException) as error:
            raise _unreachable(host, str(error)[:200]) from error


def _dotted(data: bytes) -> bytes:
    """The message as it goes over the line: dots in front doubled, and the end. RFC 5321, 4.5.2."""
    end = b"" if data.endswith(b"\r\n") else b"\r\n"
    return re.sub(rb"(?m)^\.", b"..", data) + end + b".\r\n"


def _unreachable(host: str, told: str) -> QueuedError:
    return QueuedError(
        f"the mail server {host} cannot be used: {told}",
        hint="The mail is sent when it can be reached.",
    )


def _refused(server: Server, when: str, status: int, told: bytes) -> QueuedError | GuestFailure:
    """What a reply means by its first digit: 4 not now, else never. Nothing was sent."""
    words = told.decode("utf-8", "replace")[:300]
    message = f"{server.host} answered {status} when {when}: {words}"
    if 400 <= status <= 499:
        return QueuedError(message, hint="The mail is sent when the server takes it.")
    return GuestFailure("smtp-status", message, status=status)
