"""Which operations there are, and that one that is broken breaks no other."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lite.engine.pool import Workers
from lite.errors import QueuedError
from lite.model.instruction import Instruction
from lite.ops.base import InDoubt, Op
from lite.ops.registry import BUILT_IN, Ops
from tests.ops_support import config, ready

Install = Callable[..., None]

GOOD = """
from lite.ops.base import Outcome
class Op:
    name, level, needs = "{name}", "{level}", frozenset()
    def __init__(self, config):
        {init}
    def missing(self, ready):
        return None
    def run(self, ready):
        {run}
"""


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Put a distribution with one operation on the path, as an installer would."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def make(
        dist: str,
        op: str,
        *,
        name: str | None = None,
        level: str = "pure",
        init: str = "pass",
        run: str = "return Outcome(ok=1)",
        text: str | None = None,
    ) -> None:
        module = dist.replace("-", "_")
        info = tmp_path / f"{module}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {dist}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[ipvm.ops]\n{op} = {module}:Op\n")
        source = GOOD.format(name=name or op, level=level, init=init, run=run)
        (tmp_path / f"{module}.py").write_text(source if text is None else text)
        monkeypatch.delitem(sys.modules, module, raising=False)

    return make


@pytest.fixture
def ops(tmp_path: Path) -> Callable[..., Ops]:
    def make(**settings: str) -> Ops:
        return Ops(config(tmp_path, **settings), Workers(cache_dir=None, in_process=True))

    return make


def run(op: Op) -> Any:
    asked = ready("data:,x", op.name)
    assert op.missing(asked) is None
    return op.run(asked)


def waits(op: Op) -> QueuedError:
    asked = ready("data:,x", op.name)
    for method in (op.missing, op.run):
        with pytest.raises(QueuedError) as caught:
            method(asked)
    return caught.value


def test_every_built_in_operation_says_its_name_its_level_and_its_needs(
    ops: Callable[..., Ops],
) -> None:
    made = ops()
    assert {*BUILT_IN, "wasm/run"} <= set(made)
    for name in [*BUILT_IN, "wasm/run"]:
        op = made[name]
        assert op.name == name
        assert op.level in ("pure", "query", "idempotent-mutation", "mutation")
        assert isinstance(op.needs, frozenset)
        assert made[name] is op


def test_only_wasm_run_is_pure(ops: Callable[..., Ops]) -> None:
    made = ops()
    assert [name for name in [*BUILT_IN, "wasm/run"] if made[name].level == "pure"] == ["wasm/run"]


def test_a_known_name_looks_for_no_distribution(
    ops: Callable[..., Ops], monkeypatch: pytest.MonkeyPatch
) -> None:
    import importlib.metadata

    monkeypatch.setattr(importlib.metadata, "entry_points", None)
    assert ops()["http/get"].name == "http/get"
    with pytest.raises(TypeError):
        ops().get("text/unknown")


def test_a_name_that_nobody_has_is_not_there(ops: Callable[..., Ops]) -> None:
    assert ops().get("text/unknown") is None
    with pytest.raises(KeyError):
        ops()["text/unknown"]


def test_an_installed_operation_is_found_and_runs(
    ops: Callable[..., Ops], install: Install
) -> None:
    install("good-one", "text/good", level="query")
    made = ops()
    assert "text/good" in list(made)
    assert len(made) == len(list(made))
    assert (made["text/good"].level, run(made["text/good"]).ok) == ("query", 1)


def test_nobody_takes_the_name_of_a_built_in_one(ops: Callable[..., Ops], install: Install) -> None:
    install("evil-one", "http/get")
    assert type(ops()["http/get"]).__module__ == "lite.ops.http"


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"text": "1 / 0"}, "ZeroDivisionError"),
        ({"text": "import no_such_module"}, "no_such_module"),
        ({"text": ""}, "no attribute 'Op'"),
        ({"init": "raise ValueError('bad')"}, "ValueError: bad"),
        ({"init": "raise SystemExit(3)"}, "SystemExit: 3"),
        ({"text": "raise SystemExit"}, "SystemExit"),
        ({"name": "text/other"}, "calls itself 'text/other'"),
        ({"level": "harmless"}, "level"),
    ],
)
def test_a_broken_one_names_its_distribution_and_the_others_work(
    ops: Callable[..., Ops], install: Install, options: dict[str, str], says: str
) -> None:
    install("broken-one", "text/broken", **options)
    install("good-one", "text/good")
    made = ops()
    told = waits(made["text/broken"])
    assert says in str(told)
    assert "broken-one 1.0" in str(told)
    assert "broken-one" in str(told.hint)
    assert made["text/broken"].level == "mutation"
    assert run(made["text/good"]).ok == 1


def test_two_of_one_name_are_both_named(ops: Callable[..., Ops], install: Install) -> None:
    install("one-a", "text/same")
    install("one-b", "text/same")
    told = str(waits(ops()["text/same"]))
    assert "one-a" in told
    assert "one-b" in told


@pytest.mark.parametrize(
    "run_text",
    [
        "raise KeyError('x')",
        "import sys; sys.exit(0)",
        "raise GeneratorExit",
        "return 1",
        "return Outcome(ok=object())",
        "return Outcome(ok={1: 2})",
        "return Outcome(ok=float('nan'))",
        "return Outcome(error={'code': 'x'})",
    ],
)
@pytest.mark.parametrize("level", ["pure", "query", "idempotent-mutation", "mutation"])
def test_one_that_crashes_is_an_error_or_in_doubt(
    ops: Callable[..., Ops], install: Install, run_text: str, level: str
) -> None:
    install("crash-one", "text/crash", run=run_text, level=level)
    op = ops()["text/crash"]
    if level == "mutation":
        with pytest.raises(InDoubt, match="crash-one"):
            run(op)
        return
    error = run(op).error
    assert error["code"] == "op-crash"
    assert "crash-one 1.0" in error["message"]


@pytest.mark.parametrize("said", ["1 / 0", "raise SystemExit", "return 'harmless'"])
def test_one_that_cannot_say_its_level_has_the_highest(
    ops: Callable[..., Ops], install: Install, said: str
) -> None:
    text = GOOD.format(name="text/m", level="pure", init="pass", run="return Outcome(ok=1)")
    install(
        "level-one", "text/m", text=f"{text.rstrip()}\n    def level_of(self, _):\n        {said}\n"
    )
    executor_op: Any = ops()["text/m"]
    assert executor_op.level_of(Instruction("data:,x", "text/m", {}, "")) == "mutation"


def test_one_that_cannot_say_what_is_missing_waits(
    ops: Callable[..., Ops], install: Install
) -> None:
    text = GOOD.format(name="text/m", level="pure", init="pass", run="return Outcome(ok=1)")
    install("missing-one", "text/m", text=text.replace("return None", "return 1 / 0"))
    op = ops()["text/m"]
    with pytest.raises(QueuedError, match=r"missing-one.*ZeroDivisionError"):
        op.missing(ready("data:,x", op.name))


def test_an_operation_can_be_switched_off(ops: Callable[..., Ops], install: Install) -> None:
    install("good-one", "text/good")
    made = ops(off="wasm/run,http/post,text/good")
    for name in ("wasm/run", "http/post", "text/good"):
        told = waits(made[name])
        assert "ops.off" in str(told)
    assert (made["wasm/run"].level, made["http/post"].level) == ("pure", "mutation")
    assert made["http/get"].level == "query"
