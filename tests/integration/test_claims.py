"""Invocations that are under way, or whose node was killed in the middle."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from lite import Node
from lite.engine.base import Outcome
from lite.errors import QueuedError
from lite.ipld.cid import CID
from lite.model.instruction import Instruction
from lite.model.receipt import Receipt
from lite.ops import base
from lite.ops.base import Ready
from lite.store.leases import Lease
from lite.ucan.refusals import InDoubt, Replayed
from tests.authority_support import Opener, add, ask, give, invocation_in

ROOT = Path(__file__).resolve().parent.parent.parent

# Serves one invocation with an operation that never ends.
STUCK = """
import sys
from pathlib import Path
from lite import Node
from lite.invocations import serve
from tests.integration.test_claims import Acting
from tests.store_support import FakeClock

def run(ready):
    print("running", flush=True)
    sys.stdin.read()

with Node.open(Path(sys.argv[1]), in_process=True, clock=FakeClock()) as node:
    node._executor._ops = {sys.argv[3]: Acting(run, sys.argv[4])}
    node.run_invocation(Path(sys.argv[2]).read_bytes())
"""


class Acting:
    """An operation of a test."""

    name = "test/act"
    needs: frozenset[str] = frozenset()

    def __init__(self, run: Callable[[Ready], Outcome], level: base.Level = "mutation") -> None:
        self.run = run
        self.level = level

    def missing(self, ready: Ready) -> str | None:
        return None


@pytest.fixture(autouse=True)
def _others_may_act(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IPVM_OPS_ALLOWED_FOR_OTHERS", f"wasm/run,{Acting.name}")


def killed(node: Node, data: bytes, folder: Path, op: str, level: str) -> None:
    """A process of the node takes the invocation on, and is killed while it runs."""
    file = folder / "job.ucan"
    file.write_bytes(data)
    child = subprocess.Popen(
        [sys.executable, "-c", STUCK, str(node.home), str(file), op, level],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == b"running\n"
    finally:
        child.kill()  # SIGKILL
        child.communicate()


def action(pi: Node) -> Instruction:
    return Instruction(f"ipfs://{add(pi).module}", Acting.name, {})


def acting(node: Node, monkeypatch: pytest.MonkeyPatch, run: Callable[[Ready], Outcome]) -> None:
    monkeypatch.setattr(node._executor, "_ops", {Acting.name: Acting(run)})


def refused_with(node: Node, data: bytes, receipt: Receipt) -> None:
    """As a replay of what this receipt answered."""
    with pytest.raises(Replayed) as caught:
        node.run_invocation(data)
    assert caught.value.details == {"receipt": str(receipt.cid)}


def test_what_a_killed_process_did_not_finish_is_done_when_it_is_sent_again(
    pi: Node, phone: Node, tmp_path: Path
) -> None:
    give(pi, phone)
    data = ask(phone, pi, add(pi))
    killed(pi, data, tmp_path, "wasm/run", "pure")
    cid = invocation_in(data).cid
    assert pi.store.tokens.claim(cid, None) == "open"
    answer = pi.run_invocation(data)
    assert (answer.source, answer.out.unwrap(), answer.receipt.invocation) == ("ran", 42, cid)
    refused_with(pi, data, answer.receipt)


def test_what_may_have_had_its_effect_before_the_process_was_killed_is_in_doubt(
    pi: Node, phone: Node, opened: Opener, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    give(pi, phone, "/test")
    data = ask(phone, pi, action(pi))
    killed(pi, data, tmp_path, Acting.name, "mutation")
    acting(pi, monkeypatch, lambda _: Outcome(ok="again"))
    for _ in range(2):
        with pytest.raises(InDoubt, match="test/act had its effect is not known") as doubt:
            pi.run_invocation(data)
    assert (doubt.value.code, doubt.value.exit_code) == ("ucan-in-doubt", 4)
    assert "send a new invocation" in (doubt.value.hint or "")
    # Also when the operation has gone meanwhile and is not for others any more.
    monkeypatch.setenv("IPVM_OPS_ALLOWED_FOR_OTHERS", "wasm/run")
    for node in (opened("pi"), pi):
        with pytest.raises(InDoubt):
            node.run_invocation(data)


def test_an_operation_that_does_not_know_its_own_end_is_in_doubt_and_not_done_again(
    pi: Node, phone: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    give(pi, phone, "/test")
    data = ask(phone, pi, action(pi))

    def lost(_: Ready) -> Outcome:
        raise base.InDoubt("the line broke after the order was sent")

    acting(pi, monkeypatch, lost)
    with pytest.raises(InDoubt, match="the line broke"):
        pi.run_invocation(data)
    acting(pi, monkeypatch, lambda _: Outcome(ok="again"))
    with pytest.raises(InDoubt, match="not known"):
        pi.run_invocation(data)


def test_an_operation_that_could_not_begin_may_be_asked_again_and_acts_for_each_invocation(
    pi: Node, phone: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    give(pi, phone, "/test")
    data = ask(phone, pi, action(pi))

    def offline(_: Ready) -> Outcome:
        raise QueuedError("no network")

    acting(pi, monkeypatch, offline)
    with pytest.raises(QueuedError):
        pi.run_invocation(data)
    times: list[int] = []

    def act(_: Ready) -> Outcome:
        times.append(1)
        return Outcome(ok=len(times))

    acting(pi, monkeypatch, act)
    first = pi.run_invocation(data)
    refused_with(pi, data, first.receipt)
    other = pi.run_invocation(ask(phone, pi, action(pi), expires_in_s=301))
    assert (first.out.unwrap(), other.out.unwrap(), other.source) == (1, 2, "ran")


def test_who_comes_while_the_first_still_runs_waits_and_is_told_its_receipt(
    pi: Node, phone: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    give(pi, phone, "/test")
    data = ask(phone, pi, action(pi))
    begun, go_on, waiting = threading.Event(), threading.Event(), threading.Event()
    lease = pi.store.lease

    def told_lease(cid: CID) -> Lease:
        if begun.is_set():
            waiting.set()
        return lease(cid)

    monkeypatch.setattr(pi.store, "lease", told_lease)

    def act(_: Ready) -> Outcome:
        begun.set()
        assert go_on.wait(30)
        return Outcome(ok="once")

    acting(pi, monkeypatch, act)
    found: list[str] = []

    def serve() -> None:
        try:
            found.append(str(pi.run_invocation(data).receipt.cid))
        except Replayed as refusal:
            found.append(refusal.details["receipt"])

    first, second = (threading.Thread(target=serve) for _ in range(2))
    first.start()
    assert begun.wait(30)
    second.start()
    assert waiting.wait(30)
    begun.clear()
    go_on.set()
    first.join()
    second.join()
    assert len(found) == 2
    assert found[0] == found[1]
    assert not begun.is_set()


def test_an_invocation_older_than_the_claims_that_are_known_is_refused(
    pi: Node, phone: Node
) -> None:
    give(pi, phone)
    data = ask(phone, pi, add(pi))
    ends = invocation_in(data).expires_at
    assert ends is not None
    execute = pi.store._database.connection.execute
    execute("UPDATE forgotten SET claims_until = ?", (ends + 60,))
    with pytest.raises(Replayed, match="may have been accepted before") as refused:
        pi.run_invocation(data)
    assert "ends later" in (refused.value.hint or "")
    execute("UPDATE forgotten SET claims_until = ?", (ends + 59,))
    assert pi.run_invocation(data).out.unwrap() == 42
