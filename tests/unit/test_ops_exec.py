"""exec/run: named programs only, without a shell, and all of them end with their bounds."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from lite.engine.base import Outcome
from lite.engine.job import Content
from lite.engine.stop import Stop
from lite.errors import Interrupted, QueuedError
from lite.ipld.cid import CID, RAW
from lite.limits import INTEGER_MAX, TRACE_BYTES_MAX, Limits
from lite.model.instruction import Instruction
from lite.ops.exec import ExecRun
from lite.ops.programs import read_programs
from tests.ops_support import config, ready, took

SH = "/bin/sh"
PROGRAMS = f"""
[cat]
argv = ["/bin/cat"]
level = "query"
args = false

[echo]
argv = ["/bin/echo", "first"]
level = "idempotent-mutation"

[env]
argv = ["/usr/bin/env"]
env = ["LANG", "MINE"]

[sh]
argv = ["{SH}", "-c"]

[short]
argv = ["{SH}", "-c", "sleep 30"]
timeout = "100ms"

[python]
argv = ["{sys.executable}", "-I", "-S", "-c"]
memory = "64M"

[absent]
argv = ["/no/such/program"]
"""
Call = Callable[..., Outcome]


@pytest.fixture
def op(tmp_path: Path) -> ExecRun:
    (tmp_path / "programs.toml").write_text(PROGRAMS)
    return ExecRun(config(tmp_path, exec=str(tmp_path / "programs.toml")))


@pytest.fixture
def call(op: ExecRun) -> Call:
    def ask(name: str, given: dict[str, Any] | None = None, **more: Any) -> Outcome:
        return op.run(ready(f"exec:{name}", "exec/run", given, **more))

    return ask


def code(outcome: Outcome) -> str:
    assert outcome.error is not None, outcome.ok
    return str(outcome.error["code"])


def test_a_program_may_have_a_memory_limit_over_all_that_there_is(call: Call) -> None:
    limits = Limits(memory_bytes=INTEGER_MAX, time_ms=10_000)
    done = call("echo", {"args": ["b"], "only": "stdout"}, limits=limits)
    assert done.ok == b"first b\n"


def test_a_program_gets_its_arguments_and_no_shell_reads_them(call: Call) -> None:
    done = call("echo", {"args": ["$(id)", "; id", "a b", "*"]})
    assert done.ok == {"code": 0, "stdout": b"first $(id) ; id a b *\n", "stderr": b""}
    assert done.usage.time_ms > 0


def test_standard_input_is_bytes_text_or_a_file(call: Call, tmp_path: Path) -> None:
    file, large = CID.of(b"f", RAW), tmp_path / "large"
    large.write_bytes(os.urandom(1 << 20))
    for stdin, content, out in (
        (b"\0\xff", {}, b"\0\xff"),
        ("ü", {}, "ü".encode()),
        (file, {file: Content("file", large)}, large.read_bytes()),
        (b"", {}, b""),
    ):
        got = call("cat", {"stdin": stdin, "only": "stdout"}, content=content)
        assert got.ok == out


def test_the_environment_is_bare_but_for_what_the_owner_lets_set(
    call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET", "x")
    lines = call("env", {"env": {"MINE": "a=b"}, "only": "stdout"}).ok.decode().splitlines()
    names = {line.partition("=")[0] for line in lines}
    assert names == {"PATH", "LC_ALL", "HOME", "TMPDIR", "MINE"}
    assert "MINE=a=b" in lines
    assert code(call("env", {"env": {"LD_PRELOAD": "x"}})) == "bad-argument"
    assert code(call("env", {"env": {"MINE": "a\0b"}})) == "bad-argument"


def test_it_runs_in_an_empty_folder_that_goes(call: Call) -> None:
    folder = call("sh", {"args": ["ls -A; touch x; pwd"], "only": "stdout"}).ok.decode().strip()
    assert "\n" not in folder
    assert not Path(folder).exists()


def test_another_status_is_an_error_with_what_it_printed(call: Call) -> None:
    failed = call("sh", {"args": ["echo out; echo err >&2; exit 3"]})
    assert failed.error is not None
    assert failed.error["code"] == "exit"
    assert [failed.error[key] for key in ("status", "stdout", "stderr")] == [3, b"out\n", b"err\n"]
    assert failed.trace == b"err\n"
    killed = call("sh", {"args": ["kill -TERM $$"]}).error
    assert killed is not None
    assert (killed["code"], killed["status"], killed["signal"]) == ("exit", 143, 15)


def test_a_program_that_is_not_there_is_an_error(call: Call) -> None:
    failed = call("absent").error
    assert failed is not None
    assert failed["status"] == 126


def alive(mark: str) -> list[psutil.Process]:
    def has(process: psutil.Process) -> bool:
        try:
            return any(mark in word for word in process.cmdline())
        except psutil.Error:
            return False

    return [process for process in psutil.process_iter() if has(process)]


def gone(mark: str) -> bool:
    """Whether all of these processes end soon."""
    ends = time.monotonic() + 5
    while alive(mark) and time.monotonic() < ends:
        time.sleep(0.01)
    return not alive(mark)


def test_out_of_time_ends_the_whole_group(call: Call) -> None:
    script = "sleep 61.125 & sleep 61.125 & wait"
    late, seconds = took(lambda: call("sh", {"args": [script]}, limits=Limits(time_ms=200)))
    assert code(late) == "time-limit"
    assert seconds < 3
    assert gone("61.125")
    late, seconds = took(lambda: call("short"))
    assert (code(late), seconds < 3) == ("time-limit", True)


def test_a_deadline_counts_as_well(call: Call) -> None:
    late, seconds = took(
        lambda: call("sh", {"args": ["sleep 30"]}, deadline=time.monotonic() + 0.2)
    )
    assert (code(late), seconds < 3) == ("time-limit", True)


def test_what_stays_behind_ends_with_the_program(call: Call) -> None:
    done, seconds = took(lambda: call("sh", {"args": ["sleep 62.125 & echo done"]}))
    assert done.ok["stdout"] == b"done\n"
    assert seconds < 3
    assert gone("62.125")


def test_output_over_the_limit_ends_it(call: Call) -> None:
    flood, seconds = took(
        lambda: call("sh", {"args": ["yes"]}, limits=Limits(output_bytes=100_000))
    )
    assert (code(flood), flood.error["limit"]) == ("output-limit", 100_000)
    assert seconds < 5


def test_standard_error_is_bounded_and_told_as_it_comes(call: Call) -> None:
    seen: list[bytes] = []
    script = (
        "i=0; while [ $i -lt 3000 ]; do echo 0123456789012345678901234567890 >&2; i=$((i+1)); done"
    )
    done = call("sh", {"args": [script]}, on_trace=seen.append)
    assert len(done.trace) == TRACE_BYTES_MAX == len(b"".join(seen))


def test_memory_is_bounded(call: Call) -> None:
    failed = call("python", {"args": ["bytearray(200 << 20)"]})
    assert b"MemoryError" in failed.trace


def test_a_program_may_close_its_output_and_go_on(call: Call) -> None:
    done = call("sh", {"args": ["exec >&- 2>&-; sleep 0.1; exit 4"]})
    assert done.error is not None
    assert done.error["status"] == 4


def test_a_program_need_not_read_its_input(call: Call) -> None:
    assert call("sh", {"args": ["exit 0"], "stdin": bytes(1 << 20)}).ok["code"] == 0


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("cat", {"args": ["/etc/passwd"]}),
        ("echo", {"args": ["a\0b"]}),
        ("echo", {"args": "text"}),
        ("echo", {"args": [1]}),
        ("echo", {"args": ["x" * 70_000]}),
        ("echo", {"argv": []}),
        ("echo", {"stdin": 1}),
        ("echo", {"only": "stderr"}),
        ("", {}),
        ("../cat", {}),
        ("cat/x", {}),
    ],
)
def test_input_that_does_not_fit_is_an_error(call: Call, name: str, given: Any) -> None:
    rsc = name or "x"
    refused = call(rsc, given) if name else call("%20", given)
    assert code(refused) == "bad-argument"


def test_the_owner_says_how_safe_a_program_is(op: ExecRun) -> None:
    def level(name: str) -> str:
        return op.level_of(Instruction(f"exec:{name}", "exec/run"))

    levels = [level(name) for name in ("cat", "echo", "env", "unknown", "..")]
    assert levels == ["query", "idempotent-mutation", "mutation", "mutation", "mutation"]


def test_it_waits_until_a_program_is_named(tmp_path: Path, op: ExecRun) -> None:
    for asked, name in ((ExecRun(config(tmp_path)), "cat"), (op, "unknown")):
        told = ready(f"exec:{name}", "exec/run")
        for method in (asked.missing, asked.run):
            with pytest.raises(QueuedError) as caught:
                method(told)
            assert "ops.exec" in str(caught.value.hint)
    assert op.missing(ready("exec:cat", "exec/run")) is None


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[a\n", "TOML|Expected"),
        ("[a]\nargv = []", "absolute path"),
        ("[a]\nargv = ['cat']", "absolute path"),
        ("[a]\nargv = 'cat'", "list of texts"),
        ("[a]\nargv = ['/x']\nlevel = 'pure'", "level"),
        ("[a]\nargv = ['/x']\ntimeout = '5'", "duration"),
        ("[a]\nargv = ['/x']\ntimeout = 5", "must be text"),
        ("[a]\nargv = ['/x']\nshell = true", "shell is not known"),
        ("[a]\nargv = ['/x']\nargs = 1", "true or false"),
        ("[a]\nargv = ['/x']\nfolder = 'x'", "absolute"),
        ("[a]\nargv = ['/x']\nenv = ['LD_PRELOAD']", "LD_PRELOAD"),
        ("[a]\nargv = ['/x']\nenv = ['HOME']", "HOME"),
        ("[a]\nargv = ['/x']\nenv = ['A=B']", "no variable"),
        ("[a]\nargv = ['/x']\nenv = ['']", "no variable"),
        ("a = 1", "not a table"),
    ],
)
def test_a_list_that_is_wrong_says_where(tmp_path: Path, text: str, says: str) -> None:
    file = tmp_path / "programs.toml"
    file.write_text(text)
    with pytest.raises(QueuedError, match=says):
        read_programs(file)


def test_a_list_that_is_not_there_makes_it_wait(tmp_path: Path) -> None:
    with pytest.raises(QueuedError, match="No such file"):
        read_programs(tmp_path / "none.toml")


NODE = """
import sys, time
from lite.ops.arguments import Bytes
from lite.ops.child import run_child

