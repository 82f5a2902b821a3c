"""What a customer makes of its providers: what it sends, what it takes, and what it does not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lite.frozen import replace
from lite.ipld.block import Block
from lite.ipld.cid import CID, DAG_CBOR, RAW
from lite.keys import Key
from lite.limits import Limits
from lite.memo import Memo
from lite.model.result import Result
from lite.model.trust import TrustPolicy
from lite.model.workflow import Workflow
from lite.offload.choosing import asks_of
from lite.offload.confirming import WRONG
from lite.offload.grants import Grants
from lite.offload.plans import Wanted
from lite.peering.book import open_book
from lite.store.finished import Finished
from lite.store.outbox_rows import Job
from lite.ucan.invocation import Invocation
from sync.peers import ANSWERS
from tests.clerk_support import LEASE_S, Shop
from tests.outbox_support import OTHER_KEY, TTL_S, Far, answer_of, needing
from tests.scheduler_support import do
from tests.store_support import KEY, START, FakeClock

THIRD = Key.from_seed(bytes([11]) * 32)
FOURTH = Key.from_seed(bytes([12]) * 32)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def open_shop(tmp_path: Path, clock: FakeClock) -> Iterator[Callable[..., Shop]]:
    labs: list[Far] = []

    def make(*keys: Key) -> Shop:
        labs.append(Far(tmp_path / f"home{len(labs)}", clock))
        return Shop(labs[-1], clock, *keys)

    yield make
    for lab in labs:
        lab.close()


@pytest.fixture
def shop(open_shop: Callable[..., Shop]) -> Shop:
    return open_shop()


HEAVY = do("pure", value=1)
ACT = do("post", value=1)


def sent(shop: Shop, instruction: Any = HEAVY, **asked: Any) -> Job:
    """The job of a step that does not run here."""
    shop.queue(Workflow(heavy=needing(instruction)), **asked)
    (job,) = shop.send()
    return job


def test_an_invocation_asks_for_the_step_until_its_lease_ends(shop: Shop) -> None:
    job = sent(shop)
    invocation = Invocation.parse(job.token)
    assert (invocation.issuer, invocation.subject, invocation.command) == (
        *(KEY.did, OTHER_KEY.did),
        "/lab/pure",
    )
    assert invocation.args["limits"].keys() == {"fuel", "memory", "time", "output"}
    assert invocation.expires_at == job.lease_until == START + 60 + LEASE_S
    assert len(invocation.proofs) == 1
    assert job.choice.startswith("0 s (0 B to move")
    assert shop.item(job).state == "sent"


def test_an_invocation_ends_no_later_than_the_right_that_it_rests_on(shop: Shop) -> None:
    tokens = shop.lab.store.tokens
    tokens.forget([one.cid for one in tokens.delegations()])
    shop.allow(OTHER_KEY, expires_at=START + 70)
    job = sent(shop)
    assert Invocation.parse(job.token).expires_at == START + 70
    assert job.lease_until == START + 60 + LEASE_S


def test_a_good_answer_is_kept_and_lets_the_run_go_on(shop: Shop) -> None:
    job = sent(shop)
    shop.accept(job)
    assert shop.item(job).state == "accepted"
    assert shop.hear(job, shop.receipt(job)) is None
    item = shop.item(job)
    assert (item.state, shop.job(job).state) == ("done", "done")
    assert shop.lab.store.outbox.answered_runs() == [item.run]
    run = shop.queue(Workflow(heavy=needing(HEAVY)))
    assert (run.state, run["heavy"].out.body) == ("done", 42)
    assert shop.lab.ran == {}


def forged(shop: Shop, job: Job) -> bytes:
    data = bytearray(shop.receipt(job).data)
    data[8] ^= 1  # in the signature
    return bytes(data)


BAD: dict[str, Callable[[Shop, Job], Any]] = {
    "bad-receipt": lambda shop, job: b"junk",
    "bad-signature": forged,
    "wrong-issuer": lambda shop, job: shop.receipt(job, key=FOURTH),
    "other-invocation": lambda shop, job: shop.receipt(job, invocation=CID.of(b"x", DAG_CBOR)),
    "other-step": lambda shop, job: shop.receipt(job, instruction=do("pure", value=2)),
    "expired-receipt": lambda shop, job: shop.receipt(job, expires_at=START - 1),
}


@pytest.mark.parametrize("code", BAD)
def test_a_bad_answer_is_named_counted_and_left_and_the_next_bid_is_taken(
    open_shop: Callable[..., Shop], code: str
) -> None:
    shop = open_shop(OTHER_KEY, THIRD)
    job = sent(shop)
    before = shop.lab.store.receipts.count()
    shop.hear(job, BAD[code](shop, job))
    store = shop.lab.store
    assert store.outbox.refusals() == {job.provider: {code: 1}}
    assert (store.receipts.count(), shop.job(job).code) == (before, code)
    assert ("job.refused", code) in [(kind, data.get("code")) for kind, data in shop.told]
    assert shop.item(job).state == "queued"
    (second,) = shop.send()
    assert second.provider != job.provider
    shop.hear(second, shop.receipt(second))
    assert shop.item(job).state == "done"


def test_a_receipt_of_the_right_job_does_not_let_other_receipts_of_its_issuer_count(
    shop: Shop,
) -> None:
    other = do("pure", value=2)
    job = sent(shop)
    shop.hear(job, shop.receipt(job))
    shop.lab.store.receipts.add(shop.receipt(job, instruction=other, invocation=None))
    run = shop.queue(Workflow(heavy=needing(HEAVY), other=needing(other)), new=True)
    assert [step.state for step in run.steps] == ["cached", "queued"]


@pytest.mark.parametrize("code", ["ucan-expired", "ucan-policy", "no-right", "busy"])
def test_a_refusal_that_is_signed_sends_the_step_to_the_next_one(
    open_shop: Callable[..., Shop], code: str
) -> None:
    shop = open_shop(OTHER_KEY, THIRD)
    job = sent(shop)
    shop.refuse(job, code)
    assert (shop.job(job).state, shop.job(job).code) == ("refused", code)
    (second,) = shop.send()
    assert second.provider != job.provider


def test_nobody_is_asked_twice_at_once_and_the_reason_is_noted(
    shop: Shop, clock: FakeClock
) -> None:
    job = sent(shop)
    shop.refuse(job, "busy")
    assert shop.send() == []
    item = shop.item(job)
    assert item.note == f"{OTHER_KEY.did}: because of busy"
    assert item.next_try_at is not None and item.next_try_at > clock.now()
    clock.seconds += 61
    assert [one.provider for one in shop.send()] == [OTHER_KEY.did]


def test_without_a_delegation_nobody_is_asked_and_the_reason_says_so(
    tmp_path: Path, clock: FakeClock
) -> None:
    lab = Far(tmp_path / "home", clock)
    shop = Shop(lab, clock)
    shop.queue(Workflow(heavy=needing(do("pure", value=1))))
    given = lab.store.tokens.given_to(KEY.did, OTHER_KEY.did, "/lab/pure", None)
    lab.store.tokens.forget([one.cid for one in given])
    assert shop.send() == []
    (item,) = lab.store.outbox.newest()
    assert item.note == "no node has given this one the right to /lab/pure"
    lab.close()


# What may act.


@pytest.mark.parametrize("level", ["post", "unknown"])
def test_what_may_act_is_never_given_to_a_second_one_but_when_it_was_not_begun(
    open_shop: Callable[..., Shop], clock: FakeClock, level: str
) -> None:
    shop = open_shop(OTHER_KEY, THIRD)
    for key in (OTHER_KEY, THIRD):
        shop.allow(key, "/cuda")
    act = ACT if level == "post" else replace(ACT, op="cuda/matmul")
    shop.queue(Workflow(act=needing(act)))
    (job,) = shop.send()
    assert job.lease_until == START + TTL_S  # it is its provider's until nobody wants it any more
    shop.refuse(job, "busy")
    (second,) = shop.send()
    shop.refuse(second, "stopped", begun=True)
    assert shop.send() == []
    assert (shop.item(second).state, shop.item(second).receipt) == ("failed", None)
    run = shop.queue(Workflow(act=needing(act)))
    assert (run.state, run.step("act").state) == ("in-doubt", "in-doubt")
    assert "may or may not have happened" in run.step("act").reason


def test_a_refusal_of_what_may_act_counts_only_with_a_good_signature(shop: Shop) -> None:
    job = sent(shop, ACT)
    shop.refuse(job, "busy", key=THIRD)
    assert shop.item(job).state == "failed"
    assert shop.lab.store.outbox.refusals() == {OTHER_KEY.did: {"bad-statement": 1}}


def test_an_answer_that_comes_after_all_ends_a_doubt(shop: Shop, clock: FakeClock) -> None:
    job = sent(shop, ACT)
    clock.seconds += TTL_S + 1
    shop.clerk.look_at_ends()
    assert shop.item(job).state == "failed"
    assert shop.queue(Workflow(heavy=needing(ACT))).state == "in-doubt"
    shop.hear(job, shop.receipt(job, "sent"))
    assert shop.item(job).state == "done"
    run = shop.queue(Workflow(heavy=needing(ACT)))
    assert (run.state, run["heavy"].out.body) == ("done", "sent")


# What time brings.


def test_a_lease_that_ran_out_is_offered_once_more_and_both_receipts_are_kept(
    open_shop: Callable[..., Shop], clock: FakeClock
) -> None:
    shop = open_shop(OTHER_KEY, THIRD, FOURTH)
    first = sent(shop)
    clock.seconds = first.lease_until
    shop.clerk.look_at_ends()
    assert shop.send() == []  # the last second is its own
    clock.seconds += 1
    shop.clerk.look_at_ends()
    (second,) = shop.send()
    assert second.provider != first.provider
    clock.seconds = second.lease_until + 1
    shop.clerk.look_at_ends()
    assert shop.send() == []  # at most one more
    receipts = [shop.receipt(second), shop.receipt(first)]
    shop.hear(second, receipts[0])
    shop.hear(first, receipts[1])
    best = min(receipts, key=lambda one: one.cid.digest)
    assert shop.item(first).receipt == best.cid
    assert all(shop.lab.store.receipts.has(one.cid) for one in receipts)
    settled = shop.lab.executor.lookup(HEAVY.cid, shop.clerk._base)
    assert settled is not None and settled.receipt == best


def test_what_nobody_did_in_time_ends_with_a_signed_receipt(shop: Shop, clock: FakeClock) -> None:
    shop.queue(Workflow(heavy=needing(HEAVY)))
    clock.seconds += TTL_S + 1
    shop.clerk.look_at_ends()
    (item,) = shop.lab.store.outbox.newest()
    assert item.state == "expired" and item.receipt is not None
    receipt = shop.lab.store.receipts.get(item.receipt)
    assert receipt is not None
    assert (receipt.issuer, receipt.error_code) == (KEY.did, "expired")
    run = shop.queue(Workflow(heavy=needing(HEAVY)))
    assert (run.state, run.step("heavy").receipt) == ("failed", receipt)


def test_what_nobody_waits_for_is_called_off(shop: Shop) -> None:
    job = sent(shop)
    run = shop.lab.store.runs.list()[0]
    shop.lab.store.runs.cancel(run.id)
    shop.lab.store.runs.set_state(run.id, "cancelled")
    shop.clerk.look_at_ends()
    assert shop.item(job).state == "cancelled"
    assert shop.lab.store.outbox.needless_jobs() == [shop.job(job)]


# Groups.


def test_what_hangs_on_a_step_goes_with_it_and_values_between_stay_there(shop: Shop) -> None:
    before = do("pure", value=5)
    lead = do("pure", "sum", of=[1, 2])
    behind = do("pure", "sum", of=[lead.ok, before.ok])
    last = do("pure", "sum", of=[behind.ok, 1])
    aside = do("query", value=lead.ok)
    workflow = Workflow(before=before, lead=needing(lead), behind=behind, last=last, aside=aside)
    shop.queue(workflow)
    jobs = {shop.item(job).label: job for job in shop.send()}
    assert list(jobs) == ["lead", "behind", "last"]
    assert [job.final for job in jobs.values()] == [False, False, True]
    filled = shop.asked(jobs["behind"])
    assert filled.input["of"] == [{"await/ok": lead.cid}, 5]
    assert shop.asked(jobs["last"]).input["of"][0] == {"await/ok": filled.cid}
    big = Block.make(b"\x82\x01\x02", DAG_CBOR)  # a value that stays at the provider
    for label, instruction, out in (
        ("lead", lead, Result.of_ok(3)),
        ("behind", do("pure", "sum", of=[3, 5]), Result.of_ok(big.cid)),
    ):
        linked: Any = "dag-cbor" if label == "behind" else None
        answer = shop.receipt(jobs[label], instruction=instruction, out=out, linked=linked)
        assert shop.hear(jobs[label], answer) is None
    end = do("pure", "sum", of=[big.cid, 1])
    wanted = shop.hear(
        jobs["last"],
        shop.receipt(jobs["last"], instruction=end, out=Result.of_ok(big.cid), linked="dag-cbor"),
    )
    assert isinstance(wanted, Wanted) and wanted.blocks == (big.cid,)
    assert not shop.lab.store.blocks.has(big.cid)
    shop.lab.store.blocks.put_many([big])
    shop.clerk.settle(wanted)
    run = shop.queue(workflow)
    states = {step.label: (step.state, step.source) for step in run.steps}
    assert states["behind"] == states["last"] == ("done", "ran")
    assert shop.lab.ran == {"give": 2}  # before, and aside


def test_a_call_for_bids_tells_of_what_would_go_along(shop: Shop) -> None:
    behind = do("pure", "sum", of=[HEAVY.ok, 1])
    shop.queue(Workflow(heavy=needing(HEAVY), behind=needing(behind, requires={"cpu": 3})))
    (ask,) = asks_of([shop.plan()])
    assert (ask.needs.cores, [one.cores for one in ask.along]) == (0, [3])


@pytest.mark.parametrize("policy", [["==", ".input.do", "give"], ["!=", ".input.do", "sum"]])
def test_what_no_delegation_allows_to_go_along_keeps_no_step_from_going(
    shop: Shop, policy: list[Any]
) -> None:
    tokens = shop.lab.store.tokens
    tokens.forget([one.cid for one in tokens.delegations()])
    shop.allow(OTHER_KEY, policy=[policy])
    behind = do("pure", "sum", of=[HEAVY.ok, 1])
    shop.queue(Workflow(heavy=needing(HEAVY), behind=behind))
    (job,) = shop.send()
    assert (shop.item(job).label, job.final) == ("heavy", True)


def test_a_dependant_with_another_value_filled_in_is_another_step(shop: Shop) -> None:
    lead = do("pure", "sum", of=[1, 2])
    shop.queue(Workflow(lead=needing(lead), behind=do("pure", "sum", of=[lead.ok, 1])))
    first, second = shop.send()
    shop.hear(first, shop.receipt(first, 3))
    lie = shop.receipt(second, 9, instruction=do("pure", "sum", of=[8, 1]))
    shop.hear(second, lie)
    assert shop.lab.store.outbox.refusals() == {OTHER_KEY.did: {"other-step": 1}}
    assert not shop.lab.store.receipts.has(lie.cid)


# Blocks.


def test_a_provider_may_read_the_inputs_until_its_job_is_over_and_nothing_else(
    shop: Shop, clock: FakeClock
) -> None:
    store = shop.lab.store
    leaf, other = Block.make(b"leaf", RAW), Block.make(b"other", RAW)
    root = Block.make(_linking(leaf.cid), DAG_CBOR)
    store.blocks.put_many([leaf, other, root])
    job = sent(shop, do("pure", value=root.cid))
    grants = Grants(store)
    assert job.grant is not None
    for cid, may in ((root.cid, True), (leaf.cid, True), (other.cid, False)):
        assert grants.may_read(OTHER_KEY.did, cid) is may
        assert not grants.may_read(THIRD.did, cid)
    clock.seconds = job.lease_until + 1
    assert not grants.may_read(OTHER_KEY.did, leaf.cid)
    clock.seconds = START
    shop.hear(job, shop.receipt(job))
    shop.clerk.look_at_ends()
    assert not grants.may_read(OTHER_KEY.did, leaf.cid)


def _linking(cid: CID) -> bytes:
    from lite.ipld import dag_cbor

    return dag_cbor.encode([cid])


def test_what_is_secret_is_for_the_holder_of_the_key_alone(shop: Shop) -> None:
    store = shop.lab.store
    leaf = Block.make(b"private", RAW)
    store.blocks.put_many([leaf])
    store.secrets.mark([leaf.cid])
    step = needing(do("pure", value=leaf.cid), requires={"key": OTHER_KEY.did})
    shop.queue(Workflow(heavy=step))
    (job,) = shop.send()
    assert job.provider == OTHER_KEY.did
    assert Grants(store).may_read(OTHER_KEY.did, leaf.cid) == "secret"
    shop.hear(job, shop.receipt(job))
    (item,) = store.outbox.newest()
    assert item.receipt is not None and store.secrets.is_secret(item.receipt)


# Confirmations.


def test_three_that_agree_confirm_an_answer(open_shop: Callable[..., Shop]) -> None:
    shop = open_shop(OTHER_KEY, THIRD, FOURTH)
    shop.queue(Workflow(heavy=needing(HEAVY)), confirm=3)
    jobs = shop.send()
    assert len({job.provider for job in jobs}) == 3
    for job in jobs[:2]:
        shop.hear(job, shop.receipt(job))
        assert shop.item(job).is_pending
    shop.hear(jobs[2], shop.receipt(jobs[2]))
    assert shop.item(jobs[0]).state == "done"


def test_who_did_it_for_another_confirms_nothing_by_saying_it_again(
    open_shop: Callable[..., Shop],
) -> None:
    shop = open_shop(OTHER_KEY, THIRD)
    shop.queue(Workflow(heavy=needing(HEAVY)), confirm=2)
    one, two = shop.send()
    passed = {"op": HEAVY.op, "level": "pure", "by": {"iss": two.provider}}
    shop.hear(one, shop.receipt(one, meta=passed))
    shop.hear(two, shop.receipt(two))
    assert shop.item(one).state == "queued"
    assert shop.item(one).note == "1 of 2 agree so far; one more is needed"
    shop.clerk.unsold(shop.item(one), "nobody made a bid", again=False)
    assert shop.item(one).note == "1 of 2 agree so far; one more is needed; nobody made a bid"
    shop.keys[FOURTH.did] = FOURTH
    shop.allow(FOURTH)
    (more,) = shop.send()
    assert more.provider == FOURTH.did
    shop.hear(more, shop.receipt(more))
    assert shop.item(one).state == "done"


def test_a_referee_settles_a_dispute_and_the_liar_is_not_asked_again(
    open_shop: Callable[..., Shop],
) -> None:
    shop = open_shop(OTHER_KEY, THIRD)
    shop.queue(Workflow(heavy=needing(HEAVY)), confirm=2)
    one, two = shop.send()
    good, bad = shop.receipt(one, 1), shop.receipt(two, 666)
    shop.hear(one, good)
    shop.hear(two, bad)
    court = shop.clerk.court
    assert court.disputed == {one.item}
    court.referee(one.item, shop.lab.executor.run(HEAVY, shop.clerk._base, fresh=True).receipt)
    assert shop.item(one).state == "done"
    assert all(shop.lab.store.receipts.has(receipt.cid) for receipt in (good, bad))
    assert court.liars() == {two.provider: f"{two.provider} gave a wrong answer"}
    shop.queue(Workflow(other=needing(do("pure", value=3))))
    assert [job.provider for job in shop.send()] == [one.provider]
    run = shop.queue(Workflow(heavy=needing(HEAVY)))
    assert run["heavy"].out.body == 1


def test_who_gave_a_wrong_answer_answers_no_plain_run_until_that_is_forgiven(shop: Shop) -> None:
    store = shop.lab.store
    open_book(store, KEY.did, shop.clock).trust(OTHER_KEY.did, [ANSWERS])
    policy = TrustPolicy(KEY.did, peers=True)
    memo = Memo(store, policy, shop.clock, None)
    store.commit_runs((Finished(HEAVY, answer_of(HEAVY, 666)),))
    assert memo.lookup(HEAVY.cid, Limits()) is not None
    store.outbox.refused(OTHER_KEY.did, WRONG)
    assert memo.lookup(HEAVY.cid, Limits()) is None
    store.outbox.forgive(OTHER_KEY.did)
    assert memo.lookup(HEAVY.cid, Limits()) is not None
