"""The names of the sync sets: both sides of a set compute the same 32 bytes."""

from __future__ import annotations

from hashlib import sha256
from typing import Final

RECORDS: Final = sha256(b"ipvm records 1").digest()
_LETTERS: Final = b"ipvm letters 1"


def letters_between(one: str, other: str) -> bytes:
    """The set of letters between two nodes, whoever asks."""
    dids = sorted((one.encode(), other.encode()))
    return sha256(_LETTERS + b"".join(dids)).digest()
