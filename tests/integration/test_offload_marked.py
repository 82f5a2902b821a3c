"""What a node did for another one counts as its own, once it gave a wrong answer."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lite.keys import Key
from lite.limits import Limits
from lite.memo import Memo
from lite.model.receipt import Receipt
from lite.model.result import Result
from lite.model.trust import TrustPolicy
from lite.model.workflow import Workflow
from lite.offload.confirming import WRONG
from lite.peering.book import open_book
from lite.store.finished import Finished
from sync.peers import ANSWERS
from tests.clerk_support import Shop, shops
from tests.outbox_support import OTHER_KEY, needing
from tests.scheduler_support import do
from tests.store_support import KEY, START

THIRD = Key.from_seed(bytes([11]) * 32)
HEAVY = do("pure", value=1)
ACT = do("post", value=1)


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    with shops(tmp_path / "shop") as make:
        yield make()


def by(did: str) -> dict[str, Any]:
    """What the receipt of a step says that its issuer had done by another."""
    return {"op": HEAVY.op, "level": "pure", "by": {"iss": did}}


def test_what_another_had_done_by_who_gave_a_wrong_answer_is_no_answer_either(shop: Shop) -> None:
    store = shop.lab.store
    open_book(store, KEY.did, shop.clock).trust(THIRD.did, [ANSWERS])
    memo = Memo(store, TrustPolicy(KEY.did, peers=True), shop.clock, None)
    named = Memo(store, TrustPolicy(KEY.did, frozenset({THIRD.did})), shop.clock, None)
    receipt = Receipt.issue(THIRD, HEAVY, Result.of_ok(666), now=START, meta=by(OTHER_KEY.did))
    store.commit_runs((Finished(HEAVY, receipt),))
    assert memo.lookup(HEAVY.cid, Limits()) is not None
    store.outbox.refused(OTHER_KEY.did, WRONG)
    assert memo.lookup(HEAVY.cid, Limits()) is None
    assert named.lookup(HEAVY.cid, Limits()) is not None, "its owner takes that one's word"
    store.outbox.forgive(OTHER_KEY.did)
    assert memo.lookup(HEAVY.cid, Limits()) is not None


@pytest.mark.parametrize(("step", "state"), [(HEAVY, "queued"), (ACT, "done")])
def test_an_answer_that_was_had_from_who_gave_a_wrong_one_is_not_taken_but_of_what_acted(
    shop: Shop, step: Any, state: str
) -> None:
    shop.queue(Workflow(heavy=needing(step)))
    (job,) = shop.send()
    shop.lab.store.outbox.refused(THIRD.did, WRONG)
    meta = {**by(THIRD.did), "op": step.op, "level": "pure" if step is HEAVY else "mutation"}
    shop.hear(job, shop.receipt(job, 666, meta=meta))
    assert shop.item(job).state == state
    if state == "queued":
        assert (shop.job(job).state, shop.job(job).code) == ("refused", "marked")
        assert "had it done by another" in shop.item(job).note
        assert f"{THIRD.did} gave a wrong answer" in shop.item(job).note
        assert shop.clerk.plans(10) == []
