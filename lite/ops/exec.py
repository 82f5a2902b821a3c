"""`exec/run`: a program of this machine, one that the owner has named in the file of `ops.exec`.

`rsc` is `exec:NAME`. Off until that file is there. No shell is involved; the program gets a session
of its own, a bare environment, an empty folder and bounds on time, memory and output. It is no
sandbox: a program can do whatever its owner can, so that a name in the file is a grant.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from lite.config import Config
from lite.engine.base import GuestFailure, Outcome
from lite.errors import Interrupted, QueuedError
from lite.frozen import replace
from lite.model.instruction import Instruction
from lite.ops.arguments import Arguments, bad
from lite.ops.base import Level, Ready, outcome_of
from lite.ops.programs import Program, read_programs

if TYPE_CHECKING:
    from lite.ops.child import Ended

KEYS: Final = frozenset({"args", "stdin", "env", "only"})
ARGS_BYTES_MAX: Final = 64 * 1024
ENV: Final = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LC_ALL": "C.UTF-8"}
_NAME = re.compile(r"exec:([A-Za-z0-9_.-]{1,64})")


class ExecRun:
    """Run a program that the owner named."""

    name = "exec/run"
    level: Level = "mutation"
    needs: frozenset[str] = frozenset()

    def __init__(self, config: Config) -> None:
        self._file: Path | None = config["ops.exec"]

    def level_of(self, instruction: Instruction) -> Level:
        """What the owner says of the program; of one that is not known, the highest."""
        try:
            return self._program(str(instruction.rsc)).level
        except (QueuedError, GuestFailure):
            return self.level

    def missing(self, ready: Ready) -> str | None:
        if _NAME.fullmatch(str(ready.instruction.rsc)):  # else `run` says so in a receipt
            self._program(str(ready.instruction.rsc))
        return None

    def run(self, ready: Ready) -> Outcome:
        started = outcome_of(lambda: self._ended(ready))
        if started.error is not None:
            return started
        ended, only = started.ok
        value = outcome_of(lambda: _value(ended, only, ready))
        return replace(value, usage=started.usage, trace=ended.stderr)

    def _program(self, rsc: str) -> Program:
        found = _NAME.fullmatch(rsc)
        if found is None:
            raise bad("exec/run starts exec:NAME, a program that the owner named")
        if self._file is None:
            raise QueuedError(
                "no programs are given to exec/run",
                hint="Name them in a TOML file: ipvm config set ops.exec FILE",
            )
        program = read_programs(self._file).get(found[1])
        if program is None:
            raise QueuedError(
                f"no program is named {found[1]} here",
                hint="The file of ops.exec lists the programs of this machine.",
            )
        return program

    def _ended(self, ready: Ready) -> tuple[Ended, str]:
        from lite.ops.child import run_child

        given = Arguments(ready, KEYS)
        only = given.choice("only", "all", "stdout")
        program = self._program(str(ready.instruction.rsc))
        argv = [*program.argv, *_args(given, program)]
        memory = ready.limits.memory_bytes
        ended = run_child(
            argv,
            env={**ENV, **_env(given, program)},
            stdin=given.bytes("stdin"),
            folder=program.folder,
            ends_at=ready.ends_at(program.timeout_ms),
            memory_bytes=min(memory, program.memory_bytes or memory),
            stdout_bytes_max=ready.limits.output_bytes,
            on_trace=ready.on_trace,
            stop=ready.stop,
        )
        if ended.status < 0 and ready.stop is not None and ready.stop.asked:
            raise Interrupted("the run was asked to stop")
        return ended, only


def _args(given: Arguments, program: Program) -> list[str]:
    args = given.texts("args")
    if args and not program.takes_args:
        raise bad(f"input.args: the owner lets nobody add arguments to {program.name}")
    if any("\0" in arg for arg in args):
        raise bad("input.args: a zero byte")
    if sum(len(arg.encode()) + 1 for arg in args) > ARGS_BYTES_MAX:
        raise bad(f"input.args: more than {ARGS_BYTES_MAX} bytes; pass data by input.stdin")
    return args


def _env(given: Arguments, program: Program) -> dict[str, str]:
    env = given.named_texts("env")
    for name, text in env.items():
        if name not in program.env:
            raise bad(f"input.env: the owner lets nobody set {name[:64]} for {program.name}")
        if "\0" in text or len(text) > ARGS_BYTES_MAX:
            raise bad(f"input.env.{name}: a zero byte, or too long")
    return env


def _value(ended: Ended, only: str, ready: Ready) -> Any:
    if ended.stopped == "time":
        raise GuestFailure(
            "time-limit", "the program was not done in time", limit=ready.limits.time_ms
        )
    if ended.stopped == "output":
        bound = ready.limits.output_bytes
        raise GuestFailure("output-limit", f"standard output has over {bound} bytes", limit=bound)
    if ended.status != 0:
        raise _failed(ended)
    if only == "stdout":
        return ended.stdout
    return {"code": 0, "stdout": ended.stdout, "stderr": ended.stderr}


def _failed(ended: Ended) -> GuestFailure:
    detail: dict[str, Any] = {"status": ended.status}
    if ended.stdout:
        detail["stdout"] = ended.stdout[:1024]
    if ended.stderr:
        detail["stderr"] = ended.stderr[-1024:]
    if ended.status < 0:
        detail |= {"status": 128 - ended.status, "signal": -ended.status}
        return GuestFailure("exit", f"the program was ended by signal {-ended.status}", **detail)
    return GuestFailure("exit", f"the program ended with status {ended.status}", **detail)
