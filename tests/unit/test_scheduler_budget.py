"""How much results may ask for: the same for those that are known as for those that are new."""

from __future__ import annotations

from collections import Counter

import pytest

from lite import Workflow
from lite.engine.base import Outcome
from lite.limits import EFFECTS_DEPTH_MAX, EFFECTS_MAX, EFFECTS_PER_RESULT_MAX
from lite.model.instruction import Instruction
from lite.ops.base import Ready
from lite.workflow_run import Run
from tests.scheduler_support import Lab, do, run

EACH = 180
MANY = EFFECTS_MAX // EACH  # of these fit


def deeper(ready: Ready) -> Outcome:
    more = do("pure", "deeper", value=ready.instruction.input["value"] - 1)
    return Outcome(ok=1, fx=([more.value()] if ready.instruction.input["value"] else [], None))


def many(ready: Ready) -> Outcome:
    asking = ready.instruction.input["value"]
    return Outcome(ok=1, fx=([do("pure", value=[asking, n]).value() for n in range(EACH)], None))


def chain(length: int) -> Instruction:
    """One that asks for one that asks for one…, so many below it."""
    return do("pure", "deeper", value=length)


def codes(ended: Run) -> Counter[str]:
    """How steps ended, known ones as those that were computed."""
    found = (step.receipt for step in ended.steps)
    return Counter("none" if one is None else one.error_code or "ok" for one in found)


def forecast(lab: Lab, workflow: Workflow) -> Counter[str]:
    outlook = lab.runs.outlook
    return Counter(one.state for one in outlook.forecast(workflow, outlook.graph(workflow)))


def test_effects_of_known_results_go_no_deeper(lab: Lab) -> None:
    lab.work["deeper"] = deeper
    fits, beyond = Workflow(a=chain(EFFECTS_DEPTH_MAX)), Workflow(a=chain(EFFECTS_DEPTH_MAX + 1))
    assert run(lab, fits).counts == {"done": EFFECTS_DEPTH_MAX + 1}
    assert forecast(lab, beyond) == {"run": 1}
    ended = run(lab, beyond)  # all but its first step are known
    assert codes(ended) == {"ok": EFFECTS_DEPTH_MAX, "bad-effects": 1}
    assert ended.state == "failed"
    assert forecast(lab, beyond)["failed"] == 1


@pytest.mark.parametrize("known", [0, 1, MANY + 1])
def test_effects_of_known_results_are_no_more(lab: Lab, known: int) -> None:
    lab.work["many"] = many
    asking = {f"s{n}": do("pure", "many", value=n) for n in range(MANY + 1)}
    for n in range(known):
        assert run(lab, Workflow.of(Workflow(**{f"s{n}": asking[f"s{n}"]}).steps)).state == "done"
    ended = run(lab, Workflow(**asking))
    assert (ended.state, codes(ended)["bad-effects"]) == ("failed", 1)
    assert len(ended.steps) == (MANY + 1) + MANY * EACH
    said = [step.reason for step in ended.steps if step.state == "failed"]
    assert said == [f"bad-effects: effects would add more than {EFFECTS_MAX} steps to one run"]
    again = run(lab, Workflow(**asking))  # what it has already is not counted twice
    assert (again.id, again.state, codes(again)) == (ended.id, "failed", codes(ended))


def test_the_forecast_of_known_results_stops_where_the_run_does(lab: Lab) -> None:
    lab.work["many"] = many
    asking = {f"s{n}": do("pure", "many", value=n) for n in range(MANY + 1)}
    for label, one in asking.items():
        run(lab, Workflow(**{label: one}))
    found = forecast(lab, Workflow(**asking))
    assert found == {"cached": MANY + MANY * EACH, "failed": 1}


def test_one_result_asks_for_as_much_as_fits_into_its_receipt(lab: Lab) -> None:
    def ask(ready: Ready) -> Outcome:
        forks = [do("pure", value=n).value() for n in range(ready.instruction.input["value"])]
        large = {"a": "x" * 4_000}  # stays in the receipt too
        return Outcome(ok=large, fx=(forks, do("pure", value="joined").value()), trace=b"t" * 1_024)

    lab.work["ask"] = ask
    most, more = (do("pure", "ask", value=EFFECTS_PER_RESULT_MAX + n) for n in (0, 1))
    assert run(lab, Workflow(a=most)).counts == {"done": EFFECTS_PER_RESULT_MAX + 2}
    ended = run(lab, Workflow(a=more, b=do("pure", value="other")))
    assert ended.counts == {"failed": 1, "done": 1}
    assert ended["a"].out.error_code == "bad-effects"
    assert str(EFFECTS_PER_RESULT_MAX) in ended.step("a").reason


def test_what_a_run_has_already_is_not_counted_again_when_its_cause_is(lab: Lab) -> None:
    lab.work["many"] = many
    asking = Workflow(**{f"s{n}": do("pure", "many", value=n) for n in range(MANY)})
    first = run(lab, asking)
    assert first.counts == {"done": MANY + MANY * EACH}
    assert lab.store.receipts.forget(first["s0"].receipt.cid)
    again = run(lab, asking, resume=first.id)
    assert (again.id, again.counts) == (first.id, first.counts)
