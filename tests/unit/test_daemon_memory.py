"""When a daemon gives memory back."""

from __future__ import annotations

import gc
from pathlib import Path

from lite.daemon.memory import _QUIET_LOOKS, BUDGET_BYTES, Memory
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


def test_what_little_things_leave_behind_is_given_back_now_and_then(tmp_path: Path) -> None:
    memory = Memory(lambda: BUDGET_BYTES)
    with Store.open(tmp_path / "home", durability="normal") as store:
        for _ in range(_QUIET_LOOKS - 1):
            memory.look(store)
        assert memory.given_back == 0
        for _ in range(2 * _QUIET_LOOKS):
            memory.look(store)
        assert memory.given_back == 2


def test_what_requests_left_behind_that_came_to_nothing_is_given_back_at_the_next_look(
    tmp_path: Path,
) -> None:
    held = [BUDGET_BYTES]
    memory = Memory(lambda: held[0])
    with Store.open(tmp_path / "home", durability="normal") as store:
        memory.look(store)
        assert memory.given_back == 0
        held[0] += 20_000_000
        memory.look(store)
        assert memory.given_back == 1
        for _ in range(3):
            memory.look(store)
        assert memory.given_back == 1, "what is left is in use"
        held[0] += 20_000_000
        memory.look(store)
        assert memory.given_back == 2


def test_python_looks_for_cycles_among_what_is_new_whatever_there_was_before() -> None:
    """It looks at the oldest objects only when those that are new are a quarter as many."""
    before = [[] for _ in range(700_000)]  # type: ignore[var-annotated]
    try:
        Memory().settle()
        looks = gc.get_stats()[2]["collections"]
        new = [[] for _ in range(120_000)]  # type: ignore[var-annotated]
        assert gc.get_stats()[2]["collections"] > looks
        assert gc.get_freeze_count() > len(before) > len(new)
    finally:
        gc.unfreeze()
