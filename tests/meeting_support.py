"""Several daemons as processes on loopback that know each other."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from lite.clock import SystemClock
from lite.ipld.cid import CID
from lite.link import Card
from lite.peering.book import open_book
from lite.store import Store
from tests.daemon_support import DaemonProcess, prepare, ready_of, spawn
from tests.peering_support import FRIEND

WITHIN_S = 20
LISTEN = ("--listen", "127.0.0.1:0", "--no-mdns")


class Home:
    """A home with a key; perhaps with a daemon on it."""

    def __init__(self, path: Path, wasm: bytes) -> None:
        self.path = path
        self.did = prepare(path, numbers=wasm)
        self.daemon: DaemonProcess | None = None

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def running(self) -> DaemonProcess:
        assert self.daemon is not None
        return self.daemon

    @property
    def address(self) -> str:
        card = Card.read(self.path)
        assert card is not None
        return card.listens[0]

    def start(self) -> None:
        start([self])

    def end(self) -> None:
        """Kill the daemon, as the kernel does when it has no memory left."""
        child = self.running.child
        child.kill()
        child.communicate()
        self.daemon = None

    def trusts(self, other: Home, rights: Iterable[str] = FRIEND, *, dial: bool = True) -> None:
        with Store.open(self.path, durability="normal") as store:
            book = open_book(store, self.did, SystemClock())
            book.trust(other.did, rights, other.name)
            if dial:
                book.add_static(other.did, other.address)
        if self.daemon is not None:
            self.daemon.link.post("/v1/peers/poke", {})

    def sync(self) -> dict[str, Any]:
        """Wait until the daemon is in sync with all."""
        asked = {"within_ms": WITHIN_S * 1000}
        return self.running.link.post("/v1/sync", asked, timeout_s=WITHIN_S + 10)

    def receipts(self) -> set[CID]:
        with Store.open(self.path, durability="normal") as store:
            return {one.cid for one in store.receipts.list(limit=10_000)}


def start(homes: Sequence[Home]) -> None:
    """Start daemons, all at once."""
    children = [spawn(home.path, *LISTEN, offline=False) for home in homes]
    try:
        for home, child in zip(homes, children, strict=True):
            home.daemon = DaemonProcess(home.path, child, ready_of(child))
    except BaseException:
        for child in children:
            child.kill()
            child.communicate()
        raise


@contextmanager
def homes(folder: Path, wasm: bytes, *names: str) -> Iterator[list[Home]]:
    """Homes without daemons; those that run at the end are killed."""
    made = [Home(folder / name, wasm) for name in names]
    try:
        yield made
    finally:
        for home in made:
            if home.daemon is not None:
                home.end()


@contextmanager
def rooms(folder: Path, wasm: bytes) -> Iterator[Callable[..., list[Home]]]:
    """Makes homes by their names, with daemons unless told otherwise."""
    with ExitStack() as opened:

        def make(*names: str, run: bool = True) -> list[Home]:
            made = opened.enter_context(homes(folder, wasm, *names))
            if run:
                start(made)
            return made

        yield make


def befriend(some: Sequence[Home], rights: Iterable[str] = FRIEND) -> None:
    """Everybody trusts everybody else; the first of two dials, and only then."""
    for dial in (False, True):
        for at, home in enumerate(some):
            for other in some[at + 1 :]:
                home.trusts(other, rights, dial=dial)
                if not dial:
                    other.trusts(home, rights, dial=False)
