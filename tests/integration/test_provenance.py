"""From a last value down to the inputs: through values that stand inline, files, errors, effects,
queries, and receipts of others."""

from __future__ import annotations

import io
from collections.abc import Iterator

import pytest

from lite import Node, wasm
from lite.ipld.cid import CID
from lite.limits import PROVENANCE_DEPTH_MAX
from lite.model.instruction import Instruction
from lite.model.receipt import Receipt
from lite.model.result import Result
from lite.model.task import Task
from lite.model.workflow import Workflow
from lite.provenance import Provenance
from lite.store.run_gc import RunsKept
from lite.store.runs_rows import NewStep, StepChange
from tests.authority_support import Opener
from tests.guests import ADD
from tests.wat_guests import TYPED, wat

BIG = 5_000  # bytes, too many to stand in a receipt


def walk(found: Provenance) -> Iterator[Provenance]:
    yield found
    for child in found.children:
        yield from walk(child)


def roles(found: Provenance) -> list[str]:
    return [child.role for child in found.children]


def child(found: Provenance, role: str) -> Provenance:
    (one,) = (child for child in found.children if child.role == role)
    return one


def kept(node: Node, asked: Instruction, value: object, **told: object) -> Receipt:
    """A receipt that this node issued and keeps, of something that it never ran."""
    now = node.clock.now()
    receipt = Receipt.issue(node.key, asked, Result.of_ok(value), now=now, **told)  # type: ignore[arg-type]
    node.store.commit_run(asked, receipt, [])
    return receipt


@pytest.fixture
def code(laptop: Node) -> CID:
    return laptop.add(ADD)


def test_values_that_stand_inline_lead_to_the_steps_that_gave_them(laptop: Node, code: CID) -> None:
    one = wasm(code, "add", 1, 2)
    two = wasm(code, "add", one.ok, 40)
    last = wasm(code, "add", one.ok, two.ok)
    run = laptop.run(Workflow(one=Task(one), two=Task(two), last=Task(last)))
    receipts = {step.label: step.receipt for step in run.steps}
    found = laptop.why(receipts["last"].cid)
    assert (found.asked, found.cut) == (last, "")
    assert roles(found) == ["module", "await/ok", "await/ok"]
    assert [node.cid for node in found.children[1:]] == [receipts["one"].cid, receipts["two"].cid]
    through = found.children[2]
    assert through.asked == two
    assert (child(through, "await/ok").cid, child(through, "await/ok").cut) == (
        receipts["one"].cid,
        "shown",
    )
    bottom = found.children[1]
    assert (bottom.asked, bottom.cut, roles(bottom)) == (one, "", ["module"])


def test_it_needs_no_run_when_the_answer_is_known_under_both_names(laptop: Node, code: CID) -> None:
    one = wasm(code, "add", 1, 2)
    both = wasm(code, "add", one.ok, 0)
    first, second = laptop.run(one).receipt, laptop.run(both).receipt
    found = laptop.why(second.cid)
    assert found.asked == both
    assert child(found, "await/ok").cid == first.cid
    assert laptop.store.runs.list() == []


def test_a_linked_value_is_shown_through_the_step_that_gave_it(laptop: Node) -> None:
    typed = laptop.add(wat(TYPED))
    big = laptop.add(bytes(BIG))
    made = wasm(typed, "echo", big)
    length = wasm(typed, "length", made.ok)
    laptop.run(made)
    found = laptop.why(laptop.run(length).receipt.cid)
    assert roles(found) == ["module", "await/ok"]
    source = child(found, "await/ok")
    assert source.receipt is not None
    assert source.receipt.linked == "file"
    assert child(source, "input 0").cid == big


def test_of_several_receipts_of_a_step_the_one_that_gave_the_value_is_shown(laptop: Node) -> None:
    """A query answers differently each time."""
    ask = Instruction("https://example.com/temperature", "http/get", {})
    cold, warm = (kept(laptop, ask, value) for value in (4, 20))
    double = wasm(laptop.add(ADD), "add", ask.ok, 0)
    for earlier in (cold, warm):
        filled = wasm(double.rsc, "add", earlier.out.body, 0)
        answer = laptop.run(filled).receipt
        laptop.store.instructions.add(double)
        laptop.store.receipts.add(answer, also_under=[double.cid])
        assert child(laptop.why(answer.cid), "await/ok").cid == earlier.cid
    unknown = laptop.run(wasm(double.rsc, "add", 7, 0)).receipt
    laptop.store.receipts.add(unknown, also_under=[double.cid])
    lost = child(laptop.why(unknown.cid), "await/ok")
    assert (lost.kind, lost.receipt, lost.cid) == ("await", None, ask.cid)


def test_a_step_that_only_a_run_knows_is_followed_in_that_run(laptop: Node) -> None:
    ask = Instruction("https://example.com/temperature", "http/get", {})
    double = wasm(laptop.add(ADD), "add", ask.ok, ask.ok)
    found: list[Provenance] = []
    for value in (4, 4):
        asked = kept(laptop, ask, value)
        answer = laptop.run(wasm(double.rsc, "add", value, value), fresh=True).receipt
        row = laptop.store.runs.start(Workflow(ask=Task(ask), double=Task(double)))
        steps = [
            (position, StepChange("done", receipt=receipt.cid, source="ran"))
            for position, receipt in enumerate((asked, answer))
        ]
        laptop.store.runs.set_steps(row.id, steps, durable=True)
        found.append(laptop.why(answer.cid))
        assert [node.cid for node in walk(found[-1])] == [answer.cid, double.module, asked.cid]
    assert found[0].children[1].cid != found[1].children[1].cid, "the same value in two runs"


