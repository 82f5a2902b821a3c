"""A receipt whose linked output is not what it says is no answer, whoever signed it."""

from __future__ import annotations

import io

import pytest

from lite.ipld import dag_cbor, unixfs
from lite.ipld.block import Block
from lite.ipld.cid import CID, DAG_CBOR
from lite.limits import Limits
from lite.memo import Memo
from lite.model.instruction import wasm
from lite.model.receipt import Receipt
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
