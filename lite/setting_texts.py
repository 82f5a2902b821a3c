"""How the text of a setting is read and written, where it is more than a quantity.

Each `parse_…` raises `ConfigError` with what was expected.
"""

from __future__ import annotations

import os.path
import re
from os import PathLike
from pathlib import Path
from typing import Final

from lite.errors import CodecError, ConfigError, NotFoundError, UsageError, quoted
from lite.quantities import (
    parse_duration_ms,
    parse_fuel,
    parse_size,
    render_duration,
    render_fuel,
    render_size,
)

ADDRESS_CHARS_MAX: Final = 254
PEER_NAME_CHARS_MAX: Final = 64
_SHOWN_MAX: Final = 100  # characters of a path in a message about it
_NOT_IN_NAMES: Final = ("Cc", "Cs", "Zl", "Zp")  # controls, what is no UTF-8, ends of lines
_LOCAL = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*"
_DOMAIN = r"(?:[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?\.)*[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
_ADDRESS = re.compile(rf"{_LOCAL}@{_DOMAIN}")


def is_address(text: str) -> bool:
    """Whether it is the address of one mailbox, NAME@HOST in ASCII."""
    return len(text) <= ADDRESS_CHARS_MAX and _ADDRESS.fullmatch(text) is not None


def is_peer_name(text: str) -> bool:
    """Whether an owner may call a peer so: one line of at most `PEER_NAME_CHARS_MAX` characters
    that looks neither like a DID nor like the name of a file, `@…`; "" is no name, and may be."""
    from unicodedata import category

    return (
        len(text) <= PEER_NAME_CHARS_MAX
        and text == text.strip()
        and not text.startswith(("did:", "@"))
        and not any(category(sign) in _NOT_IN_NAMES for sign in text)
    )


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


def parse_fuel_cap(text: str) -> int | None:
    """An amount of fuel, or None for “none”."""
    return None if text.strip().lower() == "none" else parse_fuel(text)


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


def parse_who(text: str) -> str | None:
    """A DID of a key, or what the owner calls a peer; None for “none”."""
    name = text.strip()
    if name.startswith("did:"):
        return parse_dids(name)[0]
    if not name or not is_peer_name(name):
        raise ConfigError(
            f"“{text}” is no name for a peer",
            hint="Write a DID, what you call a peer (`ipvm peers list`), or none.",
        )
    return None if name.lower() == "none" else name


def expanded(path: str | PathLike[str]) -> Path:
    """A path with the home of a user in place of a ~ in front. Raises ConfigError."""
    text = str(path)
    if "\0" in text:
        raise ConfigError(f"{quoted(text)} is no path: it holds a NUL character")
    try:
        return Path(path).expanduser()
    except RuntimeError:
        told = text if len(text) <= _SHOWN_MAX else f"{text[:_SHOWN_MAX]}…"
        raise ConfigError(
            f"“{told}”: there is no such user here, or nobody knows the home folder",
            hint="Write the path from / on.",
        ) from None


def absolute(path: Path) -> Path:
    """The path from / on. Raises NotFoundError: the folder that it starts at is gone."""
    try:
        return path.absolute()
    except FileNotFoundError as fault:
        raise folder_gone() from fault


def real(path: Path) -> Path:
    """Where a path leads, with all symbolic links followed; one that leads to itself stays as it
    is, and whoever opens it learns that. `Path.resolve` ends with a RuntimeError there.

    Raises:
        UsageError: it holds a NUL character.
        NotFoundError: the folder that it starts at is gone.
    """
    try:
        return Path(os.path.realpath(path))
    except ValueError:
        raise UsageError(f"{quoted(str(path))} is no path: it holds a NUL character") from None
    except FileNotFoundError as fault:
        raise folder_gone() from fault


def folder_gone() -> NotFoundError:
    """The error for a fault of the system that names no file: the folder that relative paths start
    at was deleted while this process, or the shell that began it, was in it."""
    return NotFoundError(
        "the folder that this runs in is not there any more",
        hint="Go to another folder, or write every path from / on.",
    )


