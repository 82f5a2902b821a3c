"""What an operation is to the node: a name, a safety level, what it needs, and how it runs.

The executor knows operations only through this seam. It hands over a `Ready` instruction, one whose
awaits are filled in and whose links are here, and gets an `Outcome` back. Three things may happen
instead of an outcome, and each leaves no receipt:

    QueuedError   it cannot be done now, and nothing was done: the host is unreachable, a setting
                  is missing. It may be tried again at any time.
    InDoubt       a mutation may or may not have happened. It is never blindly repeated.
    NotFoundError a block is not here; the executor queues the run.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from lite.engine.base import GuestFailure, Outcome, Usage
from lite.engine.job import Content, failed
from lite.engine.spool import Blob
from lite.engine.stop import Stop
from lite.frozen import field, frozen
from lite.ipld.cid import CID
from lite.limits import EngineCaps, Limits
from lite.model.instruction import Instruction
from lite.model.safety import Level

__all__ = [
    "Content",
    "Files",
    "InDoubt",
    "Level",
    "Op",
    "Outcome",
    "Ready",
    "is_transient",
    "outcome_of",
]


class InDoubt(Exception):
    """A mutation was begun and its end is not known: it may or may not have happened.

    The message says what was done and what is not known. Whoever runs the operation writes it down
    as "in doubt" and leaves the decision to a person.
    """


class Files(Protocol):
    """Files in the local store. All raise `NotFoundError` for what is not here."""

    def resolve(self, cid: CID, path: str) -> CID:
        """The CID at a path below a directory or a value; the CID itself for an empty path."""

    def size(self, cid: CID) -> int:
        """Length of a file in bytes."""

    def read(self, cid: CID) -> bytes:
        """A whole file."""

    def gather(self, cid: CID) -> Blob:
        """A whole file, a large one in a temporary file. Raises `StoreFull` too."""


@frozen
class Ready:
    """An instruction that can run now.

    Attributes:
        instruction: without awaits.
        content: what each link in its input stands for here.
        files: the local store, for the module.
        limits, caps: what the guest may use.
        homestar: Homestar's value rules and host functions.
        deadline: when it has to have ended at the latest, on `time.monotonic`; None: the time
            limit alone counts.
        on_trace: gets log lines while it runs, as bytes, from the thread that runs it.
        stop: ends it from outside; it then raises `Interrupted`.
        for_others: it runs for somebody else than the owner, so that what only this machine can
            reach is not for them.
        needs: of the machine that runs it, as it is sent to providers
            (`lite.needs.required_form`): {gpu: {count: 1}, cpu: 4, memory: …}.
    """

    instruction: Instruction
    content: Mapping[CID, Content]
    files: Files
    limits: Limits
    caps: EngineCaps
    homestar: bool = False
    deadline: float | None = None
    on_trace: Callable[[bytes], None] | None = None
    stop: Stop | None = None
    for_others: bool = False
    needs: Mapping[str, Any] = field(default_factory=dict)

    def ends_at(self, timeout_ms: int | None = None) -> float:
        """The earliest of the deadline, the time limit and `timeout_ms` from now, on
        `time.monotonic`."""
        allowed_ms = self.limits.time_ms
        if timeout_ms is not None:
            allowed_ms = min(allowed_ms, timeout_ms)
        ends = time.monotonic() + allowed_ms / 1000
        return ends if self.deadline is None else min(ends, self.deadline)


class Op(Protocol):
    """One operation, found by the name in an instruction's `op`.

    Attributes:
        level: how safe it is to run it, run it again, or take an old result. An operation that
            cannot say so for all of its instructions also has `level_of(instruction) -> Level`.
        needs: what a node must have for it: "network", …
    """

    name: str
    level: Level
    needs: frozenset[str]

    def missing(self, ready: Ready) -> str | None:
        """Why it cannot run here yet (code, data or a setting that is not here), or None. Raises
        `QueuedError` where it also knows what to do about it."""

    def run(self, ready: Ready) -> Outcome:
        """Run it. What fails is an `Outcome` with an error, a map of at least `code` and
        `message`, never an exception but those named in the module."""


def outcome_of(work: Callable[[], Any]) -> Outcome:
    """Call `work` and measure its time: what it returns is the value, an IPLD value; the
    `GuestFailure` that it raises is the error."""
    started = time.monotonic()
    try:
        value = work()
    except GuestFailure as failure:
        return failed(failure, _took(started))
    return Outcome(ok=value, usage=_took(started))


def _took(started: float) -> Usage:
    return Usage(time_ms=(time.monotonic() - started) * 1000)


def is_transient(error: Mapping[str, Any]) -> bool:
    """Whether trying again later may help and can do no harm, as the operation says by
    `transient: true` in its error."""
    return error.get("transient") is True
