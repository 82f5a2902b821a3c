"""Collection: what stays, what goes, and who is spared while it runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from lite.errors import HashMismatch, NotFoundError
from lite.ipld import dag_cbor, dag_json, unixfs
from lite.ipld.block import Block
from lite.ipld.cid import DAG_CBOR, DAG_JSON, DAG_PB, SHA3_256
from lite.store import GcReport, Store, adding, gc
from lite.store.blocks import REFRESH_S
from lite.store.gc import GRACE_S
from tests.store_support import (
    START,
    FakeClock,
    bulk,
    instruction,
    keep,
    node_block,
    raw_block,
    receipt,
)

A, B, C = raw_block("a"), raw_block("bb"), raw_block("ccc")


def collect(store: Store, grace_s: int = 0) -> GcReport:
    """Collect, after a dry run that must have said the same."""
    told = store.gc(dry_run=True, grace_s=grace_s)
    before = store.stats()
    assert store.gc(dry_run=True, grace_s=grace_s) == told
    assert store.stats() == before
    done = store.gc(grace_s=grace_s)
    assert done == told
    assert store.check(deep=True) == []
    assert store.blocks.count() == done.kept
    return done


def test_what_nothing_refers_to_goes_and_says_so(store: Store) -> None:
    keep(store, A, B)
    assert collect(store) == GcReport(kept=0, removed=2, bytes=3)
    with pytest.raises(NotFoundError, match=r"\(2 bytes\) was collected on 2027-01-15") as caught:
        store.blocks.get(B.cid)
    assert "Add its file again" in str(caught.value.hint)
    assert store.stats().gone == 2


def test_a_collected_block_can_come_back(store: Store) -> None:
    keep(store, A)
    collect(store)
    keep(store, A)
    assert store.blocks.get(A.cid) == A.data
    assert store.stats().gone == 0
    assert collect(store) == GcReport(kept=0, removed=1, bytes=1)


def test_an_empty_store_has_nothing_to_collect(store: Store) -> None:
    assert collect(store) == GcReport(kept=0, removed=0, bytes=0)


def test_pins_and_names_keep_everything_below_them(store: Store) -> None:
    root = node_block({"parts": [A.cid, {"deep": B.cid}]})
    keep(store, A, B, C, root)
    store.pins.add(root.cid)
    assert collect(store).removed == 1
    store.pins.remove(root.cid)
    store.names.set("parts", root.cid)
    assert collect(store).removed == 0
    store.names.remove("parts")
    assert collect(store).removed == 3


@pytest.mark.parametrize("row", [-(2**63), -1, 2**31, 2**62])
def test_a_row_with_an_odd_number_is_one_like_any(store: Store, row: int) -> None:
    keep(store, A, B)
    with store.database.write() as transaction:
        transaction.execute("UPDATE blocks SET id = ? WHERE cid = ?", (row, A.cid.raw))
    store.pins.add(A.cid)
    assert store.gc(grace_s=0).removed == 1
    assert store.blocks.get(A.cid) == A.data
    assert store.check(deep=True) == []


def test_links_are_followed_through_every_codec(store: Store) -> None:
    json = Block.make(b'{"a":{"/":"%s"}}' % str(A.cid).encode(), DAG_JSON)
    body = b"\x0a" + bytes([len(json.cid.raw)]) + json.cid.raw
    pb = Block.make(b"\x12" + bytes([len(body)]) + body, DAG_PB)
    root = node_block([pb.cid])
    keep(store, A, B, json, pb, root)
    store.pins.add(root.cid)
    assert collect(store) == GcReport(kept=4, removed=1, bytes=2)


def test_a_receipt_keeps_instruction_module_inputs_result_and_trace(store: Store) -> None:
    module, given, value, trace = raw_block("module"), raw_block("in"), node_block("out"), C
    keep(store, module, given, trace, A)
    asked = instruction(1, module=module.cid, inputs=[given.cid])
    store.commit_run(asked, receipt(asked, linked=value.cid, trace=trace.cid), [value])
    assert collect(store) == GcReport(kept=5, removed=1, bytes=1)
    for cid in (module.cid, given.cid, value.cid, trace.cid, asked.cid):
        assert store.blocks.has(cid)
    store.modules.put(module.cid, b"known")
    store.receipts.forget(receipt(asked, linked=value.cid, trace=trace.cid).cid)
    assert collect(store).removed == 5
    assert store.modules.get(module.cid) is None


def test_awaited_instructions_stay_also_under_homestars_cid(store: Store) -> None:
    first = instruction(1)
    store.instructions.add(first)
    waiting = instruction(2, inputs=[{"await/ok": first.sha3}])  # type: ignore[list-item]
    store.commit_run(waiting, receipt(waiting), [])
    assert first.sha3.hash_code == SHA3_256
    assert collect(store).removed == 0


def test_receipts_of_no_interest_stay_without_what_they_refer_to(
    store: Store, clock: FakeClock
) -> None:
    asked = [instruction(number, inputs=[bulk(number, 50).cid]) for number in range(2)]
    for number, one in enumerate(asked):
        keep(store, bulk(number, 50))
        store.commit_run(one, receipt(one), [])
        clock.seconds += 1_000
    report = store.gc(grace_s=0, receipts_since=START + 500)
    assert report.removed == 2
    assert store.receipts.count() == 2
    assert not store.blocks.has(bulk(0, 50).cid)
    assert store.blocks.has(bulk(1, 50).cid)


def test_the_grace_period_spares_young_blocks_and_what_they_link_to(
    store: Store, clock: FakeClock
) -> None:
    keep(store, A, C)
    clock.seconds += GRACE_S + 1
    keep(store, B, node_block([A.cid]))
    assert collect(store, grace_s=GRACE_S) == GcReport(kept=3, removed=1, bytes=3)
    assert store.gc(dry_run=True).removed == 0
    clock.seconds += GRACE_S + 1
    assert store.gc().removed == 3


def test_a_block_from_the_future_stays(store: Store, clock: FakeClock) -> None:
    keep(store, A)
    clock.seconds -= 10**9
    assert store.gc(grace_s=0).removed == 0


def test_a_very_deep_graph_is_followed(store: Store) -> None:
    blocks = [node_block(0)]
    for number in range(5_000):
        blocks.append(node_block([number, blocks[-1].cid]))
    keep(store, *blocks)
    store.pins.add(blocks[-1].cid)
    assert store.gc(grace_s=0).removed == 0
    store.pins.remove(blocks[-1].cid)
    store.pins.add(blocks[2_000].cid)
    assert store.gc(grace_s=0) == GcReport(2_001, 3_000, sum(len(b.data) for b in blocks[2_001:]))


def test_a_block_that_does_not_decode_has_no_links(store: Store) -> None:
    keep(store, A, Block.make(b"\xff\xff", DAG_CBOR), Block.make(b"\xff\xff", DAG_PB))
    store.pins.add(Block.make(b"\xff\xff", DAG_CBOR).cid)
    store.names.set("n", Block.make(b"\xff\xff", DAG_PB).cid)
    assert collect(store).kept == 2


def test_a_damaged_receipt_stops_the_collection(store: Store) -> None:
    value = node_block("value")
    kept = receipt(instruction(1), linked=value.cid)
    store.commit_run(instruction(1), kept, [value])
    at = kept.data.index(value.cid.raw) + 20
    flipped = kept.data[:at] + bytes([kept.data[at] ^ 1]) + kept.data[at + 1 :]
    for data in (b"\xff", flipped):
        store._database.connection.execute("UPDATE receipts SET data = ?", (data,))
        with pytest.raises(HashMismatch, match="the receipt") as caught:
            store.gc(grace_s=0)
        assert "ipvm doctor --deep --repair" in str(caught.value.hint)
        assert store.blocks.has(value.cid)


@pytest.mark.parametrize("codec", [DAG_PB, DAG_CBOR, DAG_JSON])
@pytest.mark.parametrize("dry_run", [True, False])
def test_a_damaged_block_that_leads_on_stops_the_collection(
    store: Store, codec: int, dry_run: bool
) -> None:
    root = linking(codec)
    keep(store, A, B, root)
    store.pins.add(root.cid)
    at = root.data.index(A.cid.raw if codec != DAG_JSON else str(A.cid).encode()) + 20
    flipped = root.data[:at] + bytes([root.data[at] ^ 1]) + root.data[at + 1 :]
    for data in (b"\xff\xff", flipped):
        store._database.connection.execute(
            "UPDATE blocks SET data = ? WHERE cid = ?", (data, root.cid.raw)
        )
        with pytest.raises(HashMismatch, match=f"the block {root.cid}") as caught:
            store.gc(grace_s=0, dry_run=dry_run)
        assert "ipvm doctor --deep --repair" in str(caught.value.hint)
        assert store.blocks.has(A.cid) and store.blocks.has(B.cid)
    keep(store, root)  # adding it again mends it
    assert store.gc(grace_s=0).kept == 3


def linking(codec: int) -> Block:
    """A block of the codec that links to A and B."""
    if codec == DAG_PB:
        blocks: list[Block] = []
        unixfs.write_directory([("a", A.cid, 1), ("b", B.cid, 1)], blocks.append)
        return blocks[-1]
    encode = dag_cbor.encode if codec == DAG_CBOR else dag_json.encode
    return Block.make(encode([A.cid, B.cid]), codec)


def test_the_file_gives_its_space_back(store: Store, home: Path) -> None:
    for number in range(8):
        keep(store, bulk(number, 2**20))
    keep(store, A)
    store.pins.add(A.cid)
    assert (home / "ipvm.db").stat().st_size > 4 * 2**20
    store.gc(grace_s=0)
    assert (home / "ipvm.db").stat().st_size < 2**20
    assert store.stats().free_bytes == 0


def test_marks_of_gone_blocks_are_bounded(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gc, "GONE_ROWS_MAX", 10)
    keep(store, *(raw_block(str(number)) for number in range(50)))
    store.gc(grace_s=0)
    assert store.stats().gone == 10


class Interleaved:
    """Does something in the middle of a collection: after the marking, before each deletion."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, act: object) -> None:
        whole = gc._Collection.mark

        def mark(collection: gc._Collection) -> None:
            whole(collection)
            act()  # type: ignore[operator]

        monkeypatch.setattr(gc._Collection, "mark", mark)


