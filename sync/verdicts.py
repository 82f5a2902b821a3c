"""Verifiers asked for many items at once."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from sync.base import Accepted, Verifier
from sync.errors import ItemInvalid, ItemUnwanted

Verdict = Accepted | ItemInvalid | ItemUnwanted

_PART: Final = 16  # items; fewer are not worth a thread


def verdict(verifier: Verifier, id: bytes, raw: bytes, peer: str) -> Verdict:
    """What a verifier says of one item, as a value."""
    try:
        return verifier.verify(id, raw, peer)
    except (ItemInvalid, ItemUnwanted) as error:
        return error


class InThreads:
    """A `BatchVerifier` that spreads the items of a frame over threads.

    Ed25519 runs outside of the interpreter's lock, so with two processors this halves what
    signatures cost.

    Args:
        verifier: it is called from several threads at once, and always answers before
            `verify_all` returns.
        threads: how many; they are started when they are needed, and end with `close`.
    """

    def __init__(self, verifier: Verifier, threads: int = 2) -> None:
        self._verifier = verifier
        self._threads = threads
        self._pool: ThreadPoolExecutor | None = None

    def verify(self, id: bytes, raw: bytes, peer: str) -> Accepted:
        return self._verifier.verify(id, raw, peer)

    def verify_all(self, items: Sequence[tuple[bytes, bytes]], peer: str) -> Sequence[Verdict]:
        def part(at: int) -> list[Verdict]:
            some = items[at : at + size]
            return [verdict(self._verifier, id, raw, peer) for id, raw in some]

        size = max(_PART, -(-len(items) // self._threads))
        if len(items) <= size:
            return part(0)
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self._threads, "verify")
        return [one for some in self._pool.map(part, range(0, len(items), size)) for one in some]

    def close(self) -> None:
        if self._pool is not None:
            self._pool.shutdown()
