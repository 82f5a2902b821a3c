"""The example of an operation that needs a GPU: what can be shown without one, and on one."""

from __future__ import annotations

import importlib
import json
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from lite.limits import EngineCaps, Limits
from lite.model.instruction import Instruction
from lite.ops.base import Ready
from tests.example_support import environment, install


@pytest.fixture
def cuda(root: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The package, where the processor plays the GPU."""
    monkeypatch.syspath_prepend(str(root / "examples" / "gpu" / "src"))
    monkeypatch.setenv("IPVM_CUDA_ON", "cpu")
    yield importlib.import_module("ipvm_cuda")
    for name in [name for name in sys.modules if name.partition(".")[0] == "ipvm_cuda"]:
        del sys.modules[name]


def outcome(cuda: ModuleType, given: dict[str, Any]) -> Any:
    op = cuda.Matmul(None)
    asked = Instruction("cuda:any", op.name, given)
    ready = Ready(asked, {}, None, Limits(), EngineCaps())  # type: ignore[arg-type]
    assert op.missing(ready) is None
    return op.run(ready)


def product(cuda: ModuleType, a: Any, b: Any) -> list[int]:
    done = outcome(cuda, {"a": a, "b": b})
    assert done.error is None, done.error
    assert len(done.ok["data"]) == 8 * done.ok["rows"] * done.ok["cols"]
    return list(struct.unpack(f"<{len(done.ok['data']) // 8}q", done.ok["data"]))


def test_it_multiplies(cuda: ModuleType) -> None:
    assert product(cuda, [[1, 2], [3, 4]], [[1, 2], [3, 4]]) == [7, 10, 15, 22]
    assert product(cuda, [[1, 2, 3]], [[4], [5], [6]]) == [32]
    column = {"rows": 2, "cols": 1, "data": struct.pack("<2h", -32768, 32767)}
    row = {"rows": 1, "cols": 1, "data": struct.pack("<h", -32768)}
    assert product(cuda, column, row) == [2**30, -(2**30) + 2**15]


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"a": [[1]]}, "input.b must be a list of rows"),
        ({"a": [[1, 2]], "b": [[1]]}, "a has 2 columns and b 1 rows"),
        ({"a": [[1], [1, 2]], "b": [[1]]}, "input.a must have rows of the same length"),
        ({"a": [], "b": [[1]]}, "input.a must have rows"),
        ({"a": [[]], "b": [[1]]}, "input.a must be a whole number from 1"),
        ({"a": [[2**15]], "b": [[1]]}, "input.a must have whole numbers from -32768"),
        ({"a": [[True]], "b": [[1]]}, "input.a must have whole numbers"),
        ({"a": {"rows": 1, "cols": 1, "data": b"abc"}, "b": [[1]]}, "must have 2 bytes, not 3"),
        ({"a": {"rows": 0, "cols": 1, "data": b""}, "b": [[1]]}, "input.a.rows must be"),
        ({"a": [[1]], "b": [[1]], "c": 1}, "has no input named c"),
    ],
)
def test_what_is_no_matrix_is_refused_by_name(
    cuda: ModuleType, given: dict[str, Any], told: str
) -> None:
    error = outcome(cuda, given).error
    assert (error["code"], told in error["message"]) == ("bad-argument", True)


def test_without_a_gpu_it_says_what_it_wants(
    cuda: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("IPVM_CUDA_ON")
    for library in ("cupy", "torch"):
        monkeypatch.setitem(sys.modules, library, None)
    assert "cupy or torch" in cuda.Matmul(None).missing(None)


def test_a_gpu_agrees_with_the_reference(
    cuda: ModuleType, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("IPVM_CUDA_ON")
    backends = importlib.import_module("ipvm_cuda.backends")
    backend = backends.available()
    if backend is None:
        pytest.skip("there is no GPU here, or neither cupy nor torch")
    monkeypatch.syspath_prepend(str(root / "examples" / "gpu"))
    assert importlib.import_module("check").agrees(backend)


def ipvm(
    root: Path, tmp_path: Path, *arguments: str, **more: str
) -> subprocess.CompletedProcess[str]:
    target = tmp_path / "libraries"
    if not target.exists():
        install(root / "examples" / "gpu", target)
    command = [sys.executable, "-m", "lite", "--home", str(tmp_path / "home"), *arguments]
    env = environment(root, target, **more)
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=60)


def test_its_workflow_runs_where_a_gpu_is_said_to_be_and_waits_elsewhere(
    root: Path, tmp_path: Path
) -> None:
    file = str(root / "examples" / "gpu" / "matmul.yaml")
    dry = ipvm(root, tmp_path, "workflow", "run", file, "--dry-run", IPVM_NODE_GPUS="none")
    assert dry.returncode == 3, dry.stderr
    assert "needs a GPU; this node has none" in dry.stdout
    assert "needs a GPU with 1 GiB; this node has none" in dry.stdout
    has = {"IPVM_NODE_GPUS": "Pretend:1G", "IPVM_CUDA_ON": "cpu"}
    done = ipvm(root, tmp_path, "workflow", "run", file, "--json", **has)
    assert done.returncode == 0, done.stderr
    results = json.loads(done.stdout)["results"]
    assert sorted(results) == ["square", "total", "wide"]
    assert results["total"]["value"] == 7
