"""Reading the `input` of an instruction: every key known, every value of its kind.

All that does not fit raises `GuestFailure("bad-argument")` with the name of the key, which becomes
an error receipt.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from lite.engine.base import GuestFailure
from lite.frozen import frozen
from lite.ipld.cid import CID
from lite.ops.base import Ready

ORDER: Final = "_"
"""The input that every operation ignores. Awaits in it order steps without passing data
(UCAN Invocation 0.2.0, section 5)."""

_CHUNK_BYTES: Final = 1 << 20


@frozen
class Bytes:
    """Bytes in memory or in a private file, read in chunks."""

    source: bytes | Path
    size: int

    @staticmethod
    def of(data: bytes) -> Bytes:
        return Bytes(data, len(data))

    def chunks(self) -> Iterator[bytes]:
        if isinstance(self.source, bytes):
            if self.source:
                yield self.source
            return
        with self.source.open("rb") as file:
            while chunk := file.read(_CHUNK_BYTES):
                yield chunk

    def read(self) -> bytes:
        return self.source if isinstance(self.source, bytes) else self.source.read_bytes()


class Arguments:
    """The input of one instruction.

    Args:
        known: the keys that the operation has; `_` is known to all.

    Raises:
        GuestFailure: `bad-argument`, for a key that it does not have.
    """

    def __init__(self, ready: Ready, known: frozenset[str]) -> None:
        self._ready = ready
        self.given = ready.instruction.input
        unknown = sorted(self.given.keys() - known - {ORDER})
        if unknown:
            raise bad(
                f"{ready.instruction.op} has no input named {', '.join(unknown)[:200]}; "
                f"it has {', '.join(sorted(known))}"
            )

    def __contains__(self, key: str) -> bool:
        return key in self.given

    def text(self, key: str, default: str = "") -> str:
        value = self.given.get(key, default)
        if not isinstance(value, str):
            raise bad(f"input.{key} must be text, not {kind_of(value)}")
        return value

    def choice(self, key: str, *choices: str) -> str:
        """One of `choices`; the first when it is absent."""
        value = self.text(key, choices[0])
        if value not in choices:
            raise bad(f"input.{key} must be {' or '.join(choices)}, not {value[:64]!r}")
        return value

    def number(self, key: str, default: int | None, low: int, high: int) -> int | None:
        """A whole number from `low` to `high`."""
        value = self.given.get(key, default)
        if value is default:
            return default
        if type(value) is not int or not low <= value <= high:
            raise bad(f"input.{key} must be a whole number from {low} to {high}")
        return value

    def texts(self, key: str) -> list[str]:
        """A list of texts, empty when it is absent."""
        value = self.given.get(key, [])
        if not isinstance(value, list):
            raise bad(f"input.{key} must be a list of texts, not {kind_of(value)}")
        for position, item in enumerate(value):
            if not isinstance(item, str):
                raise bad(
                    f"input.{key}[{position}] must be text, not {kind_of(item)}: put it in quotes"
                )
        return value

    def named(self, key: str) -> dict[str, Any]:
        """A map, empty when it is absent."""
        value = self.given.get(key, {})
        if not isinstance(value, dict):
            raise bad(f"input.{key} must be a map, not {kind_of(value)}")
        return value

    def named_texts(self, key: str) -> dict[str, str]:
        """A map of texts, empty when it is absent."""
        value = self.named(key)
        for name, item in value.items():
            if not isinstance(item, str):
                raise bad(f"input.{key}.{name[:64]} must be text, not {kind_of(item)}")
        return value

    def bytes(self, key: str) -> Bytes:
        """Bytes, text as UTF-8, or a link to a file; empty when it is absent."""
        return self.bytes_of(f"input.{key}", self.given.get(key, b""))

    def bytes_of(self, where: str, value: Any) -> Bytes:
        """As `bytes`, for a value that lies deeper; `where` is its name in messages."""
        if isinstance(value, bytes):
            return Bytes.of(value)
        if isinstance(value, str):
            return Bytes.of(value.encode())
        if not isinstance(value, CID):
            raise bad(
                f"{where} must be bytes, text or a link to a file, not {kind_of(value)}"
                + (" (http/get gives only the body with `only: body`)" if _answer(value) else "")
            )
        content = self._ready.content.get(value)
        if content is None or content.kind != "file":
            raise bad(f"{where} must be bytes, text or a link to a file; {value} is no file")
        data = content.data
        return Bytes(data, len(data) if isinstance(data, bytes) else data.stat().st_size)


def bad(message: str) -> GuestFailure:
    """The failure for input that does not fit."""
    return GuestFailure("bad-argument", message)


def kind_of(value: Any) -> str:
    """What an IPLD value is, for messages."""
    names = {dict: "a map", list: "a list", str: "text", bytes: "bytes", CID: "a link"}
    names |= {bool: "true or false", int: "a number", float: "a number"}
    return names.get(type(value), "null")


def _answer(value: Any) -> bool:
    return isinstance(value, dict) and "status" in value and "body" in value
