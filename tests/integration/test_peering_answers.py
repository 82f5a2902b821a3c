"""What a peer has computed is not computed again, where that peer counts for something here."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from lite.answer import Answer
from lite.config import Config
from lite.errors import QueuedError
from lite.ipld.cid import CID
from lite.limits import MIB
from lite.model.instruction import Instruction, wasm
from lite.model.workflow import Workflow
from lite.node import Node
from lite.peering.loop_neighbours import LoopNeighbours
from lite.peering.names import RECORDS
from tests.guests import ADD
from tests.peering_support import PeerNode, befriend, meeting, signed
from tests.store_support import instruction, keep, node_block, raw_block, traced

MODULE = raw_block(ADD)
SUM = wasm(MODULE.cid, "add", 2, 40)


class Spy:
    """Neighbours that have nothing, and write down what they are asked."""

    def __init__(self) -> None:
        self.asked: list[CID] = []
        self.fetched: list[CID] = []

    def ask(self, instructions: Sequence[CID], within_ms: int) -> bool:
        self.asked += instructions
        return False

    def fetch(self, cids: Sequence[CID], within_ms: int) -> str:
        self.fetched += cids
        return "nobody has it"


def node_of(home: Path, neighbours: Any, **settings: str) -> Node:
    config = Config.load(home, {"engine.in_process": "true", **settings}, env={})
    return Node.open(home, config=config, neighbours=neighbours)


async def run_beside(node: PeerNode, asked: Instruction, **settings: str) -> Answer:
    """Run an instruction in a thread of the same process, as the daemon does."""
    neighbours = LoopNeighbours(node.peering, asyncio.get_running_loop(), 16 * MIB)

    def work() -> Answer:
        with node_of(node.home, neighbours, **settings) as here:
            return here.run(asked)

    return await asyncio.to_thread(work)


def test_a_known_answer_comes_instead_of_computing(tmp_path: Path) -> None:
    async def story(a: PeerNode, b: PeerNode) -> None:
        befriend(a, b)
        await a.in_sync_with(b)
        asked = instruction(1)
        a.keep([signed(a.key, asked)])
        answer = await run_beside(b, asked)
        assert (answer.source, answer.rule) == ("cached", f"trusted issuer {a.did}")
        assert answer.out.unwrap() == 42
        assert b.store.receipts.count() == 1

    meeting(story, tmp_path, "a", "b", metered=True)  # so that nothing comes unasked


def test_ask_gives_the_receipts_that_came(tmp_path: Path) -> None:
    async def story(a: PeerNode, b: PeerNode, c: PeerNode) -> None:
        befriend(a, b, c)
        await b.in_sync_with(a)
        await b.in_sync_with(c)
        assert b.store.receipts.count() == 0
        made = [signed(a.key, instruction(number)) for number in range(70)]
        a.keep(made)
        began = time.monotonic()
        names = [instruction(number).cid for number in range(80)]
        found = await b.peering.ask(names, 5_000)
        assert set(found) == {one.cid for one in made}
        assert b.has(made)
        assert time.monotonic() - began < 5
        assert await b.peering.ask([instruction(1_000).cid], 5_000) == []
        assert await b.peering.ask([instruction(1).cid], 0) == []
        assert time.monotonic() - began < 5

    meeting(story, tmp_path, "a", "b", "c", metered=True)


def test_receipts_of_a_peer_without_that_right_are_no_answers(tmp_path: Path) -> None:
    async def story(a: PeerNode, b: PeerNode) -> None:
        befriend(a, b, rights=["read", "blocks"])
        asked = wasm(raw_block("no module").cid, "f", 1)
        a.keep([signed(a.key, asked)])
        await b.until(lambda: bool(b.store.receipts.by_instruction(asked.cid)))
        assert await b.peering.ask([asked.cid], 5_000) == []
        with pytest.raises(QueuedError):
            await run_beside(b, asked)
        b.trusts(a, ["answers"])
        assert (await run_beside(b, asked)).rule == f"trusted issuer {a.did}"
        b.peering.book.untrust(a.did, ["answers"])
        with pytest.raises(QueuedError):
            await run_beside(b, asked)

    meeting(story, tmp_path, "a", "b")


def test_peers_that_answer_count_as_issuers_without_any_neighbours(tmp_path: Path) -> None:
    async def story(a: PeerNode, b: PeerNode) -> None:
        befriend(a, b)
        asked = instruction(3)
        a.keep([signed(a.key, asked)])
        await b.until(lambda: b.store.receipts.has_any(asked.cid))
        with node_of(b.home, None) as here:
            assert here.run(asked).rule == f"trusted issuer {a.did}"
            assert [
                one is not None
                for one in here._executor.lookup_many(
                    [(asked.cid, here.config.limits), (instruction(4).cid, here.config.limits)]
                )
            ] == [True, False]
        b.peering.book.strike(a.did, 3)
        with node_of(b.home, None) as here, pytest.raises(QueuedError):
            here.run(asked)

    meeting(story, tmp_path, "a", "b")


def test_several_have_to_agree_where_the_owner_wants_that(tmp_path: Path) -> None:
    async def story(a: PeerNode, b: PeerNode, c: PeerNode) -> None:
        befriend(a, b, c)
        await b.in_sync_with(a)
        await b.in_sync_with(c)
        asked, alone = instruction(5), instruction(6)
        a.keep([signed(a.key, asked), signed(a.key, alone)])
        c.keep([signed(c.key, asked)])
        await c.in_sync_with(a)
        two = {"trust.confirmations": "2"}
        assert (await run_beside(b, asked, **two)).rule == "2 of 2 issuers agree"
        with pytest.raises(QueuedError):
            await run_beside(b, alone, **two)

    meeting(story, tmp_path, "a", "b", "c")


def test_an_answer_whose_result_is_elsewhere_brings_the_result(tmp_path: Path) -> None:
    async def story(a: PeerNode, b: PeerNode) -> None:
        befriend(a, b)
        body = keep(a.store, raw_block("x" * 9_000), node_block([raw_block("x" * 9_000).cid]))
        asked = instruction(7)
        a.keep([signed(a.key, asked, body, linked="dag-cbor")])
        await b.until(lambda: b.store.receipts.has_any(asked.cid))
        answer = await run_beside(b, asked)
        assert answer.source == "cached"
        assert b.store.blocks.has(body) and b.store.blocks.has(raw_block("x" * 9_000).cid)

    meeting(story, tmp_path, "a", "b")


def test_a_result_that_nobody_gives_is_no_answer(tmp_path: Path) -> None:
    async def story(a: PeerNode, b: PeerNode) -> None:
        befriend(a, b, rights=["read", "answers"])
        body = keep(a.store, node_block("kept back"))
        asked = instruction(8)
        a.keep([signed(a.key, asked, body, linked="dag-cbor")])
        await b.until(lambda: b.store.receipts.has_any(asked.cid))
        with pytest.raises(QueuedError):
            await run_beside(b, asked)

    meeting(story, tmp_path, "a", "b")


def test_missing_code_comes_from_a_peer_and_it_runs_here(tmp_path: Path) -> None:
    async def story(a: PeerNode, b: PeerNode) -> None:
        befriend(a, b)
        await b.in_sync_with(a)
        keep(a.store, MODULE)
        answer = await run_beside(b, SUM)
        assert (answer.source, answer.out.unwrap()) == ("ran", 42)
        assert b.store.blocks.has(MODULE.cid)

    meeting(story, tmp_path, "a", "b")


def test_a_known_answer_costs_no_statement_more_with_neighbours(tmp_path: Path) -> None:
    with node_of(tmp_path / "home", None) as node:
        keep(node.store, MODULE)
        node.run(SUM)
        plain = traced(node.store)
        node.run(SUM)
    spy = Spy()
    with node_of(tmp_path / "home", spy) as node:
        seen = traced(node.store)
        assert node.run(SUM).source == "cached"
    assert seen == plain
    assert spy.asked == []


def test_neighbours_are_asked_once_before_it_runs_and_not_for_a_fresh_run(tmp_path: Path) -> None:
    spy = Spy()
    with node_of(tmp_path / "home", spy) as node:
        keep(node.store, MODULE)
        node.run(SUM)
        assert spy.asked == [SUM.cid]
        node.run(SUM, fresh=True)
        assert (spy.asked, spy.fetched) == ([SUM.cid], [])
        node.plan(wasm(MODULE.cid, "add", 1, 1))
        assert spy.asked == [SUM.cid]


def test_a_workflow_asks_once_about_all_its_steps(tmp_path: Path) -> None:
    asked: list[list[CID]] = []

    class Listener(Spy):
        def ask(self, instructions: Sequence[CID], within_ms: int) -> bool:
            asked.append(list(instructions))
            return False

    jobs = [wasm(MODULE.cid, "add", number, 1) for number in range(5)]
    with node_of(tmp_path / "home", Listener()) as node:
        keep(node.store, MODULE)
        run = node.run(Workflow(**{f"step{n}": job for n, job in enumerate(jobs)}))
        assert run.state == "done"
    assert [set(some) for some in asked] == [{job.cid for job in jobs}]


def test_a_workflow_that_a_peer_ran_is_not_run_again(tmp_path: Path) -> None:
    first = wasm(MODULE.cid, "add", 1, 2)
    chain = Workflow(a=first, b=wasm(MODULE.cid, "add", first.ok, 3))

    async def story(a: PeerNode, b: PeerNode) -> None:
        keep(a.store, MODULE)
        with node_of(a.home, None) as here:
            assert here.run(chain).state == "done"
        befriend(a, b)
        await b.until(lambda: RECORDS in {one.set for one in b.health(a).sets})
        neighbours = LoopNeighbours(b.peering, asyncio.get_running_loop(), 0)

        def work() -> tuple[str, list[str], bool]:
            with node_of(b.home, neighbours) as here:
                run = here.run(chain)
                issuers = [one.issuer for one in here.store.receipts]
                return run.state, issuers, here.store.blocks.has(MODULE.cid)

        assert await asyncio.to_thread(work) == ("done", [a.did, a.did], False)

    meeting(story, tmp_path, "a", "b", metered=True)


def test_large_results_of_a_chain_come_for_receipts_that_are_here_already(tmp_path: Path) -> None:
    """The second step is known under its name with the first result filled in, and that alone."""
    one, two = raw_block("1" * 9_000), raw_block("2" * 9_000)
    first = instruction(1)
    chain = Workflow(a=first, b=wasm(MODULE.cid, "g", first.ok))

    async def story(a: PeerNode, b: PeerNode) -> None:
        befriend(a, b)
        keep(a.store, one, two)
        ready = wasm(MODULE.cid, "g", one.cid)
        known = [
            signed(a.key, first, one.cid, linked="file"),
            signed(a.key, ready, two.cid, linked="file"),
        ]
        a.keep(known)
        await b.until(lambda: b.has(known))
        neighbours = LoopNeighbours(b.peering, asyncio.get_running_loop(), MIB)

        def work() -> list[str]:
            with node_of(b.home, neighbours) as here:
                run = here.run(chain)
                return [row.state for row in here.store.runs.steps(run.id)]

        assert await asyncio.to_thread(work) == ["cached", "cached"]
        assert b.store.blocks.has(two.cid)

    meeting(story, tmp_path, "a", "b")


def test_nobody_is_asked_about_secrets(tmp_path: Path) -> None:
    spy = Spy()
    with node_of(tmp_path / "home", spy) as node:
        absent = raw_block("secret input").cid
        asked = wasm(MODULE.cid, "add", absent, 1)
        node.store.secrets.mark([asked.cid, absent, MODULE.cid])
        with pytest.raises(QueuedError):
            node.run(asked)
    assert (spy.asked, spy.fetched) == ([], [])


def test_a_peering_that_ended_has_no_answers(tmp_path: Path) -> None:
    async def made() -> LoopNeighbours:
        node = PeerNode(tmp_path, "a")
        node.close()
        return LoopNeighbours(node.peering, asyncio.get_running_loop(), None)

    neighbours = asyncio.run(made())
    assert neighbours.ask([instruction(1).cid], 10) is False
    assert neighbours.fetch([instruction(1).cid], 10)


def test_it_is_known_why_a_result_of_a_peer_did_not_come(tmp_path: Path) -> None:
    async def story(a: PeerNode, b: PeerNode) -> None:
        befriend(a, b)
        large = raw_block("x" * 9_000)
        body = keep(a.store, large, node_block([large.cid]))
        keep(b.store, MODULE)
        a.keep([signed(a.key, SUM, body, linked="dag-cbor")])
        await b.until(lambda: b.store.receipts.has_any(SUM.cid))
        b.peering._means._metered = True
        neighbours = LoopNeighbours(b.peering, asyncio.get_running_loop(), 16 * MIB)

        def work() -> Answer:
            with node_of(b.home, neighbours) as here:
                return here.run(SUM)

        answer = await asyncio.to_thread(work)
        assert answer.source == "ran"
        (over,) = answer.passed_over
        assert (over.receipt.out.body, over.why) == (body, "the network is metered")

    meeting(story, tmp_path, "a", "b")
