"""Bundles between two homes: what goes in, what is taken, and what happens when it breaks off."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lite import Node, wasm
from lite.bundle import Wish, collect, complete, prepare
from lite.errors import AuthorityError, IpvmError, LimitError, NotFoundError
from lite.ipld.cid import CID
from lite.model.receipt import Receipt
from lite.model.result import Result
from lite.model.workflow import Workflow
from lite.store import Store
from lite.ucan import container
from tests.authority_support import add, ask, give
from tests.bundle_support import blocks_in, bundle_of, contents, open_node, taken
from tests.guests import ADD
from tests.store_support import START, bulk, keep


@pytest.fixture
def a(tmp_path: Path) -> Iterator[Node]:
    with open_node(tmp_path, "a") as node:
        yield node


@pytest.fixture
def b(tmp_path: Path, a: Node) -> Iterator[Node]:
    """A second home, whose owner trusts the first."""
    with open_node(tmp_path, "b", trusting=[a.did]) as node:
        yield node


def answered(node: Node, number: int = 1, **told: Any) -> Receipt:
    """A receipt of a node for an instruction that it did not run."""
    asked = wasm(node.add(ADD), "add", number, 1)
    node.store.instructions.add(asked)
    out = told.pop("out", Result.of_ok(number))
    receipt = Receipt.issue(node.key, asked, out, now=START, **told)
    node.store.receipts.add(receipt)
    return receipt


def sums(node: Node) -> Workflow:
    code = node.add(ADD)
    first = wasm(code, "add", 1, 2)
    return Workflow(a=first, b=wasm(code, "add", first.ok, 10))


def test_a_workflow_that_was_done_there_is_known_here(a: Node, b: Node) -> None:
    workflow = sums(a)
    a.run(workflow)
    merged = taken(b, bundle_of(a, Wish(workflows=[(workflow, "sums", "")])))
    assert (merged.receipts, dict(merged.index.workflows)) == (2, {workflow.cid: "sums"})
    run = b.run(Workflow.parse(b.store.blocks.get(workflow.cid)))
    assert run.state == "done" and [step.source for step in run.steps] == ["cached", "cached"]
    assert b.workers_started == 0


def test_the_bundle_is_the_same_each_time_and_importing_it_again_changes_nothing(
    a: Node, b: Node
) -> None:
    workflow = sums(a)
    a.run(workflow)
    wish = Wish(workflows=[(workflow, "sums", "")])
    data = bundle_of(a, wish)
    assert bundle_of(a, wish) == data
    taken(b, data)
    before = contents(b)
    again = taken(b, data)
    assert (again.blocks, again.receipts, again.known) == (0, 0, 2)
    assert contents(b) == before


def test_a_dry_run_says_what_would_come_and_stores_nothing(a: Node, b: Node) -> None:
    answered(a)
    data = bundle_of(a, Wish(sweep="all"))
    before = contents(b)
    found = taken(b, data, dry_run=True)
    assert (found.receipts, found.blocks) == (1, 1) and contents(b) == before
    assert taken(b, data).receipts == 1


def test_code_and_inputs_stay_when_they_are_not_wanted(a: Node) -> None:
    code, given = a.add(ADD), keep(a.store, bulk(1, 100))
    workflow = Workflow(x=wasm(code, "add", given, 1))

    def has(**told: bool) -> set[CID]:
        wish = Wish(workflows=[(workflow, "", "")], **told)  # type: ignore[arg-type]
        return set(blocks_in(bundle_of(a, wish)))

    assert {code, given} <= has()
    assert code not in has(code=False) and given in has(code=False)
    assert given not in has(inputs=False) and code in has(inputs=False)


def test_what_is_not_here_is_named_as_absent_and_is_an_error_only_for_who_wants_all(
    a: Node, b: Node
) -> None:
    lost = bulk(1, 100).cid
    workflow = Workflow(x=wasm(a.add(ADD), "add", lost, 1))
    found = prepare(a, Wish(workflows=[(workflow, "", "")]))
    assert found.absent == {lost: "an input of step x"}
    with pytest.raises(NotFoundError, match=f"would lack {lost}"):
        complete(found.absent)
    merged = taken(b, bundle_of(a, Wish(workflows=[(workflow, "", "")])))
    assert merged.index.absent == (lost,) and b.store.has(workflow.cid)


def test_receipts_of_strangers_and_forgotten_ones_are_left_out_unless_all_are_wanted(
    a: Node, tmp_path: Path
) -> None:
    receipt = answered(a)
    data = bundle_of(a, Wish(sweep="all"))
    with open_node(tmp_path, "c") as stranger:
        merged = taken(stranger, data)
        (reason,) = merged.unwanted
        assert a.did in reason and not stranger.store.receipts.has(receipt.cid)
        assert taken(stranger, data, everything=True).receipts == 1
        assert stranger.store.receipts.get(receipt.cid) == receipt
    with open_node(tmp_path, "d", trusting=[a.did]) as friend:
        taken(friend, data)
        friend.store.receipts.forget(receipt.cid)
        assert taken(friend, data).unwanted == {"it was forgotten here": 1}
        assert not friend.store.receipts.has(receipt.cid)
        taken(friend, data, everything=True)
        assert friend.store.receipts.has(receipt.cid)
        assert not friend.store.tombstones.has(receipt.cid)


def test_a_peer_with_any_right_counts_as_known(a: Node, tmp_path: Path) -> None:
    from lite.peering.book import open_book

    answered(a)
    with open_node(tmp_path, "c") as c:
        open_book(c.store, c.did, c.clock).trust(a.did, ["blocks"], "a")
        assert taken(c, bundle_of(a, Wish(sweep="all"))).receipts == 1


def test_secrets_leave_only_when_asked_and_stay_secret_where_they_come(a: Node, b: Node) -> None:
    secret, plain = answered(a, 1), answered(a, 2)
    a.store.secrets.mark([secret.cid, secret.instruction])
    swept = prepare(a, Wish(sweep="all"))
    assert set(swept.index.receipts) == {plain.cid} and swept.withheld == 1
    data = bundle_of(a, Wish(sweep="all"))
    assert secret.instruction not in blocks_in(data) and str(secret.cid) not in repr(data)
    with pytest.raises(AuthorityError, match="would let out"):
        prepare(a, Wish(receipts=[secret.cid]))
    taken(b, bundle_of(a, Wish(sweep="all", with_secrets=True)))
    assert b.store.receipts.has(secret.cid) and b.store.secrets.is_secret(secret.cid)
    assert b.store.secrets.is_secret(secret.instruction)
    assert not b.store.secrets.is_secret(plain.cid)


def test_a_workflow_with_a_secret_step_is_refused_also_before_it_ever_ran(a: Node) -> None:
    from lite.model.task import Task

    step = Task(wasm(a.add(ADD), "add", 1, 2), meta={"secret": True})
    with pytest.raises(AuthorityError, match="is secret"):
        prepare(a, Wish(workflows=[(Workflow(x=step), "", "")]))


def test_a_secret_input_stays_and_counts_as_absent(a: Node) -> None:
    given = keep(a.store, bulk(1, 100))
    a.store.secrets.mark([given])
    workflow = Workflow(x=wasm(a.add(ADD), "add", given, 1))
    found = prepare(a, Wish(workflows=[(workflow, "", "")]))
    assert found.absent == {given: "an input of step x, which is secret"}
    assert given.raw not in found.blocks


def test_receipts_come_only_when_all_blocks_are_here_and_a_crash_costs_nothing_twice(
    a: Node, b: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    answered(a, out=Result.of_ok(7))
    data = bundle_of(a, Wish(sweep="all"))

    def crash(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("lite.bundle_merge.write_receipt", crash)
        with pytest.raises(KeyboardInterrupt):
            taken(b, data)
    assert b.store.receipts.count() == 0 and b.store.blocks.count() == 1
    merged = taken(b, data)
    assert (merged.blocks, merged.receipts) == (0, 1) and b.store.receipts.count() == 1
    assert not b.store.check(deep=True)


def test_what_the_disk_changed_is_mended(a: Node, b: Node) -> None:
    receipt = answered(a)
    data = bundle_of(a, Wish(sweep="all"))
    taken(b, data)
    for table, cid in (("receipts", receipt.cid), ("blocks", receipt.instruction)):
        with b.store.database.write() as transaction:
            change = f"UPDATE {table} SET data = zeroblob(length(data)) WHERE cid = ?"
            transaction.execute(change, (cid.raw,))
    assert b.store.check(deep=True)
    taken(b, data)
    assert b.store.receipts.get(receipt.cid) == receipt and not b.store.check(deep=True)


def test_over_the_quota_nothing_is_kept(a: Node, tmp_path: Path) -> None:
    given = a.add(os.urandom(3 << 20))
    workflow = Workflow(x=wasm(a.add(ADD), "add", given, 1))
    data = bundle_of(a, Wish(workflows=[(workflow, "", "")]))
    with open_node(tmp_path, "small", trusting=[a.did]) as small:
        small.close()
    with Store.open(tmp_path / "small", quota_bytes=1 << 20) as store:
        node = Node(small.config, small.key, store, small._workers, small.clock)
        before = contents(node)
        with pytest.raises(IpvmError, match="quota"):
            taken(node, data)
        assert contents(node) == before


def test_a_pipe_is_taken_as_a_file_is(a: Node, b: Node) -> None:
    answered(a)
    data = bundle_of(a, Wish(sweep="all"))

    class Pipe(io.BytesIO):
        def seekable(self) -> bool:
            return False

    from lite.bundle import import_

    assert import_(b, Pipe(data)).receipts == 1


def test_a_file_that_changes_between_the_two_looks_brings_nothing(
    a: Node, b: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lite.bundle_merge import Merge

    answered(a, 1)
    first = bundle_of(a, Wish(sweep="all"))
    answered(a, 2)
    file = io.BytesIO(first)
    merge = Merge(b, file)
    looked = merge.look()
    before = contents(b)
    file.seek(0)
    file.write(bundle_of(a, Wish(sweep="all")))
    with pytest.raises(IpvmError, match="changed while it was read"):
        merge.store(looked)
    assert contents(b) == before


# Tokens.


def rights(node: Node, **told: Any) -> bytes:
    told = {"delegations": True, "invocations": True, "given": (), "audience": "", **told}
    found = collect(node, **told)
    assert found is not None
    return found


def test_delegations_and_revocations_travel_and_count_where_they_come(a: Node, b: Node) -> None:
    kept = a.authority.delegate(b.did, "/wasm/run", expires_in_s=600).token
    gone = a.authority.delegate(b.did, "/crud", expires_in_s=600).token
    a.authority.revoke(gone.cid)
    merged = taken(b, bundle_of(a, Wish(tokens=rights(a))))
    notes = {cid: note for cid, kind, note in merged.tokens.kept if kind == "delegation"}
    assert notes[kept.cid].startswith("until") and notes[gone.cid].startswith("revoked by")
    find = {"subject": a.did, "audience": b.did}
    assert b.authority.find_chain(command="/wasm/run", **find)
    assert b.authority.find_chain(command="/crud", **find) is None


def test_an_expired_delegation_gives_nothing(a: Node, b: Node) -> None:
    a.authority.delegate(b.did, "/wasm/run", expires_in_s=600)
    data = bundle_of(a, Wish(tokens=rights(a)))
    b.clock.seconds += 10_000  # type: ignore[attr-defined]
    ((_, _, note),) = taken(b, data).tokens.kept
    assert note.startswith("expired at")
    find = {"subject": a.did, "audience": b.did, "command": "/wasm/run"}
    assert b.authority.find_chain(**find) is None


def test_only_the_tokens_for_one_node_go_with_the_chain_above_them(
    a: Node, b: Node, tmp_path: Path
) -> None:
    with open_node(tmp_path, "c") as c:
        root = give(a, b)
        leaf = b.authority.delegate(c.did, "/wasm/run", subject=a.did, expires_in_s=60).token
        b.authority.delegate(a.did, "/crud", expires_in_s=60)
        found = container.read(rights(b, audience=c.did))
        assert {CID.of(one, root.codec) for one in found} == {root, leaf.cid}


def test_an_invocation_waits_with_the_letters_of_a_peer_and_is_done_when_asked(
    a: Node, b: Node, tmp_path: Path
) -> None:
    from lite.peering.letters import asked

    job = add(b)
    give(b, a)
    letter = ask(a, b, job)
    data = bundle_of(a, Wish(tokens=rights(a, delegations=False, given=[letter])))
    merged = taken(b, data)
    (waits,) = asked(b.store)
    assert merged.tokens.waiting == [waits.invocation] and waits.peer == a.did
    assert len(asked(b.store)) == len(taken(b, data) and asked(b.store)) == 1
    assert b.run_invocation(waits.letter).out.unwrap() == 42
    assert "answered here" in taken(b, data).tokens.left_out[0][1]
    with open_node(tmp_path, "c", trusting=[a.did]) as other:
        assert "an invocation for" in taken(other, data).tokens.left_out[0][1]


def test_an_invocation_of_a_stranger_does_not_wait(a: Node, tmp_path: Path) -> None:
    from lite.peering.letters import asked

    with open_node(tmp_path, "c") as c:
        give(c, a)
        data = bundle_of(a, Wish(tokens=rights(a, given=[ask(a, c, add(c))])))
        merged = taken(c, data)
        assert "neither a peer nor trusted" in merged.tokens.left_out[0][1]
        assert merged.tokens.waiting == []
        assert c.store.database.row("SELECT 1 FROM peering_letter") is None or not asked(c.store)


def test_more_receipts_than_one_index_names_are_refused(
    a: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lite.bundle_index.ENTRIES_MAX", 3)
    answered(a, 1)
    answered(a, 2)
    with pytest.raises(LimitError, match="too much for one bundle"):
        prepare(a, Wish(sweep="all"))
