"""Whatever made a receipt: it verifies, leaves in an archive, comes in elsewhere, goes through a
bundle and through peering."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import pytest
import wasmtime

from lite import Node, archive, wasm
from lite.bundle import Wish
from lite.config import Config
from lite.errors import IntegrityError, IpvmError
from lite.ipld import car, dag_cbor, dag_json
from lite.ipld.block import Block
from lite.ipld.cid import CID, DAG_CBOR
from lite.model.instruction import Instruction
from lite.model.receipt import Receipt
from lite.model.result import Result
from lite.model.workflow import Workflow
from tests.authority_support import add, ask, give, invocation_in
from tests.bundle_support import bundle_of, open_node, taken
from tests.guests import ADD
from tests.ops_support import HttpServer
from tests.peering_support import PeerNode, befriend, key_of, meeting
from tests.store_support import START, FakeClock
from tests.wat_guests import TYPED

CALLS = """(module
  (func (export "add") (param i32 i32) (result i32) local.get 0 local.get 1 i32.add)
  (func (export "div") (param i32 i32) (result i32) local.get 0 local.get 1 i32.div_s))"""
FORK = {"rsc": "x:a", "op": "no/such", "input": {}, "nnc": ""}
JOIN = {"rsc": "x:b", "op": "no/such", "input": {"v": 1}, "nnc": ""}


@pytest.fixture
def maker(tmp_path: Path) -> Iterator[Node]:
    (tmp_path / "maker").mkdir(mode=0o700)
    key_of("maker").save(tmp_path / "maker" / "key")
    told = {"ops.allowed_for_others": "wasm/run http/get", "store.durability": "normal"}
    config = Config.load(tmp_path / "maker", told, env={})
    with Node.open(config=config, in_process=True, clock=FakeClock()) as node:
        yield node


@pytest.fixture
def other(tmp_path: Path, maker: Node) -> Iterator[Node]:
    with open_node(tmp_path, "other", trusting=[maker.did]) as node:
        yield node


def own(node: Node) -> dict[str, Receipt]:
    """What the owner of a node can have made, one of each kind."""
    code, typed = node.add(ADD), node.add(bytes(wasmtime.wat2wasm(TYPED)))
    calls = node.add(bytes(wasmtime.wat2wasm(CALLS)))
    sum_ = wasm(code, "add", 1, 2)
    fx = dag_cbor.encode({"out": 7, "fx": {"fork": [FORK], "join": JOIN}})
    large = dag_json.encode(["x" * 100] * 80).decode()
    jobs = {
        "value": sum_,
        "failure": wasm(calls, "div", 1, 0),
        "file": wasm(typed, "echo", b"x" * 9_000),
        "linked": wasm(typed, "greet", large),
        "awaited": wasm(code, "add", sum_.ok, 4),
        "mismatch": wasm(code, "add", wasm(calls, "div", 1, 0).ok, 5),
        "nonce": Instruction(f"ipfs://{code}", "wasm/run", {"func": "add", "args": [7, 7]}, b"n"),
        "text nonce": Instruction(f"ipfs://{code}", "wasm/run", {"func": "add", "args": [8]}, "n"),
        "effects": Instruction(
            f"ipfs://{typed}", "wasm/run", {"func": "echo", "args": [fx], "fx": True}
        ),
    }
    found = {name: node.run(job).receipt for name, job in jobs.items()}
    found["homestar"] = node.run(wasm(code, "add", 6, 6), homestar=True).receipt
    step = node.run(Workflow(step=wasm(code, "add", 30, 3)))["step"]
    assert step is not None
    found["step"] = step.receipt
    return found


def invoked(node: Node, guest: Node) -> dict[str, Receipt]:
    """What a guest can have made at a node."""
    give(node, guest)
    give(node, guest, "/http/get")
    calls, code = node.add(bytes(wasmtime.wat2wasm(CALLS))), node.add(ADD)
    given = {"func": "add", "args": [20, 2]}
    jobs = {
        "asked": add(node, 40, 2),
        "asked again": add(node, 1, 2),  # the owner's receipt answers
        "asked, failed": wasm(calls, "div", 3, 0),
        "asked, awaited": wasm(calls, "add", wasm(code, "add", 1, 2).ok, 40),
        "asked, mismatch": wasm(calls, "add", wasm(calls, "div", 1, 0).ok, 40),
        "asked, nonce": Instruction(f"ipfs://{code}", "wasm/run", given, b"nn"),
        "asked, text nonce": Instruction(f"ipfs://{code}", "wasm/run", given, "nn"),
    }
    found = {}
    for name, job in jobs.items():
        nonce = {"nonce": job.nnc} if isinstance(job.nnc, bytes) and job.nnc else {}
        data = ask(guest, node, job, {"fuel": 1_000_000}, **nonce)
        found[name] = node.run_invocation(data).receipt
    with HttpServer() as server:
        server.kept["/x"] = b"here"
        job = Instruction(f"{server.url}/x", "http/get", {"only": "body"})
        found["query"] = node.run(job).receipt
        found["asked, query"] = node.run_invocation(ask(guest, node, job)).receipt
    return found


@pytest.fixture
def all_kinds(maker: Node, tmp_path: Path) -> dict[str, Receipt]:
    with open_node(tmp_path, "guest") as guest:
        return {**own(maker), **invoked(maker, guest)}


def exported(node: Node, receipt: Receipt) -> bytes:
    out = io.BytesIO()
    node.export([receipt.cid], out)
    return out.getvalue()


def test_a_receipt_of_every_kind_verifies_and_goes_everywhere(
    maker: Node, other: Node, all_kinds: dict[str, Receipt], tmp_path: Path
) -> None:
    assert len({receipt.cid for receipt in all_kinds.values()}) == len(all_kinds)
    with open_node(tmp_path, "third", trusting=[maker.did]) as third:
        for name, receipt in all_kinds.items():
            (here,) = maker.verify(receipt)
            assert (here.receipt, here.note) == (receipt, ""), name
            data = exported(maker, receipt)
            (moved,) = maker.verify(io.BytesIO(data))
            assert (moved.receipt, moved.note) == (receipt, ""), name
            assert (moved.blocks, moved.bytes) == (here.blocks, here.bytes), name
            assert (moved.invocation is None) == (receipt.invocation is None), name
            assert other.import_(io.BytesIO(data)).receipts == (receipt,)
            assert other.verify(receipt)[0].note == "", name
            assert exported(other, receipt) == data, name  # nothing was lost on the way
        taken(third, bundle_of(maker, Wish(sweep="all")))
        for name, receipt in all_kinds.items():
            (there,) = third.verify(receipt)
            unknown = receipt.invocation is not None
            assert (f"{receipt.invocation}, which is not here" in there.note) == unknown, name
            assert third.import_(io.BytesIO(exported(third, receipt))).receipts == (receipt,)


def test_a_receipt_of_every_kind_comes_by_peering(
    maker: Node, all_kinds: dict[str, Receipt], tmp_path: Path
) -> None:
    maker.close()

    async def story(a: PeerNode, b: PeerNode) -> None:
        befriend(a, b)
        await b.until(lambda: b.has(all_kinds.values()))

    meeting(story, tmp_path, "maker", "peer")


# What does not belong together is refused.


def test_the_archive_of_an_answer_holds_its_invocation_and_the_whole_chain(
    maker: Node, tmp_path: Path
) -> None:
    with open_node(tmp_path, "laptop") as laptop, open_node(tmp_path, "phone") as phone:
        root = give(maker, laptop)
        link = give(laptop, phone, subject=maker.did)
        data = ask(phone, maker, add(maker))
        receipt = maker.run_invocation(data).receipt
    held = [block.cid for block in car.read_car(io.BytesIO(exported(maker, receipt)))]
    assert held == [
        receipt.cid, receipt.instruction, invocation_in(data).cid, root, link
    ]  # fmt: skip


def answer(maker: Node, tmp_path: Path) -> tuple[bytes, Receipt, Instruction]:
    with open_node(tmp_path, "guest") as guest:
        give(maker, guest)
        job = add(maker)
        data = ask(guest, maker, job)
    return data, maker.run_invocation(data).receipt, job


def packed(*blocks: Block) -> io.BytesIO:
    out = io.BytesIO()
    car.write_car(out, [blocks[0].cid], blocks)
    out.seek(0)
    return out


def block_of(data: bytes) -> Block:
    return Block(CID.of(data, DAG_CBOR), data)


def test_an_answer_with_the_task_of_something_else_is_refused(maker: Node, tmp_path: Path) -> None:
    data, _, job = answer(maker, tmp_path)
    asked = invocation_in(data)
    lie = Receipt.issue(
        maker.key, job, Result.of_ok(1), now=START, invocation=asked.cid, ran=job.cid
    )
    file = packed(block_of(lie.data), block_of(job.data), block_of(asked.data))
    with pytest.raises(IntegrityError, match="not the task of its invocation"):
        archive.verify(file)
    file.seek(0)
    with pytest.raises(IntegrityError, match="not the task of its invocation"):
        maker.import_(file)


def test_an_answer_to_another_instruction_than_was_asked_for_is_refused(
    maker: Node, tmp_path: Path
) -> None:
    data, _, _ = answer(maker, tmp_path)
    asked, another = invocation_in(data), add(maker, 9, 9)
    lie = Receipt.issue(
        maker.key, another, Result.of_ok(1), now=START, invocation=asked.cid, ran=asked.task
    )
    with pytest.raises(IntegrityError, match="another instruction"):
        archive.verify(packed(*map(block_of, (lie.data, another.data, asked.data))))


def test_an_answer_to_what_was_asked_of_another_node_is_refused(
    maker: Node, tmp_path: Path
) -> None:
    data, _, job = answer(maker, tmp_path)
    asked = invocation_in(data)
    lie = Receipt.issue(
        key_of("liar"), job, Result.of_ok(1), now=START, invocation=asked.cid, ran=asked.task
    )
    with pytest.raises(IntegrityError, match="addressed to"):
        archive.verify(packed(*map(block_of, (lie.data, job.data, asked.data))))


def test_an_answer_to_an_invocation_that_nobody_signed_is_refused(
    maker: Node, tmp_path: Path
) -> None:
    data, _, job = answer(maker, tmp_path)
    value = dag_cbor.decode(invocation_in(data).data)
    forged = dag_cbor.encode([bytes(64), value[1]])
    lie = Receipt.issue(
        maker.key, job, Result.of_ok(1), now=START, ran=invocation_in(data).task,
        invocation=CID.of(forged, DAG_CBOR),
    )  # fmt: skip
    with pytest.raises(IntegrityError, match="signature"):
        archive.verify(packed(*map(block_of, (lie.data, job.data, forged))))


def test_an_answer_without_its_invocation_verifies_and_says_so(maker: Node, tmp_path: Path) -> None:
    _, receipt, job = answer(maker, tmp_path)
    (found,) = archive.verify(packed(block_of(receipt.data), block_of(job.data)))
    assert found.note == (
        "the Task ID was not checked: this is for the invocation "
        f"{receipt.invocation}, which is not here"
    )


def test_a_collection_keeps_the_invocation_with_its_receipt(maker: Node, tmp_path: Path) -> None:
    _, receipt, _ = answer(maker, tmp_path)
    maker.store.gc(grace_s=-1)
    assert maker.verify(receipt)[0].note == ""


def test_an_invocation_becomes_secret_with_what_it_asked_for(maker: Node, tmp_path: Path) -> None:
    from lite.privacy import make_secret

    _, receipt, job = answer(maker, tmp_path)
    make_secret(maker.store, [job.cid])
    assert receipt.invocation is not None
    assert maker.store.secrets.is_secret(receipt.invocation)


@pytest.mark.parametrize("flip", [1, 0x80])
def test_any_changed_byte_of_the_archive_of_an_answer_shows(
    maker: Node, tmp_path: Path, flip: int
) -> None:
    _, receipt, _ = answer(maker, tmp_path)
    data = exported(maker, receipt)
    assert len(archive.verify(io.BytesIO(data))) == 1
    for at in range(len(data)):
        changed = bytearray(data)
        changed[at] ^= flip
        with pytest.raises(IpvmError):
            archive.verify(io.BytesIO(bytes(changed)))
