"""A call by names of a module that is not here: who is asked for what, and for how long."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from lite import Node, absent_module, wasm
from lite.absent_module import bounded
from lite.errors import QueuedError
from lite.http.named_calls import NamedCall
from lite.ipld.cid import CID
from lite.nearby import FETCH_MS
from lite.store import Store
from tests.guests import ADD


class Friend:
    """A neighbour with one receipt, which it gives when it is asked for its instruction."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.asked: list[CID] = []
        self.archive = b""
        self.knows: CID | None = None

    def ask(self, instructions: Sequence[CID], within_ms: int) -> bool:
        self.asked += instructions
        if self.knows not in instructions:
            return False
        with Node.open(self.home) as node:
            node.import_(io.BytesIO(self.archive))
        return True

    def fetch(self, cids: Sequence[CID], within_ms: int) -> str:
        return "nobody has it"


@pytest.fixture
def made(tmp_path: Path) -> tuple[Node, Friend, CID]:
    """A node without modules, a friend that knows what 3 + 4 is, and the module that says so."""
    here = tmp_path / "here"
    friend = Friend(here)
    with Node.open(tmp_path / "there", in_process=True) as there:
        cid = there.add(ADD)
        answer = there.run(wasm(cid, "add", 3, 4))
        out = io.BytesIO()
        there.export([answer.receipt.cid], out)
        friend.archive, friend.knows = out.getvalue(), answer.receipt.instruction
        did = there.did
    with Store.open(here):
        (here / "config.toml").write_text(f'[trust]\nissuers = ["{did}"]\n')
    return Node.open(here, neighbours=friend, in_process=True), friend, cid


def call(cid: CID, *args: int) -> NamedCall:
    return NamedCall.read({"module": str(cid), "function": "add", "args": list(args)})


def test_the_answer_is_asked_for_before_the_module(made: tuple[Node, Friend, CID]) -> None:
    node, friend, cid = made
    with node:
        brought: list[CID] = []

        def bring(cids: Sequence[CID], *, deep: bool) -> None:
            brought.extend(cids)

        how: dict[str, Any] = {"fresh": False, "homestar": False}
        found = call(cid, 3, 4).instruction(node, node.config.limits, bring, **how)
        assert found.cid == friend.knows and friend.asked == [found.cid] and brought == []
        assert node.run(found).out.unwrap() == 7
        with pytest.raises(QueuedError, match=f"the module {cid} is not here"):
            call(cid, 5, 6).instruction(node, node.config.limits, bring, **how)
        assert brought == [cid] and len(friend.asked) == 2


def test_a_call_that_is_to_be_done_afresh_asks_for_the_module_alone(
    made: tuple[Node, Friend, CID],
) -> None:
    node, friend, cid = made
    with node:

        def bring(cids: Sequence[CID], *, deep: bool) -> None:
            assert list(cids) == [cid] and deep
            node.add(ADD)

        limits = node.config.limits
        found = call(cid, 3, 4).instruction(node, limits, bring, fresh=True, homestar=False)
        assert found.cid == friend.knows and friend.asked == []


def test_all_that_is_fetched_for_one_call_has_one_time(
    made: tuple[Node, Friend, CID], monkeypatch: pytest.MonkeyPatch
) -> None:
    node, _, cid = made
    now = 100.0
    monkeypatch.setattr(absent_module, "monotonic", lambda: now)
    given: list[tuple[bool, float]] = []

    def fetch(cids: Sequence[CID], *, deep: bool, bytes_max: int, within_s: float) -> None:
        assert bytes_max == 2 * node.config.engine_caps.module_bytes
        given.append((deep, within_s))

    with node:
        bring = bounded(node, fetch)
        bring([cid], deep=False)
        now += 50
        bring([cid], deep=True)
        now += 50
        bring([cid], deep=True)
    assert given == [(False, FETCH_MS / 1000), (True, FETCH_MS / 1000 - 50)]
