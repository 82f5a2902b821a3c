"""Hypothesis strategies for WIT types and for neutral values of a type."""

from __future__ import annotations

import struct
from typing import Any

from hypothesis import strategies as st

from lite.engine.wit import (
    BYTES,
    INTEGER_RANGES,
    PRIMITIVES,
    Case,
    Enum,
    Flags,
    ListOf,
    Option,
    Prim,
    Record,
    ResultOf,
    TupleOf,
    Variant,
    WitType,
    cases_of,
)

LABELS = [f"{a}{b}" for a in ("a", "b-c", "long-name", "x1") for b in ("", "-y", "-z2")]
ODD_TEXTS = [
    *("", "null", "true", "0", "\0", "ÿ", "Ā", "€", "\U0010ffff"),
    *("bafkqaaa", "/ipfs/bafkqaaa", "QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWnPbdG"),
]


def labels(least: int, most: int) -> st.SearchStrategy[tuple[str, ...]]:
    return st.lists(st.sampled_from(LABELS), min_size=least, max_size=most, unique=True).map(tuple)


def many_labels() -> st.SearchStrategy[tuple[str, ...]]:
    """More names than one byte of flags or discriminant can number."""
    return st.sampled_from((9, 17, 32)).map(lambda n: tuple(f"n{i}" for i in range(n)))


def _compound(inner: st.SearchStrategy[WitType]) -> st.SearchStrategy[WitType]:
    maybe = st.none() | inner
    named = labels(1, 4).flatmap(
        lambda names: st.tuples(*[inner] * len(names)).map(
            lambda ts: Record(tuple(zip(names, ts, strict=True)))
        )
    )
    variants = labels(1, 4).flatmap(
        lambda names: st.tuples(*[maybe] * len(names)).map(
            lambda ts: Variant(tuple(zip(names, ts, strict=True)))
        )
    )
    return st.one_of(
        inner.map(ListOf),
        st.lists(inner, min_size=1, max_size=4).map(lambda ts: TupleOf(tuple(ts))),
        named,
        inner.map(Option),
        st.builds(ResultOf, maybe, maybe),
        variants,
    )


SCALARS: st.SearchStrategy[WitType] = st.sampled_from(PRIMITIVES).map(Prim)
LEAVES: st.SearchStrategy[WitType] = st.one_of(
    SCALARS,
    SCALARS,
    st.just(BYTES),
    (labels(1, 4) | many_labels()).map(Flags),
    (labels(1, 4) | many_labels()).map(Enum),
    st.just(Enum(tuple(f"c{i}" for i in range(300)))),
)


def types(leaves: int = 8) -> st.SearchStrategy[WitType]:
    return st.recursive(LEAVES, _compound, max_leaves=leaves)


def _f32(value: float) -> float:
    made: float = struct.unpack("<f", struct.pack("<f", value))[0]
    return made


def _integers(name: str) -> st.SearchStrategy[int]:
    low, high = INTEGER_RANGES[name]
    return st.sampled_from((low, high, 0, 1, high // 2)) | st.integers(low, high)


TEXTS = st.sampled_from(ODD_TEXTS) | st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
FLOATS32 = st.floats(width=32, allow_nan=False, allow_infinity=False).map(_f32)
FLOATS64 = st.floats(allow_nan=False, allow_infinity=False)

_PRIMITIVE_VALUES: dict[str, st.SearchStrategy[Any]] = {
    "bool": st.booleans(),
    **{name: _integers(name) for name in INTEGER_RANGES},
    "f32": FLOATS32,
    "f64": FLOATS64,
    "char": st.characters(exclude_categories=["Cs"]),
    "string": TEXTS,
}


def values(t: WitType) -> st.SearchStrategy[Any]:
    """Neutral values of a type, floats finite."""
    match t:
        case Prim(name):
            return _PRIMITIVE_VALUES[name]
        case ListOf():
            if t == BYTES:
                return st.binary(max_size=40)
            return st.lists(values(t.element), max_size=4)
        case TupleOf(items):
            return st.tuples(*map(values, items))
        case Record(fields):
            return st.fixed_dictionaries({name: values(f) for name, f in fields})
        case Flags(names):
            return st.frozensets(st.sampled_from(names))
        case Enum(names):
            return st.sampled_from(names)
        case _:
            return st.one_of([_case(name, payload) for name, payload in cases_of(t)])


def _case(name: str, payload: WitType | None) -> st.SearchStrategy[Case]:
    if payload is None:
        return st.just(Case(name))
    return values(payload).map(lambda value: Case(name, value))
