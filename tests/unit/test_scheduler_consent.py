"""Which mutations that a result asks for wait for consent: a second act of the run, and no other;
as the forecast says."""

from __future__ import annotations

import pytest

from lite import Workflow
from lite.engine.base import Outcome
from lite.limits import Limits
from lite.model.instruction import Instruction
from tests.scheduler_support import Lab, do

OTHER = do("post", value=2, nnc="other")
ORDER = do("post", value=1, nnc="order")
FRESH = do("post", value=3, nnc="fresh")
PUT = do("put", value=4)
PLAIN = do("pure", value=5)
FILLED = do("post", value=PLAIN.ok, nnc="filled")  # an act that is known by its values alone
HELD = ("queued", "a result asked for it, and a second mutation needs --force")


def asking(lab: Lab, *forks: Instruction) -> Instruction:
    lab.work["ask"] = lambda _: Outcome(ok=1, fx=([one.value() for one in forks], None))
    ask = do("pure", "ask")
    lab.executor.run(ask, Limits())
    return ask


def labels(*forks: Instruction) -> dict[str, Instruction]:
    """Forks by label: they come in the order of their CIDs as text."""
    ordered = sorted(forks, key=lambda one: str(one.cid))
    return {f"ask/{number}": one for number, one in enumerate(ordered, 1)}


def told(lab: Lab, workflow: Workflow) -> dict[str, tuple[str, str]]:
    """What would become of each step: the state after a run, and why."""
    look = lab.runs.outlook
    found: dict[str, tuple[str, str]] = {}
    for one in look.forecast(workflow, look.graph(workflow)):
        ran = "cached" if one.reason.startswith("the same as") else "done"
        found[one.label] = (ran if one.state == "run" else one.state, one.reason)
    return found


@pytest.mark.parametrize("also_done", [False, True])
@pytest.mark.parametrize(
    ("forks", "beside", "held"),
    [
        ([ORDER], [OTHER], []),  # it was done: the run acts once
        ([FRESH], [OTHER], [FRESH]),
        ([PUT], [OTHER], [PUT]),
        ([FILLED, PLAIN], [OTHER], []),
        ([ORDER, FILLED, PLAIN], [OTHER], []),
        ([OTHER], [OTHER], []),  # it repeats the step: one act
    ],
)
def test_what_was_done_elsewhere_is_no_second_act(
    lab: Lab,
    forks: list[Instruction],
    beside: list[Instruction],
    held: list[Instruction],
    also_done: bool,
) -> None:
    """`also_done`: so was the act of the workflow itself: a new one is the first of the run."""
    done = [ORDER, do("post", value=5, nnc="filled"), *(beside if also_done else [])]
    for number, act in enumerate(done):
        assert lab.runs.begin(Workflow(**{f"before{number}": act})).go().state == "done"
    lab.executor.run(PLAIN, Limits())
    ran = lab.ran["give"]
    workflow = Workflow(ask=asking(lab, *forks), act=beside[0])
    forecast = told(lab, workflow)
    ended = lab.runs.begin(workflow).go()
    found = {view.label: view.state for view in ended.steps}
    assert found == {label: state for label, (state, _) in forecast.items()}
    held = [] if also_done else held
    for label, fork in labels(*forks).items():
        view = ended.step(label)
        assert ((view.state, view.reason) == HELD) is (fork in held), view
        assert (forecast[label] == HELD) is (fork in held)
    assert ended.state == ("queued" if held else "done")
    acted = [one for one in (*forks, *beside) if one in (OTHER, FRESH, PUT) and one not in held]
    assert lab.ran["give"] - ran == len({*acted} - {*done})


def test_an_act_that_is_known_once_its_values_are_filled_in_is_not_held(lab: Lab) -> None:
    lab.runs.begin(Workflow(before=do("post", value=5, nnc="filled"))).go()
    workflow = Workflow(ask=asking(lab, FILLED, PLAIN), act=OTHER)
    (label,) = (name for name, one in labels(FILLED, PLAIN).items() if one == FILLED)
    assert told(lab, workflow)[label] == HELD  # nobody knows the value before it was computed
    ended = lab.runs.begin(workflow).go()
    assert (ended.state, ended.step(label).state) == ("done", "cached")


def test_of_two_acts_that_a_result_asks_for_the_second_waits_unless_the_first_was_done(
    lab: Lab,
) -> None:
    first, second = labels(ORDER, FRESH).values()
    workflow = Workflow(ask=asking(lab, ORDER, FRESH))
    forecast = told(lab, workflow)
    assert [state for state, _ in forecast.values()] == ["cached", "done", "queued"]
    ended = lab.runs.begin(workflow).go()
    assert [view.state for view in ended.steps] == ["cached", "done", "queued"]
    assert (ended.step("ask/2").state, ended.step("ask/2").reason) == HELD
    assert lab.runs.begin(workflow).go().step("ask/2").state == "queued"  # nobody consented since
    lab.runs.begin(Workflow(elsewhere=second)).go()
    again = lab.runs.begin(workflow).go()
    assert (again.state, again.step("ask/2").state) == ("done", "cached")
    assert lab.ran["give"] == 2
    lab.runs.begin(Workflow(elsewhere=first)).go()
    anew = lab.runs.begin(workflow, new=True).go()
    assert anew.counts == {"cached": 3}


def test_consent_lets_all_of_them_act(lab: Lab) -> None:
    workflow = Workflow(ask=asking(lab, ORDER, FRESH), act=OTHER)
    assert lab.runs.begin(workflow).go().counts == {"cached": 1, "done": 1, "queued": 2}
    assert lab.runs.begin(workflow, force=True).go().counts == {"cached": 1, "done": 3}
    assert lab.ran["give"] == 3
