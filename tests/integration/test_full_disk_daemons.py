"""Real daemons on a disk that gets full: receipts still come in, and all goes on without a restart
when there is space again."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from lite.cli.doctor import _disk
from lite.keys import Key
from lite.model.receipt import Receipt
from lite.store import Store
from lite.store.reserve import RECEIPTS
from tests.disk_support import fill
from tests.integration.conftest import NUMBERS
from tests.meeting_support import Home, befriend, homes, start
from tests.peering_support import receipts
from tests.waiting_support import until
from tests.wat_guests import wat

DISK = "size=24m"


def make(home: Home, start: int, count: int) -> list[Receipt]:
    """Receipts of a node, as its runs leave them."""
    made = receipts(Key.load(home.path / "key"), count, start)
    with Store.open(home.path, durability="normal") as store:
        for one in made:
            store.receipts.add(one)
    return made


def has(home: Home, some: Iterable[Receipt]) -> bool:
    with Store.open(home.path, durability="normal") as store:
        return all(store.receipts.has(one.cid) for one in some)


def problem(home: Home) -> str:
    parts = home.running.link.get("/v1/status")["daemon"]["parts"]
    return next(str(part["problem"]) for part in parts if part["name"] == "peers")


def test_daemons_take_receipts_on_a_full_disk_start_there_and_recover(
    disk: Path, tmp_path: Path
) -> None:
    wasm = wat(NUMBERS)
    with homes(tmp_path, wasm, "a") as (a,), homes(disk, wasm, "b") as (b,):
        start([a, b])
        befriend([a, b])
        first = make(a, 0, 50)
        until(lambda: has(b, first))
        assert (b.path / RECEIPTS).exists() and problem(b) == ""

        assert "5.0 MiB more kept back for receipts" in _disk(b.path).text
        ballast = fill(disk)
        some = make(a, 50, 1_200)
        until(lambda: has(b, some))
        assert not (b.path / RECEIPTS).exists()
        assert "the disk is full" in problem(b)

        b.end()
        fill(disk)
        b.start()
        assert "the disk is full" in problem(b)

        ballast.unlink()
        more = make(a, 1_250, 100)
        a.running.link.post("/v1/peers/poke", {})
        befriend([a, b])
        until(lambda: has(b, more))
        until(lambda: problem(b) == "" and (b.path / RECEIPTS).exists())
