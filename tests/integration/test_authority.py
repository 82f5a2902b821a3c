"""Running what others ask for: who may, within which limits, and once."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lite import Node, wasm
from lite.authority import Authority
from lite.errors import QueuedError, UsageError
from lite.invocations import args_of, instruction_of, nonce_for
from lite.ipld.cid import CID
from lite.limits import Limits
from lite.model.instruction import Instruction
from lite.model.receipt import Receipt
from lite.ucan import container
from lite.ucan.invocation import Invocation
from lite.ucan.refusals import (
    ClockWrong,
    CommandNotCovered,
    Expired,
    MalformedToken,
    NoProofs,
    PolicyNotMet,
    Replayed,
    Revoked,
    UnavailableProof,
    WrongExecutor,
)
from lite.ucan.task import task_id
from tests.authority_support import Opener, add, ask, give, invocation_in
from tests.guests import ADD
from tests.store_support import START, FakeClock

ROOT = Path(__file__).resolve().parent.parent.parent
YEAR = 365 * 86_400
SPIN = '(module (func (export "spin") (result i32) (loop br 0) i32.const 1))'


# The way of a job.


def test_the_receipt_of_another_s_job_names_the_invocation_and_its_task(
    pi: Node, phone: Node
) -> None:
    give(pi, phone)
    job = add(pi)
    data = ask(phone, pi, job)
    answer = pi.run_invocation(data)
    assert (answer.source, answer.out.unwrap()) == ("ran", 42)
    asked = invocation_in(data)
    receipt = answer.receipt
    assert receipt.invocation == asked.cid
    assert receipt.instruction == job.cid
    assert receipt.ran == asked.task
    assert receipt.ran == task_id(pi.did, "/wasm/run", args_of(job), nonce_for(job))
    assert receipt.issuer == pi.did
    assert Receipt.parse(receipt.data) == receipt


def test_an_owner_s_receipt_answers_and_a_new_one_names_the_invocation(
    pi: Node, phone: Node
) -> None:
    give(pi, phone)
    own = pi.run(add(pi))
    data = ask(phone, pi, add(pi))
    answer = pi.run_invocation(data)
    assert (answer.source, answer.rule) == ("cached", "own receipt")
    assert answer.receipt.cid != own.receipt.cid
    assert answer.receipt.invocation == invocation_in(data).cid
    assert answer.receipt.out == own.receipt.out


def test_the_owner_needs_no_ceremony(pi: Node) -> None:
    answer = pi.run(add(pi))
    assert answer.source == "ran"
    assert answer.receipt.invocation is None
    assert pi._authority is None


def test_a_chain_of_three_gets_in_and_each_link_may_narrow(
    pi: Node, laptop: Node, phone: Node
) -> None:
    give(pi, laptop, "/wasm", policy=[["like", ".rsc", "ipfs://*"]])
    give(laptop, phone, subject=pi.did, policy=[["<=", ".limits.fuel", 100_000]])
    assert pi.run_invocation(ask(phone, pi, add(pi), {"fuel": 100_000})).out.unwrap() == 42
    too_much = Invocation.issue(
        phone.key,
        subject=pi.did,
        command="/wasm/run",
        args=args_of(add(pi), {"fuel": 100_001}),
        expires_at=START + 60,
        proofs=invocation_in(ask(phone, pi, add(pi), {"fuel": 1})).proofs,
    )
    parts = container.read(ask(phone, pi, add(pi), {"fuel": 1}))
    data = container.write([too_much.data, *(one for one in parts if b"ucan/dlg" in one)])
    with pytest.raises(PolicyNotMet, match=r"proof 2 of 2.*100001") as refused:
        pi.run_invocation(data)
    assert (refused.value.step, refused.value.position) == ("7i", 1)


def test_proofs_that_the_node_holds_need_not_come_along(pi: Node, phone: Node) -> None:
    give(pi, phone)
    data = ask(phone, pi, add(pi))
    bare = invocation_in(data).data
    assert pi.run_invocation(bare).out.unwrap() == 42


def test_a_proof_that_is_nowhere_is_named(pi: Node, laptop: Node, phone: Node) -> None:
    give(pi, laptop)
    give(laptop, phone, subject=pi.did)
    with pytest.raises(UnavailableProof, match="proof 2 of 2"):
        pi.run_invocation(invocation_in(ask(phone, pi, add(pi))).data)


def test_a_container_holds_one_invocation(pi: Node, phone: Node) -> None:
    give(pi, phone)
    one, other = (container.read(ask(phone, pi, add(pi, 1, n))) for n in (1, 2))
    with pytest.raises(UsageError, match="2 invocations in it"):
        pi.run_invocation(container.write([*one, *other]))
    with pytest.raises(MalformedToken):
        pi.run_invocation(b"nonsense")


# Who gets in.


def test_a_stranger_does_not_get_in(pi: Node, phone: Node) -> None:
    asked = Invocation.issue(
        phone.key, subject=pi.did, command="/wasm/run", args=args_of(add(pi)), expires_at=None
    )
    with pytest.raises(NoProofs):
        pi.run_invocation(asked.data)
    assert pi.store.receipts.count() == 0


def test_an_invocation_for_another_node_is_refused(pi: Node, laptop: Node, phone: Node) -> None:
    give(pi, phone)
    with pytest.raises(WrongExecutor, match="addressed to"):
        laptop.run_invocation(ask(phone, pi, add(pi)))


def test_a_delegation_of_wasm_is_none_of_wasmedge(pi: Node, phone: Node) -> None:
    give(pi, phone, "/wasm")
    proof = phone.authority.find_chain(subject=pi.did, audience=phone.did, command="/wasm/run")
    assert proof is not None
    assert (
        phone.authority.find_chain(subject=pi.did, audience=phone.did, command="/wasmedge") is None
    )
    asked = Invocation.issue(
        phone.key,
        subject=pi.did,
        command="/wasmedge/run",
        args=args_of(add(pi)),
        expires_at=START + 60,
        proofs=[proof[0].cid],
    )
    with pytest.raises(CommandNotCovered, match='"/wasm", which does not cover "/wasmedge/run"'):
        pi.run_invocation(asked.data)


def test_sixty_seconds_of_difference_are_forgiven_and_sixty_one_not(
    pi: Node, phone: Node, clock: FakeClock
) -> None:
    give(pi, phone)
    first, second = (ask(phone, pi, add(pi, 1, n), expires_in_s=10) for n in (1, 2))
    clock.seconds += 70
    assert pi.run_invocation(first).out.unwrap() == 2
    clock.seconds += 1
    with pytest.raises(Expired, match="expired 61 s ago"):
        pi.run_invocation(second)


def test_a_delegation_revoked_in_the_middle_stops_all_below_it(
    pi: Node, laptop: Node, phone: Node
) -> None:
    give(pi, laptop)
    middle = give(laptop, phone, subject=pi.did)
    assert pi.run_invocation(ask(phone, pi, add(pi, 1, 1))).out.unwrap() == 2
    revocation = laptop.authority.revoke(middle)
    assert [one.kind for one in pi.authority.import_(revocation.data).taken] == ["revocation"]
    with pytest.raises(Revoked, match="proof 2 of 2"):
        pi.run_invocation(ask(phone, pi, add(pi, 1, 2)))


def test_the_root_s_issuer_may_revoke_a_link_further_down(
    pi: Node, laptop: Node, phone: Node
) -> None:
    give(pi, laptop)
    low = give(laptop, phone, subject=pi.did)
    data = ask(phone, pi, add(pi))
    pi.authority.import_(container.write(p for p in container.read(data) if b"ucan/dlg" in p))
    revocation = pi.authority.revoke(low)
    assert len(revocation.path) == 2
    with pytest.raises(Revoked):
        pi.run_invocation(data)


def test_a_revocation_drops_what_was_remembered_of_the_chain(pi: Node, phone: Node) -> None:
    link = give(pi, phone)
    data = invocation_in(ask(phone, pi, add(pi))).data
    memo = pi.authority._gate.memo

    def check(authority: Authority) -> object:
        return authority.authorise(data, executor=pi.did, proofs_with_it={}, claim=None)

    first = check(pi.authority)
    assert check(pi.authority) is first
    assert len(memo) == 1
    pi.authority.revoke(link)
    assert len(memo) == 0
    with pytest.raises(Revoked):
        check(pi.authority)


def test_a_revocation_by_another_process_counts_although_the_chain_is_remembered(
    pi: Node, phone: Node, opened: Opener
) -> None:
    link = give(pi, phone)
    data = ask(phone, pi, add(pi))
    assert pi.authority.verify(data).holds
    opened("pi").authority.revoke(link)
    verdict = pi.authority.verify(data)
    assert isinstance(verdict.refusal, Revoked)
    with pytest.raises(Revoked):
        pi.run_invocation(data)


# Once.


def test_the_same_invocation_again_is_a_replay_that_names_the_first_receipt(
    pi: Node, phone: Node, opened: Opener
) -> None:
    give(pi, phone)
    data = ask(phone, pi, add(pi))
    name = invocation_in(data).cid
    assert pi.answered(name) is None
    first = pi.run_invocation(data)
    for node in (pi, opened("pi")):
        with pytest.raises(Replayed) as caught:
            node.run_invocation(data)
        assert caught.value.details == {"receipt": str(first.receipt.cid)}
        again = node.answered(name)
        assert again is not None
        assert (again.source, again.rule) == ("cached", "done before")
        assert (again.receipt, again.out.unwrap()) == (first.receipt, 42)
        node.close()


def test_an_invocation_whose_receipt_was_forgotten_is_a_replay(pi: Node, phone: Node) -> None:
    give(pi, phone)
    data = ask(phone, pi, add(pi))
    pi.store.receipts.forget(pi.run_invocation(data).receipt.cid)
    with pytest.raises(Replayed, match="accepted once already"):
        pi.run_invocation(data)


def test_a_clock_that_was_ahead_lets_nothing_be_run_again(
    pi: Node, phone: Node, clock: FakeClock
) -> None:
    link = give(pi, phone)
    used, unused = (ask(phone, pi, add(pi, 1, n)) for n in (1, 2))
    pi.run_invocation(used)
    used_receipt = pi.store.receipts.list()[0].cid
    pi.authority.revoke(link)
    clock.seconds = START + 20 * YEAR
    pi.run(add(pi, 3, 3))
    pi.store.gc(grace_s=0)
    clock.seconds = START + 10
    with pytest.raises(ClockWrong) as behind:
        pi.run_invocation(used)
    mark = pi.store.tokens.latest().receipt
    assert mark is not None
    assert f"`ipvm receipt forget {mark}`" in (behind.value.hint or "")
    pi.store.receipts.forget(mark)
    pi.store.receipts.forget(used_receipt)
    pi.authority.import_(unused)
    for data in (used, unused):
        with pytest.raises(Revoked):
            pi.run_invocation(data)
    again = give(pi, phone)
    assert again != link
    assert pi.store.tokens.claim(invocation_in(used).cid, None) == "answered"


def test_what_could_not_be_run_may_be_sent_again(pi: Node, phone: Node) -> None:
    give(pi, phone)
    job = wasm(CID.of(ADD, 0x55), "add", 2, 40)
    data = ask(phone, pi, job)
    with pytest.raises(QueuedError, match="module is not here"):
        pi.run_invocation(data)
    pi.add(ADD)
    assert pi.run_invocation(data).out.unwrap() == 42


CLAIM = """
import sys
from collections.abc import Callable
from pathlib import Path
from lite.ipld.cid import CID
from lite.store import Store
with Store.open(Path(sys.argv[1])) as store:
    print("ready", flush=True)
    sys.stdin.readline()
    won = [store.tokens.claim(CID.of(bytes([n]), 0x71), None) for n in range(20)]
    print(*(int(one == "new") for one in won), flush=True)