def parse_path(text: str) -> Path | None:
    """An absolute path, or None for “none”."""
    if text.strip().lower() == "none":
        return None
    path = expanded(text.strip())
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


def parse_words(text: str) -> tuple[str, ...]:
    """Words such as tags, with blanks or commas between them."""
    words = tuple(part for part in re.split(r"[\s,]+", text) if part)
    for word in words:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._:+/-]{0,63}", word):
            raise ConfigError(f"“{word}” is not a word", hint="Write for example lab, eu-west.")
    return words


Gpus = tuple[tuple[str, "int | None"], ...]
"""Name and bytes of memory each; None: it is not said."""


def parse_gpus(text: str) -> Gpus | None:
    """“auto” (None), “none” (nothing), or GPUs by name and memory with commas between them."""
    if text.strip().lower() == "auto":
        return None
    if text.strip().lower() == "none":
        return ()
    return tuple(_gpu(part.strip()) for part in text.split(","))


def _gpu(text: str) -> tuple[str, int | None]:
    name, colon, size = text.partition(":")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9 ._()+/-]{0,99}", name):
        hint = "Write auto, none, or NAME:MEMORY each, for example NVIDIA A100:80G."
        raise ConfigError(f"“{text}” is not a GPU", hint=hint)
    return name.strip(), parse_size(size) if colon else None


def render_gpus(gpus: Gpus | None) -> str:
    """What `parse_gpus` reads back."""
    if gpus is None:
        return "auto"
    told = (name if size is None else f"{name}:{render_size(size)}" for name, size in gpus)
    return ", ".join(told) or "none"


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
    if not is_address(text.strip()):
        raise ConfigError(f"“{text}” is not a mail address", hint="Write for example me@home.org.")
    return text.strip()


def render_bool(value: bool) -> str:
    """What `parse_bool` reads back."""
    return "true" if value else "false"


def render_quota(value: int | None) -> str:
    """What `parse_quota` reads back."""
    return "none" if value is None else render_size(value)


def render_fuel_cap(value: int | None) -> str:
    """What `parse_fuel_cap` reads back."""
    return "none" if value is None else render_fuel(value)


def render_optional(value: Path | str | None) -> str:
    """What `parse_path` and the like read back."""
    return "none" if value is None else str(value)


def parse_listen(text: str) -> str | None:
    """`IP:PORT`, or None for “none”."""
    from ipaddress import ip_address

    told = text.strip()
    if told.lower() == "none":
        return None
    host, _, port = told.rpartition(":")
    try:
        ip_address(host.strip("[]"))
    except ValueError:
        port = ""
    if not (port.isascii() and port.isdigit() and len(port) < 6 and int(port) < 65_536):
        raise ConfigError(
            f"“{text}” is not an address with a port", hint="Write for example 127.0.0.1:8080."
        )
    return told


def parse_unit(text: str) -> str:
    """The name of a unit: a word."""
    told = text.strip()
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._:+/-]{0,63}", told):
        raise ConfigError(f"“{text}” is not a word", hint="Write for example cent.")
    return told


def parse_worth(text: str) -> tuple[tuple[str, int], ...]:
    """Milliseconds that one unit of a price is worth, by unit, sorted: `cent=30s, euro=50m`."""
    found: dict[str, int] = {}
    for part in re.split(r"[\s,]+", text.strip()):
        unit, is_said, time = part.partition("=")
        if part and (not is_said or unit in found):
            hint = "Write for example cent=30s, euro=50m."
            raise ConfigError(f"“{part}” does not say what one unit is worth", hint=hint)
        if part:
            found[parse_unit(unit)] = parse_duration_ms(time)
    return tuple(sorted(found.items()))


def render_worth(worth: tuple[tuple[str, int], ...]) -> str:
    """What `parse_worth` reads back."""
    return ",".join(f"{unit}={render_duration(time_ms)}" for unit, time_ms in worth)
