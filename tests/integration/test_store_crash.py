"""A store whose process is killed at any point: it opens, is sound, and keeps its promises.

The child runs this file. It works on a home in a loop and writes a line after each thing that is
done; the parent reads a seeded number of lines, kills it, and looks.
"""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from lite.ipld.block import Block
from lite.ipld.cid import CID
from lite.store import Store, adding
from tests.store_support import bulk, instruction, keep, node_block, raw_block, receipt

ROOT = Path(__file__).resolve().parent.parent.parent
LEAVES = 12


def file_blocks(number: int) -> list[Block]:
    """A file of several blocks, the root last."""
    leaves = [bulk(1_000 * number + leaf, 4_000 + 100 * leaf) for leaf in range(LEAVES)]
    return [*leaves, node_block([leaf.cid for leaf in leaves])]


def result(number: int) -> Block:
    return bulk(-number - 1, 6_000)


def work(home: Path, seed: int, first: int, durability: str) -> None:
    """Keep runs and files, collect now and then; a line for each. Never ends by itself."""
    seeded = random.Random(seed)
    adding.BATCH_BYTES = 16_000  # so that a file takes several transactions
    say("start")
    store = Store.open(home, durability=durability)  # type: ignore[arg-type]
    say("open")
    number = first
    while True:
        number += 1
        kind = seeded.choice(("run", "run", "file", "file", "junk", "gc"))
        if kind == "run":
            asked, value = instruction(number), result(number)
            store.commit_run(asked, receipt(asked, linked=value.cid), [value])
        elif kind == "file":
            with store.adding() as put:
                for block in file_blocks(number):
                    put(block)
            store.names.set(f"file-{number}", block.cid)
        elif kind == "junk":
            keep(store, *file_blocks(number))
        else:
            store.gc(grace_s=0)
        say(f"{kind} {number}")


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def killed_child(home: Path, seed: int, first: int, durability: str) -> list[tuple[str, int]]:
    """Run the child until it is killed; what it acknowledged, by kind and number."""
    command = [sys.executable, "-m", "tests.integration.test_store_crash"]
    child = subprocess.Popen(
        [*command, str(home), str(seed), str(first), durability],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    seeded = random.Random(seed)
    lines = [child.stdout.readline() for _ in range(seeded.choice((1, 2, 3, 5, 10, 25)))]
    for _ in range(seeded.randrange(20_000)):
        pass  # somewhere inside what comes next
    child.kill()
    lines += child.stdout.readlines()
    child.wait()
    child.stdout.close()
    assert lines[0] == "start\n", "the child did not start"
    words = [line.split() for line in lines if line.endswith("\n") and " " in line]
    return [(kind, int(number)) for kind, number in words]


def look(home: Path, known: list[tuple[str, int]]) -> None:
    """Everything that was acknowledged is there, and nothing is broken."""
    with Store.open(home) as store:
        assert store.check(deep=True) == []
        for kind, number in known:
            if kind == "run":
                asked = instruction(number)
                (found,) = store.receipts.by_instruction(asked.cid)
                assert found == receipt(asked, linked=result(number).cid)
                assert store.blocks.get(result(number).cid) == result(number).data
            elif kind == "file":
                blocks = file_blocks(number)
                assert store.names.get(f"file-{number}") == blocks[-1].cid
                assert all(store.blocks.get(block.cid) == block.data for block in blocks)


def test_a_store_survives_being_killed_at_any_point(
    tmp_path: Path, scaled: Callable[[int, int], int]
) -> None:
    known: dict[Path, list[tuple[str, int]]] = {}
    for seed in range(scaled(20, 200)):
        home = tmp_path / f"home-{seed // 5}"
        durability = "full" if seed // 5 % 2 else "normal"
        mine = known.setdefault(home, [])
        # Numbers grow from one child to the next, past anything that was not acknowledged.
        mine += killed_child(home, seed, first=1_000 * seed, durability=durability)
        look(home, mine)
    assert sum(map(len, known.values())) > 50


def test_what_killed_adds_left_is_collected(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with Store.open(home) as store:
        keep(store, raw_block("named"))
        store.names.set("named", raw_block("named").cid)
    for seed in (31, 32, 33):
        killed_child(home, seed, first=1_000 * seed, durability="normal")
    with Store.open(home) as store:
        for name, _ in store.names.list():
            if name != "named":
                store.names.remove(name)
        for found in store.receipts.list(limit=None):
            store.receipts.forget(found.cid)
        assert store.holders() == []
        store.gc(grace_s=0)
        assert store.blocks.count() == 1
        assert store._database.number("SELECT count(*) FROM adding") == 0
        assert store.check(deep=True) == []


def test_a_log_that_was_torn_by_a_power_cut_leaves_a_sound_older_store(
    tmp_path: Path, scaled: Callable[[int, int], int]
) -> None:
    """SQLite takes the log up to the last whole transaction; every such state must be sound."""
    home, torn = tmp_path / "home", tmp_path / "torn"
    runs: list[CID] = []
    with Store.open(home) as store:
        for number in range(25):
            asked, value = instruction(number), result(number)
            store.commit_run(asked, receipt(asked, linked=value.cid), [value])
            runs.append(asked.cid)
        data, log = ((home / name).read_bytes() for name in ("ipvm.db", "ipvm.db-wal"))
    seeded = random.Random(5)
    counts = set()
    for _ in range(scaled(10, 300)):
        shutil.rmtree(torn, ignore_errors=True)
        torn.mkdir(mode=0o700)
        (torn / "ipvm.db").write_bytes(data)
        (torn / "ipvm.db").chmod(0o600)
        cut = seeded.randrange(len(log))
        junk = seeded.randbytes(seeded.choice((0, 100, 5_000)))
        (torn / "ipvm.db-wal").write_bytes(log[:cut] + junk)
        with Store.open(torn) as store:
            assert store.check(deep=True) == []
            there = [bool(store.receipts.by_instruction(cid)) for cid in runs]
            assert there == sorted(there, reverse=True), "a later run is there, an earlier is not"
            counts.add(sum(there))
    assert len(counts) > 5


if __name__ == "__main__":
    work(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
