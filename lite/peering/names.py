"""The names of the sync sets: both sides of a set compute the same 32 bytes."""

from __future__ import annotations

from hashlib import sha256
from typing import Final

RECORDS: Final = sha256(b"ipvm records 1").digest()
CAPABILITIES: Final = sha256(b"ipvm capabilities 1").digest()
RECORDS_WANTED: Final = "records"  # in hellos about other sets: the peer may read records here
_LETTERS: Final = b"ipvm letters 1"


def letters_between(one: str, other: str) -> bytes:
    """The set of letters between two nodes, whoever asks."""
    dids = sorted((one.encode(), other.encode()))
    return sha256(_LETTERS + b"".join(dids)).digest()