def test_a_branch_mismatch_leads_to_its_cause(laptop: Node, code: CID) -> None:
    failing = wasm(code, "no-such-function")
    next_one = wasm(code, "add", failing.ok, 1)
    run = laptop.run(Workflow(failing=Task(failing), after=Task(next_one)))
    receipts = {step.label: step.receipt for step in run.steps}
    found = laptop.why(receipts["after"].cid)
    assert found.asked == next_one
    assert child(found, "await/ok").cid == receipts["failing"].cid


def test_what_gc_took_of_a_run_is_read_in_its_workflow(laptop: Node, code: CID) -> None:
    one = wasm(code, "add", 1, 2)
    two = wasm(code, "add", one.ok, 40)
    run = laptop.run(Workflow(one=Task(one), two=Task(two)))
    last = run.steps[1].receipt.cid
    laptop.store.gc(grace_s=0)
    assert laptop.store.instructions.get(two.cid) is None
    found = laptop.why(last)
    assert (found.asked, child(found, "await/ok").cid) == (two, run.steps[0].receipt.cid)
    laptop.store.gc(grace_s=0, runs=RunsKept(count=0))
    found = laptop.why(last)
    assert (found.asked, found.lost, roles(found)) == (None, True, ["module"])


def test_code_that_a_step_made_is_shown_with_that_step(laptop: Node) -> None:
    typed = laptop.add(wat(TYPED))
    make = wasm(typed, "echo", ADD)
    use = Instruction(make.ok, "wasm/run", {"func": "add", "args": [1, 2]})
    made = laptop.run(make).receipt
    answer = laptop.run(use)
    assert answer.out.unwrap() == 3
    assert child(laptop.why(answer.receipt.cid), "await/ok").cid == made.cid


def test_a_receipt_from_elsewhere_shows_what_can_be_known(opened: Opener, laptop: Node) -> None:
    phone = opened("phone")
    code = phone.add(ADD)
    one = wasm(code, "add", 1, 2)
    answer = phone.run(one)
    last = phone.run(wasm(code, "add", one.ok, 40)).receipt
    archive = io.BytesIO()
    phone.export([answer.receipt.cid, last.cid], archive)
    archive.seek(0)
    laptop.import_(archive)
    found = laptop.why(last.cid)
    assert (found.asked, roles(found)) == (None, ["module"])
    assert found.instruction is not None
    assert not found.children[0].here
    # Once it is known here what was asked, it is followed.
    laptop.store.instructions.add(wasm(code, "add", one.ok, 40))
    laptop.store.receipts.add(last, also_under=[wasm(code, "add", one.ok, 40).cid])
    assert child(laptop.why(last.cid), "await/ok").cid == answer.receipt.cid


def test_a_receipt_whose_instruction_is_gone_has_nothing_below_it(laptop: Node, code: CID) -> None:
    answer = laptop.run(wasm(code, "add", 1, 2)).receipt
    with laptop.store._database.write() as transaction:
        transaction.execute("DELETE FROM blocks WHERE cid = ?", (answer.instruction.raw,))
    found = laptop.why(answer.cid)
    assert (found.instruction, found.asked, found.children) == (None, None, ())


def test_a_long_chain_is_cut_with_a_line_and_a_wide_one_keeps_the_nearest(
    laptop: Node, code: CID
) -> None:
    chain = [wasm(code, "add", 0, 0)]
    kept(laptop, chain[0], 0)
    for number in range(1, PROVENANCE_DEPTH_MAX + 2):
        # Each also awaits the first, which is so one step from the last.
        asked = wasm(code, "add", chain[-1].ok, chain[0].ok, number)
        filled = wasm(code, "add", 0, 0, number)
        receipt = kept(laptop, filled, 0)
        laptop.store.instructions.add(asked)
        laptop.store.receipts.add(receipt, also_under=[asked.cid])
        chain.append(asked)
    found = list(walk(laptop.why(chain[-1].cid)))
    assert [node.cut for node in found].count("deep") == 1
    first = laptop.receipt(chain[0].cid).cid
    assert [node.cut for node in found if node.cid == first].count("") == 1
    nearest = laptop.why(chain[-1].cid).children[2]
    assert (nearest.cid, nearest.cut, roles(nearest)) == (first, "", ["module"])
    cut = next(node for node in found if node.cut == "deep")
    assert laptop.why(cut.cid).cut == ""


def test_who_asked_for_a_step_stands_above_it_once(laptop: Node, code: CID) -> None:
    asked = wasm(code, "add", 20, 22)
    asking = kept(laptop, wasm(code, "add", 1, 2), 3, join=asked.cid)
    done = laptop.run(asked).receipt
    runs = laptop.store.runs
    row = runs.start(Workflow(ask=Task(wasm(code, "add", 1, 2))))
    runs.add_steps(row.id, [NewStep("ask/join", asked, "pure", asking.cid, 1, {})])
    changes = [(0, asking.cid), (1, done.cid)]
    steps = [(at, StepChange("done", receipt=cid, source="ran")) for at, cid in changes]
    runs.set_steps(row.id, steps, durable=True)
    found = laptop.why(done.cid)
    assert child(found, "asked for by").cid == asking.cid
    assert [node.cid for node in walk(found)].count(done.cid) == 1
