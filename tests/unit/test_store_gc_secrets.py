"""Small secret files in a collection: everything else is compared with them, so they stay."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from lite.ipld import unixfs
from lite.ipld.cid import CID
from lite.ipld.unixfs import Profile
from lite.limits import CHUNK_BYTES, INLINE_BYTES_MAX
from lite.store import Store
from lite.store.secret_gc import SmallSecrets
from tests.secrecy_support import MARK
from tests.store_support import bulk, instruction, keep, raw_block

IN_PIECES = Profile("pieces", 20, 1024)


def asks_with(text: bytes) -> bytes:
    return instruction(1, inputs=[text.decode()]).data  # type: ignore[list-item]


def add(store: Store, data: bytes, profile: Profile = unixfs.UNIXFS_V1_2025) -> CID:
    with store.adding(secret=True) as put:
        return unixfs.write_file(io.BytesIO(data), put, profile)


def collect(store: Store) -> int:
    """How many blocks went; a dry run said the same."""
    told = store.gc(dry_run=True, grace_s=0)
    assert store.gc(grace_s=0) == told
    return told.removed


def test_small_secret_files_stay_and_large_ones_go(store: Store) -> None:
    least = add(store, bulk(1, INLINE_BYTES_MAX).data)
    more = add(store, bulk(2, INLINE_BYTES_MAX + 1).data)
    keep(store, raw_block("open"))
    assert collect(store) == 2
    assert (store.blocks.has(least), store.blocks.has(more)) == (True, False)
    assert collect(store) == 0


def test_what_is_known_by_its_content_is_known_after_a_collection(home: Path, store: Store) -> None:
    add(store, MARK)
    collect(store)
    with Store.open(home) as other:
        assert other.secrets.holds_content(asks_with(MARK))
        assert not other.secrets.holds_content(asks_with(b"something else"))


def test_every_block_of_a_small_file_in_pieces_stays(store: Store) -> None:
    root = add(store, MARK * 3, IN_PIECES)
    pieces = unixfs.block_links(root, store.blocks.get(root))
    assert len(pieces) > 2
    assert collect(store) == 0
    assert b"".join(unixfs.read_file(root, store.blocks.get)) == MARK * 3


def test_the_files_of_a_secret_folder_stay_without_the_folder(store: Store) -> None:
    with store.adding(secret=True) as put:
        file = unixfs.write_file(io.BytesIO(MARK), put)
        folder = unixfs.write_directory([("file", file, len(MARK))], put)
    assert collect(store) == 1
    assert (store.blocks.has(file), store.blocks.has(folder)) == (True, False)


def test_the_short_end_of_a_large_file_goes_with_it(store: Store) -> None:
    """By itself it would be a secret of two letters, which stand anywhere."""
    add(store, b"z" * CHUNK_BYTES * 2 + b"ab")
    assert collect(store) == 3
    assert not store.secrets.holds_content(asks_with(b"ab"))


def test_what_is_secret_no_more_or_a_customers_goes(store: Store) -> None:
    file, theirs = add(store, MARK), raw_block("entrusted to this node")
    store.blocks.put_many([theirs], customer="did:key:z6Mk")
    assert store.secrets.is_secret(theirs.cid)
    assert collect(store) == 1
    assert not store.blocks.has(theirs.cid)
    store.secrets.unmark([file])
    assert collect(store) == 1
    assert not store.blocks.has(file)


def test_of_a_file_whose_root_the_disk_changed_the_pieces_stay(store: Store) -> None:
    root = add(store, MARK * 3, IN_PIECES)
    with store.database.write() as transaction:
        transaction.execute("UPDATE blocks SET data = zeroblob(9) WHERE cid = ?", (root.raw,))
    assert collect(store) == 1
    assert store.secrets.holds_content(asks_with(MARK * 3))


def test_what_is_marked_while_a_collection_runs_stays(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was here before, so that nobody added anything."""
    early, late = keep(store, raw_block(MARK)), keep(store, raw_block(MARK * 2))
    store.secrets.mark([early])
    mark, seen = SmallSecrets.mark, list[int]()

    def then_marked(self: SmallSecrets, reach: object) -> None:
        mark(self, reach)  # type: ignore[arg-type]
        if not seen:
            seen.append(1)
            store.secrets.mark([late])

    monkeypatch.setattr(SmallSecrets, "mark", then_marked)
    assert store.gc(grace_s=0).removed == 0
    assert store.blocks.has(early) and store.blocks.has(late)
