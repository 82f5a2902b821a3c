"""What was marked secret stays: in exports, for other people's jobs, and after steps."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from lite import archive
from lite.errors import AuthorityError
from lite.ipld import unixfs
from lite.store import Finished, Store
from tests.store_support import (
    bulk,
    instruction,
    keep,
    node_block,
    raw_block,
    receipt,
    traced,
)


def export(store: Store, *refs: object, **options: bool) -> bytes:
    out = io.BytesIO()
    archive.export(store, refs, out, **options)  # type: ignore[arg-type]
    return out.getvalue()


def test_marks_are_kept_and_can_be_taken_back(home: Path, store: Store) -> None:
    some = [bulk(number, 50).cid for number in range(1_200)]
    assert store.secrets.is_empty()
    store.secrets.mark(some[:700])
    store.secrets.mark(some[:2])
    with Store.open(home) as other:
        assert other.secrets.any_secret(some) == set(some[:700])
        assert other.secrets.is_secret(some[0])
        assert not other.secrets.is_secret(some[700])
    assert store.secrets.count() == 700
    store.secrets.unmark(some)
    assert store.secrets.is_empty()
    assert store.secrets.any_secret([]) == set()


def test_the_pieces_of_a_secret_file_are_secret(store: Store) -> None:
    with store.adding() as put:
        root = unixfs.write_file(io.BytesIO(bulk(1, 3_000_000).data), put)
    store.secrets.mark([root])
    pieces = unixfs.block_links(root, store.blocks.get(root))
    assert len(pieces) == 3
    assert store.secrets.any_secret(pieces) == set(pieces)
    with pytest.raises(AuthorityError):
        export(store, pieces[0])


def test_a_secret_step_marks_its_receipt_instruction_and_blocks_with_one_statement(
    store: Store,
) -> None:
    asked, waiting, value = instruction(1), instruction(2), node_block("value")
    kept = receipt(asked, linked=value.cid)
    open_asked = instruction(3)
    from lite.ipld.block import Block

    seen = traced(store)
    store.commit_runs(
        [
            Finished(
                asked,
                kept,
                [value, Block.trusted(waiting.cid, waiting.data)],
                [waiting.cid],
                secret=True,
            ),
            Finished(open_asked, receipt(open_asked)),
        ]
    )
    assert sum(one.startswith("BEGIN") for one in seen) == 1
    marked = {asked.cid, waiting.cid, value.cid, kept.cid}
    assert store.secrets.any_secret([*marked, open_asked.cid]) == marked
    assert store.secrets.count() == len(marked)


def test_an_export_that_would_let_out_a_secret_is_refused_and_names_it(store: Store) -> None:
    value, given = node_block("value"), raw_block("given")
    keep(store, given)
    asked = instruction(1, inputs=[given.cid])
    kept = receipt(asked, linked=value.cid)
    store.commit_runs([Finished(asked, kept, [value])])
    open_bytes = export(store, kept.cid)
    store.secrets.mark([given.cid])
    assert export(store, kept.cid) == open_bytes  # it does not hold the inputs
    with pytest.raises(AuthorityError, match=str(given.cid)) as caught:
        export(store, kept.cid, with_inputs=True)
    assert caught.value.exit_code == 4
    assert "--with-secrets" in (caught.value.hint or "")
    assert len(export(store, kept.cid, with_inputs=True, with_secrets=True)) > len(open_bytes)
    for secret in (value.cid, kept.cid, asked.cid):
        store.secrets.mark([secret])
        with pytest.raises(AuthorityError, match=str(secret)):
            export(store, kept.cid)
        store.secrets.unmark([secret])


def test_a_refused_export_writes_nothing(store: Store) -> None:
    keep(store, raw_block("open"), raw_block("secret"))
    store.secrets.mark([raw_block("secret").cid])
    out = io.BytesIO()
    with pytest.raises(AuthorityError):
        archive.export(store, [raw_block("open").cid, raw_block("secret").cid], out)
    assert out.getvalue() == b""


def test_a_refusal_of_many_names_few(store: Store) -> None:
    cids = [keep(store, bulk(number, 10)) for number in range(9)]
    store.secrets.mark(cids)
    with pytest.raises(AuthorityError, match="and 5 more"):
        export(store, *cids)


def test_jobs_of_others_never_read_secrets_at_any_depth(store: Store) -> None:
    secret, shared = raw_block("secret"), raw_block("shared")
    inner = node_block({"deep": [secret.cid]})
    outer = node_block({"inner": inner.cid, "shared": shared.cid})
    keep(store, secret, shared, inner, outer)
    private, later = instruction(7), instruction(8)
    store.secrets.refuse_reading(instruction(1, inputs=[outer.cid]))
    store.secrets.mark([secret.cid])
    store.secrets.refuse_reading(instruction(1, inputs=[shared.cid]))
    store.secrets.refuse_reading(instruction(9, inputs=[later.ok]))  # type: ignore[list-item]
    for asked in (
        instruction(1, inputs=[secret.cid]),
        instruction(1, inputs=[shared.cid, outer.cid]),
        instruction(1, module=secret.cid),
    ):
        with pytest.raises(AuthorityError, match="not here for others") as caught:
            store.secrets.refuse_reading(asked)
        hidden = str(secret.cid) not in str(caught.value)
        assert hidden or secret.cid in (*asked.links(), asked.module)
    store.commit_runs([Finished(private, receipt(private), secret=True)])
    for asked in (
        private,
        instruction(9, inputs=[private.ok]),  # type: ignore[list-item]
        instruction(9, inputs=[type(private.ok)("*", private.sha3)]),  # type: ignore[list-item]
    ):
        with pytest.raises(AuthorityError, match="not here for others"):
            store.secrets.refuse_reading(asked)
