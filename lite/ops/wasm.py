"""`wasm/run`: call a function of a WebAssembly module.

`rsc` is `ipfs://CID[/path]` of the module; `input` is `{func, args}` as Homestar writes it, and for
commands also `env` (a map of strings) and `stdin` (bytes, text, or a link to a file). With `fx`
true the result also says what is to be run because of it (`lite.ops.wasm_effects`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lite.engine.base import GuestFailure, Host, Outcome
from lite.engine.job import Job
from lite.engine.pool import Workers
from lite.engine.spool import Blob
from lite.errors import NotFoundError
from lite.frozen import replace
from lite.ipld.cid import CID
from lite.limits import KILLED_ATTEMPTS_MAX, TRACE_BYTES_MAX
from lite.ops.base import Level, Ready

INPUT_KEYS = frozenset({"func", "args", "env", "stdin", "fx"})


class WasmRun:
    """The `wasm/run` operation over a pool of workers."""

    name = "wasm/run"
    level: Level = "pure"
    needs: frozenset[str] = frozenset()

    def __init__(self, workers: Workers) -> None:
        self._workers = workers

    def missing(self, ready: Ready) -> str | None:
        """Why the module is not at hand, or None. Reads the path to it and its first block, unless
        a worker has it."""
        module = ready.instruction.module
        if module is None:
            return None  # not an ipfs:// resource: `run` says so in an error receipt
        try:
            module = ready.files.resolve(module, ready.instruction.module_path)
            if not self._workers.has(module):
                ready.files.size(module)
        except NotFoundError as absent:
            return f"the module is not here: {absent}"
        return None

    def run(self, ready: Ready) -> Outcome:
        try:
            job = _job(ready)
        except GuestFailure as failure:
            return Outcome(
                error={"code": failure.code, "message": failure.message, **failure.detail}
            )
        outcome = self._until_not_killed(job, ready)
        if ready.instruction.input.get("fx") and outcome.error is None:
            from lite.ops.wasm_effects import with_effects

            return with_effects(outcome)
        return outcome

    def _until_not_killed(self, job: Job, ready: Ready) -> Outcome:
        """Run a job; again, in a fresh worker, when somebody killed the worker: the failure would
        say nothing of the instruction, and what is pure may be repeated."""
        notes = b""
        for attempt in range(1, KILLED_ATTEMPTS_MAX + 1):
            outcome = self._workers.run(
                job, lambda: _read(ready, job.module), ready.stop, ready.on_trace
            )
            if not _was_killed(outcome):
                break
            note = _killed(outcome, attempt)
            notes += note
            if ready.on_trace is not None:
                ready.on_trace(note)
        if not notes:
            return outcome
        trace = (notes + outcome.trace)[:TRACE_BYTES_MAX]
        stdout = tuple(len(notes) + at for at in outcome.trace_stdout)
        return replace(outcome, trace=trace, trace_stdout=stdout, attempts=attempt)


def _was_killed(outcome: Outcome) -> bool:
    if outcome.error is None:
        return False
    from lite.engine.death import was_killed

    return was_killed(outcome.error)


def _killed(outcome: Outcome, attempt: int) -> bytes:
    """A line for the trace."""
    assert outcome.error is not None, "it was killed"
    left = attempt < KILLED_ATTEMPTS_MAX
    then = "a fresh worker begins again" if left else "that was the last attempt"
    told = f"signal {outcome.error['signal']} from outside ended the worker; {then}"
    return f"[ipvm] attempt {attempt} of {KILLED_ATTEMPTS_MAX}: {told}\n".encode()


def _job(ready: Ready) -> Job:
    """The engine's job for an instruction; raises `GuestFailure` for input that cannot be one."""
    instruction = ready.instruction
    module = instruction.module
    if module is None:
        raise GuestFailure(
            "bad-argument", f"wasm/run needs an ipfs:// resource, not {instruction.rsc!r}"
        )
    given = {
        key: _whole(value, ready) if key in ("args", "env", "stdin") else value
        for key, value in instruction.input.items()
    }
    if not INPUT_KEYS.issuperset(given):
        unknown = ", ".join(sorted(set(given) - INPUT_KEYS))
        raise GuestFailure("bad-argument", f"wasm/run has no input named {unknown}")
    func = given.get("func")
    if func is not None and not isinstance(func, str):
        raise GuestFailure("bad-argument", "input.func must be a string")
    args = given.get("args", [])
    if not isinstance(args, list):
        raise GuestFailure("bad-argument", "input.args must be a list")
    if not isinstance(given.get("fx", False), bool):
        raise GuestFailure("bad-argument", "input.fx must be true or false")
    return Job(
        module=ready.files.resolve(module, instruction.module_path),
        func=func,
        args=tuple(args),
        content=ready.content,
        limits=ready.limits,
        caps=ready.caps,
        host=Host(
            env=_env(given.get("env", {}), ready),
            stdin=_stdin(given.get("stdin", b""), ready),
            seed=instruction.cid.raw,
            homestar=ready.homestar,
        ),
    )


def _read(ready: Ready, module: CID) -> Blob:
    """The module; one over the node's bound is refused before a byte of it is read."""
    size, bound = ready.files.size(module), ready.caps.module_bytes
    if size > bound:
        raise GuestFailure(
            "module-too-large",
            f"has {size} bytes; this node takes modules of up to {bound}",
            limit=bound,
        )
    return ready.files.gather(module)


def _whole(value: Any, ready: Ready) -> Any:
    """What a link to a value stands for: one that a step gave and that is too large to stand here
    itself is the same as a small one. A link to a file stays one."""
    content = ready.content.get(value) if isinstance(value, CID) else None
    if content is None or content.kind != "value":
        return value
    from lite.ipld import dag_cbor

    return dag_cbor.decode_trusted(content.read())


def _env(env: Any, ready: Ready) -> tuple[tuple[str, str], ...]:
    if isinstance(env, dict):
        env = {name: _whole(value, ready) for name, value in env.items()}
    if not isinstance(env, dict) or not all(isinstance(v, str) for v in env.values()):
        raise GuestFailure("bad-argument", "input.env must be a map of strings")
    return tuple(env.items())


def _stdin(stdin: Any, ready: Ready) -> bytes | Path:
    if isinstance(stdin, CID):
        content = ready.content.get(stdin)
        if content is None or content.kind != "file":
            raise GuestFailure("bad-argument", f"input.stdin: {stdin} is not a file")
        return content.data
    if isinstance(stdin, str):
        return stdin.encode()
    if isinstance(stdin, bytes):
        return stdin
    raise GuestFailure("bad-argument", "input.stdin must be bytes, text or a link to a file")
