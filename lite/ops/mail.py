"""A mail from an instruction: addresses, subject, body, attachments, as the bytes that are sent."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from lite.clock import SystemClock
from lite.frozen import frozen
from lite.limits import MIB
from lite.model.instruction import Instruction
from lite.ops.arguments import Arguments, Bytes, bad
from lite.setting_texts import is_address

if TYPE_CHECKING:
    from email.message import EmailMessage

RECIPIENTS_MAX: Final = 100
SUBJECT_CHARS_MAX: Final = 900
ATTACHMENTS_MAX: Final = 100
MAIL_BYTES_MAX: Final = 64 * MIB  # of body and attachments, before they are encoded
KEYS: Final = frozenset({"subject", "body", "attachments"})
_CONTROL = re.compile(r"[\x00-\x1f\x7f\u0085\u2028\u2029]")


@frozen
class Mail:
    """A mail ready for a server.

    Attributes:
        sender, recipients: for the envelope.
        message_id: the same each time for one instruction.
        data: the message with CRLF line ends.
    """

    sender: str
    recipients: tuple[str, ...]
    message_id: str
    data: bytes


def make_mail(instruction: Instruction, given: Arguments, sender: str) -> Mail:
    """The mail that an instruction asks for.

    Raises:
        GuestFailure: `bad-argument`.
    """
    from email.message import EmailMessage
    from email.policy import SMTP
    from email.utils import formatdate

    recipients, subject = parse_mailto(str(instruction.rsc))
    if "subject" in given:
        if subject:
            raise bad("the subject stands in the URI and in the input: only one of them")
        subject = given.text("subject")
    # 16 bytes of the digest: with all of them the header would have to be folded.
    message_id = f"<{instruction.cid.digest[:16].hex()}@{sender.rpartition('@')[2]}>"
    message = EmailMessage(policy=SMTP)
    message["From"] = sender
    message["To"] = ", ".join(recipients)
    message["Subject"] = _checked_subject(subject)
    message["Date"] = formatdate(SystemClock().now())
    message["Message-ID"] = message_id
    message["Auto-Submitted"] = "auto-generated"  # so that no robot answers (RFC 3834)
    parts = {name: _attachment(given, name) for name in _attachment_names(given)}
    body = given.bytes("body")
    if body.size + sum(part.size for part in parts.values()) > MAIL_BYTES_MAX:
        raise bad(f"body and attachments have more than {MAIL_BYTES_MAX} bytes together")
    message.set_content(_text(body))
    for name, part in parts.items():
        _attach(message, name, part.read())
    return Mail(sender, recipients, message_id, message.as_bytes())


def parse_mailto(uri: str) -> tuple[tuple[str, ...], str]:
    """Recipients and subject of a `mailto:` URI (RFC 6068); raises `GuestFailure`."""
    from urllib.parse import unquote

    scheme, _, rest = uri.partition(":")
    if scheme.lower() != "mailto":
        raise bad("msg/send writes to mailto:name@host")
    to, _, fields = rest.partition("?")
    subject = ""
    for field in fields.split("&") if fields else ():
        name, _, value = field.partition("=")
        if name.lower() != "subject" or subject:
            raise bad("of the fields of a mailto: URI, subject can be used, once")
        subject = unquote(value)
    recipients = tuple(unquote(part) for part in to.split(","))
    if len(recipients) > RECIPIENTS_MAX:
        raise bad(f"more than {RECIPIENTS_MAX} recipients")
    for address in recipients:
        if not is_address(address):
            raise bad(f"{address[:64]!r} is not a mail address")
    return recipients, subject


def _checked_subject(subject: str) -> str:
    if _CONTROL.search(subject) or len(subject) > SUBJECT_CHARS_MAX:
        raise bad(f"the subject has control characters, or over {SUBJECT_CHARS_MAX} characters")
    return subject


def _text(body: Bytes) -> str:
    try:
        return body.read().decode()
    except UnicodeDecodeError:
        raise bad("input.body must be UTF-8 text; other bytes go into attachments") from None


def _attachment_names(given: Arguments) -> list[str]:
    names = list(given.named("attachments"))
    if len(names) > ATTACHMENTS_MAX:
        raise bad(f"more than {ATTACHMENTS_MAX} attachments")
    for name in names:
        if not name or len(name) > 200 or "/" in name or _CONTROL.search(name):
            raise bad(f"input.attachments: {name[:64]!r} is not a file name")
    return names


def _attachment(given: Arguments, name: str) -> Bytes:
    return given.bytes_of(f"input.attachments.{name}", given.named("attachments")[name])


def _attach(message: EmailMessage, name: str, data: bytes) -> None:
    from mimetypes import guess_type

    main, _, sub = (guess_type(name)[0] or "application/octet-stream").partition("/")
    if main in ("message", "multipart"):  # these may not be encoded
        main, sub = "application", "octet-stream"
    message.add_attachment(data, maintype=main, subtype=sub, filename=name)
