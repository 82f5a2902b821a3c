"""Requests and replies of providers: one form for each, read strictly."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lite.errors import CodecError
from lite.frozen import replace
from lite.ipld import dag_cbor
from lite.ipld.cid import CID, RAW
from lite.keys import Key
from lite.needs.bids import Bid
from lite.needs.requirements import Requirements
from lite.offload import wire
from lite.offload.wire import ENDS, STATES, Account, Ask, Denied, Job, NoBid, Output
from tests.property.test_needs_form import requirements, words

LINKS = [CID.of(bytes([n]), RAW) for n in range(4)]
DID = Key.from_seed(bytes(32)).did

links = st.sampled_from(LINKS)
numbers = st.integers(0, 2**53 - 1)
texts = st.text(max_size=40)
asks = st.builds(
    Ask, links, requirements, st.integers(1, 16), st.lists(requirements, max_size=2).map(tuple)
)
no_bids = st.builds(NoBid, links, words, texts)
jobs = st.builds(
    Job,
    links,
    st.sampled_from([one for one in STATES if one not in ENDS]),
    numbers,
    numbers,
    st.booleans(),
    st.none() | links,
    st.just("") | words,
    texts,
)
ended = st.builds(
    Job,
    links,
    st.sampled_from(ENDS),
    numbers,
    numbers,
    st.booleans(),
    st.none() | links,
    st.just("") | words,
    texts,
    st.binary(min_size=1, max_size=99),
)
counts = st.dictionaries(words, numbers, max_size=4).map(lambda found: tuple(sorted(found.items())))
accounts = st.builds(Account, numbers, numbers, numbers, numbers, counts, numbers, numbers)
denials = st.builds(Denied, words, texts, texts, st.none() | numbers)
outputs = st.builds(Output, numbers, st.binary(max_size=50))
SINGLE = [(Account, accounts), (Denied, denials), (Output, outputs), (Job, jobs), (Job, ended)]


@settings(max_examples=30)
@given(st.lists(asks, min_size=1, max_size=3))
def test_asks_come_back_as_they_went(some: list[Ask]) -> None:
    assert wire.read_asks(wire.write(some)) == some


@given(st.lists(no_bids | st.just(Bid(LINKS[0], DID)), min_size=1, max_size=3))
def test_bids_come_back_as_they_went(some: list[Bid | NoBid]) -> None:
    assert wire.read_bids(wire.write(some)) == some


@given(st.lists(jobs | ended, min_size=1, max_size=3))
def test_jobs_come_back_as_they_went(some: list[Job]) -> None:
    assert wire.read_jobs(wire.write(some)) == some


@pytest.mark.parametrize("kind, values", SINGLE, ids=[kind.__name__ for kind, _ in SINGLE])
@given(data=st.data())
def test_values_have_one_form_and_no_field_too_many(
    kind: Any, values: Any, data: st.DataObject
) -> None:
    value = data.draw(values)
    written = value.value()
    assert kind.from_value(dag_cbor.decode(dag_cbor.encode(written))) == value
    for wrong in ({**written, "more": 1}, [written], None):
        with pytest.raises(wire.FieldError):
            kind.from_value(wrong)


@pytest.mark.parametrize(
    "wrong, said",
    [
        ({"state": "gone"}, "state: one of queued"),
        ({"begun": 1}, "begun: true or false"),
        ({"seq": -1}, "seq"),
        ({"inv": "text"}, "inv: a link is needed"),
        ({"receipt": b"x"}, "receipt: is there at the end, and only then"),
        ({"state": "done"}, "receipt: is there at the end"),
        ({"code": "no word at all"}, "code"),
        ({"message": "x" * 3_000}, "message: text of at most"),
    ],
)
def test_a_wrong_field_of_a_job_is_named(wrong: dict[str, Any], said: str) -> None:
    value = {**Job(LINKS[0], "queued", 1, 2).value(), **wrong}
    with pytest.raises(CodecError, match=said):
        wire.read_job(dag_cbor.encode(value))


def large(number: int) -> Ask:
    """A call for a bid of some 45 kB, with as much for each of two that would go along."""
    links = (CID.of(bytes([number, at % 256, at // 256]), RAW) for at in range(1_000))
    needs = Requirements(ops=("wasm/run",), inputs=tuple((cid, 1) for cid in links))
    return Ask(LINKS[0], needs, along=(needs, needs))


def test_calls_for_bids_go_in_as_many_requests_as_they_need() -> None:
    some = [large(number) for number in range(30)]
    bodies = wire.split_asks(some)
    assert len(bodies) > 1 and all(len(body) <= wire.ASKS_BYTES_MAX for body in bodies)
    assert [ask for body in bodies for ask in wire.read_asks(body)] == some


def test_a_call_that_is_too_large_leaves_out_what_would_go_along() -> None:
    one = large(1)
    (body,) = wire.split_asks([replace(one, along=one.along * 12)])
    assert wire.read_asks(body) == [replace(one, along=())]


def test_lists_are_bounded() -> None:
    one = Job(LINKS[0], "queued", 1, 2)
    for some in ([], [one] * (wire.JOBS_MAX + 1)):
        with pytest.raises(CodecError, match="1 to 256"):
            wire.read_jobs(wire.write(some))
