"""A store against a model: dicts and sets that say what must be there after any history."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from lite.ipld.block import Block
from lite.ipld.cid import CID
from lite.model.receipt import Receipt
from lite.store import Store
from lite.store.blocks import REFRESH_S
from tests.store_support import FakeClock, instruction, node_block, raw_block, receipt

MODULES = [raw_block(f"module {number}").cid for number in range(3)]
HOUR = 3_600


class StoreAgainstModel(RuleBasedStateMachine):
    """Random histories of puts, roots and collections.

    Attributes:
        made: every block that was ever made, with its links.
        here: each block that must be in the store, with the time that counts as its age.
    """

    @initialize()
    def open(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.clock = FakeClock()
        self.store = self.opened()
        self.made: list[tuple[Block, list[CID]]] = [(raw_block("first"), [])]
        self.here: dict[CID, int] = {}
        self.links: dict[CID, list[CID]] = {}
        self.names: dict[str, CID] = {}
        self.pins: set[CID] = set()
        self.receipts: dict[Receipt, list[CID]] = {}

    def opened(self) -> Store:
        return Store.open(self.folder / "home", durability="normal", clock=self.clock)

    def teardown(self) -> None:
        if hasattr(self, "store"):
            self.store.close()
            shutil.rmtree(self.folder)

    def note(self, cid: CID, links: list[CID]) -> None:
        self.links[cid] = links
        if not self.clock.seconds - REFRESH_S <= self.here.get(cid, 0):
            self.here[cid] = self.clock.seconds

    @rule(data=st.data(), fan=st.integers(0, 3))
    def make(self, data: st.DataObject, fan: int) -> None:
        known = [block.cid for block, _ in self.made]
        links = [data.draw(st.sampled_from(known)) for _ in range(fan)]
        block = node_block([len(self.made), *links]) if links else raw_block(str(len(self.made)))
        self.made.append((block, links))

    @rule(data=st.data(), several=st.booleans())
    def put(self, data: st.DataObject, several: bool) -> None:
        chosen = data.draw(st.lists(st.sampled_from(self.made), min_size=1, max_size=4))
        if several:
            self.store.blocks.put_many(block for block, _ in chosen)
        else:
            for block, _ in chosen:
                self.store.blocks.put(block)
        for block, links in chosen:
            self.note(block.cid, links)

    @rule(data=st.data(), name=st.sampled_from("abc"))
    def name(self, data: st.DataObject, name: str) -> None:
        block, _ = data.draw(st.sampled_from(self.made))
        self.store.names.set(name, block.cid)
        self.names[name] = block.cid

    @rule(name=st.sampled_from("abc"))
    def unname(self, name: str) -> None:
        assert self.store.names.remove(name) == (self.names.pop(name, None) is not None)

    @rule(data=st.data())
    def pin(self, data: st.DataObject) -> None:
        block, _ = data.draw(st.sampled_from(self.made))
        self.store.pins.add(block.cid)
        self.pins.add(block.cid)

    @rule(data=st.data())
    def unpin(self, data: st.DataObject) -> None:
        block, _ = data.draw(st.sampled_from(self.made))
        assert self.store.pins.remove(block.cid) == (block.cid in self.pins)
        self.pins.discard(block.cid)

    @rule(data=st.data(), number=st.integers(0, 5))
    def run(self, data: st.DataObject, number: int) -> None:
        module = data.draw(st.sampled_from(MODULES))
        given, links = data.draw(st.sampled_from(self.made))
        asked = instruction(number, module=module, inputs=[given.cid])
        kept = receipt(asked, linked=given.cid)
        self.store.commit_run(asked, kept, [given])
        self.receipts[kept] = [asked.cid, given.cid]
        self.note(asked.cid, [module, given.cid])
        self.note(given.cid, links)

    @rule(data=st.data())
    def forget(self, data: st.DataObject) -> None:
        if self.receipts:
            gone = data.draw(st.sampled_from(sorted(self.receipts, key=lambda one: one.cid)))
            assert self.store.receipts.forget(gone.cid)
            del self.receipts[gone]

    @rule(seconds=st.sampled_from([1, HOUR // 2 + 1, HOUR, 3 * HOUR]))
    def wait(self, seconds: int) -> None:
        self.clock.seconds += seconds

    @rule()
    def reopen(self) -> None:
        self.store.close()
        self.store = self.opened()

    @rule(grace_s=st.sampled_from([0, HOUR]))
    def collect(self, grace_s: int) -> None:
        limit = self.clock.seconds - grace_s
        young = {cid for cid, seconds in self.here.items() if seconds > limit}
        roots = {*self.names.values(), *self.pins, *young}
        stay = self.reached(roots.union(*self.receipts.values()))
        told = self.store.gc(dry_run=True, grace_s=grace_s)
        assert self.store.gc(grace_s=grace_s) == told
        assert (told.kept, told.removed) == (len(stay), len(self.here) - len(stay))
        self.here = {cid: seconds for cid, seconds in self.here.items() if cid in stay}

    def reached(self, roots: set[CID]) -> set[CID]:
        """Blocks that are here and that the roots lead to."""
        found: set[CID] = set()
        todo = list(roots)
        while todo:
            cid = todo.pop()
            if cid in self.here and cid not in found:
                found.add(cid)
                todo += self.links[cid]
        return found

    @invariant()
    def the_same_things_are_here(self) -> None:
        if not hasattr(self, "store"):
            return
        assert self.store.blocks.count() == len(self.here)
        assert all(self.store.blocks.has(cid) for cid in self.here)
        assert dict(self.store.names.list()) == self.names
        assert {pin.cid for pin in self.store.pins} == self.pins
        kept: Any = sorted(self.receipts, key=lambda one: one.cid)
        assert sorted(self.store.receipts.list(limit=None), key=lambda one: one.cid) == kept


TestStoreAgainstModel = StoreAgainstModel.TestCase
TestStoreAgainstModel.settings = settings(
    stateful_step_count=30, max_examples=min(500, settings().max_examples)
)
