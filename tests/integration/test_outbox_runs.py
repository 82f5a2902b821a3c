"""Steps that do not run here wait in the outbox, and go on when another node has answered."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lite.ipld.cid import CID, RAW
from lite.keys import Key
from lite.model.instruction import Instruction
from lite.model.receipt import Receipt
from lite.model.result import Result
from lite.model.workflow import Workflow
from lite.store.database import Transaction
from lite.store.outbox_rows import Item
from tests.outbox_support import OTHER_KEY, TTL_S, Far, answer_of, needing, settle
from tests.scheduler_support import do
from tests.store_support import START, FakeClock

HELD = CID.of(b"not here", RAW)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def lab(tmp_path: Path, clock: FakeClock) -> Iterator[Far]:
    made = Far(tmp_path / "home", clock)
    yield made
    made.close()


def items(lab: Far) -> list[Item]:
    return list(reversed(lab.store.outbox.newest()))


def test_what_does_not_fit_is_queued_with_the_reason_and_the_rest_runs(lab: Far) -> None:
    heavy = do("pure", value=1)
    run = lab.run(Workflow(heavy=needing(heavy), light=do("pure", value=2)))
    assert (run.state, run.step("light").state) == ("queued", "done")
    assert run.step("heavy").reason == "needs a GPU; this node has none"
    (item,) = items(lab)
    assert (item.run, item.label, item.asked, item.instruction) == (
        *(run.id, "heavy"),
        *(heavy.cid, heavy.cid),
    )
    assert (item.state, item.code, item.level) == ("queued", "gpu", "pure")
    assert (item.reason, item.deadline_at) == (run.step("heavy").reason, START + TTL_S)
    assert (lab.ran["give"], lab.measured) == (1, 1)


def test_what_declares_nothing_or_is_known_measures_nothing(lab: Far) -> None:
    workflow = Workflow(one=do("pure", value=1), two=do("pure", value=2))
    assert lab.run(workflow).state == "done"
    known = needing(do("pure", value=1))
    filled = do("pure", value=do("pure", value=2).ok)  # known under the name with the value alone
    two = do("pure", value=2)
    assert lab.run(Workflow(known=known, two=two, again=needing(filled))).state == "done"
    assert lab.measured == 0


@pytest.mark.parametrize(
    "step, code",
    [
        (Instruction("lab:it", "cuda/matmul", {}), "op"),
        (do("pure", value=HELD), "input"),
        (needing(do("pure"), limits={"fuel": 2_000}), "over-fuel"),
    ],
)
def test_what_is_lacking_here_is_named(tmp_path: Path, step: Any, code: str) -> None:
    lab = Far(tmp_path / "home", FakeClock(), fuel_cap=1_000 if code == "over-fuel" else None)
    if code == "over-fuel":
        from lite.frozen import replace

        lab.has = replace(lab.has, limits=replace(lab.has.limits, fuel=1_000))
    run = lab.run(Workflow(step=step))
    assert (run.state, [item.code for item in items(lab)]) == ("queued", [code])
    lab.close()


def test_a_secret_leaves_only_for_the_holder_of_a_key(lab: Far) -> None:
    run = lab.run(Workflow(heavy=needing(do("pure", value=1))), private=True)
    assert run.step("heavy").reason.endswith("it is secret, so no other node is asked")
    assert items(lab) == []
    only = needing(do("pure", value=2), requires={"gpu": True, "key": OTHER_KEY.did})
    lab.run(Workflow(only=only), private=True)
    assert [(item.label, item.secret) for item in items(lab)] == [("only", True)]


def test_an_answer_lets_the_run_go_on_with_the_same_row(lab: Far) -> None:
    heavy = do("pure", value=1)
    workflow = Workflow(heavy=needing(heavy), after=do("pure", "sum", of=[heavy.ok, 1]))
    first = lab.run(workflow)
    (item,) = items(lab)
    assert lab.run(workflow).id == first.id
    assert items(lab) == [item]
    answer = answer_of(heavy, 41)
    settle(lab, item, answer)
    run = lab.run(workflow)
    assert (run.id, run.state, run["after"].out.body) == (first.id, "done", 42)
    assert run.step("heavy").receipt == answer
    assert (run.step("heavy").rule, run.step("heavy").source) == (
        *(f"asked of {OTHER_KEY.did}", "ran"),
    )
    assert lab.store.outbox.untaken(run.id) == []
    again = lab.run(workflow)
    assert (again.id != run.id, again.step("heavy").state) == (True, "cached")
    assert lab.store.check(deep=True) == []


def test_an_answer_of_a_peer_that_nobody_asked_answers_nothing(lab: Far) -> None:
    heavy = do("pure", value=1)
    lab.store.receipts.add(answer_of(heavy, 41))
    assert lab.run(Workflow(heavy=needing(heavy))).state == "queued"


def test_a_run_that_waits_sees_the_answer(tmp_path: Path) -> None:
    lab = Far(tmp_path / "home")
    heavy = do("pure", value=1)
    run = lab.runs.begin(Workflow(heavy=needing(heavy)), wait=True)
    queued = threading.Event()

    def answer() -> None:
        while not lab.store.outbox.newest():
            queued.wait(0.01)
        settle(lab, lab.store.outbox.newest()[0], answer_of(heavy, 5))

    thread = threading.Thread(target=answer)
    thread.start()
    assert run.go().state == "done"
    thread.join()
    assert (run["heavy"].out.body, lab.ran) == (5, {})
    lab.close()


def test_a_failure_there_fails_the_step_and_is_tried_anew_when_a_person_runs_it(lab: Far) -> None:
    heavy = do("pure", value=1)
    workflow = Workflow(heavy=needing(heavy))
    lab.run(workflow)
    error = {"code": "trap", "message": "it fell"}
    receipt = Receipt.issue(OTHER_KEY, heavy, Result.of_error(error), now=START)
    settle(lab, items(lab)[0], receipt)
    run = lab.run(workflow)
    assert (run.state, run.step("heavy").reason) == ("failed", "trap: it fell")
    assert lab.run(workflow).state == "queued"
    assert [item.state for item in items(lab)] == ["queued"]


def test_what_nobody_knows_of_is_in_doubt_until_a_person_says_redo(lab: Far) -> None:
    workflow = Workflow(act=needing(do("post", value=1)))
    lab.run(workflow)
    (item,) = items(lab)

    def doubt(transaction: Transaction) -> None:
        lab.store.outbox.end(transaction, item, "failed", note="its answer was lost")

    lab.store._commits.run(doubt)
    run = lab.run(workflow)
    assert (run.state, run.step("act").reason) == ("in-doubt", "its answer was lost")
    assert lab.run(workflow).state == "in-doubt"
    assert lab.run(workflow, redo=["act"]).state == "queued"
    assert [item.state for item in items(lab)] == ["queued"]


def test_a_mutation_that_another_node_has_is_in_doubt_when_its_run_is_cancelled(lab: Far) -> None:
    """It may have happened there already: only a person can say that it is to be done again."""
    workflow = Workflow(act=needing(do("post", value=1)), look=needing(do("pure", value=1)))
    run = lab.run(workflow)
    lab.store.database.connection.execute("UPDATE outbox SET state = 'accepted'")
    assert lab.runs.end_unattended(run.id) == "in-doubt"
    states = {row.label: row.state for row in lab.store.runs.steps(run.id)}
    assert states == {"act": "in-doubt", "look": "cancelled"}
    assert lab.run(workflow).state == "in-doubt"
    (act,) = (row for row in lab.store.runs.steps(run.id) if row.label == "act")
    assert (act.state, "another node had it" in act.reason) == ("in-doubt", True)


def test_what_its_owner_took_out_stays_out(lab: Far) -> None:
    workflow = Workflow(heavy=needing(do("pure", value=1)))
    lab.run(workflow)
    (item,) = items(lab)
    assert lab.store.outbox.cancel(item.id, note="by hand", held=True)
    lab.run(workflow)
    assert [(one.id, one.state) for one in items(lab)] == [(item.id, "cancelled")]
    assert lab.store.outbox.retry(item.id, deadline_at=START + 5)
    assert items(lab)[0].state == "queued"


def test_a_step_that_ran_here_after_all_leaves_the_outbox(lab: Far) -> None:
    from lite.frozen import replace
    from lite.needs.capabilities import Gpu

    workflow = Workflow(heavy=needing(do("pure", value=1)))
    lab.run(workflow)
    lab.has = replace(lab.has, gpus=(Gpu("nvidia", "H200", 1 << 37),))
    assert lab.run(workflow).state == "done"
    assert [(item.state, item.note) for item in items(lab)] == [
        ("cancelled", "it was answered here")
    ]
    assert not lab.store.outbox.survey().is_waiting


def test_a_row_and_its_step_are_written_together_or_not_at_all(
    lab: Far, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lite.store.outbox import Outbox

    def broken(*_: object) -> None:
        raise KeyError

    workflow = Workflow(heavy=needing(do("pure", value=1)))
    with monkeypatch.context() as patch:
        patch.setattr(Outbox, "put", broken)
        with pytest.raises(KeyError):
            lab.run(workflow)
    (row,) = lab.store.runs.steps(lab.store.runs.list()[0].id)
    assert (row.state, items(lab)) == ("waiting", [])


def test_a_run_that_wants_an_answer_confirmed_takes_no_single_word_of_another(lab: Far) -> None:
    heavy = do("pure", value=1)
    plain, sure = Workflow(plain=needing(heavy)), Workflow(sure=needing(heavy))
    lab.run(plain)
    settle(lab, items(lab)[0], answer_of(heavy, 1))
    assert lab.run(plain).state == "done"
    run = lab.run(sure, confirm=2)
    assert (run.state, run.step("sure").state) == ("queued", "queued")
    second = answer_of(heavy, 1, Key.from_seed(bytes([10]) * 32))
    settle(lab, items(lab)[1], second)
    assert lab.run(sure, new=True, confirm=2)["sure"].receipt.issuer in (
        OTHER_KEY.did,
        second.issuer,
    )
    assert lab.run(sure, new=True, confirm=2).step("sure").state == "cached"
    assert lab.run(sure, new=True, confirm=3).step("sure").state == "queued"
    assert lab.ran["give"] == 0


def confirmed_by(lab: Far, run: Any) -> dict[str, Any]:
    kept = lab.store.runs.get(run.id).options
    return {key: kept[key] for key in ("confirm", "referee") if key in kept}


def test_how_many_have_to_agree_stays_with_a_run_that_goes_on(lab: Far) -> None:
    heavy = do("pure", value=1)
    plain, sure = Workflow(plain=needing(heavy)), Workflow(sure=needing(heavy))
    lab.run(plain)
    settle(lab, items(lab)[0], answer_of(heavy, 1))
    begun = lab.run(sure, confirm=2, referee=OTHER_KEY.did)
    lab.store.outbox.cancel(items(lab)[1].id, note="", held=False)  # so what is known may answer
    again = lab.run(sure)
    assert (again.id, again.step("sure").state) == (begun.id, "queued")
    assert confirmed_by(lab, again) == {"confirm": 2, "referee": OTHER_KEY.did}
    third = lab.run(sure, confirm=3)
    assert confirmed_by(lab, third) == {"confirm": 3, "referee": OTHER_KEY.did}
    one = lab.run(sure, confirm=1)
    assert (one.id, one.step("sure").state) == (begun.id, "cached")
    assert confirmed_by(lab, one) == {"referee": OTHER_KEY.did}
