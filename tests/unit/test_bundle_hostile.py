"""Bundles that are not what they claim to be: nothing of them is stored, and each says why."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lite import Node
from lite.bundle import Wish
from lite.bundle_check import NAMED_MAX
from lite.bundle_index import BLOCKS_MAX, ENTRIES_MAX
from lite.errors import CodecError, IntegrityError, IpvmError, LimitError
from lite.ipld import car, dag_cbor
from lite.ipld.block import Block
from lite.ipld.cid import CID, DAG_CBOR, IDENTITY, RAW
from lite.model.receipt import Receipt
from lite.model.task import Task
from lite.model.workflow import Step, Workflow
from lite.ucan import container
from lite.ucan.delegation import Delegation
from lite.ucan.revocation import Revocation
from tests.bundle_support import as_block, bundle_of, contents, forged, open_node, taken
from tests.peering_support import key_of, signed
from tests.store_support import bulk, instruction, node_block

FRIEND = key_of("friend")
ASKED = instruction(1)
RECEIPT = signed(FRIEND, ASKED, 5)
PAIR = [[RECEIPT.cid, ASKED.cid]]
ONE = [Block(ASKED.cid, ASKED.data), as_block(RECEIPT)]
FLOW = Workflow(a=ASKED)
FILE = bulk(1, 50)


@pytest.fixture
def b(tmp_path: Path) -> Iterator[Node]:
    with open_node(tmp_path, "b", trusting=[FRIEND.did]) as node:
        yield node


@cache
def flow_block() -> Block:
    return Block(FLOW.cid, FLOW.data)


def refused(node: Node, data: bytes, kind: type[IpvmError] = IntegrityError) -> str:
    """Why a bundle is refused; nothing of it was stored."""
    before = contents(node)
    with pytest.raises(kind) as caught:
        taken(node, data)
    assert contents(node) == before
    return str(caught.value)


def test_an_honest_one_put_together_by_hand_is_taken(b: Node) -> None:
    data = forged(
        [flow_block(), *ONE, FILE],
        workflows=[[FLOW.cid, "sums"]],
        receipts=PAIR,
        inputs=[FILE.cid],
    )
    assert taken(b, data).receipts == 1 and b.store.has(FILE.cid) and b.store.has(FLOW.cid)
    assert b.store.instructions.canonical(ASKED.sha3) == ASKED.cid


def honest(folder: Path) -> bytes:
    """A bundle with something in every role, of a real node."""
    with open_node(folder, "a", trusting=[FRIEND.did]) as node:
        node.store.instructions.add(ASKED)
        node.store.receipts.add(RECEIPT)
        node.store.blocks.put(FILE)
        flow = Workflow(a=instruction(2, inputs=[FILE.cid]))
        right = Delegation.issue(
            FRIEND, audience=node.did, subject=FRIEND.did, command="/x", expires_at=None
        )
        tokens = container.write([right.data], "bare")
        wish = Wish(workflows=[(flow, "w", "")], sweep="all", tokens=tokens)
        return bundle_of(node, wish)


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return honest(tmp_path_factory.mktemp("sound"))


@pytest.fixture(scope="module")
def victim(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    with open_node(tmp_path_factory.mktemp("victim"), "b", trusting=[FRIEND.did]) as node:
        taken(node, forged([]))  # whatever the first import makes is there
        yield node


@given(at=st.integers(0, 10_000), bits=st.integers(1, 255))
def test_any_changed_byte_is_found_and_nothing_is_stored(
    sound: bytes, victim: Node, at: int, bits: int
) -> None:
    data = bytearray(sound)
    data[at % len(sound)] ^= bits
    refused(victim, bytes(data), IpvmError)


@given(end=st.integers(0, 10_000))
def test_a_truncated_file_brings_nothing_and_says_where_it_ends(
    sound: bytes, victim: Node, end: int
) -> None:
    refused(victim, sound[: end % len(sound)])


def test_every_byte_once_with_a_flipped_bit(sound: bytes, victim: Node, full: bool) -> None:
    for at in range(0, len(sound), 1 if full else 7):
        data = bytearray(sound)
        data[at] ^= 1 << at % 8
        refused(victim, bytes(data), IpvmError)


def test_a_file_cut_between_two_blocks_says_after_which(sound: bytes, victim: Node) -> None:
    reader = car.read_car(io.BytesIO(sound))
    ends = [reader.offset for _ in reader]
    for number, end in enumerate(ends[:-1]):
        text = refused(victim, sound[:end])
        assert f"it ends at byte {end}, after {number} of its {len(ends) - 1} blocks" in text
    assert "at its index" in refused(victim, _head(sound))


def _head(sound: bytes) -> bytes:
    return sound[: 1 + sound[0]]


def test_what_follows_the_end_is_refused(sound: bytes, victim: Node) -> None:
    for junk in (b"\0", b"\x05junk!", sound):
        text = refused(victim, sound + junk)
        assert f"ends at byte {len(sound)}, but the file goes on" in text


INDEXES: dict[str, tuple[dict[str, Any], type[IpvmError], str]] = {
    "no index": ({"ipvm/bundle": ...}, CodecError, "its root is no index"),
    "another version": ({"ipvm/bundle": 2}, CodecError, "version 2"),
    "a version of another type": ({"ipvm/bundle": True}, CodecError, "version True"),
    "a key more": ({"extra": 1}, CodecError, "or has others: extra"),
    "a key less": ({"absent": ...}, CodecError, "lacks keys"),
    "no number": ({"blocks": "2"}, CodecError, "not a number"),
    "a negative number": ({"bytes": -1}, CodecError, "not a number"),
    "a huge number of blocks": ({"blocks": 2**63}, LimitError, "at most"),
    "one block too many": ({"blocks": BLOCKS_MAX + 1}, LimitError, "at most"),
    "a huge number of bytes": ({"bytes": 2**63}, IntegrityError, "its index says"),
    "fewer bytes": ({"bytes": 1}, IntegrityError, "its index says 1"),
    "fewer blocks": ({"blocks": 1}, CodecError, "but the file goes on"),
    "more blocks": ({"blocks": 3}, CodecError, "after 2 of its 3 blocks"),
    "no list": ({"code": FILE.cid}, CodecError, "not a list of links"),
    "no link": ({"inputs": ["x"]}, CodecError, "not a list of links"),
    "a link twice": ({"inputs": [FILE.cid] * 2}, CodecError, "twice"),
    "no pair": ({"workflows": [[FLOW.cid]]}, CodecError, "not a list of pairs"),
    "a pair twice": ({"receipts": PAIR * 2}, CodecError, "twice"),
    "a name that drives a terminal": ({"workflows": [[FLOW.cid, "\x1b[2J"]]}, CodecError, "pairs"),
    "a long name": ({"workflows": [[FLOW.cid, "x" * 1_000]]}, CodecError, "pairs"),
    "tokens that are no link": ({"tokens": 1}, CodecError, "neither a link"),
    "no DID": ({"for": "me"}, CodecError, "neither a DID"),
    "two kinds for a block": ({"workflows": [[RECEIPT.cid, ""]]}, CodecError, "two kinds"),
    "absent and there": ({"absent": [RECEIPT.cid]}, CodecError, "has to be in it"),
    "an absent block that is there": ({"absent": [ASKED.cid]}, IntegrityError, "says is absent"),
    "an absent block of nobody": ({"absent": [FILE.cid]}, IntegrityError, "nothing asks for"),
    "a secret that is not there": ({"secret": [FILE.cid]}, IntegrityError, "is secret, which"),
    "code that is not there": ({"code": [FILE.cid]}, IntegrityError, "does not say so"),
    "a workflow that is not there": ({"workflows": [[FLOW.cid, ""]]}, IntegrityError, "say so"),
    "no receipts": ({"receipts": []}, IntegrityError, "nothing before it asks for"),
    "another instruction": (
        {"receipts": [[RECEIPT.cid, FLOW.cid]]},
        IntegrityError,
        "nothing before it asks for",
    ),
}


@pytest.mark.parametrize("name", INDEXES)
def test_an_index_that_lies_or_is_malformed(b: Node, name: str) -> None:
    says, kind, text = INDEXES[name]
    assert text in refused(b, forged(ONE, **{"receipts": PAIR, **says}), kind)


def test_too_many_names_in_an_index(b: Node) -> None:
    many = [CID.of(number.to_bytes(4, "big"), RAW) for number in range(ENTRIES_MAX + 1)]
    assert "at most" in refused(b, forged([], inputs=many, absent=[]), LimitError)


def _other_receipt() -> Receipt:
    return signed(key_of("other"), ASKED, 6)


def _cut() -> Block:
    data = bytearray(RECEIPT.data)
    data[10] ^= 1
    return Block.make(bytes(data), DAG_CBOR)


SHAPES: dict[str, tuple[Callable[[], Sequence[Block]], dict[str, Any], str]] = {
    "the same block twice": (lambda: [FILE, FILE], {"inputs": [FILE.cid]}, "in it twice"),
    "a block that nobody asks for": (lambda: [FILE], {}, "nothing before it asks for"),
    "a receipt before its instruction": (lambda: ONE[::-1], {"receipts": PAIR}, "does not follow"),
    "a receipt behind content": (
        lambda: [FILE, *ONE],
        {"receipts": PAIR, "inputs": [FILE.cid]},
        "behind content",
    ),
    "a file as a workflow": (lambda: [FILE], {"workflows": [[FILE.cid, ""]]}, "byte"),
    "a value as a workflow": (
        lambda: [node_block({"a": 1})],
        {"workflows": [[node_block({"a": 1}).cid, ""]]},
        "not a workflow",
    ),
    "a value as an instruction": (
        lambda: [node_block([1]), as_block(RECEIPT)],
        {"receipts": [[RECEIPT.cid, node_block([1]).cid]]},
        "instruction",
    ),
    "a file as a receipt": (
        lambda: [Block(ASKED.cid, ASKED.data), FILE],
        {"receipts": [[FILE.cid, ASKED.cid]]},
        "byte",
    ),
    "a wrong signature": (
        lambda: [Block(ASKED.cid, ASKED.data), _cut()],
        {"receipts": [[_cut().cid, ASKED.cid]]},
        "sign",
    ),
    "content that is not of its codec": (
        lambda: [Block.make(b"\xff\xff", DAG_CBOR)],
        {"inputs": [Block.make(b"\xff\xff", DAG_CBOR).cid]},
        "byte",
    ),
    "a container that is none": (
        lambda: [node_block({"ctn-v2": []})],
        {"tokens": node_block({"ctn-v2": []}).cid},
        "tokens are not sound",
    ),
    "a receipt among the tokens": (
        lambda: [Block.make(container.write([RECEIPT.data], "bare"), DAG_CBOR)],
        {"tokens": CID.of(container.write([RECEIPT.data], "bare"), DAG_CBOR)},
        "a receipt among the tokens",
    ),
}


@pytest.mark.parametrize("name", SHAPES)
def test_blocks_that_are_not_what_the_index_says(b: Node, name: str) -> None:
    make, says, text = SHAPES[name]
    assert text in refused(b, forged(make(), **says))


def test_a_workflow_is_not_called_by_another_name_than_its_own(b: Node) -> None:
    flow = Workflow.of([Step("a", Task(ASKED))], name="mine")
    data = forged([Block(flow.cid, flow.data)], workflows=[[flow.cid, "yours"]])
    assert "by another name" in refused(b, data)


def test_a_token_that_its_issuer_did_not_sign(b: Node) -> None:
    right = Delegation.issue(
        FRIEND, audience=b.did, subject=FRIEND.did, command="/x", expires_at=None
    )
    data = bytearray(right.data)
    data[8] ^= 1  # in the signature
    packed = Block.make(container.write([bytes(data)], "bare"), DAG_CBOR)
    assert "not sound" in refused(b, forged([packed], tokens=packed.cid))


def test_a_revocation_is_no_receipt(b: Node) -> None:
    right = Delegation.issue(
        FRIEND, audience=b.did, subject=FRIEND.did, command="/x", expires_at=None
    )
    taken_back = Revocation.issue(FRIEND, revoked=right.cid, subject=FRIEND.did, path=[right.cid])
    block = Block(taken_back.cid, taken_back.data)
    data = forged([ONE[0], block], receipts=[[block.cid, ASKED.cid]])
    assert "byte" in refused(b, data)


def test_an_archive_of_another_kind_is_told_apart(b: Node) -> None:
    out = io.BytesIO()
    car.write_car(out, [RECEIPT.cid], [as_block(RECEIPT)])
    assert "not a bundle" in refused(b, out.getvalue())
    out = io.BytesIO()
    car.write_car(out, [], [])
    assert "truncated bundle" in refused(b, out.getvalue())


def test_bytes_that_do_not_hash_to_their_name(b: Node) -> None:
    lie = Block.trusted(FILE.cid, b"something else")
    assert "do not hash to it" in refused(b, forged([lie], inputs=[FILE.cid]))


def test_a_bundle_in_a_bundle_is_only_a_file(b: Node) -> None:
    inner = Block.make(forged(ONE, receipts=PAIR), RAW)
    taken(b, forged([inner], inputs=[inner.cid]))
    assert b.store.has(inner.cid) and b.store.receipts.count() == 0


def test_content_that_asks_for_more_than_is_remembered(
    b: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert NAMED_MAX == 1 + BLOCKS_MAX + ENTRIES_MAX
    monkeypatch.setattr("lite.bundle_check.NAMED_MAX", 100)
    many = node_block([CID.of(bytes([number]), RAW) for number in range(200)])
    assert "asks for more" in refused(b, forged([many], inputs=[many.cid]), LimitError)


def test_links_inside_identity_cids_are_followed_and_end(b: Node) -> None:
    held = CID.of(dag_cbor.encode([FILE.cid]), DAG_CBOR, IDENTITY)
    assert "lacks" in refused(b, forged([], inputs=[held]))
    taken(b, forged([FILE], inputs=[held]))
    assert b.store.has(FILE.cid)


def test_secret_marks_of_others_do_not_touch_what_is_here_already(b: Node) -> None:
    b.store.blocks.put(FILE)
    taken(b, forged([FILE], inputs=[FILE.cid], secret=[FILE.cid]))
    assert not b.store.secrets.is_secret(FILE.cid)
