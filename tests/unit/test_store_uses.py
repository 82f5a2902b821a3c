"""What was computed from something: the index of uses, and the tree of descendants."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from lite.ipld.block import Block
from lite.ipld.cid import CID, DAG_CBOR, SHA3_256
from lite.limits import PROVENANCE_DEPTH_MAX
from lite.model.instruction import Instruction, wasm
from lite.model.promise import Await
from lite.model.receipt import Receipt
from lite.provenance import Provenance, descend
from lite.store import Finished, Store, schema
from lite.store.uses import USES_MAX
from tests.store_support import (
    MODULE,
    FakeClock,
    bulk,
    instruction,
    keep,
    node_block,
    raw_block,
    receipt,
    traced,
)


def using(store: Store, cid: CID) -> set[CID]:
    return set(store.instructions.using(cid))


def rows(store: Store) -> int:
    return store._database.number("SELECT count(*) FROM uses")


def test_code_inputs_and_awaits_are_found(store: Store) -> None:
    first, given = instruction(1), raw_block("given")
    second = wasm(MODULE, "g", [{"deep": given.cid}], first.ok)
    dynamic = Instruction(first.ok, "wasm/run", {"args": []})
    for asked in (first, second, dynamic):
        store.instructions.add(asked)
    assert using(store, MODULE) == {first.cid, second.cid}
    assert using(store, given.cid) == {second.cid}
    assert using(store, first.cid) == {second.cid, dynamic.cid}
    assert using(store, first.sha3) == {second.cid, dynamic.cid}
    assert using(store, second.cid) == set()
    assert len(list(store.instructions.using(MODULE, limit=1))) == 1


@pytest.mark.parametrize("known_first", [True, False])
def test_an_await_under_sha3_counts_for_the_instruction(store: Store, known_first: bool) -> None:
    first = instruction(1)
    second = wasm(MODULE, "g", Await("ok", first.sha3))
    for asked in (first, second) if known_first else (second, first):
        store.instructions.add(asked)
    assert using(store, first.cid) == {second.cid}
    assert using(store, first.sha3) == {second.cid}
    store.receipts.add(receipt(second))
    assert store.receipts.using(first.cid) == [receipt(second)]


def test_an_unknown_sha3_name_is_found_by_itself(store: Store) -> None:
    name = CID.of(b"nowhere", DAG_CBOR, SHA3_256)
    asked = wasm(MODULE, "g", Await("ok", name))
    store.instructions.add(asked)
    assert using(store, name) == {asked.cid}


def test_receipts_of_users_come_newest_first_and_once(store: Store) -> None:
    given = raw_block("given")
    asked = [instruction(number, inputs=[given.cid]) for number in range(4)]
    for one in asked:
        store.commit_run(one, receipt(one), [])
    found = store.receipts.using(given.cid)
    assert found == [receipt(one) for one in reversed(asked)]
    assert store.receipts.using(given.cid, limit=2) == found[:2]
    assert store.receipts.using(raw_block("unused").cid) == []


def test_an_instruction_with_its_awaits_is_indexed_with_the_receipt(store: Store) -> None:
    first = instruction(1)
    waiting = wasm(MODULE, "g", Await("ok", first.sha3))
    filled = wasm(MODULE, "g", 42)
    store.commit_runs([Finished(first, receipt(first))])
    block = Block.trusted(waiting.cid, waiting.data)
    store.commit_runs([Finished(filled, receipt(filled), [block], [waiting.cid])])
    assert using(store, first.cid) == {waiting.cid}
    assert store.receipts.using(first.cid) == [receipt(filled)]
    assert store.instructions.canonical(waiting.sha3) == waiting.cid


def test_what_is_written_again_costs_nothing_more(store: Store) -> None:
    asked = instruction(1, inputs=[raw_block("x").cid])
    store.commit_run(asked, receipt(asked), [])
    seen = traced(store)
    store.commit_run(asked, receipt(asked), [])
    assert not [one for one in seen if "uses" in one]
    assert rows(store) == 2


def test_very_many_links_are_cut(store: Store) -> None:
    cids = [CID.of(b"%d" % number, 0x55) for number in range(USES_MAX + 100)]
    store.instructions.add(wasm(MODULE, "g", cids))
    assert rows(store) == USES_MAX + 1


def test_blocks_that_only_begin_like_an_instruction_are_no_user(store: Store) -> None:
    asked, given = instruction(1), raw_block("given")
    likeness = node_block({"op": given.cid, "abc": 1, "defg": 2, "hijkl": 3})
    store.commit_runs([Finished(asked, receipt(asked, linked=likeness.cid), [likeness])])
    assert using(store, given.cid) == set()


def test_gc_takes_the_uses_of_instructions_that_go(store: Store) -> None:
    first = instruction(1)
    second = wasm(MODULE, "g", Await("ok", first.sha3), raw_block("x").cid)
    for asked in (second, first):  # the await was not known when it was written
        store.instructions.add(asked)
    third = wasm(MODULE, "g", Await("ok", first.sha3), raw_block("y").cid)
    store.instructions.add(third)
    store.commit_run(instruction(5), receipt(instruction(5)), [])
    assert rows(store) == 1 + 3 + 3 + 1
    store.gc(grace_s=0)
    assert rows(store) == 1
    assert using(store, MODULE) == {instruction(5).cid}


def test_an_older_home_learns_what_its_instructions_use(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = instruction(1, inputs=[raw_block("x").cid])
    second = wasm(MODULE, "g", Await("ok", first.sha3))
    imported = instruction(3)
    with monkeypatch.context() as earlier:
        earlier.setattr(schema, "MIGRATIONS", schema.MIGRATIONS[:3])
        with Store.open(home, clock=FakeClock()) as old:
            for asked in (first, second, imported):
                keep(old, Block.trusted(asked.cid, asked.data))
            keep(old, bulk(1, 100), node_block({"not": MODULE}), node_block([MODULE]))
            for asked in (first, second):
                old._database.connection.execute(
                    "INSERT INTO aliases VALUES (?, ?)", (asked.sha3.raw, asked.cid.raw)
                )
            old.receipts.add(receipt(imported))
    with Store.open(home, clock=FakeClock()) as store:
        assert using(store, MODULE) == {first.cid, second.cid, imported.cid}
        assert using(store, first.cid) == {second.cid}
        assert using(store, raw_block("x").cid) == {first.cid}
        assert rows(store) == 5
        assert store.check(deep=True) == []


# The tree.


def best(store: Store) -> object:
    def newest(cid: CID) -> Receipt | None:
        found = store.receipts.by_instruction(cid)
        return found[0] if found else None

    return newest


def tree(found: Provenance) -> object:
    """Roles and nothing else, for comparison."""
    return [(child.role, child.kind, tree(child)) for child in found.children]


def run(store: Store, asked: Instruction, *blocks: Block) -> Receipt:
    kept = receipt(asked, linked=blocks[-1].cid if blocks else None)
    store.commit_runs([Finished(asked, kept, blocks)])
    return kept


def test_everything_computed_from_a_file_is_found_down_to_the_last(store: Store) -> None:
    photo, cropped = raw_block("photo"), node_block("cropped")
    keep(store, photo)
    crop = instruction(1, inputs=[photo.cid])
    blur = wasm(MODULE, "blur", crop.ok)
    filled = wasm(MODULE, "blur", cropped.cid)
    other = wasm(photo.cid, "odd")
    run(store, crop, cropped)
    block = Block.trusted(blur.cid, blur.data)
    store.commit_runs([Finished(filled, receipt(filled), [block], [blur.cid])])
    store.instructions.add(other)
    store.names.set("photo", photo.cid)
    found = descend(store, photo.cid, best(store))  # type: ignore[arg-type]
    assert (found.name, found.kind, found.cut) == ("photo", "value", "")
    assert sorted(tree(found), key=str) == sorted(  # type: ignore[call-overload]
        [("reads", "receipt", [("awaits", "receipt", [])]), ("runs", "instruction", [])], key=str
    )
    crop_node = next(child for child in found.children if child.role == "reads")
    assert crop_node.receipt == receipt(crop, linked=cropped.cid)
    assert crop_node.children[0].receipt == receipt(filled)
    from_receipt = descend(store, crop_node.cid, best(store))  # type: ignore[arg-type]
    assert from_receipt.children == crop_node.children


def test_each_node_is_listed_once_where_it_is_nearest(store: Store) -> None:
    top = instruction(0)
    left, right = wasm(MODULE, "l", top.ok), wasm(MODULE, "r", top.ok)
    bottom = wasm(MODULE, "b", left.ok, right.ok)
    below = wasm(MODULE, "c", bottom.ok, top.ok)
    for asked in (top, left, right, bottom, below):
        run(store, asked)
    found = descend(store, top.cid, best(store))  # type: ignore[arg-type]
    cids = [node.cid for node in nodes(found)]
    assert len(cids) == len(set(cids)) == 5
    assert {child.cid for child in found.children} == {
        receipt(asked).cid for asked in (left, right, below)
    }
    assert [node.cut for node in nodes(found)] == [""] * 5
    everything = descend(store, MODULE, best(store))  # type: ignore[arg-type]
    assert [tree(child) for child in everything.children] == [[]] * 5


def test_a_large_tree_downwards_is_cut_where_it_is_farthest(store: Store) -> None:
    chain = [instruction(0)]
    for _ in range(PROVENANCE_DEPTH_MAX + 1):
        chain.append(wasm(MODULE, "next", chain[-1].ok))
    for asked in chain:
        run(store, asked)
    found = list(nodes(descend(store, chain[0].cid, best(store))))  # type: ignore[arg-type]
    assert [node.receipt for node in found] == [receipt(asked) for asked in chain[:-1]]
    assert [node.cut for node in found] == [""] * PROVENANCE_DEPTH_MAX + ["deep"]
    few = list(nodes(descend(store, chain[0].cid, best(store), limit=2)))  # type: ignore[arg-type]
    assert [node.cut for node in few] == ["", "", "many"]


def nodes(found: Provenance) -> Iterator[Provenance]:
    yield found
    for child in found.children:
        yield from nodes(child)