def test_what_is_named_pinned_or_run_during_a_collection_stays(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = raw_block("dddd")
    asked = instruction(1, inputs=[C.cid])
    linking = node_block([other.cid])
    keep(store, A, B, C, other, raw_block("e"))

    def act() -> None:
        store.names.set("a", A.cid)
        store.pins.add(B.cid)
        store.commit_run(asked, receipt(asked), [])
        keep(store, linking)

    Interleaved(monkeypatch, act)
    assert store.gc(grace_s=0).removed == 1
    for cid in (A.cid, B.cid, C.cid, other.cid, linking.cid):
        assert store.blocks.has(cid)


def test_a_new_receipt_is_seen_although_the_newest_was_just_forgotten(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = instruction(1, inputs=[A.cid]), instruction(2, inputs=[B.cid])
    keep(store, A, B)
    store.commit_run(first, receipt(first), [])

    def act() -> None:
        store.receipts.forget(receipt(first).cid)
        store.commit_run(second, receipt(second), [])

    Interleaved(monkeypatch, act)
    store.gc(grace_s=0)
    assert store.blocks.has(B.cid)


def test_an_add_under_way_is_spared_with_all_it_found_here(
    store: Store, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adding, "BATCH_BYTES", 2_000)
    keep(store, C)
    clock.seconds += REFRESH_S + 10
    keep(store, A)
    clock.seconds += 10
    with store.adding() as put:
        put(A)
        put(B)
        put(bulk(1, 3_000))
        clock.seconds += 10 * GRACE_S
        put(bulk(2, 3_000))
        assert store.gc(grace_s=0) == GcReport(kept=4, removed=1, bytes=3)
    assert store.blocks.count() == 4
    assert store.gc(grace_s=0).removed == 4


def test_what_a_crashed_add_left_goes_like_anything_else(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adding, "BATCH_BYTES", 2_000)
    add = store.adding()
    put = add.__enter__()
    put(bulk(1, 3_000))
    assert add._lease is not None
    add._lease.release()
    assert store._database.number("SELECT count(*) FROM adding") == 1
    assert collect(store).removed == 1
    assert store._database.number("SELECT count(*) FROM adding") == 0


def test_reachability_needs_a_bit_for_each_block_and_no_block_in_memory(store: Store) -> None:
    leaves = [raw_block(str(number)) for number in range(3_000)]
    keep(store, *leaves)
    root = keep(store, node_block([leaf.cid for leaf in leaves]))
    store.pins.add(root)
    collection = gc._Collection(store._database, store._leases, store._reserve, START, START, 0)
    collection.mark()
    assert len(collection.reach._bits) < 6_000
    assert dag_cbor.decode(store.blocks.get(root)) is not None
