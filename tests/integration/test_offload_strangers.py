"""What strangers send to a provider: judged by the head of the request, its body unread."""

from __future__ import annotations

from pathlib import Path

import pytest

from lite.ipld import dag_cbor
from lite.ipld.block import Block
from lite.ipld.cid import CID, RAW
from lite.model.instruction import wasm
from lite.offload import wire
from lite.offload.client import ProviderRefused
from lite.offload.terms import Terms
from lite.ucan.delegation import Delegation
from tests.peering_support import PeerNode
from tests.provider_support import (
    ProviderNode,
    add_job,
    asking,
    client,
    dealing,
    ended,
    signed,
    value_of,
)
from tests.unit.test_sync_bodies import told_by_the_head


@pytest.mark.parametrize(
    ("path", "size"),
    [
        (wire.PATH_BIDS, wire.ASKS_BYTES_MAX),
        (wire.PATH_JOBS, wire.SUBMISSION_BYTES_MAX),
        (wire.PATH_BLOCKS, wire.SUPPLY_BYTES_MAX),
        (f"{wire.PATH_JOBS}/{CID.of(b'', RAW)}/cancel", 1_000),
    ],
)
def test_a_stranger_is_answered_without_its_body(path: str, size: int, tmp_path: Path) -> None:
    async def story(pi: ProviderNode, phone: PeerNode) -> None:
        channel = await phone.peering.gateway(pi.did, pi.address)
        status = (await told_by_the_head(channel, path, size)).split()[1]
        expected = {wire.PATH_BLOCKS: b"200"}.get(path, b"413" if "cancel" in path else b"403")
        assert status == expected
        async with channel.post(wire.PATH_BLOCKS, bytes(1_000)) as answer:
            assert dag_cbor.decode(await answer.read()) == [], "nothing of it waits for anything"
        await channel.close()

    dealing(story, tmp_path, "phone")


def test_a_customer_brings_what_its_jobs_wait_for(tmp_path: Path) -> None:
    async def story(pi: ProviderNode, phone: PeerNode) -> None:
        module = Block.make(b"\0asm-is-this-not", RAW)
        pi.enable(phone)
        async with client(phone, pi) as wire:
            await wire.send(asking(phone, pi, wasm(module.cid, "f")))
            async for told in wire.changes():
                if told is not None and told.code == "input-missing":
                    break
            sent = await wire.supply(lambda cid: module.data if cid == module.cid else None)
            assert sent > len(module.data)
        assert pi.node.store.blocks.has(module.cid)

    dealing(story, tmp_path, "phone")


def test_a_stranger_sends_its_jobs_where_they_are_done_for_whoever_asks(tmp_path: Path) -> None:
    async def story(pi: ProviderNode, phone: PeerNode) -> None:
        pi.provider.offers.give_anyone("/wasm/run", Terms(), None)
        async with client(phone, pi) as wire:
            *_, token = await wire.offers()
            one = signed(phone, pi, add_job(pi, 1, 2), [Delegation.parse(token).cid])
            await wire.send([one.data, token])
            (job,) = await ended(wire, one.cid)
            assert value_of(job) == 3
            assert await wire.supply(lambda _: b"") == 0

    dealing(story, tmp_path, "phone")


def test_who_has_no_right_is_refused_by_name_as_before(tmp_path: Path) -> None:
    async def story(pi: ProviderNode, phone: PeerNode) -> None:
        phone.peering.book.trust(pi.did, ["read"], "pi")
        phone.peering.book.add_static(pi.did, pi.address)
        async with client(phone, pi) as wire:
            with pytest.raises(ProviderRefused, match="does nothing for you") as refused:
                await wire.bids([])
        assert refused.value.denied.code == "no-right"

    dealing(story, tmp_path, "phone")
