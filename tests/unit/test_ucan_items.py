"""How many values are read: whoever signs, searches or verifies asks the same as the check."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from itertools import chain as joined
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from lite.errors import CodecError, LimitError
from lite.gate import Gate
from lite.ipld import dag_cbor
from lite.ipld.cid import CID
from lite.keys import Key
from lite.limits import PROOFS_MAX
from lite.model.instruction import Instruction
from lite.model.receipt import Receipt
from lite.model.result import Result
from lite.parcel import read_receipt
from lite.store import Store
from lite.ucan import container, items, proofs
from lite.ucan.checks import Place, read
from lite.ucan.delegation import Delegation
from lite.ucan.invocation import Invocation
from lite.ucan.policy import Policy
from lite.ucan.refusals import Refusal
from tests.store_support import START, FakeClock
from tests.ucan_support import (
    LAPTOP,
    PI,
    cid_of,
    delegation,
    foreign_delegation,
    foreign_invocation,
    invocation,
)

PEOPLE = [PI, *(Key.from_seed(bytes([n]) * 32) for n in range(60, 80))]
RUN = "/wasm/run"


def is_read(parse: Callable[[bytes, CID | None], Any], data: bytes) -> bool:
    try:
        read(parse, data, Place(None))
    except Refusal:
        return False
    return True


def nested(levels: int) -> Any:
    value: Any = 0
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize("many", [4_000, 4_050, 4_060, 4_070, 4_080, 4_100, 9_000])
def test_what_is_signed_has_no_more_values_than_are_read(many: int) -> None:
    policy = [["!=", ".zz?", [0] * many]]
    theirs = foreign_delegation(PI, LAPTOP, pol=policy)
    if is_read(Delegation.parse, theirs.data):
        assert is_read(Delegation.parse, delegation(PI, LAPTOP, policy=policy).data)
    else:
        with pytest.raises(LimitError, match="over 4096 values"):
            delegation(PI, LAPTOP, policy=policy)
    args = {"x": [0] * many}
    if is_read(Invocation.parse, foreign_invocation(PI, [], args=args).data):
        assert is_read(Invocation.parse, invocation(PI, [], args=args).data)
    else:
        with pytest.raises(LimitError, match="over 4096 values"):
            invocation(PI, [], args=args)


@pytest.mark.parametrize("levels", range(249, 258))
def test_what_is_signed_is_no_deeper_than_what_is_read(levels: int) -> None:
    for make, parse in (
        (lambda: invocation(PI, [], args={"a": nested(levels)}).data, Invocation.parse),
        (
            lambda: delegation(PI, LAPTOP, policy=[["==", ".a", nested(levels)]]).data,
            Delegation.parse,
        ),
    ):
        try:
            data = make()
        except CodecError as error:
            assert "nested deeper" in str(error)
            assert levels > 251
        else:
            assert is_read(parse, data)


def test_an_invocation_is_signed_with_as_many_proofs_as_are_followed() -> None:
    chain = [delegation(PI, PI, nonce=bytes([n])) for n in range(PROOFS_MAX + 1)]
    invocation(PI, chain[:PROOFS_MAX])
    with pytest.raises(LimitError, match="17 proofs"):
        invocation(PI, chain)


@pytest.mark.parametrize("number", [4_000, 4_093])
def test_the_receipt_of_a_result_that_fits_into_one_is_read(number: int) -> None:
    job = Instruction("ipfs://bafkqaaa", "wasm/run", {})
    receipt = Receipt.issue(PI, job, Result.of_ok([0] * number), now=START)
    assert read_receipt(receipt.data)[1] == receipt


@pytest.mark.parametrize("links", [0, 1, 3, 5, 16])
@pytest.mark.parametrize("args", [{}, {"a": [1, {"b": None}]}, {"a": list(range(500))}])
def test_what_is_counted_beside_a_chain_is_what_the_invocation_has(
    links: int, args: dict[str, Any]
) -> None:
    proofs_ = [cid_of(b"%d" % n) for n in range(links)]
    least = Invocation.issue(
        LAPTOP, subject=PI.did, command=RUN, args=args, expires_at=None, proofs=proofs_, nonce=b""
    )
    beside = items.Beside.least(PI.did, LAPTOP.did, RUN, args)
    assert beside.items(links) == items.items_in(least.data)
    usual = Invocation.issue(
        LAPTOP, subject=PI.did, command=RUN, args=args, expires_at=START, proofs=proofs_,
        issued_at=START,
    )  # fmt: skip
    draft = {**usual.token.payload, "prf": []}
    assert items.Beside.of(draft).items(links) == items.items_in(usual.data)


def test_a_budget_ends_where_the_counts_do() -> None:
    chosen = random.Random(7)
    for _ in range(300):
        tokens = [
            b"ucan/dlg@" + bytes(chosen.choices(b".[*\\abc", k=chosen.choice((80, 400, 511, 900))))
            for _ in range(chosen.randrange(1, 17))
        ]
        room = chosen.randrange(5_000)
        budget = items.Budget(room)
        for count in range(1, len(tokens) + 1):
            budget.spend(tokens[count - 1])
            assert budget.over == (sum(map(items.items_in, tokens[:count])) > room)
            if budget.over:
                break


# Searching.


@pytest.fixture
def gate(tmp_path: Path) -> Any:
    with Store.open(tmp_path / "home", durability="normal", clock=FakeClock()) as store:
        yield Gate(store, FakeClock())


def row(people: Sequence[Key], policies: Sequence[Any], nonce: int = 0) -> list[Delegation]:
    return [
        foreign_delegation(
            giver, taker, sub=PI.did, pol=policy, exp=START + 60, nonce=bytes([nonce] * 12)
        )
        for (giver, taker), policy in zip(pairwise(people), policies, strict=True)
    ]


def let_in(gate: Gate, chain: Sequence[Delegation], invoker: Key, args: dict[str, Any]) -> bool:
    asked = Invocation.issue(
        invoker, subject=PI.did, command=RUN, args=args, expires_at=START + 60,
        proofs=[link.cid for link in chain], nonce=b"",
    )  # fmt: skip
    try:
        gate.authorise(
            asked.data,
            executor=PI.did,
            proofs_with_it={link.cid: link.data for link in chain},
            claim=None,
        )
    except Refusal:
        return False
    return True


STEPS = [["all", ".x", [">=", ".", 0]]] * 4
ITEMS = [["!=", ".zz?", [0] * 2_600]]


@pytest.mark.parametrize(
    ("heavy", "args"),
    [(STEPS, {"x": [7] * 1_500}), (ITEMS, {"x": [7]}), ([["!=", ".zz?", [0] * 4_300]], {})],
)
@pytest.mark.parametrize("decoys", [1, 20])
def test_a_search_finds_the_chain_that_the_check_lets_in(
    gate: Gate, heavy: Any, args: dict[str, Any], decoys: int
) -> None:
    a, b, c, me = PEOPLE[1:5]
    short = [row([PI, a, me], [heavy, heavy], nonce) for nonce in range(decoys)]
    light = row([PI, b, c, me], [[], [], []])
    more = row([PI, a, me], [[], []], 99)  # through the same principals as the heavy ones
    for fitting in (light, more):
        gate._tokens.add([*joined.from_iterable(short), *fitting])
        assert not any(let_in(gate, chain, me, args) for chain in short)
        assert let_in(gate, fitting, me, args)
        found = gate.search(PI.did, me.did, RUN, args, {}).chain
        assert found is not None
        assert let_in(gate, found, me, args)
        gate._tokens.forget([one.cid for one in fitting])


def test_a_search_says_why_what_is_too_much_for_one_check_is_no_chain(gate: Gate) -> None:
    me = PEOPLE[2]
    chain = row([PI, PEOPLE[1], me], [ITEMS, ITEMS])
    gate._tokens.add(chain)
    assert gate.search(PI.did, me.did, RUN, {"x": 1}, {}).chain is None
    reason = gate.why_not(PI.did, me.did, RUN, {"x": 1})
    assert reason is not None
    assert (reason.code, reason.step) == ("ucan-items-too-many", "7b")


# Verifying.


@pytest.mark.parametrize("size", [2_400, 2_440, 2_460, 2_480, 2_600])
def test_a_delegation_holds_when_an_invocation_through_it_is_read(gate: Gate, size: int) -> None:
    me = PEOPLE[2]
    chain = row([PI, PEOPLE[1], me], [[["!=", ".zz?", [0] * size]]] * 2)
    verdict = gate.verify(container.write(link.data for link in chain))
    assert verdict.holds == let_in(gate, chain, me, {})
    if size in (2_400, 2_600):
        assert verdict.holds == (size == 2_400)
    if not verdict.holds:
        assert verdict.refusal is not None
        assert verdict.refusal.code == "ucan-items-too-many"


def test_a_delegation_holds_by_the_chain_that_is_read(gate: Gate) -> None:
    """Through another one, which is shorter, there would be too much."""
    a, b, c, d = PEOPLE[1:5]
    heavy = row([PI, c], [ITEMS])
    light = row([PI, a, b, c], [[], [], []])
    leaf = row([c, d], [ITEMS])
    gate._tokens.add([*heavy, *light])
    verdict = gate.verify(leaf[0].data)
    assert verdict.holds
    assert verdict.chain == [*light, *leaf]


def test_what_a_check_of_a_chain_says_is_what_a_check_says_of_one_value_too_many() -> None:
    chain = row(PEOPLE[:3], [ITEMS, ITEMS])
    with pytest.raises(Refusal) as caught:
        proofs.check_chain(
            chain, subject=PI.did, command=RUN, now=START, revoked_by=lambda *_: None
        )
    assert (caught.value.code, caught.value.position) == ("ucan-items-too-many", 1)


# What a policy looks at.


@pytest.mark.parametrize(
    ("policy", "sees"),
    [
        ([], False),
        ([["==", ".rsc", 1]], False),
        ([["==", ".input.args", 1], ["<", ".limits.fuel", 1]], False),
        ([["==", ".input.args[0].func", 1]], False),
        ([["all", ".input.args", ["==", ".func", 1]]], False),
        ([["==", ".input[0]", 1]], False),
        ([["==", ".", {}]], True),
        ([["==", ".input", {}]], True),
        ([["==", ".[]", []]], True),
        ([["==", ".input[]", []]], True),
        ([["==", ".[][0]", []]], True),
        ([["==", '.["input"]?["func"]', 1]], True),
        ([["==", ".input.func[0]", 1]], True),
        ([["any", ".", ["==", ".func", 1]]], True),
        ([["not", ["or", [["==", ".rsc", 1], ["like", ".input?.func?", "a"]]]]], True),
        ([["and", [["all", ".input", ["!=", ".", "add"]]]]], True),
    ],
)
def test_a_policy_tells_whether_it_may_see_a_value(policy: Any, sees: bool) -> None:
    assert Policy.parse(policy).may_see("input", "func") is sees


# What a token is, it says in its tag and its command, not somewhere in its bytes.

RECEIPT_TEXT = "/ucan/assert/receipt"


@pytest.mark.parametrize(
    "fields",
    [
        {"args": {"a": [0] * 4_500, "b": RECEIPT_TEXT}},
        {"args": {"cmd": RECEIPT_TEXT, "a": [0] * 4_500}},
        {"args": {"a": [0] * 4_500}, "meta": {"cmd": RECEIPT_TEXT}},
        {"args": {"a": [0] * 4_500}, "command": f"{RECEIPT_TEXT}/x"},
    ],
)
def test_an_invocation_that_names_receipts_may_not_have_as_many_values(
    fields: dict[str, Any],
) -> None:
    with pytest.raises(LimitError, match="over 4096 values"):
        invocation(PI, [], **fields)
    told = {"cmd": fields.get("command", RUN), **fields}
    told.pop("command", None)
    assert not is_read(Invocation.parse, foreign_invocation(PI, [], **told).data)


def test_a_delegation_of_receipts_may_not_have_as_many_values() -> None:
    policy = [["!=", ".zz?", [0] * 4_500]]
    theirs = foreign_delegation(PI, LAPTOP, pol=policy, cmd=RECEIPT_TEXT)
    assert not is_read(Delegation.parse, theirs.data)
    assert is_read(
        Invocation.parse, invocation(PI, [], command=RECEIPT_TEXT, args={"a": [0] * 4_500}).data
    )


@pytest.mark.parametrize("command", ["/ucan/dlg@", "/ucan/dlg@1.0.0"])
def test_the_dots_of_an_invocation_count_as_nothing_whatever_it_is_called(command: str) -> None:
    args = {"a": "." * 3_000}
    named, plain = (invocation(PI, [], args=args, command=one) for one in (command, "/x"))
    assert items.items_in(named.data) == items.items_in(plain.data) < 100


def test_the_selectors_of_a_delegation_count_however_far_in_its_tag_is() -> None:
    payload = {"iss": PI.did, "pol": [["==", "." * 3_000, 0]]}
    for header in (bytes(8), bytes(400)):
        data = dag_cbor.encode([bytes(64), {"h": header, "ucan/dlg@1.0.0": payload}])
        assert items.items_in(data) > 6_000
    data = dag_cbor.encode([bytes(400), {"h": bytes(8), "ucan/dlg@1.0.0": payload}])
    assert items.items_in(data) > 6_000
