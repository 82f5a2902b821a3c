"""Results that no receipt can hold end in an error receipt of their step, and in nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from lite import Workflow
from lite.engine.base import Outcome
from lite.errors import QueuedError
from lite.ipld import dag_cbor
from lite.ipld.cid import CID, RAW
from lite.limits import Limits
from lite.ops.base import Ready
from tests.scheduler_support import Lab, do, run

DEEPEST = 251  # lists in a value; a receipt puts five maps and lists around it


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


class Odd:
    """No IPLD."""


VALUES: dict[str, Any] = {
    **{f"{levels} deep": nested(levels) for levels in (252, 253, 254, 255, 256, 257, 5_000)},
    "NaN": float("nan"),
    "large integer": 2**64,
    "odd key": {"a": {1: 2}},
    "object": Odd(),
    "set": {"a": {1, 2}},
    "surrogate": "\ud800",
    "large": {"a": "x" * 5_000_000},
}


@pytest.mark.parametrize("name", VALUES)
@pytest.mark.parametrize("level", ["pure", "post"])
def test_a_value_that_cannot_be_said(lab: Lab, level: str, name: str) -> None:
    code = "output-limit" if "deep" in name or name == "large" else "bad-result"
    lab.work["odd"] = lambda _: VALUES[name]
    odd, other = do(level, "odd"), do("pure", value=2)
    ended = run(lab, Workflow(odd=odd, other=other))
    assert (ended.state, ended["odd"].out.error_code) == ("failed", code)
    assert ended.step("odd").reason.startswith(f"{code}: the result: ")
    assert ended["other"].out.unwrap() == 2
    assert not lab.executor.run(do("query", "odd"), Limits()).receipt.out.is_ok


def test_the_deepest_value_that_a_receipt_holds(lab: Lab) -> None:
    lab.work["odd"] = lambda _: nested(DEEPEST)
    ended = run(lab, Workflow(odd=do("pure", "odd")))
    assert ended["odd"].out.unwrap() == nested(DEEPEST)


@pytest.mark.parametrize(
    "error",
    [
        {"code": "mine", "message": "m", "value": nested(300)},
        {"code": "mine", "message": "m", "value": Odd()},
        {"code": "mine", "message": "m" * 5_000_000},
        {"code": "mine", "message": "\ud800"},
    ],
    ids=("deep", "odd", "long", "surrogate"),
)
def test_an_error_that_cannot_be_said_keeps_its_code(lab: Lab, error: dict[str, Any]) -> None:
    lab.work["odd"] = lambda _: Outcome(error=error)
    ended = run(lab, Workflow(odd=do("post", "odd")))
    assert (ended.state, ended["odd"].receipt.error_code) == ("failed", "mine")


EFFECTS: list[Any] = [
    *(([1], None), ("x", None), ([], 3), ([nested(300)], None), (None,), 3, (), ([], None, 1)),
    ([{"rsc": "a:b", "op": "a/b", "input": {"x": nested(300)}}], None),
    ([{"rsc": "a:b", "op": "a/b", "input": {"x": float("nan")}}], None),
    ([{"rsc": CID.of(b"", RAW), "op": {}}], None),
]


@pytest.mark.parametrize("number", range(len(EFFECTS)))
def test_effects_that_cannot_be_read(lab: Lab, number: int) -> None:
    lab.work["odd"] = lambda _: Outcome(ok=1, fx=EFFECTS[number])
    ended = run(lab, Workflow(odd=do("pure", "odd"), other=do("pure", value=2)))
    assert ended["odd"].out.error_code == "bad-effects"
    assert ended["other"].out.unwrap() == 2


def test_what_an_operation_says_of_itself_is_dropped_when_it_cannot_be_said(lab: Lab) -> None:
    lab.work["odd"] = lambda _: Outcome(ok=1, engine="e" * 20_000)
    ended = run(lab, Workflow(odd=do("pure", "odd")))
    assert ended["odd"].out.error_code == "output-limit"


def test_a_value_too_deep_for_where_it_is_awaited_fails_the_awaiting_step_alone(lab: Lab) -> None:
    lab.work["odd"] = lambda _: nested(DEEPEST)
    odd = do("pure", "odd")
    behind = do("pure", "give", value=[[[[[[odd.ok]]]]]])
    ended = run(lab, Workflow(odd=odd, behind=behind, other=do("pure", value=2)))
    assert ended["behind"].out.error_code == "bad-argument"
    assert ended["other"].out.unwrap() == 2
    dag_cbor.decode(ended["behind"].receipt.data)


def test_words_that_have_no_utf8_form_stop_no_run(lab: Lab) -> None:
    def odd(_: Ready) -> Any:
        raise QueuedError("no \udcff here")

    lab.work["odd"] = odd
    ended = run(lab, Workflow(odd=do("post", "odd")))
    assert ended.counts == {"queued": 1}
    (row,) = lab.store.runs.steps(ended.id)
    assert row.reason == "no \\udcff here"