argv = ["/bin/sh", "-c", "setsid sleep 63.125 & sleep 63.125 & echo up >&2; sleep 63.125"]
run_child(argv, env={}, stdin=Bytes.of(b""), folder=None, ends_at=time.monotonic() + 60,
          memory_bytes=1 << 28, stdout_bytes_max=1,
          on_trace=lambda data: print(data.decode().strip(), flush=True))
"""


linux_only = pytest.mark.skipif(sys.platform != "linux", reason="other kernels cannot find them")


@linux_only
@pytest.mark.parametrize("last", ["true", "sleep 30"], ids=["done", "late"])
def test_what_left_its_group_and_its_parent_ends_as_well(call: Call, last: str) -> None:
    script = f"setsid sh -c '(setsid sleep 64.125 &); setsid sleep 64.125' & sleep 0.1; {last}"
    ended, seconds = took(lambda: call("sh", {"args": [script]}, limits=Limits(time_ms=1000)))
    assert not alive("64.125"), "none of it is left when the step has ended"
    assert seconds < 4
    assert (ended.error is None) == (last == "true")


@linux_only
def test_a_stop_ends_what_left_its_group(call: Call) -> None:
    stop = Stop()
    timer = threading.Timer(0.5, stop.ask)
    timer.start()
    with pytest.raises(Interrupted):
        call("sh", {"args": ["setsid sleep 65.125 & sleep 30"]}, stop=stop)
    timer.join()
    assert not alive("65.125")


@linux_only
def test_a_program_that_goes_on_starting_others_ends(call: Call) -> None:
    script = "f() { while :; do (setsid sleep 66.125 &) ; sleep 0.002; done; }; f & f & sleep 30"
    late = call("sh", {"args": [script]}, limits=Limits(time_ms=400))
    assert code(late) == "time-limit"
    assert not alive("66.125")


@linux_only
def test_a_program_that_stops_its_starter_ends_all_the_same(call: Call) -> None:
    late, seconds = took(
        lambda: call("sh", {"args": ["kill -STOP $PPID; sleep 67.125"]}, limits=Limits(time_ms=300))
    )
    assert (code(late), seconds < 4) == ("time-limit", True)
    assert not alive("67.125")


@linux_only
def test_a_program_does_not_outlive_a_killed_node(root: Path) -> None:
    env = {**os.environ, "PYTHONPATH": str(root)}
    with subprocess.Popen([sys.executable, "-c", NODE], env=env, stdout=subprocess.PIPE) as node:
        assert node.stdout is not None
        assert node.stdout.readline() == b"up\n"
        assert alive("63.125")
        node.kill()
    assert gone("63.125")  # also what left its group and session
