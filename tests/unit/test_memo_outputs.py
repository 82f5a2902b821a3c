"""A receipt whose linked output is not what it says is no answer, whoever signed it."""

from __future__ import annotations

import io

import pytest

from lite.ipld import dag_cbor, unixfs
from lite.ipld.block import Block
from lite.ipld.cid import CID, DAG_CBOR, DAG_PB, IDENTITY, RAW
from lite.limits import Limits
from lite.memo import Memo
from lite.model.instruction import wasm
from lite.model.receipt import Receipt
from lite.model.result import Result
from lite.model.trust import TrustPolicy
from lite.store import Store
from lite.ucan import envelope
from tests.store_support import KEY, MODULE, FakeClock, receipt

ASKED = wasm(MODULE, "crop", 1)
VALUE = Block.make(dag_cbor.encode([1, 2]), DAG_CBOR)


class Asked:
    """Neighbours that were asked."""

    def __init__(self) -> None:
        self.fetched: list[CID] = []

    def ask(self, _instructions: list[CID]) -> bool:
        return False

    def fetch(self, bodies: list[CID]) -> str:
        self.fetched += bodies
        return "nobody has it"


def memo(store: Store, clock: FakeClock, nearby: Asked | None = None) -> Memo:
    return Memo(store, TrustPolicy(KEY.did), clock, nearby)  # type: ignore[arg-type]


def saying(linked: str, told: Receipt) -> Receipt:
    """The same receipt with another `outl`, as one that was kept before that was looked at."""
    payload = dict(told.token.payload)
    payload["args"] = {**payload["args"], "outl": linked}
    token = envelope.sign(envelope.TAG_INVOCATION, payload, KEY)
    return Receipt.from_store(token.data)


def test_a_value_that_is_called_a_file_is_no_answer(store: Store, clock: FakeClock) -> None:
    told = receipt(ASKED, linked=VALUE.cid)
    nearby = Asked()
    store.commit_run(ASKED, saying("file", told), [VALUE])
    known = memo(store, clock, nearby)
    assert known.lookup(ASKED.cid, Limits()) is None
    assert not known.ask([(ASKED.cid, Limits())]) and not nearby.fetched
    store.receipts.add(told)
    found = known.lookup(ASKED.cid, Limits())
    assert found is not None and found.receipt == told


@pytest.mark.parametrize("kind", ["folder", "file", "absent"])
def test_a_linked_file_is_an_answer_and_a_folder_is_none(
    store: Store, clock: FakeClock, kind: str
) -> None:
    blocks: list[Block] = []
    if kind == "folder":
        root = unixfs.write_directory([("a", VALUE.cid, 3)], blocks.append)
    else:
        root = unixfs.write_file(io.BytesIO(bytes(2_000_000)), blocks.append)
    nearby = Asked()
    store.commit_run(ASKED, receipt(ASKED, linked=root), [] if kind == "absent" else blocks)
    known = memo(store, clock, nearby)
    assert (known.lookup(ASKED.cid, Limits()) is not None) is (kind == "file")
    if kind != "file":
        known.ask([(ASKED.cid, Limits())])
        assert nearby.fetched == ([root] if kind == "absent" else [])


def in_its_cid(codec: int, data: bytes) -> CID:
    return CID.from_bytes(bytes([1, codec, IDENTITY, len(data)]) + data)


@pytest.mark.parametrize(
    ("codec", "data", "counts"),
    [
        (RAW, b"inline", True),
        (DAG_CBOR, b"\x05", True),
        (DAG_CBOR, b"\x18\x05", False),  # 5 in more bytes than it takes
        (DAG_PB, bytes.fromhex("0a080802120268691802"), True),  # a file, "hi"
        (DAG_PB, b"\xff\xff", False),
    ],
)
def test_what_stands_in_its_cid_is_here(
    store: Store, clock: FakeClock, codec: int, data: bytes, counts: bool
) -> None:
    told = receipt(ASKED, linked=in_its_cid(codec, data))
    store.commit_run(ASKED, told, [])
    nearby = Asked()
    known = memo(store, clock, nearby)
    assert (known.lookup(ASKED.cid, Limits()) is not None) is counts
    known.ask([(ASKED.cid, Limits())])
    assert (nearby.fetched, known.passed_over(ASKED.cid)) == ([], ())


@pytest.mark.parametrize(
    ("error", "counts"),
    [
        ({"code": "unreachable", "message": "m" * 5_000}, True),
        ({"code": "time-limit", "message": "m" * 5_000}, False),
        ({"message": "m" * 5_000}, False),
        (["unreachable", "m" * 5_000], False),
    ],
)
def test_a_linked_error_answers_only_by_its_own_code(
    store: Store, clock: FakeClock, error: object, counts: bool
) -> None:
    block = Block.make(dag_cbor.encode(error), DAG_CBOR)
    meta = {"code": "unreachable", "memory_refused": False, "limits": {"fuel": Limits().fuel}}
    out = Result.of_error(block.cid)
    told = Receipt.issue(KEY, ASKED, out, now=1, linked="dag-cbor", meta=meta)
    store.commit_run(ASKED, told, [block])
    assert (memo(store, clock).lookup(ASKED.cid, Limits()) is not None) is counts
