"""Verifiers asked for many items at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final, TypeVar

from sync.base import Accepted, Verifier
from sync.errors import ItemInvalid, ItemUnwanted

T = TypeVar("T")
R = TypeVar("R")

Verdict = Accepted | ItemInvalid | ItemUnwanted

_PART: Final = 16  # items; fewer are not worth a thread


def verdict(verifier: Verifier, id: bytes, raw: bytes, peer: str) -> Verdict:
    """What a verifier says of one item, as a value."""
    try:
        return verifier.verify(id, raw, peer)
    except (ItemInvalid, ItemUnwanted) as error:
        return error


class InThreads:
    """A `BatchVerifier` that spreads items over threads, and leaves its caller free meanwhile.

    Ed25519 runs outside of the interpreter's lock, so with two processors this halves what
    signatures cost.

    Args:
        verifier: it is called from several threads at once, and always answers before its item is
            stored.
        threads: how many; they are started when they are needed, and end with `close`.
    """

    def __init__(self, verifier: Verifier, threads: int = 2) -> None:
        self._verifier = verifier
        self._work = Spread(threads)

    def verify(self, id: bytes, raw: bytes, peer: str) -> Accepted:
        return self._verifier.verify(id, raw, peer)

    def begin_all(
        self, items: Sequence[tuple[bytes, bytes]], peer: str
    ) -> Callable[[], Sequence[Verdict]]:
        def judge(item: tuple[bytes, bytes]) -> Verdict:
            return verdict(self._verifier, *item, peer)

        return self._work.begin(judge, items)

    def close(self) -> None:
        self._work.close()


class Spread:
    """A function applied to many values by a few threads, while the caller goes on.

    Args:
        threads: how many; they are started when they are needed, and end with `close`.
    """

    def __init__(self, threads: int = 2) -> None:
        self._threads = threads
        self._pool: ThreadPoolExecutor | None = None

    def begin(self, act: Callable[[T], R], values: Sequence[T]) -> Callable[[], list[R]]:
        """Begin with `act` on each. Returns what waits for the results, in order; so few that no
        thread is worth it are seen to only then."""

        def part(some: Sequence[T]) -> list[R]:
            return [act(one) for one in some]

        if len(values) <= _PART:
            return partial(part, values)
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self._threads, "verify")
        size = max(_PART, -(-len(values) // self._threads))
        parts = [values[at : at + size] for at in range(0, len(values), size)]
        begun = [self._pool.submit(part, some) for some in parts]
        return lambda: [one for future in begun for one in future.result()]

    def close(self) -> None:
        if self._pool is not None:
            self._pool.shutdown()
            self._pool = None
