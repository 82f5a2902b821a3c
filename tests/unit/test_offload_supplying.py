"""Which blocks of those that a customer brings are taken, and for which of its jobs they count."""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from lite.ipld import dag_cbor
from lite.ipld.block import Block
from lite.ipld.car import write_car
from lite.ipld.cid import CID, DAG_CBOR, IDENTITY, RAW
from lite.offload.admission import DeniedError
from lite.offload.supplying import Supplied, supply
from lite.store import Store

PLENTY = 1 << 30
JUNK = Block.make(b"junk", RAW)
LEAF = Block.make(b"leaf" * 9, RAW)
OTHER = Block.make(b"other" * 9, RAW)
KNOWN = Block.make(dag_cbor.encode([JUNK.cid]), DAG_CBOR)
ROOT = Block.make(dag_cbor.encode([LEAF.cid]), DAG_CBOR)
BOTH = Block.make(dag_cbor.encode([LEAF.cid, OTHER.cid]), DAG_CBOR)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "home", durability="normal") as store:
        yield store


def car(*blocks: Block) -> bytes:
    out = BytesIO()
    write_car(out, [], blocks)
    return out.getvalue()


def brought(
    store: Store, roots: dict[int, Block], *blocks: Block, left: int = PLENTY, **more: Any
) -> Supplied:
    jobs = {number: (root.cid,) for number, root in roots.items()}
    return supply(store, jobs, car(*blocks), dict.fromkeys(jobs, left), **more)


def denied(store: Store, roots: dict[int, Block], *blocks: Block) -> tuple[int, str, str]:
    """How it is refused; what is stored stays as it was."""
    before = store.blocks.count()
    with pytest.raises(DeniedError) as error:
        brought(store, roots, *blocks)
    assert store.blocks.count() == before
    return error.value.status, error.value.denied.code, error.value.denied.message


def test_a_parent_comes_before_what_it_links_to(store: Store) -> None:
    assert denied(store, {1: ROOT}, LEAF, ROOT)[:2] == (400, "junk")
    assert brought(store, {1: ROOT}).lacking == (ROOT.cid,)
    found = brought(store, {1: ROOT}, ROOT, LEAF)
    assert (found.lacking, found.whole) == ((), (1,))
    assert found.taken == {1: len(ROOT.data) + len(LEAF.data)}


@pytest.mark.parametrize("secret", [False, True])
def test_what_is_here_and_not_waited_for_is_refused_as_what_is_not(
    store: Store, secret: bool
) -> None:
    told = denied(store, {1: ROOT}, ROOT, KNOWN, JUNK)
    store.blocks.put_many([KNOWN, OTHER], secret=secret)
    assert denied(store, {1: ROOT}, ROOT, KNOWN, JUNK) == told
    assert denied(store, {1: ROOT}, OTHER)[:2] == told[:2] == (400, "junk")


def test_what_came_in_the_same_moment_is_no_reason_to_refuse_the_rest(store: Store) -> None:
    store.blocks.put_many([ROOT])
    found = brought(store, {1: ROOT}, ROOT, LEAF)
    assert (found.whole, found.taken) == ((1,), {1: len(LEAF.data)})


def test_a_block_counts_for_each_job_that_lacks_it_and_once(store: Store) -> None:
    found = brought(store, {1: ROOT, 2: BOTH, 3: OTHER}, ROOT, BOTH, LEAF, LEAF, OTHER)
    leaf, other = len(LEAF.data), len(OTHER.data)
    assert found.taken == {1: len(ROOT.data) + leaf, 2: len(BOTH.data) + leaf + other, 3: other}
    assert found.whole == (1, 2, 3)


def test_where_it_is_too_much_for_a_job_nothing_is_stored_and_the_job_is_named(
    store: Store,
) -> None:
    most = len(ROOT.data) + len(LEAF.data)
    before = store.blocks.count()
    found = brought(store, {1: ROOT, 2: BOTH}, ROOT, BOTH, LEAF, OTHER, left=most)
    assert found == Supplied(over=(2,)) and store.blocks.count() == before
    assert brought(store, {1: ROOT}, ROOT, LEAF, left=most).whole == (1,)


def test_what_is_here_already_or_in_its_name_takes_no_room(store: Store) -> None:
    inline = CID.from_bytes(bytes((1, RAW, IDENTITY, 2)) + b"hi")
    root = Block.make(dag_cbor.encode([LEAF.cid, inline]), DAG_CBOR)
    store.blocks.put_many([LEAF])
    found = brought(store, {1: root}, root, LEAF, Block(inline, b"hi"), left=len(root.data))
    assert (found.whole, found.taken) == ((1,), {1: len(root.data)})
    assert store.blocks.count() == 2


def test_what_is_below_a_secret_of_a_customer_is_stored_as_one(store: Store) -> None:
    more = {"private": [BOTH.cid], "customer": "did:key:z6Mk"}
    open_ = Block.make(b"open", RAW)
    brought(store, {1: BOTH, 2: open_}, BOTH, open_, LEAF, OTHER, **more)
    every = [BOTH.cid, LEAF.cid, OTHER.cid, open_.cid]
    assert store.secrets.any_secret(every) == set(every[:3])
    assert store.secrets.entrusted_by("did:key:z6Mk", every) == set(every[:3])


def test_what_is_no_archive_of_good_blocks_is_refused(store: Store) -> None:
    store.blocks.put_many([ROOT])
    for data in (b"junk", car(LEAF)[:-1], car(Block.trusted(LEAF.cid, b"bad"))):
        with pytest.raises(DeniedError, match="not a CAR of good blocks"):
            supply(store, {1: (ROOT.cid,)}, data, {1: PLENTY})
    assert brought(store, {1: ROOT}, LEAF).whole == (1,)
