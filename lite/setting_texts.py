"""How the text of a setting is read and written, where it is more than a quantity.

Each `parse_…` raises `ConfigError` with what was expected.
"""

from __future__ import annotations

import re
from pathlib import Path

from lite.errors import CodecError, ConfigError
from lite.quantities import parse_size, render_size


def parse_bool(text: str) -> bool:
    """A yes or no."""
    match text.strip().lower():
        case "true" | "yes" | "on" | "1":
            return True
        case "false" | "no" | "off" | "0":
            return False
        case _:
            raise ConfigError(f"“{text}” is not a yes or no", hint="Write true or false.")


def parse_count(text: str) -> int:
    """A whole number of up to nine digits."""
    if not re.fullmatch(r"\d{1,9}", text.strip()):
        raise ConfigError(f"“{text}” is not a whole number", hint="Write for example 2.")
    return int(text)


def parse_quota(text: str) -> int | None:
    """A size in bytes, or None for “none”."""
    return None if text.strip().lower() == "none" else parse_size(text)


def parse_dids(text: str) -> tuple[str, ...]:
    """DIDs of keys, with blanks or commas between them."""
    names = tuple(part for part in re.split(r"[\s,]+", text) if part)
    if names:
        from lite.keys import parse_did

        for name in names:
            try:
                parse_did(name)
            except CodecError as error:
                raise ConfigError(str(error)) from None
    return names


def parse_path(text: str) -> Path | None:
    """An absolute path, or None for “none”."""
    if text.strip().lower() == "none":
        return None
    path = Path(text.strip()).expanduser()
    if not path.is_absolute():
        raise ConfigError(
            f"“{text}” is not an absolute path", hint="Write it from / on, or from ~ on, or none."
        )
    return path


def parse_ops(text: str) -> tuple[str, ...]:
    """Names of operations, with blanks or commas between them."""
    names = tuple(part for part in re.split(r"[\s,]+", text) if part)
    for name in names:
        if not re.fullmatch(r"[a-z0-9_.-]+(/[a-z0-9_.-]+)+", name):
            raise ConfigError(
                f"“{name}” is not an operation", hint="Write for example http/get, crud/read."
            )
    return names


def parse_smtp(text: str) -> str | None:
    """The URL of a mail server, or None for “none”."""
    if text.strip().lower() == "none":
        return None
    host = r"([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:\d{1,5})?"
    if not re.fullmatch(rf"(smtps?|smtp\+plain)://([^\s:/@]+@)?{host}/?", text.strip()):
        raise ConfigError(
            f"“{text}” is not a mail server",
            hint="Write smtp://USER@HOST:PORT (STARTTLS), smtps:// (TLS) or smtp+plain:// (open); "
            "the password goes into the file of ops.smtp_password_file.",
        )
    return text.strip()


def parse_address(text: str) -> str | None:
    """A mail address, or None for “none”."""
    if text.strip().lower() == "none":
        return None
    if not re.fullmatch(r"[!-~]+@[!-~]+", text.strip()) or re.search(r'[<>,;:"]', text):
        raise ConfigError(f"“{text}” is not a mail address", hint="Write for example me@home.org.")
    return text.strip()


def render_bool(value: bool) -> str:
    """What `parse_bool` reads back."""
    return "true" if value else "false"


def render_quota(value: int | None) -> str:
    """What `parse_quota` reads back."""
    return "none" if value is None else render_size(value)


def render_optional(value: Path | str | None) -> str:
    """What `parse_path` and the like read back."""
    return "none" if value is None else str(value)
