"""What its owner marks after it was queued does not leave any more."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import pytest

from lite.frozen import replace
from lite.ipld import unixfs
from lite.ipld.block import Block
from lite.ipld.cid import RAW
from lite.model.result import Result
from lite.model.workflow import Workflow
from lite.needs.bids import Bid
from lite.needs.capabilities import Capabilities
from lite.needs.choice import Wish, choose
from lite.offload.grants import Grants
from lite.offload.invoking import Cargo
from lite.offload.plans import Plan
from lite.offload.secrecy import STAYS
from lite.privacy import make_secret
from tests.clerk_support import Shop
from tests.outbox_support import OTHER_KEY, Far, needing
from tests.scheduler_support import do
from tests.store_support import FakeClock

LEAF = Block.make(b"salaries", RAW)


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    clock = FakeClock()
    lab = Far(tmp_path / "home", clock)
    lab.store.blocks.put_many([LEAF])
    yield Shop(lab, clock)
    lab.close()


def chain(shop: Shop) -> None:
    """A step that ran here on a file, and one that waits with its value filled in."""
    counted = do("pure", value=[1, LEAF.cid])
    far = do("pure", value=[counted.ok, "far"])
    shop.queue(Workflow(counted=counted, far=needing(far)))


def packed(shop: Shop, plan: Plan) -> list[Cargo]:
    now, ins, needs = shop.clock.now(), plan.group.lead.instruction.cid, plan.group.lead.needs
    (did,) = plan.providers
    wish = Wish(ins, replace(needs, gpu=None))
    has = {did: Capabilities(did, ops=needs.ops, cores=99)}
    return shop.clerk.pack([(plan, choose([Bid(ins, did, until=now + 60)], wish, has, {}, now))])


def test_a_step_made_from_what_became_secret_is_not_offered(shop: Shop) -> None:
    chain(shop)
    assert len(shop.clerk.plans(10)) == 1
    make_secret(shop.lab.store, [LEAF.cid])
    assert shop.clerk.plans(10) == []
    (item,) = shop.lab.store.outbox.newest()
    assert (item.state, item.note) == ("queued", STAYS)


def test_what_became_secret_between_the_bids_and_the_sending_does_not_go(shop: Shop) -> None:
    chain(shop)
    plan = shop.plan()
    make_secret(shop.lab.store, [LEAF.cid])
    assert packed(shop, plan) == []
    assert shop.lab.store.outbox.jobs_at(OTHER_KEY.did) == []


def test_what_became_secret_before_the_line_was_open_is_taken_back(shop: Shop) -> None:
    chain(shop)
    cargos = packed(shop, shop.plan())
    assert shop.clerk.still_leaving(cargos) == cargos
    make_secret(shop.lab.store, [LEAF.cid])
    assert shop.clerk.still_leaving(cargos) == []
    (job,) = cargos[0].jobs
    assert shop.job(job).state == "void"
    assert shop.item(job).state == "queued"


def test_what_became_secret_is_not_sent_again_and_its_answer_is_secret(shop: Shop) -> None:
    chain(shop)
    (job,) = shop.send()
    assert job.token in shop.clerk.resendable(job.provider)
    make_secret(shop.lab.store, [LEAF.cid])
    assert shop.clerk.resendable(job.provider) == []
    answer = shop.receipt(job)
    shop.hear(job, answer)
    assert shop.lab.store.secrets.is_secret(answer.cid)


def test_what_goes_along_stays_when_it_became_secret(shop: Shop) -> None:
    lead = do("pure", value=1)
    behind = do("pure", value=[lead.ok, LEAF.cid])
    shop.queue(Workflow(lead=needing(lead), behind=behind))
    assert len(shop.plan().group.members) == 2
    make_secret(shop.lab.store, [LEAF.cid])
    assert [member.row.label for member in shop.plan().group.members] == ["lead"]


def test_what_became_secret_goes_to_the_holder_of_its_key_as_a_secret(shop: Shop) -> None:
    step = needing(do("pure", value=LEAF.cid), requires={"key": OTHER_KEY.did})
    shop.queue(Workflow(heavy=step))
    make_secret(shop.lab.store, [LEAF.cid])
    (job,) = shop.send()
    assert Grants(shop.lab.store).may_read(job.provider, LEAF.cid) == "secret"


def test_what_is_fetched_of_a_secret_answer_is_secret_before_it_comes(shop: Shop) -> None:
    marks = shop.lab.store.secrets
    shop.queue(Workflow(a=needing(do("pure", value=LEAF.cid), requires={"key": OTHER_KEY.did})))
    make_secret(shop.lab.store, [LEAF.cid])
    (job,) = shop.send()
    blocks: list[Block] = []
    root = unixfs.write_file(io.BytesIO(b"salaries " * 200_000), blocks.append)
    answer = shop.receipt(job, out=Result.of_ok(root), linked="file")
    assert shop.hear(job, answer).blocks == (root,)
    for block in reversed(blocks):  # the root first, as peers send it
        shop.lab.store.blocks.put(block)
        assert marks.is_secret(block.cid)
