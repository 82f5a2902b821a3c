"""Names, pins, descriptions of modules."""

from __future__ import annotations

import pytest

from lite.errors import UsageError
from lite.store import Store
from lite.store.names import Pin
from tests.store_support import MODULE, START, FakeClock, raw_block

A, B = raw_block("a").cid, raw_block("b").cid


def test_a_name_means_what_it_was_last_set_to(store: Store) -> None:
    assert store.names.get("tools") is None
    store.names.set("tools", A)
    store.names.set("tools", B)
    store.names.set("photo", A)
    assert store.names.get("tools") == B
    assert store.names.list() == [("photo", A), ("tools", B)]
    assert store.names.remove("tools")
    assert not store.names.remove("tools")
    assert store.names.list() == [("photo", A)]


@pytest.mark.parametrize("name", ["a", "blur-2.wasm", "größe", "7", "a_b+c", "x" * 128])
def test_words_can_be_names(store: Store, name: str) -> None:
    store.names.set(name, A)
    assert store.names.get(name) == A


@pytest.mark.parametrize(
    "name", ["", "-f", ".hid", "_a", "a b", "a/b", "a:b", "@a", "a\n", "x" * 129, "a\0b", "$a"]
)
def test_what_could_be_read_as_something_else_cannot(store: Store, name: str) -> None:
    with pytest.raises(UsageError, match="cannot be a name"):
        store.names.set(name, A)
    assert store.names.list() == []


def test_pins_are_listed_oldest_first_with_their_labels(store: Store, clock: FakeClock) -> None:
    store.pins.add(B, "holiday")
    clock.seconds += 5
    store.pins.add(A)
    assert store.pins.list() == [Pin(B, "holiday", START), Pin(A, "", START + 5)]
    store.pins.add(A, "cat")
    assert list(store.pins)[1].label == "cat"
    assert store.pins.remove(B)
    assert not store.pins.remove(B)
    assert [pin.cid for pin in store.pins] == [A]
    with pytest.raises(UsageError):
        store.pins.add(A, "x" * 257)


def test_the_description_of_a_module_is_remembered(store: Store) -> None:
    assert store.modules.get(MODULE) is None
    store.modules.put(MODULE, b"one")
    store.modules.put(MODULE, b"two")
    assert store.modules.get(MODULE) == b"two"


def test_statistics_count_everything(store: Store) -> None:
    store.blocks.put(raw_block("abc"))
    store.names.set("n", A)
    store.pins.add(A)
    store.modules.put(MODULE, b"m")
    stats = store.stats()
    assert (stats.blocks, stats.block_bytes, stats.receipts) == (1, 3, 0)
    assert (stats.names, stats.pins, stats.modules, stats.gone) == (1, 1, 1, 0)
    assert stats.file_bytes > 0
    assert stats.log_bytes > 0