"""


def test_of_two_processes_exactly_one_claims_an_invocation(pi: Node) -> None:
    children = [
        subprocess.Popen(
            [sys.executable, "-c", CLAIM, str(pi.home)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    for child in children:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
    for child in children:
        assert child.stdin is not None
        child.stdin.write("\n")
        child.stdin.flush()
    won = [child.communicate()[0].split() for child in children]
    assert [child.returncode for child in children] == [0, 0]
    assert [int(a) + int(b) for a, b in zip(*won, strict=True)] == [1] * 20


# What is run.


def test_policies_are_asked_again_about_what_an_await_became(pi: Node, phone: Node) -> None:
    give(pi, phone, policy=[["not", [">", ".input.args[0]", 10]]])
    small, large = add(pi, 2, 3), add(pi, 20, 30)
    pi.run(small)
    pi.run(large)
    module = pi.add(ADD)
    fine = pi.run_invocation(ask(phone, pi, wasm(module, "add", small.ok, 1)))
    assert fine.out.unwrap() == 6
    assert fine.receipt.instruction == wasm(module, "add", 5, 1).cid
    sent = ask(phone, pi, wasm(module, "add", large.ok, 1))
    with pytest.raises(PolicyNotMet, match="proof 1 of 1"):
        pi.run_invocation(sent)
    # Also when the answer is known: it would say what the policy keeps from being asked.
    pi.run(wasm(module, "add", large.ok, 1))
    with pytest.raises(PolicyNotMet):
        pi.run_invocation(sent)


def test_an_await_of_the_unknown_queues_and_may_be_sent_again(pi: Node, phone: Node) -> None:
    give(pi, phone)
    first = add(pi, 1, 1)
    data = ask(phone, pi, wasm(pi.add(ADD), "add", first.ok, 1))
    with pytest.raises(QueuedError, match="awaits the result"):
        pi.run_invocation(data)
    pi.run(first)
    assert pi.run_invocation(data).out.unwrap() == 3
    asked = invocation_in(data)
    assert [r.invocation for r in pi.store.receipts.by_instruction(instruction_of(asked).cid)] == [
        asked.cid
    ]


@pytest.mark.parametrize(
    ("asked", "given", "fuel"),
    [
        (None, None, Limits.guest().fuel),
        ({"fuel": 5_000}, None, 5_000),
        ({"fuel": 10**15}, None, Limits.guest().fuel),
        ({"fuel": 10**15}, Limits(fuel=7_000), 7_000),
        ({"fuel": 10**15}, Limits(fuel=2 * 10**9), 2 * 10**9),
    ],
)
def test_guests_get_what_they_ask_for_within_what_guests_get(
    pi: Node, phone: Node, asked: dict[str, int] | None, given: Limits | None, fuel: int
) -> None:
    give(pi, phone)
    answer = pi.run_invocation(ask(phone, pi, add(pi), asked), limits=given)
    assert answer.receipt.meta["limits"]["fuel"] == fuel


def test_a_guest_that_spins_meets_its_limit(pi: Node, phone: Node) -> None:
    import wasmtime

    give(pi, phone)
    job = wasm(pi.add(bytes(wasmtime.wat2wasm(SPIN))), "spin")
    answer = pi.run_invocation(ask(phone, pi, job, {"fuel": 10_000}))
    assert answer.out.error_code == "out-of-fuel"


@pytest.mark.parametrize("nnc", ["", "text", b"some bytes", "ü"])
def test_an_instruction_comes_through_an_invocation_unchanged(
    pi: Node, phone: Node, nnc: str | bytes
) -> None:
    give(pi, phone)
    job = Instruction(f"ipfs://{pi.add(ADD)}", "wasm/run", {"func": "add", "args": [1, 2]}, nnc)
    nonce = nnc if isinstance(nnc, bytes) else b""
    assert instruction_of(invocation_in(ask(phone, pi, job, nonce=nonce))) == job
    if not nnc:
        assert instruction_of(invocation_in(ask(phone, pi, job))) == job


@pytest.mark.parametrize(
    ("args", "match"),
    [
        ({"input": {}}, "rsc is missing"),
        ({"rsc": "ipfs://x"}, "rsc"),
        ({"rsc": "ipfs://x", "nnc": b""}, "nnc must be text"),
        ({"rsc": "ipfs://x", "more": 1}, "'more' is not known"),
        ({"rsc": "https://x.y", "input": 1}, "input: a map"),
        ({"rsc": "https://x.y/", "limits": 1}, "args.limits"),
    ],
)
def test_arguments_of_no_instruction_are_the_requester_s_fault(
    pi: Node, phone: Node, args: dict[str, Any], match: str
) -> None:
    give(pi, phone)
    sent = container.write(phone.authority.invoke(pi.did, "/wasm/run", args))
    for _ in range(2):
        with pytest.raises(UsageError, match=match):
            pi.run_invocation(sent)


@pytest.mark.parametrize("spell", [lambda cid: f"{cid}/", lambda cid: cid.encode("base16")])
def test_one_module_has_one_spelling_in_an_invocation(
    pi: Node, phone: Node, spell: Callable[[CID], str]
) -> None:
    job = add(pi)
    assert job.module is not None
    give(pi, phone, policy=[["!=", ".rsc", job.rsc]])
    other = Instruction(f"ipfs://{spell(job.module)}", job.op, job.input)
    with pytest.raises(UsageError, match="usual form"):
        pi.run_invocation(ask(phone, pi, other))
