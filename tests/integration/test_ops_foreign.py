"""Operations of installed distributions in a run that ends before they do."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.integration.conftest import Ipvm

DEAF = """
from threading import Event
from lite.ops.base import Outcome
let_go, ended = Event(), Event()
class Op:
    name, level, needs = "lab/deaf", "{level}", frozenset()
    def __init__(self, config):
        pass
    def missing(self, ready):
        return None
    def run(self, ready):
        let_go.wait(30)
        ended.set()
        return Outcome(ok="late")
"""


def install(
    folder: Path, here: Path, monkeypatch: pytest.MonkeyPatch, text: str, **more: Any
) -> None:
    """Put a distribution with the operation lab/deaf on the path, and write a workflow of it."""
    info = folder / "deaf_one-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: deaf-one\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[ipvm.ops]\nlab/deaf = deaf_one:Op\n")
    (folder / "deaf_one.py").write_text(text)
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.delitem(sys.modules, "deaf_one", raising=False)
    steps = {"a": {"op": "lab/deaf", "rsc": "x:y"}, **more}
    (here / "w.json").write_text(json.dumps({"steps": steps}))


@pytest.mark.parametrize(
    ("level", "state", "status"),
    [("query", "expired", 8), ("idempotent-mutation", "expired", 8), ("mutation", "in-doubt", 1)],
)
def test_a_deadline_does_not_wait_for_what_does_not_listen(
    ipvm: Ipvm,
    here: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    level: str,
    state: str,
    status: int,
) -> None:
    install(tmp_path, here, monkeypatch, DEAF.format(level=level))
    began = time.monotonic()
    ended = ipvm("workflow", "run", "w.json", "--deadline", "500ms", "--json")
    took = time.monotonic() - began
    deaf = sys.modules["deaf_one"]
    deaf.let_go.set()
    assert deaf.ended.wait(5)
    (step,) = ended.json["steps"]
    assert (ended.status, step["state"], took < 10) == (status, state, True)
    assert ipvm("receipt", "list", "--json").json["receipts"] == []


LISTENS = DEAF.replace(
    "let_go.wait(30)", "ready.stop.enter(kill); let_go.wait(30); ready.stop.leave(kill)"
).replace("class Op", "{kill}\nclass Op")
KILLS = {
    "sets": "kill = let_go.set",
    "raises": "def kill(): raise OSError('close failed')",
    "blocks": "kill = lambda: let_go.wait(30)",
    "exits": "def kill(): raise SystemExit(3)",
}


@pytest.mark.parametrize(
    ("how", "state", "status"),
    [("sets", "done", 0), *((how, "expired", 8) for how in ("raises", "blocks", "exits"))],
)
def test_what_is_called_to_stop_it_breaks_no_deadline_and_what_is_done_is_done(
    ipvm: Ipvm,
    here: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    how: str,
    state: str,
    status: int,
) -> None:
    text = LISTENS.format(level="query", kill=KILLS[how])
    install(tmp_path, here, monkeypatch, text)
    began = time.monotonic()
    ended = ipvm("workflow", "run", "w.json", "--deadline", "500ms")
    took = time.monotonic() - began
    listening = sys.modules["deaf_one"]
    listening.let_go.set()
    assert listening.ended.wait(5)
    assert (ended.status, took < 10) == (status, True), ended.err
    assert "another process" not in ended.err
    (run,) = ipvm("workflow", "list", "--json").json["runs"]
    assert run["state"] == state


@pytest.mark.parametrize("level", ["query", "mutation"])
@pytest.mark.parametrize(
    "raises", ["Interrupted('me')", "UsageError('x')", "KeyboardInterrupt()", "StoreFull('x')"]
)
def test_what_it_raises_ends_its_step_and_not_the_run(
    ipvm: Ipvm, here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, raises: str, level: str
) -> None:
    text = DEAF.format(level=level).replace("let_go.wait(30)", f"ended.set(); raise {raises}")
    other = {"run": "numbers.wasm:add", "args": [1, 2]}
    install(tmp_path, here, monkeypatch, f"from lite.errors import *\n{text}", other=other)
    ended = ipvm("workflow", "run", "w.json", "--json")
    states = {step["label"]: step["state"] for step in ended.json["steps"]}
    assert states == {"a": "in-doubt" if level == "mutation" else "failed", "other": "done"}
    assert ended.status == 1


def test_what_lacks_no_file_is_not_told_to_add_one(
    ipvm: Ipvm, here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = DEAF.format(level="pure").replace("return None", 'return "it needs a GPU"')
    install(tmp_path, here, monkeypatch, text)
    ended = ipvm("run", "--op", "lab/deaf", "x:y")
    assert (ended.status, "it needs a GPU" in ended.err) == (3, True)
    assert "waits for a node that has it" in ended.err and "Add the file" not in ended.err
    assert ipvm("workflow", "run", "w.json").status == 3
    (item,) = ipvm("queue", "list", "--json").json["items"]
    assert (item["code"], item["reason"]) == ("op", "it needs a GPU")
