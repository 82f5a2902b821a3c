"""Operations of installed distributions in a run that ends before they do."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

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
    info = tmp_path / "deaf_one-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: deaf-one\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[ipvm.ops]\nlab/deaf = deaf_one:Op\n")
    (tmp_path / "deaf_one.py").write_text(DEAF.format(level=level))
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "deaf_one", raising=False)
    (here / "w.json").write_text(json.dumps({"steps": {"a": {"op": "lab/deaf", "rsc": "x:y"}}}))
    began = time.monotonic()
    ended = ipvm("workflow", "run", "w.json", "--deadline", "500ms", "--json")
    took = time.monotonic() - began
    deaf = sys.modules["deaf_one"]
    deaf.let_go.set()
    assert deaf.ended.wait(5)
    (step,) = ended.json["steps"]
    assert (ended.status, step["state"], took < 10) == (status, state, True)
    assert ipvm("receipt", "list", "--json").json["receipts"] == []
