"""One thing has many names. Policies of those who ask are judged by what is going to be done."""

from __future__ import annotations

from typing import Any

import pytest

from lite import Node, wasm
from lite.errors import QueuedError, UsageError
from lite.ipld import multibase
from lite.ipld.cid import CID
from lite.model.instruction import Instruction
from lite.model.promise import Await
from lite.model.receipt import Receipt
from lite.model.result import Result
from lite.ucan.refusals import PolicyNotMet
from tests.authority_support import add, ask, give
from tests.guests import ADD
from tests.store_support import START

NOT_ADD = [["!=", ".input.func?", "add"]]
SPELLINGS = ["ADD", "Add", "a-d_d", "%add", None, ...]


def call(pi: Node, func: Any) -> Instruction:
    given = {"args": [2, 40]} if func is ... else {"func": func, "args": [2, 40]}
    return Instruction(f"ipfs://{pi.add(ADD)}", "wasm/run", given)


def answered_by(pi: Node, value: Any) -> Await:
    """The result of something that this node did, to be waited for."""
    job = Instruction("ipfs://bafkqaaa", "wasm/run", {"of": str(value)})
    pi.store.receipts.add(Receipt.issue(pi.key, job, Result.of_ok(value), now=START))
    pi.store.instructions.add(job)
    return job.ok


def base58(cid: CID) -> str:
    return multibase.encode(cid.raw, "base58btc")


@pytest.mark.parametrize("func", SPELLINGS)
@pytest.mark.parametrize("known", [False, True])
def test_a_function_is_denied_by_whatever_name_it_is_called(
    pi: Node, phone: Node, func: Any, known: bool
) -> None:
    give(pi, phone, policy=NOT_ADD if func is not ... else [["not", ["==", ".input.func", "add"]]])
    job = call(pi, func)
    if known:
        assert pi.run(job).out.unwrap() == 42
    with pytest.raises(PolicyNotMet, match=r'\.input\.func\?? is "add"'):
        pi.run_invocation(ask(phone, pi, job))


@pytest.mark.parametrize("func", SPELLINGS)
def test_whoever_may_call_anything_may_spell_it_in_any_way(
    pi: Node, phone: Node, func: Any
) -> None:
    give(pi, phone, policy=[["<", ".input.args[0]", 3]])
    assert pi.run_invocation(ask(phone, pi, call(pi, func))).out.unwrap() == 42


def test_the_name_of_the_export_is_what_a_policy_allows(pi: Node, phone: Node) -> None:
    give(pi, phone, policy=[["==", ".input.func", "add"]])
    assert pi.run_invocation(ask(phone, pi, add(pi))).out.unwrap() == 42


def test_a_function_whose_name_is_awaited_is_denied_by_whatever_it_became(
    pi: Node, phone: Node
) -> None:
    give(pi, phone, policy=NOT_ADD)
    for name in ("add", "ADD"):
        with pytest.raises(PolicyNotMet, match='is "add"'):
            pi.run_invocation(ask(phone, pi, call(pi, answered_by(pi, name))))


def test_a_policy_that_asks_for_the_function_of_a_module_that_is_not_here_waits_for_it(
    pi: Node, phone: Node
) -> None:
    give(pi, phone, policy=NOT_ADD)
    missing = wasm(CID.of(b"elsewhere", 0x55), "ADD", 1)
    asked = ask(phone, pi, missing)
    for _ in range(2):
        with pytest.raises(QueuedError, match="module is not here"):
            pi.run_invocation(asked)


def test_a_function_that_is_not_there_ends_as_without_a_policy(pi: Node, phone: Node) -> None:
    give(pi, phone, policy=NOT_ADD)
    answer = pi.run_invocation(ask(phone, pi, call(pi, "subtract")))
    assert answer.out.body["code"] == "no-such-function"


@pytest.mark.parametrize("spell", [str, base58, lambda cid: cid.encode("base16")])
def test_a_module_that_was_awaited_has_one_spelling_as_well(
    pi: Node, phone: Node, spell: Any
) -> None:
    module = pi.add(ADD)
    give(pi, phone, policy=[["!=", ".rsc", f"ipfs://{module}"]])
    wait = answered_by(pi, f"ipfs://{spell(module)}")
    asked = ask(phone, pi, Instruction(wait, "wasm/run", {"func": "add", "args": [2, 40]}))
    for _ in range(2):  # it led to nothing, so it is no replay
        with pytest.raises((PolicyNotMet, UsageError)) as caught:
            pi.run_invocation(asked)
        assert isinstance(caught.value, PolicyNotMet if spell is str else UsageError)


def test_a_part_of_a_folder_that_was_awaited_has_one_spelling(
    pi: Node, phone: Node, tmp_path: Any
) -> None:
    folder = tmp_path / "tools" / "owner"
    folder.mkdir(parents=True)
    (folder / "add.wasm").write_bytes(ADD)
    root = pi.add(tmp_path / "tools")
    give(pi, phone, policy=[["not", ["like", ".rsc", f"ipfs://{root}/owner/*"]]])
    for path, error in (("owner", PolicyNotMet), ("%6fwner", UsageError)):
        wait = answered_by(pi, f"ipfs://{root}/{path}/add.wasm")
        job = Instruction(wait, "wasm/run", {"func": "add", "args": [2, 40]})
        with pytest.raises(error):
            pi.run_invocation(ask(phone, pi, job))


def test_a_module_under_a_cid_of_version_0_is_a_usage_error(pi: Node, phone: Node) -> None:
    give(pi, phone)
    old = CID.parse("QmUNLLsPACCz1vLxQVkXqqLX5R1X345qqfHbsf67hvA3Nn")
    job = Instruction(f"ipfs://{old}/add.wasm", "wasm/run", {"func": "add", "args": [2, 40]})
    with pytest.raises(UsageError, match="version 1"):
        pi.run_invocation(ask(phone, pi, job))
