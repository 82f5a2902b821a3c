"""When a daemon gives memory back."""

from __future__ import annotations

from pathlib import Path

from lite.daemon.memory import BUDGET_BYTES, Memory
from lite.store import Store
from tests.store_support import bulk


def test_it_is_given_back_once_at_the_first_quiet_look_after_work(tmp_path: Path) -> None:
    held = [BUDGET_BYTES]
    memory = Memory(lambda: held[0])
    with Store.open(tmp_path / "home", durability="normal") as store:
        store.blocks.put_many([bulk(n, 10_000) for n in range(50)])
        memory.look(store)
        assert memory.given_back == 0, "nothing happened"
        for _ in range(3):
            memory.used()
            memory.look(store)
        assert memory.given_back == 0, "it goes on"
        for _ in range(3):
            memory.look(store)
        assert memory.given_back == 1
        held[0] = BUDGET_BYTES // 2
        memory.used()
        memory.look(store)
        memory.look(store)
        assert memory.given_back == 1, "it holds little"
        assert store.blocks.get(bulk(7, 10_000).cid)


def test_nobody_waits_for_a_store_that_is_in_use_or_closed(tmp_path: Path) -> None:
    memory = Memory(lambda: BUDGET_BYTES)
    store = Store.open(tmp_path / "home", durability="normal")
    with store, store.database.write() as transaction:
        transaction.execute("CREATE TABLE unrelated (x)")
        store.database.shrink()
    memory.used()
    memory.look(store)
    memory.look(store)
    assert memory.given_back == 1
