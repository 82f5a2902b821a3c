"""`execute`: from a job to an outcome, with an engine that does as it is told."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from lite.engine.base import MEMOISABLE_ERRORS, GuestFailure, Host, Kind, Outcome, Usage
from lite.engine.cache import CodeCache
from lite.engine.execute import Phases, execute, run_job
from lite.engine.job import Content, Job
from lite.engine.wit import FuncType
from lite.errors import EngineUnavailable
from lite.ipld import dag_cbor
from lite.ipld.cid import CID, DAG_CBOR, RAW
from lite.limits import EngineCaps, Limits
from tests.guests import ADD
from tests.wat_guests import CAT, TYPED, wat

TWO = '(module (func (export "one")) (func (export "two") (param f64) (result f64) local.get 0))'


@dataclass
class FakeCode:
    kind: Kind = "core"

    def exports(self) -> dict[str, FuncType]:
        return {}


@dataclass
class FakeEngine:
    """Answers a call with `answer`: a value, or an exception to raise."""

    answer: Any = 0
    compile_fails: Exception | None = None
    open_fails: Exception | None = None
    calls: list[tuple[str, list[Any], Host]] = field(default_factory=list)
    closed: int = 0
    name: str = "fake"
    version: str = "1"
    config_id: str = ""
    features: frozenset[str] = frozenset()

    def compile(self, wasm: bytes, caps: EngineCaps) -> FakeCode:
        if self.compile_fails is not None:
            raise self.compile_fails
        return FakeCode()

    def serialize(self, code: Any, path: Path) -> None:
        raise NotImplementedError

    def deserialize(self, wasm: bytes, path: Path) -> FakeCode:
        raise NotImplementedError

    def open(self, code: Any, limits: Limits, caps: EngineCaps, host: Host) -> FakeRun:
        if self.open_fails is not None:
            raise self.open_fails
        return FakeRun(self, host)


@dataclass
class FakeRun:
    engine: FakeEngine
    host: Host

    def call(self, export: str, args: list[Any]) -> Any:
        self.engine.calls.append((export, args, self.host))
        if isinstance(self.engine.answer, Exception):
            raise self.engine.answer
        return self.engine.answer

    def usage(self) -> Usage:
        return Usage(7, 1.5, 65536)

    def trace(self) -> bytes:
        return b"log"

    def trace_stdout(self) -> tuple[int, ...]:
        return ()

    def close(self) -> None:
        self.engine.closed += 1


def run(
    wasm: bytes | str, func: str | None, *args: Any, engine: FakeEngine, **fields: Any
) -> Outcome:
    data = wasm if isinstance(wasm, bytes) else wat(wasm)
    job = Job(CID.of(data, RAW), func, args, **fields)
    return execute(engine, CodeCache(None), job, lambda: data)


def error(outcome: Outcome) -> dict[str, Any]:
    assert outcome.error is not None, outcome.ok
    return outcome.error


def test_result_usage_trace_path_and_engine_are_in_the_outcome() -> None:
    engine = FakeEngine(42)
    outcome = run(ADD, "add", 2, 40, engine=engine)
    assert outcome == Outcome(42, None, Usage(7, 1.5, 65536), b"log", "core", "fake 1")
    assert engine.calls == [("add", [2, 40], Host())]
    assert engine.closed == 1


def test_the_time_limit_covers_what_is_made_of_the_result() -> None:
    outcome = run(ADD, "add", 1, 2, engine=FakeEngine(3), limits=Limits(time_ms=0))
    assert error(outcome)["code"] == "time-limit"


def test_only_function_needs_no_name() -> None:
    assert run(ADD, None, 1, 2, engine=FakeEngine(3)).ok == 3


def test_several_functions_need_a_name_and_are_listed() -> None:
    refused = error(run(TWO, None, engine=FakeEngine()))
    assert refused["code"] == "bad-argument"
    assert "one, two" in refused["message"]


def test_no_function_at_all_is_said() -> None:
    refused = error(run("(module)", None, engine=FakeEngine()))
    assert refused["code"] == "bad-argument"
    assert "no function" in refused["message"]


def test_unknown_function_is_its_own_failure() -> None:
    assert error(run(TWO, "three", engine=FakeEngine()))["code"] == "no-such-function"


def test_function_without_result_gives_the_empty_map() -> None:
    assert run(TWO, "one", engine=FakeEngine(None)).ok == {}


def test_infinite_result_is_refused() -> None:
    assert error(run(TWO, "two", 1.0, engine=FakeEngine(float("inf"))))["code"] == (
        "float-not-finite"
    )


def test_wrong_arguments_never_reach_the_engine() -> None:
    engine = FakeEngine()
    wrong: list[tuple[Any, ...]] = [(), (1, 2, 3), ("x", 1), (2**40, 1), ({}, [])]
    for args in wrong:
        assert error(run(ADD, "add", *args, engine=engine))["code"] == "bad-argument"
    assert engine.calls == []


@pytest.mark.parametrize("answer", [GuestFailure("unreachable", "executed it"), MemoryError()])
def test_failing_guest_keeps_its_usage_and_trace_and_is_closed(answer: Exception) -> None:
    engine = FakeEngine(answer)
    outcome = run(ADD, "add", 1, 2, engine=engine)
    code = "memory-limit" if isinstance(answer, MemoryError) else "unreachable"
    assert error(outcome)["code"] == code
    assert (outcome.usage, outcome.trace) == (Usage(7, 1.5, 65536), b"log")
    assert engine.closed == 1


def test_details_of_a_failure_are_in_the_error() -> None:
    failure = GuestFailure("guest-error", "said no", value={"why": "tired"})
    assert error(run(ADD, "add", 1, 2, engine=FakeEngine(failure))) == {
        "code": "guest-error",
        "message": "said no",
        "value": {"why": "tired"},
    }


def test_detail_over_the_bound_becomes_an_output_limit() -> None:
    failure = GuestFailure("guest-error", "said no", value="x" * 1000)
    outcome = run(ADD, "add", 1, 2, engine=FakeEngine(failure), limits=Limits(output_bytes=100))
    assert error(outcome)["code"] == "output-limit"


@pytest.mark.parametrize(
    ("func", "arg", "answer", "size"),
    [("echo", b"", b"x" * 50, 50), ("greet", "", "x" * 49 + "ä", 51), ("length", "", 70_000, 5)],
)
def test_result_is_bounded_by_its_size(func: str, arg: Any, answer: Any, size: int) -> None:
    def bounded(output_bytes: int) -> Outcome:
        limits = Limits(output_bytes=output_bytes)
        return run(TYPED, func, arg, engine=FakeEngine(answer), limits=limits)

    assert bounded(size).ok == answer
    assert error(bounded(size - 1))["code"] == "output-limit"


def test_compile_failures_are_outcomes() -> None:
    engine = FakeEngine(compile_fails=GuestFailure("bad-module", "no"))
    assert error(run(ADD, "add", 1, 2, engine=engine))["code"] == "bad-module"
    engine = FakeEngine(compile_fails=MemoryError())
    assert error(run(ADD, "add", 1, 2, engine=engine))["code"] == "compile-limit"
    assert error(run(b"text", None, engine=engine))["code"] == "bad-module"


def test_denied_import_is_an_outcome() -> None:
    engine = FakeEngine(open_fails=GuestFailure("denied-import", "no", imports=["env#x"]))
    assert error(run(ADD, "add", 1, 2, engine=engine))["imports"] == ["env#x"]


def test_kind_that_this_engine_lacks_is_no_outcome() -> None:
    engine = FakeEngine(compile_fails=EngineUnavailable("components need wasmtime"))
    with pytest.raises(EngineUnavailable):
        run(ADD, "add", 1, 2, engine=engine)


def test_failure_to_load_the_module_is_passed_on() -> None:
    def absent() -> bytes:
        raise FileNotFoundError

    with pytest.raises(FileNotFoundError):
        execute(FakeEngine(), CodeCache(None), Job(CID.of(ADD, RAW), "add", (1, 2)), absent)


def test_phases_are_told_in_order() -> None:
    told: list[str] = []

    class Told(Phases):
        def compiling(self) -> None:
            told.append("compile")

        def running(self, path: str, limits: Limits) -> None:
            told.append(f"run {path}")

    codes = CodeCache(None)
    for _ in range(2):
        job = Job(CID.of(ADD, RAW), "add", (1, 2))
        run_job(FakeEngine(3), codes, job, lambda: ADD, Told())
    assert told == ["compile", "run core", "run core"]


# Links


def linked(func: str, *args: Any, content: dict[CID, Content], engine: FakeEngine) -> Outcome:
    return run(TYPED, func, *args, engine=engine, content=content)


def file(data: bytes) -> tuple[CID, dict[CID, Content]]:
    cid = CID.of(data, RAW)
    return cid, {cid: Content("file", data)}


def value(data: Any) -> tuple[CID, dict[CID, Content]]:
    encoded = dag_cbor.encode(data)
    cid = CID.of(encoded, DAG_CBOR)
    return cid, {cid: Content("value", encoded)}


@pytest.mark.parametrize(
    ("func", "link", "arrives"),
    [
        ("echo", file(b"\xff\x00"), b"\xff\x00"),
        ("greet", file("ü".encode()), "ü"),
        ("swap", value({"x": 1, "y": 2}), {"x": 1, "y": 2}),
        ("greet", value("text"), "text"),
    ],
)
def test_link_arrives_as_what_the_parameter_is(
    func: str, link: tuple[CID, dict[CID, Content]], arrives: Any
) -> None:
    cid, content = link
    engine = FakeEngine(GuestFailure("unreachable", "enough seen"))
    linked(func, cid, content=content, engine=engine)
    assert engine.calls[0][1] == [arrives]


def test_file_content_may_lie_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "content"
    path.write_bytes(b"from disk")
    cid = CID.of(b"from disk", RAW)
    engine = FakeEngine(b"")
    linked("echo", cid, content={cid: Content("file", path)}, engine=engine)
    assert engine.calls[0][1] == [b"from disk"]


@pytest.mark.parametrize(
    ("func", "link"),
    [
        ("swap", file(b"bytes")),
        ("greet", file(b"\xff")),
        ("swap", value([1, 2, 3])),
    ],
    ids=["file for a record", "file that is no text", "value of another shape"],
)
def test_link_that_does_not_fit_is_a_bad_argument(
    func: str, link: tuple[CID, dict[CID, Content]]
) -> None:
    cid, content = link
    assert error(linked(func, cid, content=content, engine=FakeEngine()))["code"] == "bad-argument"


def test_link_without_content_says_nothing_about_the_guest() -> None:
    ended = error(linked("echo", CID.of(b"absent", RAW), content={}, engine=FakeEngine()))
    assert ended["code"] == "unresolved-link"
    assert ended["code"] not in MEMOISABLE_ERRORS


def test_homestar_keeps_a_link_to_a_string_as_its_text() -> None:
    cid, content = file(b"text")
    engine = FakeEngine("")
    run(TYPED, "greet", cid, engine=engine, content=content, host=Host(homestar=True))
    assert engine.calls[0][1] == [str(cid)]


# Commands


def test_command_is_called_with_text() -> None:
    engine = FakeEngine(b"out")
    link, content = file(b"linked text")
    host = Host(args=("first",), env=(("A", "1"),), stdin=b"in", seed=b"s")
    args = ("text", 1, -2.5, True, False, b"bytes", link)
    outcome = run(CAT, None, *args, engine=engine, content=content, host=host)
    assert (outcome.ok, outcome.path) == (b"out", "wasi")
    ((export, given, seen),) = engine.calls
    assert (export, given) == ("_start", [])
    assert seen.args == ("first", "text", "1", "-2.5", "true", "false", "bytes", "linked text")
    assert (seen.env, seen.stdin, seen.seed) == (host.env, host.stdin, host.seed)


@pytest.mark.parametrize("arg", [None, [], {}, b"\xff"])
def test_command_takes_no_other_arguments(arg: Any) -> None:
    assert error(run(CAT, None, arg, engine=FakeEngine()))["code"] == "bad-argument"


@pytest.mark.parametrize("stdout", [b"", b"half"])
def test_exit_of_a_command_has_its_status_and_output(stdout: bytes) -> None:
    failure = GuestFailure("exit", "ended with exit code 7", exit_code=7, stdout=stdout)
    expected = {"code": "exit", "message": "ended with exit code 7", "status": 7}
    if stdout:
        expected["stdout"] = stdout
    assert error(run(CAT, "_start", engine=FakeEngine(failure))) == expected


def test_engine_error_that_is_no_guest_failure_is_ours() -> None:
    with pytest.raises(ZeroDivisionError):
        run(ADD, "add", 1, 2, engine=FakeEngine(ZeroDivisionError()))
