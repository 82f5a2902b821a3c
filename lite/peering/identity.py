"""The node's key as the key of channels."""

from __future__ import annotations

from lite.ipld import multibase
from lite.keys import Key
from sync.keys import SEED_BYTES, SeedKey

__all__ = ["channel_key"]


def channel_key(key: Key) -> SeedKey:
    """The same Ed25519 key, for `sync`."""
    return SeedKey(multibase.decode(key.export_text())[-SEED_BYTES:])
