"""Which receipt answers an instruction."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from lite.ipld.cid import CID, RAW
from lite.keys import Key
from lite.model.instruction import wasm
from lite.model.receipt import Receipt
from lite.model.result import MEMOISABLE_ERRORS, Result
from lite.model.trust import Answer, TrustPolicy, choose_answer

SELF, ANN, BEN, EVE = (Key.from_seed(bytes([n] * 32)) for n in range(4))
ADD = wasm(CID.of(b"module", RAW), "add", 2, 40)
FILE = CID.of(b"file", RAW)
NOW = 1_700_000_000
LIMITS = {"fuel": 1000, "memory": 2000, "time": 3000}
POLICY = TrustPolicy(SELF.did, frozenset({ANN.did, BEN.did}))


def receipt(key: Key, out: Result, seed: int = 0, **fields: Any) -> Receipt:
    """A receipt whose nonce, and so its digest, follows from `seed`."""
    fields = {"meta": {"limits": LIMITS}, **fields}
    return Receipt.issue(key, ADD, out, now=NOW, nonce=seed.to_bytes(12, "big"), **fields)


def ok(key: Key, value: Any = 42, seed: int = 0, **fields: Any) -> Receipt:
    return receipt(key, Result.of_ok(value), seed, **fields)


def error(key: Key, code: str = "unreachable", seed: int = 0, **fields: Any) -> Receipt:
    return receipt(key, Result.of_error({"code": code, "message": "m"}), seed, **fields)


def choose(*receipts: Receipt, policy: TrustPolicy = POLICY, **wanted: Any) -> Answer | None:
    wanted = {"fuel": 1000, "memory_bytes": 2000, "now": NOW, **wanted}
    return choose_answer(receipts, policy, **wanted)


def agree(confirmations: int, *issuers: Key) -> TrustPolicy:
    return TrustPolicy(SELF.did, frozenset(key.did for key in issuers), confirmations)


def test_no_receipt_is_no_answer() -> None:
    assert choose() is None


def test_an_own_receipt_answers() -> None:
    assert choose(mine := ok(SELF)) == Answer(mine, "own receipt")


def test_a_named_issuer_answers_and_is_said() -> None:
    assert choose(theirs := ok(ANN)) == Answer(theirs, f"trusted issuer {ANN.did}")


def test_a_stranger_never_answers() -> None:
    assert choose(ok(EVE)) is None
    assert choose(ok(EVE), policy=agree(2, ANN)) is None


def test_own_comes_before_others() -> None:
    mine = ok(SELF, seed=1)
    assert choose(*(ok(ANN, seed=n) for n in range(20)), mine) == Answer(mine, "own receipt")


def test_a_success_comes_before_an_error_even_of_our_own() -> None:
    answer = choose(error(SELF), theirs := ok(ANN))
    assert answer is not None
    assert answer.receipt == theirs


def test_among_equals_the_lowest_digest_answers() -> None:
    many = [ok(SELF, seed=n) for n in range(20)]
    answer = choose(*many)
    assert answer is not None
    assert answer.receipt.cid.digest == min(one.cid.digest for one in many)


@pytest.mark.parametrize("result", [ok, error])
@pytest.mark.parametrize(
    ("said", "limit", "wanted", "answers"),
    [
        (False, 2000, 9000, True),
        (False, 2000, 1, True),
        (True, 2000, 2000, True),
        (True, 2000, 2001, False),
        (True, 2000, 1999, False),
        (None, 2000, 2000, True),
        (None, 2000, 2001, False),
        (None, 2000, 1999, False),
        ("no", 2000, 9000, False),
        (0, 2000, 9000, False),
        (True, "2000", 2000, False),
        (True, True, 1, False),
    ],
)
def test_what_the_memory_limit_may_have_changed_answers_only_under_the_same_limit(
    result: Callable[..., Receipt], said: object, limit: object, wanted: int, answers: bool
) -> None:
    meta: dict[str, Any] = {"op": "wasm/run", "limits": {**LIMITS, "memory": limit}}
    meta["memory_bytes"] = 1  # how much it had says nothing
    if said is not None:
        meta["memory_refused"] = said
    assert (choose(result(SELF, meta=meta), memory_bytes=wanted) is not None) == answers


def test_no_memory_limit_changes_what_no_guest_did() -> None:
    meta = {"op": "test/reverse", "limits": LIMITS}
    assert choose(ok(SELF, meta=meta), memory_bytes=9000) is not None


def test_only_the_same_mode_answers() -> None:
    plain, homestar = ok(SELF), ok(SELF, "42", mode="homestar")
    for mode, expected in (("", plain), ("homestar", homestar)):
        answer = choose(plain, homestar, mode=mode)
        assert answer is not None
        assert answer.receipt == expected
    assert choose(plain, mode="homestar") is None


def test_a_receipt_holds_through_its_last_second() -> None:
    brief = ok(SELF, expires_at=NOW + 60)
    assert choose(brief, now=NOW + 60) is not None
    assert choose(brief, now=NOW + 61) is None


@pytest.mark.parametrize("code", sorted(MEMOISABLE_ERRORS))
def test_a_repeatable_error_answers(code: str) -> None:
    assert choose(failed := error(SELF, code)) == Answer(failed, "own receipt")


@pytest.mark.parametrize("code", ["time-limit", "memory-limit", "stack-overflow", "new", ""])
def test_any_other_error_is_run_again(code: str) -> None:
    assert choose(error(SELF, code)) is None


@pytest.mark.parametrize(
    ("wanted", "answers"),
    [
        ({"fuel": 1000, "memory_bytes": 2000}, True),
        ({"fuel": 1, "memory_bytes": 2000}, True),
        ({"fuel": 1, "memory_bytes": 1}, False),
        ({"fuel": 1001, "memory_bytes": 2000}, False),
        ({"fuel": 1000, "memory_bytes": 2001}, False),
    ],
)
def test_an_error_answers_up_to_its_own_limits(wanted: dict[str, int], answers: bool) -> None:
    assert (choose(error(SELF, "out-of-fuel"), **wanted) is not None) is answers


@pytest.mark.parametrize(
    "meta",
    [
        {},
        {"limits": None},
        {"limits": {}},
        {"limits": {"fuel": 1000}},
        {"limits": {"memory": 9}},
        {"limits": {"fuel": "much", "memory": 2000}},
        {"limits": {"fuel": True, "memory": 2000}},
    ],
)
def test_an_error_that_does_not_say_its_limits_is_run_again(meta: dict[str, Any]) -> None:
    assert choose(error(SELF, meta=meta), fuel=1) is None


def test_an_ok_needs_no_limits() -> None:
    assert choose(ok(SELF, meta={}), fuel=10**12) is not None


@pytest.mark.parametrize("payload", ["text", None, [], {"code": 7}])
def test_an_error_of_an_unknown_form_is_run_again(payload: Any) -> None:
    assert choose(receipt(SELF, Result.of_error(payload))) is None


def test_a_linked_error_answers_by_the_code_in_its_meta() -> None:
    def linked(code: str) -> Receipt:
        meta = {"limits": LIMITS, "code": code}
        return receipt(SELF, Result.of_error(ADD.cid), linked="dag-cbor", meta=meta)

    assert choose(linked("guest-error")) is not None
    assert choose(linked("time-limit")) is None


def test_confirmations_need_so_many_issuers_not_receipts() -> None:
    policy = agree(2, ANN, BEN)
    assert choose(ok(ANN), policy=policy) is None
    assert choose(ok(ANN, seed=1), ok(ANN, seed=2), policy=policy) is None
    answer = choose(ok(ANN), ok(BEN), policy=policy)
    assert answer is not None
    assert answer.rule == "2 of 2 issuers agree"


def test_this_node_is_one_of_the_confirming() -> None:
    answer = choose(mine := ok(SELF), ok(ANN), ok(BEN, 43), policy=agree(2, ANN, BEN))
    assert answer == Answer(mine, "2 of 3 issuers agree")


def test_what_was_passed_on_is_the_word_of_who_did_it() -> None:
    policy = agree(2, ANN, BEN)

    def passed(key: Key, **by: Any) -> Receipt:
        return ok(key, meta={"limits": LIMITS, "by": by})

    assert choose(ok(ANN), passed(BEN, iss=ANN.did), policy=policy) is None
    assert choose(ok(ANN), passed(BEN, iss=EVE.did, did=ANN.did), policy=policy) is None
    assert choose(passed(ANN, iss=EVE.did), passed(ANN, iss=BEN.did), policy=policy) is None
    assert choose(ok(ANN), passed(BEN, iss=EVE.did), policy=policy) is not None
    assert choose(ok(ANN), ok(BEN, meta={"limits": LIMITS, "by": [1]}), policy=policy) is not None


def test_own_word_alone_does_not_confirm() -> None:
    assert choose(ok(SELF), policy=agree(2, ANN)) is None


def test_the_results_must_agree_in_every_byte() -> None:
    policy = agree(2, ANN)
    assert choose(ok(SELF, 1), ok(ANN, 1.0), policy=policy) is None
    assert choose(ok(SELF, FILE), ok(ANN, FILE, linked="file"), policy=policy) is None
    assert choose(ok(SELF, {"a": 1, "b": 2}), ok(ANN, {"b": 2, "a": 1}), policy=policy) is not None


def test_strangers_do_not_confirm() -> None:
    assert choose(ok(SELF), ok(EVE), policy=agree(2, ANN)) is None


def test_the_larger_agreement_wins_where_two_suffice() -> None:
    fourth, fifth = Key.from_seed(bytes([8] * 32)), Key.from_seed(bytes([9] * 32))
    receipts = [ok(ANN, 1), ok(BEN, 1), ok(EVE, 2), ok(fourth, 2), ok(fifth, 2)]
    answer = choose(*receipts, policy=agree(2, ANN, BEN, EVE, fourth, fifth))
    assert answer is not None
    assert (answer.receipt.out, answer.rule) == (Result.of_ok(2), "3 of 5 issuers agree")


def test_an_agreement_on_success_comes_before_one_on_an_error() -> None:
    receipts = [error(SELF), error(ANN), ok(BEN), ok(EVE)]
    answer = choose(*receipts, policy=agree(2, ANN, BEN, EVE))
    assert answer is not None
    assert answer.receipt.out.is_ok


def test_where_several_have_to_do_it_no_one_else_answers_alone_but_this_node_does() -> None:
    sure = TrustPolicy(SELF.did, frozenset({ANN.did, BEN.did}), doers=2)
    passed_on = {"meta": {"limits": LIMITS, "by": {"iss": ANN.did}}}
    assert choose(ok(ANN), policy=sure) is None
    assert choose(ok(ANN), ok(ANN, seed=1), ok(BEN, 7), policy=sure) is None
    assert choose(ok(ANN), ok(SELF, **passed_on), policy=sure) is None
    assert choose(ok(ANN), ok(BEN, **passed_on), policy=sure) is None
    mine = ok(SELF, 7)
    assert choose(ok(ANN), ok(BEN), mine, policy=sure) == Answer(mine, "own receipt")
    agreed = choose(ok(ANN), ok(BEN), ok(BEN, 7), policy=sure)
    assert agreed is not None
    assert (agreed.receipt.out, agreed.rule) == (Result.of_ok(42), "2 of 2 issuers agree")
