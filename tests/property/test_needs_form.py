"""Requirements on the wire: one form for each, read strictly, with the field named."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lite.ipld import dag_cbor
from lite.ipld.cid import CID, RAW
from lite.keys import Key
from lite.limits import INTEGER_MAX, Limits
from lite.model.place import FieldError
from lite.model.requires import GpuNeed, Term
from lite.needs.requirements import Requirements
from lite.quantities import DURATION_MAX_MS, SIZE_MAX

LINKS = [CID.of(bytes([n]), RAW) for n in range(4)]
NODES = [Key.from_seed(bytes([n]) * 32).did for n in (1, 2, 3)]


def in_order(items: st.SearchStrategy[Any], fewest: int = 0) -> st.SearchStrategy[tuple[Any, ...]]:
    listed = st.lists(items, min_size=fewest, max_size=4, unique=True)
    return listed.map(lambda found: tuple(sorted(found, key=str)))


sizes = st.integers(0, SIZE_MAX)
words = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._:+/-]{0,63}", fullmatch=True)
ops = st.from_regex(r"[a-z0-9_.-]{1,9}/[a-z0-9_.-]{1,9}", fullmatch=True)
terms = st.one_of(
    *(
        st.builds(Term, st.just(by), in_order(items, 1), st.integers(0, DURATION_MAX_MS))
        for by, items in (
            ("did", st.sampled_from(NODES)),
            ("tag", words),
            ("holds", st.sampled_from(LINKS)),
        )
    )
)
amounts = st.integers(0, INTEGER_MAX - 1)
requirements = st.builds(
    Requirements,
    gpu=st.none() | st.builds(GpuNeed, st.integers(1, 1024), sizes, st.just("") | words),
    cores=st.integers(0, 65_536),
    memory_bytes=sizes,
    disk_bytes=sizes,
    engine=in_order(words),
    arch=st.just("") | words,
    ops=in_order(ops),
    key=st.sampled_from(["", *NODES]),
    affinity=st.lists(terms, max_size=3).map(tuple),
    anti_affinity=st.lists(terms, max_size=3).map(tuple),
    limits=st.builds(Limits, amounts, amounts, amounts, amounts),
    module=st.none() | st.sampled_from(LINKS),
    inputs=st.lists(
        st.tuples(st.sampled_from(LINKS), st.none() | sizes), unique_by=lambda pair: pair[0]
    ).map(tuple),
)


@given(requirements)
def test_what_is_sent_is_what_is_read(needs: Requirements) -> None:
    data = dag_cbor.encode(needs.value())
    assert Requirements.from_value(dag_cbor.decode(data)) == needs


def test_what_asks_for_nothing_is_an_empty_map() -> None:
    assert Requirements().value() == {}
    assert Requirements.from_value({}) == Requirements()


def test_the_form_is_the_documented_one() -> None:
    needs = Requirements(
        gpu=GpuNeed(1, 2**33),
        ops=("cuda/matmul",),
        affinity=(Term("tag", ("lab",), 30_000),),
        limits=Limits(5, 0, 0, 0),
        module=LINKS[0],
        inputs=((LINKS[0], 7), (LINKS[1], None)),
    )
    assert needs.value() == {
        "gpu": {"count": 1, "memory": 2**33},
        "op": ["cuda/matmul"],
        "affinity": [{"tag": ["lab"], "soft": 30_000}],
        "limits": {"fuel": 5},
        "module": LINKS[0],
        "inputs": [[LINKS[0], 7], [LINKS[1], None]],
    }


@pytest.mark.parametrize(
    ("value", "field"),
    [
        ([], "needs"),
        ({"colour": 1}, "needs.colour"),
        ({"gpu": True}, "needs.gpu"),
        ({"gpu": {}}, "needs.gpu.count"),
        ({"gpu": {"count": 0}}, "needs.gpu.count"),
        ({"gpu": {"count": 1, "memory": 0}}, "needs.gpu.memory"),
        ({"cpu": 0}, "needs.cpu"),
        ({"memory": "8G"}, "needs.memory"),
        ({"engine": []}, "needs.engine"),
        ({"arch": ""}, "needs.arch"),
        ({"op": ["http/get", "cuda/matmul"]}, "needs.op"),
        ({"op": ["http/get", "http/get"]}, "needs.op"),
        ({"key": "me"}, "needs.key"),
        ({"affinity": []}, "needs.affinity"),
        ({"affinity": [{"soft": 1}]}, "needs.affinity[0]"),
        ({"affinity": [{"tag": ["a"], "did": NODES[:1]}]}, "needs.affinity[0]"),
        ({"affinity": [{"tag": ["a"], "soft": 0}]}, "needs.affinity[0].soft"),
        ({"affinity": [{"tag": []}]}, "needs.affinity[0].tag"),
        ({"anti_affinity": [{"holds": [str(LINKS[0])]}]}, "needs.anti_affinity[0].holds[0]"),
        ({"limits": {}}, "needs.limits"),
        ({"limits": {"fuel": 0}}, "needs.limits.fuel"),
        ({"limits": {"fuel": INTEGER_MAX}}, "needs.limits.fuel"),
        ({"module": str(LINKS[0])}, "needs.module"),
        ({"inputs": [LINKS[0]]}, "needs.inputs[0]"),
        ({"inputs": [[LINKS[0], -1]]}, "needs.inputs[0][1]"),
        ({"inputs": [[LINKS[0], 1], [LINKS[0], 1]]}, "needs.inputs[1]"),
    ],
)
def test_another_form_is_refused_with_its_field(value: Any, field: str) -> None:
    with pytest.raises(FieldError) as raised:
        Requirements.from_value(value, ("needs",))
    assert str(raised.value).partition(": ")[0] == field


def test_all_that_a_task_can_declare_can_be_sent() -> None:
    needs = Requirements.declared(
        {
            "requires": {
                "op": [f"a/{n}" for n in range(64)],
                "affinity": [{"tag": f"t{n}"} for n in range(64)],
            },
            "needs": [f"n{n}" for n in range(100)],
        }
    )
    assert Requirements.from_value(needs.value()) == needs
