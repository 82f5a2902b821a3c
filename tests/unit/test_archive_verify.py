"""What `receipt verify` counts: each block once, and only what was hashed."""

from __future__ import annotations

import io
from collections.abc import Sequence

import pytest

from lite import archive
from lite.errors import IntegrityError
from lite.ipld import dag_cbor, dag_pb, unixfs
from lite.ipld.block import Block
from lite.ipld.car import write_car
from lite.ipld.cid import CID, DAG_CBOR, DAG_PB, IDENTITY, RAW
from lite.ipld.unixfs.node import encode_file_node
from lite.model.instruction import Instruction, wasm
from lite.model.receipt import Receipt
from lite.store import Store
from tests.store_support import receipt

CODE, INPUT = Block.make(b"\0asm\1\0\0\0", RAW), Block.make(b"a photo", RAW)
INLINE = CID.of(b"held in the CID", RAW, IDENTITY)
ASKED = wasm(CODE.cid, "crop", INPUT.cid)
LEAF = Block.make(b"leaf", RAW)
NODE = Block.make(dag_cbor.encode([LEAF.cid, LEAF.cid, INLINE]), DAG_CBOR)


def parts(answer: Receipt, asked: Instruction = ASKED) -> list[Block]:
    return [Block(answer.cid, answer.data), Block(asked.cid, asked.data)]


def verified(blocks: Sequence[Block]) -> tuple[int, int]:
    file = io.BytesIO()
    write_car(file, [blocks[0].cid], blocks)
    file.seek(0)
    (one,) = archive.verify(file)
    return one.blocks, one.bytes


def total(blocks: Sequence[Block]) -> tuple[int, int]:
    return len(blocks), sum(len(block.data) for block in blocks)


def linked(cid: CID) -> Receipt:
    return receipt(ASKED, linked=cid)


@pytest.mark.parametrize("more", [[], [CODE], [INPUT], [CODE, INPUT]])
def test_code_and_inputs_that_came_along_count(more: list[Block]) -> None:
    blocks = [*parts(receipt(ASKED)), *more]
    assert verified(blocks) == total(blocks)


def test_a_linked_output_counts_with_what_is_below_it_once(store: Store) -> None:
    blocks = [*parts(linked(NODE.cid)), NODE, LEAF]
    assert verified(blocks) == total(blocks)
    store.commit_run(ASKED, linked(NODE.cid), [NODE, LEAF])
    one = archive.verify_receipt(linked(NODE.cid), store.blocks.get)
    assert (one.blocks, one.bytes) == total(blocks)


def test_blocks_that_are_there_twice_count_once() -> None:
    blocks = [*parts(linked(NODE.cid)), NODE, LEAF]
    assert verified([*blocks, LEAF, NODE, blocks[1]]) == total(blocks)


@pytest.mark.parametrize("absent", [1, 2, 3])
def test_a_missing_block_is_no_smaller_count(absent: int) -> None:
    blocks = [*parts(linked(NODE.cid)), NODE, LEAF]
    with pytest.raises(IntegrityError, match="has no block"):
        verified(blocks[:absent] + blocks[absent + 1 :])


def test_an_output_that_is_the_instruction_itself_counts_once() -> None:
    blocks = parts(linked(ASKED.cid))
    assert verified([*blocks, CODE, INPUT]) == total([*blocks, CODE, INPUT])


def test_an_identity_cid_needs_no_block_and_is_none() -> None:
    blocks = parts(linked(INLINE))
    assert verified(blocks) == total(blocks)


def test_a_file_of_several_leaves_counts_every_block(store: Store) -> None:
    file: list[Block] = []
    root = unixfs.write_file(io.BytesIO(bytes(range(150))), file.append, unixfs.Profile("t", 40, 2))
    blocks = [*parts(linked(root)), *file]
    assert len(file) > 4
    assert verified(blocks) == total(blocks)
    store.commit_run(ASKED, linked(root), file)
    out = io.BytesIO()
    archive.export(store, [linked(root).cid], out)
    out.seek(0)
    (one,) = archive.verify(out)
    assert (one.blocks, one.bytes) == total(blocks)


@pytest.mark.parametrize("what", ["folder", "sizes"])
def test_an_output_that_is_no_file_is_refused_where_the_receipt_says_file(what: str) -> None:
    blocks: list[Block] = []
    if what == "folder":
        root = unixfs.write_directory([("a", LEAF.cid, 4)], blocks.append)
        blocks.append(LEAF)
    else:
        link = dag_pb.PbLink(LEAF.cid, "", 4)
        data = dag_pb.encode(dag_pb.PbNode((link,), encode_file_node([5])))
        blocks = [Block.make(data, DAG_PB), LEAF]
        root = blocks[0].cid
    said = "is a directory" if what == "folder" else "holds 4 file bytes, its parent says 5"
    with pytest.raises(IntegrityError, match=said):
        verified([*parts(linked(root)), *blocks])
